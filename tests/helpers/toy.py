"""Models small enough to do by hand, on the made-up device, and analyses figure by figure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from made_up import device

from roofline import analyze
from roofline.engine.estimate import Estimate
from roofline.engine.result import OpTotals, Quantities
from roofline.specs.models import LanguageModel, Lmm, MlpConnector, VisionEncoder

STAGES = ("prefill", "decode", "generate")
ADDITIVE = (
    *("flops", "vector_flops", "memory_access_bytes", "activation_store_bytes"),
    "roofline_time_s",
)
"""Figures of a whole that are the sums of those of its parts."""


def llm(**changes: Any) -> LanguageModel:
    """D = 8, 2 heads of 4, 1 KV head, intermediate 16, vocabulary 10, 2 layers."""
    fields: dict[str, Any] = {
        "hidden_size": 8,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "intermediate_size": 16,
        "vocab_size": 10,
    }
    words = {"name": "toy", "title": "Toy", "source": "made up"}
    return LanguageModel(**(words | fields | changes))


def tower(**changes: Any) -> VisionEncoder:
    """Width 8, 2 heads of 4, intermediate 16, 3 blocks on 3 × 3 patches of 4 × 4 pixels."""
    fields: dict[str, Any] = {
        "hidden_size": 8,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "image_size_px": 12,
        "patch_size_px": 4,
    }
    words = {"name": "toy-vit", "title": "Toy", "source": "made up"}
    return VisionEncoder(**(words | fields | changes))


def lmm(layers: int = 3, **changes: Any) -> Lmm:
    """A ViT of `layers` blocks on 3 × 3 patches, all of which are run; connector and LLM."""
    connector = MlpConnector(name="toy-connector", title="Toy", source="made up")
    fields: dict[str, Any] = {
        "vision": tower(num_hidden_layers=layers),
        "connector": connector,
        "llm": llm(),
        "vision_feature_layer": -1,
    }
    words = {"name": "toy-lmm", "title": "Toy", "source": "made up"}
    return Lmm(**(words | fields | changes))


def toy(model: Any = None, hardware: Any = None, **options: Any) -> Estimate:
    """Two visual and three text tokens, unless told otherwise."""
    given = {"visual_tokens": 2, "text_tokens": 3} | options
    return analyze(model or llm(), hardware or device(), **given)


def figures(part: Quantities) -> dict[str, Any]:
    """Everything known that a component or the whole shows, and what the words of it rest on."""
    shown = {name: getattr(part, name) for name in part.shown}
    found = {name: value for name, value in shown.items() if value is not None}
    found["attainable_error_s"] = part.attainable_error_s  # type: ignore[attr-defined]
    times: Mapping[str, Any] = part.bound_times_s  # type: ignore[attr-defined]
    return found | {f"{word}_bound": seconds for word, seconds in times.items()}


def parts(estimate: Any) -> dict[str, Any]:
    """Components, and all of them together."""
    return {**estimate.components, "end_to_end": estimate.end_to_end}


def ops(estimate: Estimate, component: str = "llm", layers: str = "") -> dict[str, OpTotals]:
    """The ops of a component by phase and name."""
    return {
        f"{op.phase} {op.name}": op
        for op in estimate.ops
        if op.component == component and op.layers == layers
    }


def all_cells(options: Mapping[str, Any]) -> Iterator[tuple[tuple[int, ...], dict[str, Any]]]:
    """Each index into the broadcast of all array options, and the options at that index."""
    arrays = {k: np.asarray(v) for k, v in options.items()}
    shape = np.broadcast_shapes(*(a.shape for a in arrays.values()))
    for index in np.ndindex(shape):
        yield index, {k: np.broadcast_to(a, shape)[index].item() for k, a in arrays.items()}
