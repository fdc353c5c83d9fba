"""`AttentionLaw` from measured fused attention kernels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal

import msgspec
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from roofline.device.kernel_types import ATTENTION_KERNELS, AttentionBytes, kernel_roof
from roofline.device.laws.attention import (
    AttentionForm,
    AttentionLaw,
    attention_flops,
    attention_seconds,
    correction_basis,
    physical_seconds,
)
from roofline.device.roof import Roof
from roofline.fitting.fitters import FITTERS, Fitter
from roofline.fitting.law_fit import CorrectedFit, best_law, law_with_error
from roofline.fitting.rows import (
    LEAST_ROWS,
    FitError,
    check_physics,
    columns,
    held_out,
    of_one_source,
)
from roofline.fitting.tables import by_kernel_and_cache
from roofline.model.polynomial import Array
from roofline.specs.hardware import Hardware

GPU = AttentionLaw(
    rows=1,
    median_error_percent=0.0,
    p90_error_percent=0.0,
    launch_us=5.0,
    block_us=1.0,
    efficiency=0.7,
    head_dim_power=0.5,
    longest_share=0.3,
    fill_keys=100.0,
    bandwidth_fraction=0.8,
    kv_write_passes=1.0,
    cached_bandwidth_ratio=3.0,
    cached_share=0.5,
    block_head_dim_power=0.3,
    wave_share=0.5,
)
"""Where a GPU's fit starts. Its bandwidth is that of decode kernels, 70 to 90 % of the peak; it is
fitted only to tables with such rows, for times of prompts say little of it.
"""

CPU = AttentionLaw(
    rows=1,
    median_error_percent=0.0,
    p90_error_percent=0.0,
    launch_us=10.0,
    block_us=0.0,
    efficiency=0.7,
    head_dim_power=0.3,
    longest_share=0.0,
    fill_keys=0.0,
    row_keys=100.0,
    key_block=512,
    bandwidth_fraction=0.5,
    cached_bandwidth_ratio=2.0,
    cached_share=0.5,
)
"""Where a CPU's does: its blocks are many and short, but every query costs beside its keys. PyTorch
skips hidden keys 512 at a time.
"""

_NUMBERS = (
    "launch_us",
    "block_us",
    "efficiency",
    "head_dim_power",
    "longest_share",
    "fill_keys",
    "row_keys",
    "bandwidth_fraction",
    "kv_write_passes",
    "cached_bandwidth_ratio",
    "cached_share",
    "block_head_dim_power",
    "wave_share",
    "traffic_share",
)
"""What is fitted of a law: those of its start that are above zero."""

GPU_STARTS = tuple(
    msgspec.structs.replace(
        GPU, heads_share_blocks=shared, packs_single_queries=single, block_queries=queries
    )
    for shared, single in ((True, True), (False, True), (False, False))
    for queries in (64, 128, 192, 256)
)
"""Blocks that libraries choose for different generations, and whether heads are packed into them.
"""
_SHAPE = ("batch_size", "tokens", "num_heads", "num_key_value_heads", "head_dim")


def fit_attention(
    rows: Mapping[str, Any],
    roof: Roof,
    *,
    kernel: str = "bf16",
    kind: Literal["gpu", "cpu"] = "gpu",
) -> AttentionLaw:
    """A law from columns `batch_size`, `tokens` (queries), `num_heads`, `num_key_value_heads`,
    `head_dim`, `time_ms`, one kernel a row, and two that may be left out: `keys` (as many as
    tokens) and `causal` (1 or 0; 1). Its `forms` are those that the rows have. `kernel` is a key
    of `ATTENTION_KERNELS`, which has the widths of its operands. A CPU gets no corrections. The
    error is that of first fits on sets of (tokens, keys, num_heads) held out from them. Raises
    FitError.
    """
    rows = of_one_source(rows)
    data = _times(rows, roof, kernel)
    check_physics(roof, data.seconds, data.flops, data.traffic, rows=rows)
    _, queries, keys, heads, *_ = data.shape
    starts = GPU_STARTS if kind == "gpu" else (CPU,)
    law: AttentionLaw = law_with_error(
        data, partial(best_of, starts=starts), held_out(queries, keys, heads)
    )
    return msgspec.structs.replace(law, forms=_forms(queries, keys, data.causal))


def _forms(queries: Array, keys: Array, causal: NDArray[np.bool_]) -> tuple[AttentionForm, ...]:
    """What attends to what in any of the rows."""
    whole = queries == keys
    rows: dict[AttentionForm, NDArray[np.bool_]] = {
        "decode": ~whole & (queries == 1),
        "encoder": whole & ~causal,
        "prefill": whole & causal,
        "extension": ~whole & (queries != 1),
    }
    return tuple(form for form, mask in rows.items() if mask.any())


def operand_bytes(kernel: str) -> AttentionBytes:
    """Widths of a kernel's operands. Raises FitError for one that is none of attention."""
    if kernel not in ATTENTION_KERNELS:
        raise FitError(f"dtype must be one of {', '.join(ATTENTION_KERNELS)}")
    return ATTENTION_KERNELS[kernel]


