"""The law that goes for a kernel: its own, or the nearest one that a device has.

A law that stands in for another says that it is `typical`, and takes the errors that standing in
was measured to make.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from roofline.device.borrowed import borrowing_errors, outside
from roofline.device.laws.attention import AttentionLaw
from roofline.device.laws.matmul import MatmulLaw
from roofline.specs.kernel_laws import KernelLaws, Law

SAME_KERNELS: Mapping[str, tuple[str, ...]] = {
    "fp16": ("bf16",),
    "bf16": ("fp16",),
    "int8": ("w8a8",),
}
"""Data types that tensor cores take at one rate, in kernels of one form, and names of one kernel: a
law of the one is a law of the other."""

_LIKEST: Mapping[str, tuple[str, ...]] = {"int8": ("fp8",), "fp8": ("w8a8",)}
_WIDESPREAD = ("bf16", "fp16", "fp32")

_FittedLaw = TypeVar("_FittedLaw", bound=Law)


def matmul_law(laws: KernelLaws, *kernels: str) -> MatmulLaw:
    """By kernels that the matmul may be called, the most special first: (w4a16, bf16)."""
    return _found(laws.of(MatmulLaw), kernels)


def attention_law(laws: KernelLaws, data_type: str) -> AttentionLaw:
    """By data type."""
    return _found(laws.of(AttentionLaw), (data_type,))


def _found(laws: Mapping[str, _FittedLaw], kernels: Sequence[str]) -> _FittedLaw:
    """The law of the first kernel that has one, else of one that is like the last."""
    for kernel in kernels:
        for name in (kernel, *SAME_KERNELS.get(kernel, ())):
            if name in laws:
                return laws[name]
    likest = (*_LIKEST.get(kernels[-1], ()), *_WIDESPREAD)
    law = next((laws[name] for name in likest if name in laws), next(iter(laws.values())))
    return outside(law, borrowing_errors().other_type[law.family])
