"""Models as shapes. Field names are those of Hugging Face configs; all are counts of elements.

Figures of a file share one `source`: they come from one config. A file's `kind` is the tag of its
spec, and `MODEL_KINDS` knows the specs by their tags.
"""

from __future__ import annotations

from roofline.specs.models.connector import (
    ActivationStep,
    AnyConnector,
    Connector,
    ConnectorStep,
    GatedMlpStep,
    GateStep,
    LinearStep,
    MergeStep,
    MlpConnector,
    NormStep,
    Perceiver,
    PoolStep,
    QFormer,
    StepConnector,
)
from roofline.specs.models.image_tokens import View
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
from roofline.specs.models.vision import VisionEncoder, Windows

__all__ = [
    "DEFAULT_ARCHITECTURE",
    "MODEL_KINDS",
    "ActivationStep",
    "AnyConnector",
    "Connector",
    "ConnectorStep",
    "ExpertMixture",
    "GateStep",
    "GatedMlpStep",
    "HiddenAct",
    "LanguageModel",
    "LatentAttention",
    "LayerKind",
    "LinearShape",
    "LinearStep",
    "Lmm",
    "MergeStep",
    "MlpConnector",
    "Model",
    "NormFunction",
    "NormStep",
    "Perceiver",
    "PoolStep",
    "QFormer",
    "QueryKeyNorm",
    "StepConnector",
    "View",
    "VisionEncoder",
    "Windows",
    "kind_of",
    "register_kind",
]

Model = LanguageModel | VisionEncoder | AnyConnector | Lmm
