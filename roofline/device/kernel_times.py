"""How long one kernel takes on a device: `matmul_time` and `attention_time`.

>>> import roofline
>>> kernel = roofline.matmul_time("a100", m=[16, 1024], n=4096, k=4096)
>>> kernel.attainable_time_s.shape
(2,)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import numpy as np
from msgspec import Struct
from numpy.typing import ArrayLike

from roofline.device.borrowed import laws_of
from roofline.device.kernel_types import (
    ATTENTION_BYTES,
    MATMUL_KERNELS,
    OTHER_NAMES,
    KernelType,
    kernel_roof,
)
from roofline.device.law_choice import for_type
from roofline.device.laws.attention import AttentionLaw, attention_flops, attention_seconds
from roofline.device.laws.matmul import MatmulLaw, matmul_seconds
from roofline.errors import ScenarioError
from roofline.model.polynomial import Array
from roofline.specs.catalog import load_hardware
from roofline.specs.hardware import Hardware
from roofline.specs.kernel_laws import KernelLaws, Law, Origin
from roofline.units import figures

_Law = TypeVar("_Law", bound=Law)


class KernelTime(Struct, frozen=True, eq=False):
    """Seconds of one kernel, float64 in the arguments' common shape.

    All but `roofline_time_s` is None for a device without laws.
    """

    roofline_time_s: Array
    """Roofline time in s: the slower of computing and DRAM traffic, each at its peak."""
    attainable_time_s: Array | None = None
    """Time in s by the device's law; never below `roofline_time_s`."""
    median_error_percent: float | None = None
    """Median of the law's absolute errors on kernels that it was not fitted to."""
    p90_error_percent: float | None = None
    """90th percentile of the law's absolute errors on kernels that it was not fitted to."""
    p90_other_library_error_percent: float | None = None
    """90th percentile of the law's absolute errors on kernels of libraries that it was not fitted
    to; None where only one was measured."""
    origin: Origin | None = None
    """Where the law comes from: kernels `measured` on this machine, `fitted` from public
    measurements, or `typical` for the architecture."""

    def __repr__(self) -> str:
        """What is known of it; of arrays their ranges."""
        known = {n: v for n in self.__struct_fields__ if (v := getattr(self, n)) is not None}
        return f"KernelTime({figures(known)})"


def matmul_time(
    hardware: str | Hardware, m: ArrayLike, n: ArrayLike, k: ArrayLike, dtype: KernelType = "bf16"
) -> KernelTime:
    """One matmul [m, k] @ [k, n]: m rows (tokens), n out features, k in features; arrays broadcast.

    dtype: fp32, bf16, fp16, fp8, fp4 (nvfp4), w8a8 (int8), w8a16 or w4a16.

    Raises UnknownNameError, SpecError, UnsupportedModeError for a type that the device has no
    peak for, ScenarioError for sizes that are not above zero and for other types.
    """
    device, kernel = load_hardware(hardware), OTHER_NAMES.get(dtype, dtype)
    if kernel not in MATMUL_KERNELS:
        raise ScenarioError(f"no matmul in {dtype!r}: choose one of {', '.join(MATMUL_KERNELS)}")
    m, n, k = _sizes(m=m, n=n, k=k)
    width, roof = MATMUL_KERNELS[kernel], kernel_roof(device, kernel)
    weights = width.weight * n * k
    activations = m * (width.input * k + width.output * n)
    bound = roof.seconds(2 * m * n * k, weights + activations)
    laws = laws_of(device)
    if laws is None:
        return KernelTime(bound)
    law = _law(laws.of(MatmulLaw), kernel)
    seconds = matmul_seconds(law, roof, m, n, k, weight_bytes=weights, activation_bytes=activations)
    return _kernel_time(bound, seconds, law, laws)


def attention_time(
    hardware: str | Hardware,
    batch: ArrayLike,
    tokens: ArrayLike,
    heads: ArrayLike,
    kv_heads: ArrayLike,
    head_dim: ArrayLike,
    dtype: KernelType = "bf16",
    causal: bool = True,
) -> KernelTime:
    """Fused attention of `tokens` queries to as many keys in each of `batch` sequences.

    Query heads share `kv_heads` key heads of `head_dim` elements; arrays broadcast. A causal kernel
    computes only the scores that it needs, about half, and its bound counts only those (the
    analysis of a model counts attention dense, as PyTorch's counter does).

    dtype: fp32, bf16, fp16 or fp8; with the name of a weight-only or int8 matmul kernel, attention
    is what goes with it, in 16 bit.

    Raises UnknownNameError, SpecError, UnsupportedModeError, ScenarioError.
    """
    device = load_hardware(hardware)
    if dtype not in ATTENTION_BYTES and OTHER_NAMES.get(dtype, dtype) in MATMUL_KERNELS:
        dtype = "bf16" if device.matmul_peak("bf16") else "fp16"
    if dtype not in ATTENTION_BYTES:
        raise ScenarioError(
            f"no attention in {dtype!r}: choose one of {', '.join(ATTENTION_BYTES)}"
        )
    batch, tokens, heads, kv_heads, head_dim = _sizes(
        batch=batch, tokens=tokens, heads=heads, kv_heads=kv_heads, head_dim=head_dim
    )
    if np.any(heads % kv_heads):
        raise ScenarioError("heads must be a multiple of kv_heads, which they share")
    roof = kernel_roof(device, dtype)
    flops = attention_flops(batch, tokens, tokens, heads, head_dim, causal=causal)
    traffic = ATTENTION_BYTES[dtype] * 2 * batch * tokens * (heads + kv_heads) * head_dim
    bound = roof.seconds(flops, traffic)
    laws = laws_of(device)
    if laws is None:
        return KernelTime(bound)
    law = _law(laws.of(AttentionLaw), dtype)
    shape = (batch, tokens, tokens, heads, kv_heads, head_dim)
    seconds = attention_seconds(law, roof, *shape, causal=causal, traffic_bytes=traffic)
    return _kernel_time(bound, seconds, law, laws)


def _law(laws: Mapping[str, _Law], kernel: str) -> _Law:
    return laws.get(kernel) or for_type(laws, kernel)


def _kernel_time(bound: Array, seconds: Array, law: Law, laws: KernelLaws) -> KernelTime:
    return KernelTime(
        bound,
        seconds[()],
        law.median_error_percent,
        law.p90_error_percent,
        law.p90_other_library_error_percent,
        law.origin or laws.origin,
    )


def _sizes(**sizes: ArrayLike) -> list[Array]:
    """As float64 of their common shape. Raises ScenarioError for what is no size."""
    values = []
    for name, size in sizes.items():
        try:
            value = np.asarray(size, dtype=np.float64)
        except (TypeError, ValueError):
            raise ScenarioError(f"{name} must be a number or an array of numbers") from None
        if not np.all(np.isfinite(value) & (value > 0)):
            raise ScenarioError(f"{name} must be finite and above zero")
        values.append(value)
    try:
        return list(np.broadcast_arrays(*values))
    except ValueError:
        shapes = ", ".join(f"{name} {np.shape(size)}" for name, size in sizes.items())
        raise ScenarioError(f"sizes do not broadcast: {shapes}") from None
