"""`DecodeAttentionLaw` from measured decode attention kernels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from roofline.device.kernel_types import AttentionBytes, kernel_roof
from roofline.device.laws.decode_attention import (
    DecodeAttentionLaw,
    correction_basis,
    decode_attention_seconds,
    physical_seconds,
)
from roofline.device.roof import Roof
from roofline.fitting.attention import kernels, operand_bytes
from roofline.fitting.fitters import FITTERS, Fitter
from roofline.fitting.law_fit import CorrectedFit, best_law, law_with_error
from roofline.fitting.rows import LEAST_ROWS, check_physics, columns, held_out, of_one_source
from roofline.model.polynomial import Array
from roofline.specs.hardware import Hardware

GPU = DecodeAttentionLaw(
    rows=1,
    median_error_percent=0.0,
    p90_error_percent=0.0,
    launch_us=8.0,
    block_us=3.0,
    block_head_dim_power=0.2,
    key_ns=5.0,
    group_share=0.1,
    split_keys=128.0,
    split_waves=2.0,
    split_us=3.0,
    split_ns=5.0,
    bandwidth_fraction=0.8,
    cached_bandwidth_ratio=3.0,
    cached_share=0.8,
    regroup_us=1.0,
)
"""Where a fit starts."""

STARTS = (GPU, msgspec.structs.replace(GPU, splits_single_heads=False))
"""FlashAttention-2 splits keys only where several heads share them."""

_NUMBERS = (
    "launch_us",
    "block_us",
    "block_head_dim_power",
    "key_ns",
    "group_share",
    "split_keys",
    "split_waves",
    "split_us",
    "split_ns",
    "bandwidth_fraction",
    "cached_bandwidth_ratio",
    "cached_share",
    "regroup_us",
)
_SHAPE = ("batch_size", "keys", "num_heads", "num_key_value_heads", "head_dim")


def fit_decode_attention(
    rows: Mapping[str, Any], roof: Roof, *, kernel: str = "bf16"
) -> DecodeAttentionLaw:
    """A law from columns `batch_size`, `keys`, `num_heads`, `num_key_value_heads`, `head_dim`,
    `time_ms`, one kernel of one query a sequence a row. `kernel` is a key of `ATTENTION_KERNELS`,
    which has the widths of its operands. The error is that of first fits on sets of (keys,
    num_heads) held out from them. Raises FitError.
    """
    rows = of_one_source(rows)
    data = _times(rows, roof, kernel)
    check_physics(roof, data.seconds, data.flops, data.traffic, rows=rows)
    _, keys, heads, *_ = data.shape
    return law_with_error(data, _best, held_out(keys, heads))


def _times(
    rows: Mapping[str, Any], roof: Roof, kernel: str, least: int = LEAST_ROWS
) -> _DecodeTimes:
    return _DecodeTimes(roof, operand_bytes(kernel), columns(rows, (*_SHAPE, "time_ms"), least))


def _fit(hardware: Hardware, kernel: str, rows: dict[str, Any]) -> DecodeAttentionLaw:
    operand_bytes(kernel)
    return fit_decode_attention(rows, kernel_roof(hardware, kernel), kernel=kernel)


def _seconds(
    hardware: Hardware, kernel: str, law: DecodeAttentionLaw, rows: Mapping[str, Any]
) -> Array:
    return _times(rows, kernel_roof(hardware, kernel), kernel, least=1).predict(law)


FITTERS.register(
    DecodeAttentionLaw.family,
    Fitter(_SHAPE, kernels, _fit, seconds=_seconds, without=("tokens",)),
)


class _DecodeTimes:
    """Shapes and times."""

    def __init__(self, roof: Roof, width: AttentionBytes, arrays: Sequence[Array]) -> None:
        self.roof, self.width, self.arrays = roof, width, arrays
        *self.shape, self.seconds = arrays
        batch, keys, heads, kv_heads, head_dim = self.shape
        self.flops = 4 * batch * heads * keys * head_dim
        self.traffic = 2 * batch * head_dim * (width.query * heads + width.cache * keys * kv_heads)

    def where(self, mask: Any) -> _DecodeTimes:
        return _DecodeTimes(self.roof, self.width, [array[mask] for array in self.arrays])

    def predict(self, law: DecodeAttentionLaw) -> Array:
        return decode_attention_seconds(law, self.roof, *self.shape, traffic_bytes=self.traffic)

    def physical(self, law: DecodeAttentionLaw) -> Array:
        return physical_seconds(law, self.roof, *self.shape, traffic=self.traffic)


def _best(data: _DecodeTimes) -> DecodeAttentionLaw:
    """The better of the laws fitted from the starts."""
    batch, _, heads, kv_heads, head_dim = data.shape
    basis = correction_basis(data.roof, batch, heads, kv_heads, head_dim, data.traffic)
    functions = np.stack(np.broadcast_arrays(*basis), axis=-1)
    law: DecodeAttentionLaw = best_law(
        [CorrectedFit(data, start, _NUMBERS, functions) for start in STARTS]
    )
    return law
