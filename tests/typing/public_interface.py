"""The public interface as a user types it: `make check` has mypy read this, and nothing runs it.

What a call gives is held by `assert_type`. What must be refused stands under `refused`: an ignored
error that mypy does not find is an error itself (`warn_unused_ignores`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, assert_type

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

import roofline
from roofline.device.kernel_times import KernelTime
from roofline.engine.compare import Comparison, Saving
from roofline.engine.result import OpTotals, Quantities, Totals
from roofline.reducers import Reducer
from roofline.specs.hardware import Hardware
from roofline.specs.quantization import Quantization
from roofline.torch_side.reduce.methods.base import Reduction

Numbers = NDArray[np.float64]


def price() -> None:
    estimate = roofline.analyze("llava-1.5-7b", "h100", quant="w4a16", visual_tokens=144)
    assert_type(estimate, roofline.Estimate)
    assert_type(estimate.end_to_end, Totals)
    assert_type(estimate.llm, Totals)
    assert_type(estimate.components, Mapping[str, Totals])
    assert_type(estimate.inputs, dict[str, Any])
    for op in estimate.ops:
        assert_type(op, OpTotals)
    comparison = estimate.comparison
    assert_type(comparison, Comparison | None)
    if comparison is not None:
        assert_type(comparison.end_to_end, Saving)
        assert_type(comparison.end_to_end.speedup, Numbers | None)
    assert_type(estimate.unreduced(), roofline.Estimate | None)
    assert_type(estimate.to_dict(per_op=True), dict[str, Any])


def show_and_keep(estimate: roofline.Estimate) -> None:
    assert_type(estimate.to_frame(), pd.DataFrame)
    assert_type(estimate.plot("roofline", width_in=3.4), Figure)
    estimate.save("estimate.json", force=True)
    estimate.save(Path("estimate.json"))
    loaded = roofline.load("estimate.json")
    assert_type(loaded, roofline.Counts)
    assert isinstance(loaded, roofline.Estimate)
    assert_type(loaded.end_to_end, Totals)


def figures(totals: Totals) -> None:
    assert_type(totals.flops, Numbers)
    assert_type(totals.memory_access_bytes, Numbers)
    assert_type(totals.weight_bytes, Numbers)
    assert_type(totals.kv_cache_bytes, Numbers)
    assert_type(totals.peak_memory_bytes, Numbers)
    assert_type(totals.roofline_time_s, Numbers)
    assert_type(totals.attainable_time_s, Numbers | None)
    assert_type(totals.bound, NDArray[np.str_])
    assert_type(totals.fits, NDArray[np.bool_])
    assert_type(float(totals.roofline_time_s), float)


def arrays_and_specs(hardware: Hardware, mode: Quantization) -> None:
    roofline.analyze("vicuna-7b", hardware, mode, [40, 576], batch=np.arange(1, 9)[:, None])
    roofline.analyze("vicuna-7b", "a100", stage="generate", output_tokens=128, reducer="fastv")
    roofline.analyze("vicuna-7b", "v100", accounting="llm-viewer", attention="eager")
    roofline.analyze("vicuna-7b", "a100", llm_layers=[(2, 576), (30, 288)])


def count_on_no_device() -> None:
    counts = roofline.count("llava-1.5-7b", quant="int4", visual_tokens=[40, 576])
    assert_type(counts, roofline.Counts)
    assert_type(counts.end_to_end, Quantities)
    assert_type(counts.llm.flops, Numbers)


def grids(hardware: Hardware) -> None:
    frame = roofline.grid("vicuna-7b", ["a100", hardware], reducer=["none", None], batch=[1, 8])
    assert_type(frame, pd.DataFrame)
    roofline.grid(model=("vicuna-7b",), hardware="a100", quant=["fp16"], output_tokens=64)


def sweeps() -> None:
    grid = roofline.sweep("vicuna-7b", "a100", visual_tokens=[40, 576], batch=[1, 8])
    assert_type(grid, roofline.Estimate)
    assert_type(grid.shape, tuple[int, ...])
    assert_type(
        roofline.stream("vicuna-7b", "a100", batch=[1, 8], chunk=4), Iterator[roofline.Estimate]
    )


def kernels() -> None:
    matmul = roofline.matmul_time("a100", m=[16, 1024], n=4096, k=4096, dtype="w4a16")
    assert_type(matmul, KernelTime)
    assert_type(matmul.roofline_time_s, Numbers)
    assert_type(matmul.p90_error_percent, float | None)
    attention = roofline.attention_time("h100", 1, 576, 32, 8, 128, causal=False)
    assert_type(attention.attainable_time_s, Numbers | None)
    experts = roofline.moe_time("h100", [1, 512], 2048, 768, experts=128, top_k=8, dtype="fp8")
    assert_type(experts.p90_other_library_error_percent, float | None)
    assert_type(roofline.collective_time("h100", "all_reduce", [2, 8], 2**20), KernelTime)


def listings() -> None:
    assert_type(roofline.models(), pd.DataFrame)
    assert_type(roofline.hardware(), pd.DataFrame)
    assert_type(roofline.quantization(), pd.DataFrame)
    assert_type(roofline.reducers(), pd.DataFrame)
    assert_type(roofline.reducers.find("fastv:k=3"), Reducer)
    assert_type(roofline.reducers.names(), tuple[str, ...])


def specs() -> None:
    assert_type(roofline.load_hardware("h100"), Hardware)
    assert_type(roofline.load_quantization("w4a8kv4"), Quantization)
    assert_type(roofline.register_quantization(roofline.load_quantization("fp16")), Quantization)
    assert_type(roofline.__version__, str)


def on_a_model(features: torch.Tensor) -> None:
    model = roofline.load_model("llava-1.5-7b", Path("checkpoint"), dtype=torch.bfloat16)
    assert_type(roofline.attach(model, "prumerge", count=144), torch.nn.Module)
    assert_type(roofline.detach(model), torch.nn.Module)
    reduction = roofline.reduce_tokens("prumerge", features, features, features)
    assert_type(reduction, Reduction)
    assert_type(reduction.counts, list[int])


def errors() -> None:
    try:
        roofline.analyze("no such model", "h100")
    except roofline.RooflineError as error:
        assert_type(error, roofline.RooflineError)


def refused(estimate: roofline.Estimate, counts: roofline.Counts, model: torch.nn.Module) -> None:
    roofline.analyse("vicuna-7b", "h100")  # type: ignore[attr-defined]
    roofline.analyze("vicuna-7b")  # type: ignore[call-arg]
    roofline.analyze("vicuna-7b", None)  # type: ignore[arg-type]
    roofline.analyze("vicuna-7b", "h100", btach=8)  # type: ignore[call-arg]
    roofline.analyze("vicuna-7b", "h100", stage=8)  # type: ignore[arg-type]
    roofline.analyze("vicuna-7b", "h100", stage="prefil")  # type: ignore[arg-type]
    roofline.analyze("vicuna-7b", "h100", attention="sdpa")  # type: ignore[arg-type]
    roofline.analyze(["vicuna-7b"], "h100")  # type: ignore[arg-type]
    roofline.grid("vicuna-7b", [8])  # type: ignore[list-item]
    roofline.grid("vicuna-7b", "h100", attention="sdpa")  # type: ignore[arg-type]
    roofline.analyze("vicuna-7b", "h100", llm_layers=[2, 576])  # type: ignore[list-item]
    roofline.count("vicuna-7b", hardware="h100")  # type: ignore[call-arg]
    roofline.load_hardware(8)  # type: ignore[arg-type]
    roofline.matmul_time("a100", 16, 4096)  # type: ignore[call-arg]
    roofline.matmul_time("a100", 16, 64, 64, dtype="float16")  # type: ignore[arg-type]
    roofline.load_model("llava-1.5-7b", attention="flash")  # type: ignore[arg-type]
    roofline.attention_time("a100", 1, 576, 32, 8, 128, causal="yes")  # type: ignore[arg-type]
    roofline.attach("llava-1.5-7b")  # type: ignore[arg-type]
    roofline.reduce_tokens("prumerge")  # type: ignore[call-arg]
    estimate.time_s  # type: ignore[attr-defined]  # noqa: B018
    estimate.end_to_end.flops = np.zeros(())  # type: ignore[misc]
    counts.end_to_end.roofline_time_s  # type: ignore[attr-defined]  # noqa: B018
    float(estimate.end_to_end.attainable_time_s)  # type: ignore[arg-type]
    estimate.comparison.end_to_end  # type: ignore[union-attr]  # noqa: B018
    roofline.detach(model).reducer.name  # type: ignore[union-attr]  # noqa: B018
