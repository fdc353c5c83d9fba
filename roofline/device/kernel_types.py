"""What kernels are called, how wide operands are, and which of a device's peaks they run at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

import msgspec

from roofline.device.roof import Roof
from roofline.errors import UnsupportedModeError
from roofline.specs.hardware import DataType, Hardware

KernelType = Literal[
    "fp32", "tf32", "fp16", "bf16", "fp8", "fp4", "nvfp4", "w8a8", "int8", "w8a16", "w4a16"
]
"""What a caller may name: `MATMUL_KERNELS`, and their other names."""

OTHER_NAMES = {"nvfp4": "fp4", "int8": "w8a8"}
"""Matmul kernels by other names than ours."""


class OperandBytes(msgspec.Struct, frozen=True):
    """Bytes per element of a matmul's operands."""

    weight: float
    input: float
    output: float


MATMUL_KERNELS: dict[str, OperandBytes] = {
    "fp32": OperandBytes(4, 4, 4),
    "tf32": OperandBytes(4, 4, 4),
    "fp16": OperandBytes(2, 2, 2),
    "bf16": OperandBytes(2, 2, 2),
    "fp8": OperandBytes(1, 1, 2),
    # 4 bits and an 8-bit scale to 16 elements
    "fp4": OperandBytes(0.5 + 1 / 16, 0.5 + 1 / 16, 2),
    "w8a8": OperandBytes(1, 1, 2),
    "w8a16": OperandBytes(1, 2, 2),
    # 4 bits and a 16-bit scale to 128 elements
    "w4a16": OperandBytes(0.5 + 2 / 128, 2, 2),
}
"""Operand widths by kernel, as public tables of measurements have them."""

COMPUTES_IN: Mapping[str, tuple[DataType, ...]] = {
    "w8a16": ("bf16", "fp16"),
    "w4a16": ("bf16", "fp16"),
    "w8a8": ("int8", "fp8"),
    "bf16-fp8kv": ("bf16", "fp16"),
}
"""Data types whose peak a kernel runs at, the first that the device has; others at their own."""

WIDE = frozenset({"fp32", "tf32", "fp16", "bf16"})
"""Kernels whose operands all have 16 bits or more: their laws are more like one another's than like
those of narrow ones, and libraries differ less in them."""

DATA_TYPES: tuple[DataType, ...] = get_args(DataType)

ATTENTION_BYTES: Mapping[str, float] = {"fp32": 4, "fp16": 2, "bf16": 2, "fp8": 1}
"""Bytes per element of Q, K, V and the output of attention in a data type."""


class AttentionBytes(msgspec.Struct, frozen=True):
    """Bytes per element of attention's operands."""

    query: float
    """Of queries and output."""
    cache: float
    """Of keys and values."""


ATTENTION_KERNELS: dict[str, AttentionBytes] = {
    **{name: AttentionBytes(width, width) for name, width in ATTENTION_BYTES.items()},
    "bf16-fp8kv": AttentionBytes(2, 1),
}
"""Operand widths of attention by kernel: a data type, or one of queries and one of the cache."""


def attention_kernel(data_type: str, cache_type: str) -> str:
    """Name of the kernel for queries of one type and a cache of another."""
    return data_type if cache_type == data_type else f"{data_type}-{cache_type}kv"


def kernel_roof(hardware: Hardware, kernel: str) -> Roof:
    """The roofs that a kernel of that name or data type runs under.

    Raises UnsupportedModeError for a device that has no peak for it.
    """
    types = COMPUTES_IN.get(kernel, (kernel,))
    for data_type in types:
        if data_type in DATA_TYPES and hardware.matmul_peak(data_type):
            return Roof.of(hardware, data_type)
    served = ", ".join(name for name in DATA_TYPES if hardware.matmul_peak(name))
    raise UnsupportedModeError(
        f"{hardware.name} has no {' or '.join(types)} matmul peak, which {kernel} kernels need; "
        f"it has {served}"
    )
