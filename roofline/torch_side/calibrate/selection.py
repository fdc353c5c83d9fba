"""Which kernels a device is measured by: sizes, data types, and the low-bit modes it can run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import product

import torch
from torch import Tensor

from roofline.errors import InputError, UnsupportedModeError
from roofline.torch_side.calibrate import ceilings, microbench
from roofline.torch_side.calibrate.microbench import AttentionSize, Bench
from roofline.torch_side.calibrate.operands import quantized_layers, weights
from roofline.torch_side.load import DTYPES
from roofline.torch_side.low_bit import LOW_BIT, low_bit_kernel
from roofline.units import GIB

KERNEL_NAMES = {"w8a8kv16": "w8a8"}
"""Modes whose matmul kernel goes by another name: the KV cache is none of its business."""
_BITS = {"w8a16": 8, "w8a8kv16": 8, "w4a16": 4}
_POOL_CACHES = 6
"""Times the last-level cache that operands which a model reads cold are together."""
_POOL_SHARE = 1 / 32
"""Of the device's memory, at most."""
_HIP_POOL_BYTES = GIB
"""HIP names the L2 alone, behind which an Infinity Cache of up to 256 MiB may lie."""

_CPU_ROWS = (1, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
_VECTOR_ROWS = (1, 8, 32, 64, 128, 256, 512, 1024)
_CPU_SHAPES = ((1024, 1024), (3072, 1024), (1024, 3072), (512, 512))
_GPU_ROWS = (1, 2, 4, 8, 16, 32, 48, 64, 80, 96, 128, 192, 256, 384, 512, 640, 1024, 2048, 4096)
_GPU_SHAPES = (
    (1024, 1024),
    (4096, 1024),
    (1024, 4096),
    (3072, 3072),
    (6144, 4096),
    (4096, 6144),
    (8192, 8192),
    (16384, 4096),
    (4096, 16384),
)
_WIDTHS = (512, 1024, 4096)
_PROMPTS = (16, 48, 128, 256, 640, 1024)


@dataclass(frozen=True)
class Modes:
    """What was asked for, as far as the device has kernels for it."""

    plain: list[str]
    """Data types."""
    low_bit: list[str]
    runs_as: list[str] = field(default_factory=list)
    """What each of the low-bit modes really does."""
    notes: list[str] = field(default_factory=list)
    """What is left out, and why."""

    @property
    def names(self) -> list[str]:
        return [*self.plain, *self.low_bit]


def chosen_modes(device: torch.device, names: Sequence[str] | None) -> Modes:
    """The modes of those names; by default those that models run in on such a device.

    Raises InputError for unknown ones, and without a data type for what they compute in.
    """
    on_cpu = device.type == "cpu"
    requested = list(names or (("fp32", "bf16") if on_cpu else ("fp16", "bf16", *LOW_BIT)))
    unknown = [mode for mode in requested if mode not in (*DTYPES, *LOW_BIT)]
    if unknown:
        known = ", ".join((*DTYPES, *LOW_BIT))
        raise InputError(f"cannot calibrate {unknown[0]!r}: choose from {known}")
    modes = Modes([mode for mode in dict.fromkeys(requested) if mode in DTYPES], [])
    if not modes.plain:
        raise InputError("name one of fp32, fp16, bf16 too: attention computes in it")
    for mode in dict.fromkeys(requested):
        if mode in LOW_BIT:
            try:
                kernel = low_bit_kernel(mode, device)
            except UnsupportedModeError as error:
                modes.notes.append(f"not measured: {error}")
            else:
                if not {"bf16", "fp16"}.intersection(modes.plain):
                    raise InputError(f"name bf16 too: {mode} computes in it")
                modes.low_bit.append(mode)
                modes.runs_as.append(f"{KERNEL_NAMES.get(mode, mode)}: {kernel.runs}")
    return modes


def chosen_benches(
    device: torch.device, modes: Modes, cache_bytes: float, room_bytes: float
) -> dict[str, list[Bench]]:
    """All kernels by part of a calibration, in the order in which they are measured."""
    on_cpu = device.type == "cpu"
    pool_bytes = _POOL_CACHES * cache_bytes
    if torch.version.hip and not on_cpu:
        pool_bytes = max(pool_bytes, _HIP_POOL_BYTES)
    pool_bytes = min(pool_bytes, room_bytes * _POOL_SHARE)
    sizes = list(product(_VECTOR_ROWS, _WIDTHS))
    of_attention = _attention_sizes(on_cpu)
    return {
        "ceilings": [
            *ceilings.bandwidth(device, cache_bytes, room_bytes),
            *ceilings.arithmetic(device, int8="w8a8kv16" in modes.low_bit),
            ceilings.empty(device),
        ],
        "matmul": list(_matmuls(device, modes, pool_bytes)),
        "attention": [
            bench
            for dtype in modes.plain
            for bench in microbench.attention(dtype, device, of_attention, pool_bytes)
        ],
        "pointwise": list(microbench.vector_ops(modes.plain[0], device, sizes, pool_bytes)),
    }


def _matmuls(device: torch.device, modes: Modes, pool_bytes: float) -> Iterator[Bench]:
    on_cpu = device.type == "cpu"
    rows, shapes = (_CPU_ROWS, _CPU_SHAPES) if on_cpu else (_GPU_ROWS, _GPU_SHAPES)

    def activations(dtype: torch.dtype, m: int, k: int) -> Tensor:
        return torch.randn(m, k, device=device, dtype=dtype)

    for mode in modes.plain:
        number = DTYPES[mode]
        yield from microbench.matmuls(
            {"dtype": mode},
            weights(pool_bytes, number, device),
            microbench.times_weights,
            partial(activations, number),
            rows,
            shapes,
        )
    for mode in modes.low_bit:
        kernel = low_bit_kernel(mode, device)
        yield from microbench.matmuls(
            {"dtype": KERNEL_NAMES.get(mode, mode), "kernel": kernel.operator},
            quantized_layers(pool_bytes, kernel.layer, _BITS[mode], device),
            microbench.through_layer,
            partial(activations, torch.bfloat16),
            rows,
            shapes,
        )


def _attention_sizes(on_cpu: bool) -> list[AttentionSize]:
    """Prompts, causal as in an LLM and not as in a ViT, and single tokens against a cache."""
    heads = ((8, 64), (8, 128)) if on_cpu else ((32, 128), (40, 128), (16, 64))
    prompts = _PROMPTS if on_cpu else (*_PROMPTS, 2048, 4096)
    shapes = [
        AttentionSize(1, n, n, count, size, causal)
        for (count, size), n, causal in product(heads, prompts, (True, False))
    ]
    shapes += [
        AttentionSize(batch, 1, n, count, size)
        for (count, size), n, batch in product(heads, prompts[1:], (1, 8))
    ]
    return shapes
