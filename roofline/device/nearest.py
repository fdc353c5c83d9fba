"""The law that goes for a kernel: its own, or the nearest one that a device has.

A law that stands in for another says that it is `typical`, and takes the errors that standing in
was measured to make.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from msgspec.structs import replace

from roofline.device.borrowed import borrowing_errors, outside
from roofline.device.kernel_curves import AnyAttentionLaw
from roofline.device.kernel_types import WIDE, attention_kernel
from roofline.device.laws.attention import AttentionForm, AttentionLaw
from roofline.device.laws.decode_attention import DecodeAttentionLaw
from roofline.device.laws.encoder_attention import EncoderAttentionLaw
from roofline.device.laws.matmul import MatmulLaw
from roofline.device.laws.moe import MoeLaw
from roofline.specs.kernel_laws import KernelLaws, Law

SAME_KERNELS: Mapping[str, tuple[str, ...]] = {
    "fp16": ("bf16",),
    "bf16": ("fp16",),
    "int8": ("w8a8",),
    "fp16-fp8kv": ("bf16-fp8kv",),
}
"""Data types that tensor cores take at one rate, in kernels of one form, and names of one kernel: a
law of the one is a law of the other."""

_LIKEST: Mapping[str, tuple[str, ...]] = {"int8": ("fp8",), "fp8": ("w8a8",)}
_WIDESPREAD = ("bf16", "fp16", "fp32")

_FittedLaw = TypeVar("_FittedLaw", bound=Law)


def matmul_law(laws: KernelLaws, *kernels: str) -> MatmulLaw:
    """By its kernel and those that are nearest to it, if nobody measured that: (w4a16, bf16)."""
    return _found(laws.of(MatmulLaw), kernels)


def moe_law(laws: KernelLaws, *kernels: str) -> MoeLaw:
    """By the kernel of its matmuls, likewise."""
    return _found(laws.of(MoeLaw), kernels)


def attention_law(
    laws: KernelLaws, form: AttentionForm, data_type: str, cache_type: str
) -> AnyAttentionLaw:
    """By what attends to what, and the types of queries and of keys and values.

    An extension of a prompt is in no public table: it takes the law of prompts, and what that is
    off on decode, whose keys are as many more than its queries.
    """
    kernels = [attention_kernel(data_type, cache_type)]
    if cache_type != data_type:
        kernels.append(data_type)
    if form == "decode" and (decode := laws.of(DecodeAttentionLaw)):
        return _found(decode, kernels)
    if form == "encoder" and (encoder := laws.of(EncoderAttentionLaw)):
        return _found(encoder, kernels)
    law = _found(laws.of(AttentionLaw), kernels)
    if form in law.forms:
        return law
    family = EncoderAttentionLaw.family if form == "encoder" else DecodeAttentionLaw.family
    return outside(law, borrowing_errors().other_phase[family])


def _found(laws: Mapping[str, _FittedLaw], kernels: Sequence[str]) -> _FittedLaw:
    """The law of the first kernel, else that of another, which stands in for it."""
    own, *others = kernels
    for name in _names(own):
        if name in laws:
            return laws[name]
    named = (name for kernel in others for name in _names(kernel))
    likest = (*named, *_LIKEST.get(kernels[-1], ()), *_WIDESPREAD, *laws)
    name = next(name for name in likest if name in laws)
    known, family = borrowing_errors(), laws[name].family
    measured = known.other_type if {name, own} <= WIDE else known.narrow_type
    # of tensor cores, it may be, for what runs elsewhere: no more of the peak than there
    law = replace(laws[name], rate_ratio=min(1.0, laws[name].rate_ratio), lender_rate=1.0)
    return outside(law, measured.get(family, known.other_capability[family]))


def _names(kernel: str) -> tuple[str, ...]:
    """Kernels that have one law with it."""
    return (kernel, *SAME_KERNELS.get(kernel, ()))
