"""Where fits of matmul laws start: the tiles that known libraries choose from, and how they do.

A fit tries those that may have made the kernel and keeps the one that explains the times best; all
efficiencies are fitted. Most libraries guess the fastest tile. vLLM's fp8 kernels are chosen by
fixed limits of m and n (its `scaled_mm` dispatch for sm89 and sm90), and TensorRT-LLM takes plain
dot products, without tensor cores, for a few rows.
"""

from __future__ import annotations

from typing import TypeAlias

from msgspec.structs import replace

from roofline.device.laws.matmul import MatmulLaw, Tile

Limits: TypeAlias = tuple[int, int | None]
"""More than the first, up to the last; None for any number."""

FEW_ROWS = (4, 8)
"""Rows up to which kernels without tensor cores are taken, by different libraries."""


def tile(
    rows: int, columns: int, efficiency: float, m: Limits = (0, None), n: Limits = (0, None)
) -> Tile:
    """A tile, taken within limits of the matmul's rows and columns."""
    return Tile(
        rows=rows,
        columns=columns,
        efficiency=efficiency,
        m_over=m[0],
        m_up_to=m[1],
        n_over=n[0],
        n_up_to=n[1],
    )


GPU = MatmulLaw(
    rows=1,
    median_error_percent=0.0,
    p90_error_percent=0.0,
    launch_us=2.0,
    tiles=(
        tile(16, 64, 0.4),
        tile(32, 64, 0.4),
        tile(64, 64, 0.7),
        tile(64, 96, 0.75),
        tile(64, 128, 0.75),
        tile(128, 64, 0.75),
        tile(64, 192, 0.75),
        tile(128, 128, 0.8),
        tile(128, 256, 0.8),
        tile(256, 128, 0.8),
    ),
    bandwidth_fraction=0.85,
    starvation=0.1,
    fill_k=100.0,
    wave_share=0.7,
    wave_overhead=0.1,
    choice_sharpness=15.0,
    splits=(1, 2, 3, 4, 6, 8, 12),
    split_us=1.0,
    split_bandwidth_ratio=3.0,
    feed_bandwidth_ratio=3.0,
    cached_bandwidth_ratio=2.0,
    cached_weights_share=0.1,
    cached_activations_share=0.5,
)
"""Tensor-core libraries of NVIDIA's last generations that may split k."""

UNSPLIT = replace(GPU, splits=(1,), split_us=0.0, split_bandwidth_ratio=None)
"""Those that do not."""

SM89_FP8 = replace(
    UNSPLIT,
    tiles=(
        tile(32, 64, 0.4, m=(0, 32), n=(0, 8192)),
        tile(32, 128, 0.4, m=(0, 32), n=(8192, 16384)),
        tile(32, 64, 0.4, m=(0, 32), n=(16384, None)),
        tile(64, 64, 0.5, m=(32, 64), n=(0, 8192)),
        tile(64, 128, 0.6, m=(32, 64), n=(8192, 16384)),
        tile(64, 64, 0.6, m=(32, 64), n=(16384, None)),
        tile(64, 128, 0.6, m=(64, 128), n=(0, 8192)),
        tile(128, 128, 0.6, m=(64, 128), n=(8192, 16384)),
        tile(128, 64, 0.6, m=(64, 128), n=(16384, None)),
        tile(64, 128, 0.6, m=(128, 256), n=(0, 4096)),
        tile(128, 128, 0.6, m=(128, 256), n=(4096, None)),
        tile(128, 128, 0.7, m=(256, None), n=(0, 4096)),
        tile(256, 128, 0.5, m=(256, None), n=(4096, 8192)),
        tile(128, 128, 0.7, m=(256, None), n=(8192, None)),
    ),
)
"""vLLM's fp8 on Ada."""

SM90_FP8 = replace(
    UNSPLIT,
    tiles=(
        tile(16, 64, 0.4, m=(0, 16)),
        tile(16, 64, 0.4, m=(16, 64), n=(0, 1280)),
        tile(64, 64, 0.5, m=(16, 64), n=(1280, None)),
        tile(64, 128, 0.6, m=(64, 128)),
        tile(128, 128, 0.8, m=(128, None)),
    ),
)
"""vLLM's fp8 on Hopper."""

LOW_BIT = tuple(
    replace(
        GPU,
        tiles=(
            tile(2, 16, 0.05, m=(0, few)),
            tile(16, 64, 0.1, m=(0, few)),
            *(replace(one, m_over=few) for one in GPU.tiles),
        ),
    )
    for few in FEW_ROWS
)
"""TensorRT-LLM's kernels of 8-bit and weight-only matmuls."""

CPU = MatmulLaw(
    rows=1,
    median_error_percent=0.0,
    p90_error_percent=0.0,
    launch_us=3.0,
    tiles=(tile(1, 16, 0.2), tile(4, 32, 0.4), tile(16, 64, 0.7)),
    bandwidth_fraction=0.8,
    fill_k=30.0,
    packing_passes=0.5,
    cached_bandwidth_ratio=3.0,
    cached_weights_share=0.5,
)
"""Small tiles in registers, cores that never wait for each other."""


def starts(kind: str, weight_bytes: float, input_bytes: float) -> tuple[MatmulLaw, ...]:
    """Libraries that may have made a kernel with operands of so many bytes per element."""
    if kind == "cpu":
        return (CPU,)
    if weight_bytes >= input_bytes >= 2:
        return (GPU, UNSPLIT)
    # 16-bit inputs of an 8-bit product are quantized first
    quantizing = {"quantizing_passes": 1.0, "quantizing_row_ns": 1.0, "quantizing_k_ns": 0.1}
    if input_bytes < 2:
        dispatched = (GPU, UNSPLIT, SM89_FP8, SM90_FP8, *LOW_BIT)
        return tuple(replace(start, **quantizing) for start in dispatched)
    # some libraries do so for weights of 8 bits alone
    unpacking = {"packing_passes": 0.5, "quantizing_passes": 0.3, "quantizing_row_ns": 0.3}
    unpacked = tuple(replace(start, **unpacking) for start in (GPU, UNSPLIT, *LOW_BIT))
    return (*unpacked, replace(SM90_FP8, packing_passes=0.5, **quantizing))
