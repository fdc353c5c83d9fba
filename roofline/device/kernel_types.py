"""What kernels are called, and which of a device's peaks they run at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from roofline.device.roof import Roof
from roofline.errors import UnsupportedModeError
from roofline.specs.hardware import DataType, Hardware

OTHER_NAMES = {"nvfp4": "fp4", "int8": "w8a8"}
"""Matmul kernels by other names than ours."""

COMPUTES_IN: Mapping[str, tuple[DataType, ...]] = {
    "w8a16": ("bf16", "fp16"),
    "w4a16": ("bf16", "fp16"),
    "w8a8": ("int8", "fp8"),
}
"""Data types whose peak a kernel runs at, the first that the device has; others at their own."""

DATA_TYPES: tuple[DataType, ...] = get_args(DataType)

ATTENTION_BYTES: Mapping[str, float] = {"fp32": 4, "fp16": 2, "bf16": 2, "fp8": 1}
"""Bytes per element of Q, K, V and the output of attention in a data type."""


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
