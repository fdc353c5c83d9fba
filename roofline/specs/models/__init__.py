"""Models as shapes. Field names are those of Hugging Face configs; all are counts of elements.

Figures of a file share one `source`: they come from one config. A file's `kind` is the tag of its
spec, and `model_kinds` knows the specs by their tags: a module of this package names its own in
`KINDS`, users `register` theirs.
"""

from __future__ import annotations

from roofline.registry import Registry
from roofline.specs.models.connector import MlpConnector
from roofline.specs.models.language import LanguageModel, LinearShape
from roofline.specs.models.multimodal import DEFAULT_ARCHITECTURE, Lmm
from roofline.specs.models.vision import HiddenAct, VisionEncoder
from roofline.specs.sourced import Spec

__all__ = [
    "DEFAULT_ARCHITECTURE",
    "HiddenAct",
    "LanguageModel",
    "LinearShape",
    "Lmm",
    "MlpConnector",
    "Model",
    "VisionEncoder",
    "kind_of",
    "model_kinds",
]

Model = LanguageModel | VisionEncoder | MlpConnector | Lmm


def kind_of(spec: type[Spec] | Spec) -> str:
    """The tag of a spec: what its files give as `kind`."""
    return str(spec.__struct_config__.tag)


model_kinds: Registry[type[Spec]] = Registry("kind of model", __name__, "KINDS", name_of=kind_of)
