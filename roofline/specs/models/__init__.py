"""Models as shapes. Field names are those of Hugging Face configs; all are counts of elements.

Figures of a file share one `source`: they come from one config. A file's `kind` is the tag of its
spec, and `MODEL_KINDS` knows the specs by their tags.
"""

from __future__ import annotations

from roofline.specs.models.connector import MlpConnector
from roofline.specs.models.kinds import MODEL_KINDS, kind_of, register_kind
from roofline.specs.models.language import (
    ExpertMixture,
    HiddenAct,
    LanguageModel,
    LatentAttention,
    LayerKind,
    LinearShape,
    NormFunction,
    QueryKeyNorm,
)
from roofline.specs.models.multimodal import DEFAULT_ARCHITECTURE, Lmm
from roofline.specs.models.vision import VisionEncoder

__all__ = [
    "DEFAULT_ARCHITECTURE",
    "MODEL_KINDS",
    "ExpertMixture",
    "HiddenAct",
    "LanguageModel",
    "LatentAttention",
    "LayerKind",
    "LinearShape",
    "Lmm",
    "MlpConnector",
    "Model",
    "NormFunction",
    "QueryKeyNorm",
    "VisionEncoder",
    "kind_of",
    "register_kind",
]

Model = LanguageModel | VisionEncoder | MlpConnector | Lmm
