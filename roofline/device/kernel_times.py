"""How long one kernel takes on a device: `matmul_time` and `attention_time`.

>>> import roofline
>>> kernel = roofline.matmul_time("a100", m=[16, 1024], n=4096, k=4096)
>>> kernel.attainable_time_s.shape
(2,)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import ArrayLike, NDArray

from roofline.device.borrowed import laws_of
from roofline.device.kernel_curves import (
    AnyAttentionLaw,
    AttentionSizes,
    attention_curve,
    matmul_curve,
)
from roofline.device.kernel_types import (
    ATTENTION_BYTES,
    COMPUTES_IN,
    MATMUL_KERNELS,
    OTHER_NAMES,
    KernelType,
    kernel_roof,
)
from roofline.device.laws.attention import AttentionForm, attention_flops
from roofline.device.nearest import attention_law, matmul_law
from roofline.device.roof import Roof
from roofline.device.sizes import sizes_of
from roofline.errors import ScenarioError
from roofline.model.polynomial import Array
from roofline.specs.catalog import load_hardware
from roofline.specs.hardware import Hardware
from roofline.specs.kernel_laws import KernelLaws, Law, Origin
from roofline.units import figures


class KernelTime(Struct, frozen=True, eq=False):
    """Seconds of one kernel, float64 in the arguments' common shape.

    All but `roofline_time_s` is None for a device without laws.
    """

    roofline_time_s: Array
    """Roofline time in s: the slower of computing and traffic, each at its peak. Of a kernel on its
    own as many bytes as the last-level cache holds may lie there, and come at its bandwidth; in a
    model, whose other layers drive them out, all come from DRAM."""
    attainable_time_s: Array | None = None
    """Time in s by the device's law; never below `roofline_time_s`, and never less of more tokens,
    sequences or keys."""
    median_error_percent: float | None = None
    """Median of the law's absolute errors on kernels of its library that it was not fitted to."""
    p90_error_percent: float | None = None
    """90th percentile of the same errors."""
    p90_other_library_error_percent: float | None = None
    """90th percentile of the law's absolute errors on kernels of other libraries; that of its own
    where it is wider, or where nobody knows of others."""
    library: str | None = None
    """The library that the law was fitted to; empty where nobody measured any."""
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

    dtype: fp32, tf32, bf16, fp16, fp8, fp4 (nvfp4), w8a8 (int8), w8a16 or w4a16.

    Raises UnknownNameError, SpecError, UnsupportedModeError for a type that the device has no
    peak for, ScenarioError for sizes that are not above zero and for other types.
    """
    device, kernel = load_hardware(hardware), OTHER_NAMES.get(dtype, dtype)
    if kernel not in MATMUL_KERNELS:
        raise ScenarioError(f"no matmul in {dtype!r}: choose one of {', '.join(MATMUL_KERNELS)}")
    m, n, k = sizes_of(m=m, n=n, k=k)
    width, roof = MATMUL_KERNELS[kernel], kernel_roof(device, kernel)
    weights = width.weight * n * k
    activations = m * (width.input * k + width.output * n)
    bound = roof.seconds(2 * m * n * k, weights + activations)
    laws = laws_of(device)
    if laws is None:
        return KernelTime(bound[()])
    law = matmul_law(laws, kernel, *COMPUTES_IN.get(kernel, ()))

    def seconds(rows: Array, n: float, k: float) -> Array:
        sizes = (width.weight * n * k, width.input * k + width.output * n)
        return matmul_curve(law, roof, n, k, *sizes)(rows)

    return kernel_time(bound, by_sizes(seconds, (m,), (n, k)), law, laws)


def attention_time(
    hardware: str | Hardware,
    batch: ArrayLike,
    tokens: ArrayLike,
    heads: ArrayLike,
    kv_heads: ArrayLike,
    head_dim: ArrayLike,
    *,
    keys: ArrayLike | None = None,
    causal: bool = True,
    dtype: KernelType = "bf16",
    kv_dtype: str | None = None,
) -> KernelTime:
    """Fused attention of `tokens` queries to `keys`, in each of `batch` sequences.

    keys: in the cache, the tokens' own among them; left out, the tokens themselves. One token to
    4096 keys is a step of decode, `causal=False` an encoder. Query heads share `kv_heads` key heads
    of `head_dim` elements; arrays broadcast. A causal kernel computes only the scores that it
    needs, and its bound counts only those (the analysis of a model counts attention dense, as
    PyTorch's counter does).

    dtype: fp32, bf16, fp16 or fp8; with the name of a weight-only or int8 matmul kernel, attention
    is what goes with it, in 16 bit. kv_dtype: of keys and values; fp8 beside 16-bit queries, or,
    left out, `dtype`.

    Raises UnknownNameError, SpecError, UnsupportedModeError, ScenarioError.
    """
    device = load_hardware(hardware)
    if dtype not in ATTENTION_BYTES and OTHER_NAMES.get(dtype, dtype) in MATMUL_KERNELS:
        dtype = "bf16" if device.matmul_peak("bf16") else "fp16"
    if dtype not in ATTENTION_BYTES:
        raise ScenarioError(
            f"no attention in {dtype!r}: choose one of {', '.join(ATTENTION_BYTES)}"
        )
    cache = kv_dtype or dtype
    if cache != dtype and (cache != "fp8" or dtype not in ("bf16", "fp16")):
        raise ScenarioError(
            f"no attention of {dtype} queries to {cache!r} keys: leave kv_dtype out, or choose fp8 "
            "beside bf16 or fp16"
        )
    whole: AttentionForm = "prefill" if causal else "encoder"
    from_cache = keys is not None
    sizes = {"batch": batch, "tokens": tokens, "keys": tokens if keys is None else keys}
    heads_and_size = {"heads": heads, "kv_heads": kv_heads, "head_dim": head_dim}
    batch, tokens, keys, heads, kv_heads, head_dim = sizes_of(**sizes, **heads_and_size)
    if np.any(heads % kv_heads):
        raise ScenarioError("heads must be a multiple of kv_heads, which they share")
    if causal and np.any(keys < tokens):
        raise ScenarioError("there must be as many keys as tokens, or more: tokens are keys, too")
    roof = kernel_roof(device, dtype)
    flops = attention_flops(batch, tokens, keys, heads, head_dim, causal=causal)
    query_bytes = 2 * ATTENTION_BYTES[dtype] * heads * head_dim
    key_bytes = 2 * ATTENTION_BYTES[cache] * kv_heads * head_dim
    bound = roof.seconds(flops, batch * (tokens * query_bytes + keys * key_bytes))
    laws = laws_of(device)
    if laws is None:
        return KernelTime(bound[()])
    kernels = _AttentionKernels(laws, roof, dtype, cache, whole)
    fixed = (heads, kv_heads, head_dim, query_bytes, key_bytes)
    seconds = np.empty(bound.shape)
    one = (tokens == 1) & from_cache
    masks: dict[AttentionForm, NDArray[np.bool_]] = {
        "decode": one,
        whole: (tokens == keys) & ~one,
        "extension": (tokens != keys) & ~one,
    }
    # of no kernels at all what the law of those in question would say
    forms = [form for form, mask in masks.items() if mask.any()] or [whole]
    for form in forms:
        sizes_ = [array[masks[form]] for array in (batch, tokens, keys, *fixed)]
        # of several queries to keys in a cache, however many: no less than of one
        if from_cache and form != "decode":
            seconds[masks[form]] = kernels.extension_seconds(*sizes_)
        else:
            seconds[masks[form]] = kernels.seconds(form, *sizes_)
    law = max((kernels.law(form) for form in forms), key=lambda law: law.error_percent())
    return kernel_time(bound, seconds, law, laws)


class _AttentionKernels(NamedTuple):
    """Kernels of one pair of types, with what attends to what as the laws tell apart."""

    laws: KernelLaws
    roof: Roof
    data_type: str
    cache_type: str
    whole: AttentionForm
    """Of as many queries as keys."""

    def law(self, form: AttentionForm) -> AnyAttentionLaw:
        return attention_law(self.laws, form, self.data_type, self.cache_type)

    def seconds(self, form: AttentionForm, batch: Array, *sizes: Array) -> Array:
        """Of arrays of tokens, keys, heads, kv_heads, head_dim, and bytes of a query and a key."""
        tokens, keys, *fixed = sizes
        counts = {"decode": (batch, keys), "extension": (batch, tokens, keys)}
        return by_sizes(partial(self._curve, form), counts.get(form, (batch, tokens)), fixed)

    def extension_seconds(self, batch: Array, *sizes: Array) -> Array:
        """The same of several queries to keys in a cache.

        No less than of one of the queries, nor than of as many keys as queries or as many queries
        as keys, whichever are fewer; no more than of whichever are more. So laws of three kinds of
        kernels give times that fall neither as tokens rise nor as keys do.
        """
        tokens, keys, *fixed = sizes
        fewer, more = np.minimum(tokens, keys), np.maximum(tokens, keys)
        one = self.seconds("decode", batch, *sizes)
        least, most = (
            np.maximum(one, self.seconds(self.whole, batch, count, count, *fixed))
            for count in (fewer, more)
        )
        return np.clip(self.seconds("extension", batch, *sizes), least, most)

    def _curve(self, form: AttentionForm, *counts_and_sizes: Any) -> Array:
        *counts, heads, kv_heads, head_dim, query_bytes, key_bytes = counts_and_sizes
        causal = self.whole == "prefill"
        sizes = AttentionSizes(heads, kv_heads, head_dim, causal, query_bytes, key_bytes)
        return attention_curve(form, self.law(form), self.roof, sizes)(*counts)


def by_sizes(
    seconds: Callable[..., Array], counts: Sequence[Array], sizes: Sequence[Array]
) -> Array:
    """`seconds(*counts, *sizes)` where it takes arrays of counts, but one number for each size."""
    flat = [np.ravel(count) for count in counts]
    found = np.empty(flat[0].size)
    table = np.stack([np.ravel(size) for size in sizes], axis=-1)
    different, which, kernels = np.unique(table, axis=0, return_inverse=True, return_counts=True)
    # sorted once: a mask for each would take as long as all of them squared
    groups = np.split(np.argsort(which.ravel(), kind="stable"), np.cumsum(kernels)[:-1])
    for group, row in zip(groups, different.tolist(), strict=False):
        found[group] = seconds(*(count[group] for count in flat), *row)
    return found.reshape(counts[0].shape)


def kernel_time(bound: Array, seconds: Array, law: Law, laws: KernelLaws) -> KernelTime:
    """Times, and what the law says of itself."""
    return KernelTime(
        bound[()],
        np.maximum(seconds, bound)[()],  # a curve may be off by the last bit
        law.median_error_percent,
        law.p90_error_percent,
        law.error_percent(),
        law.library,
        law.origin or laws.origin,
    )