def kernels(hardware: Hardware, rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Rows by data type and that of the cache; without those columns, all of them as of the
    device's 16-bit type.
    """
    if "dtype" not in rows:
        rows = rows.assign(dtype="bf16" if hardware.matmul_peak("bf16") else "fp16")
    return by_kernel_and_cache(rows)


def _fit(hardware: Hardware, kernel: str, rows: dict[str, Any]) -> AttentionLaw:
    operand_bytes(kernel)
    return fit_attention(rows, kernel_roof(hardware, kernel), kernel=kernel, kind=hardware.kind)


def _times(
    rows: Mapping[str, Any], roof: Roof, kernel: str, least: int = LEAST_ROWS
) -> AttentionTimes:
    batch, queries, heads, kv_heads, head_dim, seconds = columns(rows, (*_SHAPE, "time_ms"), least)
    keys = columns(rows, ("keys",), least)[0] if "keys" in rows else queries
    causal = (
        np.asarray(rows["causal"], dtype=bool) if "causal" in rows else np.full(keys.size, True)
    )
    width = operand_bytes(kernel)
    shape = (batch, queries, keys, heads, kv_heads, head_dim)
    return AttentionTimes(roof, width, *shape, causal, seconds)


def _seconds(hardware: Hardware, kernel: str, law: AttentionLaw, rows: Mapping[str, Any]) -> Array:
    return _times(rows, kernel_roof(hardware, kernel), kernel, least=1).predict(law)


FITTERS.register(AttentionLaw.family, Fitter(_SHAPE, kernels, _fit, seconds=_seconds))


def best_of(data: AttentionTimes, starts: Sequence[AttentionLaw]) -> Any:
    """The best of the laws fitted from the starts."""
    return best_law([_model(data, start) for start in starts])


class AttentionTimes:
    """Shapes and times; times by a law, and its correction's functions."""

    numbers: tuple[str, ...] = _NUMBERS

    def __init__(self, roof: Roof, width: AttentionBytes, *arrays: Any) -> None:
        self.roof, self.width, self.arrays = roof, width, arrays
        *self.shape, self.causal, self.seconds = arrays
        batch, queries, keys, heads, kv_heads, head_dim = self.shape
        self.flops = attention_flops(batch, queries, keys, heads, head_dim, causal=self.causal)
        moved = width.query * queries * heads + width.cache * keys * kv_heads
        self.traffic = 2 * batch * head_dim * moved

    def where(self, mask: Any) -> AttentionTimes:
        return type(self)(self.roof, self.width, *(array[mask] for array in self.arrays))

    def predict(self, law: Any) -> Array:
        return attention_seconds(
            law, self.roof, *self.shape, causal=self.causal, traffic_bytes=self.traffic
        )

    def physical(self, law: Any) -> Array:
        return physical_seconds(
            law, self.roof, *self.shape, causal=self.causal, traffic=self.traffic
        )

    def basis(self, law: Any) -> list[Array]:
        return correction_basis(*self.shape)


def _model(data: AttentionTimes, start: AttentionLaw) -> CorrectedFit:
    """The numbers of the start that the rows speak of; a CPU's law has no correction."""
    _, queries, keys, *_ = data.shape
    on_gpu, decode = start.wave_share > 0, bool((queries < keys).any())
    # prompts say how much of the traffic shows, decode at what bandwidth: both would be one
    unmeasured = {"traffic_share"} if decode else {"bandwidth_fraction"}
    if not on_gpu:  # fitted to few rows
        unmeasured.add("traffic_share")
    numbers = [name for name in data.numbers if getattr(start, name) and name not in unmeasured]
    basis = np.stack(np.broadcast_arrays(*data.basis(start)), axis=-1)
    return CorrectedFit(data, start, numbers, basis if on_gpu else basis[:, :0])
