"""A layer of Llama-2-7B on an A100, as Microsoft Vidur measured it: no matmul's law knows it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from errors import COLUMNS, ErrorSummary, table, within
from measured import HIDDEN, INNER, VIDUR, plain, vidur_shapes

from roofline import matmul_time
from roofline.device.borrowed import laws_of
from roofline.device.kernel_types import kernel_roof
from roofline.device.laws import pointwise_seconds
from roofline.device.laws.pointwise import PointwiseLaw
from roofline.device.roof import FloatOrArray
from roofline.model.polynomial import Array
from roofline.specs.catalog import load_hardware


def section(folder: Path) -> str:
    """Errors by part of the layer; `add` is counted once, as there, and the embedding belongs to
    no layer.
    """
    rows = pd.read_csv(folder / VIDUR)
    tokens, ways = (
        rows[name].to_numpy(dtype=np.float64)
        for name in ("num_tokens", "num_tensor_parallel_workers")
    )
    shapes = vidur_shapes(ways)
    moved: dict[str, tuple[str, FloatOrArray]] = {  # function; elements of a token
        "input_layernorm": ("rms_norm", 2 * HIDDEN),
        "post_attention_layernorm": ("rms_norm", 2 * HIDDEN),
        "attn_rope": ("rotary", 4 * HIDDEN / ways),
        "mlp_act": ("swiglu", 3 * INNER / ways),
        "add": ("residual", 3 * HIDDEN),
    }
    a100 = load_hardware("a100-80gb")
    laws = laws_of(a100)
    assert laws is not None
    kernels = {op: matmul_time(a100, tokens, n, k, "fp16") for op, (n, k) in shapes.items()}
    roof, vector_laws = kernel_roof(a100, "fp32").of_dram, laws.of(PointwiseLaw)
    vector = {
        op: pointwise_seconds(vector_laws[function], roof, traffic_bytes=2 * tokens * size)
        for op, (function, size) in moved.items()
    }
    seconds = {op: rows[f"{op}_ms"].to_numpy() / 1e3 for op in (*shapes, *moved)}
    linear = _sum(kernel.attainable_time_s for kernel in kernels.values())
    measured_linear = _sum(seconds[op] for op in shapes)
    predicted, measured = linear + _sum(vector.values()), _sum(seconds.values())
    sheet = plain(a100)
    bounds = [matmul_time(sheet, tokens, n, k, "fp16") for n, k in shapes.values()]
    bound = _sum(kernel.roofline_time_s for kernel in bounds) + _sum(
        roof.seconds(0.0, 2 * tokens * size) for _, size in moved.values()
    )
    band = max(kernel.p90_other_library_error_percent or 0.0 for kernel in kernels.values())
    alone = ways == 1
    each = np.concatenate(list(vector.values())), np.concatenate([seconds[op] for op in moved])
    parts = {
        "linear ops": (linear, measured_linear),
        "linear ops, one GPU": (linear[alone], measured_linear[alone]),
        "each vector op, whose laws were fitted to it": each,
        "the layer": (predicted, measured),
        "the layer, one GPU": (predicted[alone], measured[alone]),
        "the layer, plain roofline": (bound, measured),
    }
    lines = [
        [name, *ErrorSummary.of(*part).cells(), within(*part, band)] for name, part in parts.items()
    ]
    return "\n".join(
        [
            "## A layer that no matmul law was fitted to",
            "",
            "One layer of Llama-2-7B on an A100 80GB (Microsoft Vidur, 2024), 1 to 4096 tokens, on",
            "1, 2, 4 and 8 GPUs: another laboratory, other software. Linear and vector ops; the",
            f"file has no attention kernel. The band is that of another library, {band:.0f} %.",
            "",
            table(lines, ["Part", *COLUMNS, "Within the band"]),
            "",
        ]
    )


def _sum(times_s: Iterable[Array | None]) -> Array:
    """Of one array per kernel; the device has laws of all."""
    whole: Array = np.zeros(())
    for seconds in times_s:
        assert seconds is not None
        whole = whole + seconds
    return whole
