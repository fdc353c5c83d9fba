"""A model and a device small enough to do by hand, and two analyses compared figure by figure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from roofline import analyze
from roofline.device.laws.attention import AttentionLaw
from roofline.device.laws.host import HostLaw
from roofline.device.laws.matmul import MatmulLaw, Tile
from roofline.device.laws.pointwise import PointwiseLaw
from roofline.engine.estimate import Estimate
from roofline.engine.result import OpTotals, Quantities
from roofline.specs.hardware import Hardware, MatmulPeaks
from roofline.specs.kernel_laws import KernelLaws
from roofline.specs.models import LanguageModel, Lmm, MlpConnector, VisionEncoder
from roofline.specs.sourced import Peak, Sourced

STAGES = ("prefill", "decode", "generate")
ADDITIVE = (
    *("flops", "vector_flops", "memory_access_bytes", "activation_store_bytes"),
    "roofline_time_s",
)
"""Figures of a whole that are the sums of those of its parts."""


def figure(value: float) -> Sourced:
    return Sourced(value=value, source="test")


FIT: dict[str, Any] = {"rows": 1, "median_error_percent": 1.0, "p90_error_percent": 2.0}
LAWS = KernelLaws(
    origin="measured",
    source="test",
    date="2026-01-01",
    conditions="made up",
    families={
        "matmul": {
            "fp16": MatmulLaw(
                **FIT,
                launch_us=2.0,
                tiles=(
                    Tile(rows=4, columns=8, efficiency=0.5),
                    Tile(rows=8, columns=8, efficiency=0.7),
                ),
                bandwidth_fraction=0.8,
            )
        },
        "attention": {
            "fp16": AttentionLaw(
                **FIT,
                launch_us=3.0,
                block_us=1.0,
                efficiency=0.5,
                head_dim_power=0.5,
                longest_share=0.1,
                fill_keys=4.0,
                bandwidth_fraction=0.5,
            )
        },
        "pointwise": {"default": PointwiseLaw(**FIT, launch_us=1.0, bandwidth_gb_per_s=0.5)},
        "host": {
            "llm": HostLaw(fixed_us=7.0, layer_us=2.0),
            "decode": HostLaw(fixed_us=3.0, layer_us=1.0),
        },
    },
)


def device(**changes: Any) -> Hardware:
    """1 GB/s, 2 GFLOP/s in matmuls, 1 GFLOP/s otherwise: times come out in whole nanoseconds."""
    fields: dict[str, Any] = {
        "kind": "gpu",
        "memory_capacity_gib": figure(1),
        "memory_bandwidth_gb_per_s": figure(1),
        "matmul_peaks": MatmulPeaks(fp16_tflops=Peak(value=0.002, source="test")),
        "vector_peak_fp32_tflops": figure(0.001),
        "sources": {"test": "made up"},
        "kernel_laws": LAWS,
    }
    words = dict.fromkeys(("name", "title", "vendor", "architecture"), "toy")
    return Hardware(**(words | fields | changes))


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
    return LanguageModel(name="toy", title="Toy", source="made up", **(fields | changes))


def lmm(layers: int = 3, **changes: Any) -> Lmm:
    """A ViT of `layers` blocks on 3 × 3 patches, all of which are run; connector and LLM."""
    vision = VisionEncoder(
        name="toy-vit",
        title="Toy",
        source="made up",
        hidden_size=8,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=16,
        image_size_px=12,
        patch_size_px=4,
    )
    connector = MlpConnector(name="toy-connector", title="Toy", source="made up")
    fields: dict[str, Any] = {
        "vision": vision,
        "connector": connector,
        "llm": llm(),
        "vision_feature_layer": -1,
    }
    return Lmm(name="toy-lmm", title="Toy", source="made up", **(fields | changes))


def toy(model: Any = None, hardware: Any = None, **options: Any) -> Estimate:
    """Two visual and three text tokens, unless told otherwise."""
    given = {"visual_tokens": 2, "text_tokens": 3} | options
    return analyze(model or llm(), hardware or device(), **given)


def figures(part: Quantities) -> dict[str, Any]:
    """Everything that a component or the whole shows, and what the words of it rest on."""
    found = {name: getattr(part, name) for name in (*part.shown, "eager_time_s")}
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
