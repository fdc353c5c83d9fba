"""`AttentionLaw` from measured fused attention kernels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
import numpy as np
import pandas as pd

from roofline.device.kernel_types import ATTENTION_BYTES, kernel_roof
from roofline.device.laws.attention import (
    MOST_CORRECTION,
    AttentionLaw,
    attention_flops,
    attention_seconds,
    correction_basis,
    physical_seconds,
)
from roofline.device.roof import Roof
from roofline.fitting.descent import descend, numeric_jacobian
from roofline.fitting.fitters import FITTERS, Fitter
from roofline.fitting.numbers import bound, free
from roofline.fitting.rows import (
    FitError,
    check_physics,
    columns,
    errors_percent,
    held_out,
    of_one_source,
    rounded,
)
from roofline.fitting.tables import by_kernel
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
)
"""What is fitted of a law: those of its start that are above zero."""

GPU_STARTS = (GPU, msgspec.structs.replace(GPU, heads_share_blocks=False))
_PHYSICS_SPREAD = 1.5
_CORRECTION_SPREAD = 0.1
_SHAPE = ("batch_size", "tokens", "num_heads", "num_key_value_heads", "head_dim")


def fit_attention(
    rows: Mapping[str, Any],
    roof: Roof,
    *,
    element_bytes: float = 2.0,
    kind: Literal["gpu", "cpu"] = "gpu",
) -> AttentionLaw:
    """A law from columns `batch_size`, `tokens` (queries), `num_heads`, `num_key_value_heads`,
    `head_dim`, `time_ms`, one kernel a row, and two that may be left out: `keys` (as many as
    tokens) and `causal` (1 or 0; 1). A CPU gets no corrections. The error is that of first fits
    on sets of (tokens, keys, num_heads) held out from them. Raises FitError.
    """
    rows = of_one_source(rows)
    batch, queries, heads, kv_heads, head_dim, seconds = columns(rows, (*_SHAPE, "time_ms"))
    keys = columns(rows, ("keys",))[0] if "keys" in rows else queries
    causal = (
        np.asarray(rows["causal"], dtype=bool) if "causal" in rows else np.full(keys.size, True)
    )
    data = _AttentionTimes(
        roof, element_bytes, batch, queries, keys, heads, kv_heads, head_dim, causal, seconds
    )
    check_physics(roof, seconds, data.flops, data.traffic, rows=rows)
    starts = GPU_STARTS if kind == "gpu" else (CPU,)
    tests = held_out(queries, keys, heads)
    predicted = [data.where(test).predict(_best(data.where(~test), starts)) for test in tests]
    errors = errors_percent(predicted, [seconds[test] for test in tests])
    return msgspec.structs.replace(rounded(_best(data, starts)), rows=seconds.size, **errors)


def _kernels(hardware: Hardware, rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Rows by data type; without that column, those of the device's 16-bit type."""
    if "dtype" not in rows:
        rows = rows.assign(dtype="bf16" if hardware.matmul_peak("bf16") else "fp16")
    return by_kernel(rows)


def _fit(hardware: Hardware, data_type: str, rows: dict[str, Any]) -> AttentionLaw:
    if data_type not in ATTENTION_BYTES:
        raise FitError(f"dtype must be one of {', '.join(ATTENTION_BYTES)}")
    return fit_attention(
        rows,
        kernel_roof(hardware, data_type),
        element_bytes=ATTENTION_BYTES[data_type],
        kind=hardware.kind,
    )


FITTERS.register(AttentionLaw.family, Fitter(_SHAPE, _kernels, _fit))


def _best(data: _AttentionTimes, starts: Sequence[AttentionLaw]) -> AttentionLaw:
    """The better of the laws fitted from the starts."""
    models = [_AttentionFit(data, start) for start in starts]
    fits = [descend(model, model.measured) for model in models]
    best = min(range(len(fits)), key=lambda i: fits[i][1])
    return models[best].law(fits[best][0])


class _AttentionTimes:
    """Shapes and times."""

    def __init__(self, roof: Roof, element_bytes: float, *arrays: Any) -> None:
        self.roof, self.element_bytes, self.arrays = roof, element_bytes, arrays
        *self.shape, self.causal, self.seconds = arrays
        batch, queries, keys, heads, kv_heads, head_dim = self.shape
        self.flops = attention_flops(batch, queries, keys, heads, head_dim, causal=self.causal)
        elements = 2 * batch * head_dim * (queries * heads + keys * kv_heads)
        self.traffic = element_bytes * elements

    def where(self, mask: Any) -> _AttentionTimes:
        return _AttentionTimes(
            self.roof, self.element_bytes, *(array[mask] for array in self.arrays)
        )

    def predict(self, law: AttentionLaw) -> Array:
        return attention_seconds(
            law, self.roof, *self.shape, causal=self.causal, traffic_bytes=self.traffic
        )


class _AttentionFit:
    """The law's free numbers as a vector, corrections last."""

    def __init__(self, data: _AttentionTimes, start: AttentionLaw) -> None:
        self.data, self.template = data, start
        _, queries, keys, *_ = data.shape
        unmeasured = () if (queries < keys).any() else ("bandwidth_fraction",)
        self.numbers = [
            name for name in _NUMBERS if getattr(start, name) and name not in unmeasured
        ]
        self.measured = np.log(data.seconds)
        self.floor = np.log(data.roof.seconds(data.flops, data.traffic))
        basis = correction_basis(*data.shape)
        self.basis = basis[:, :0] if start is CPU else basis
        self.physical = len(self.numbers)
        physics = [free(start, name) for name in self.numbers]
        self.start = np.array(physics + [0.0] * self.basis.shape[1])
        self.spread = np.array(
            [_PHYSICS_SPREAD] * self.physical + [_CORRECTION_SPREAD] * self.basis.shape[1]
        )

    def law(self, x: Array) -> AttentionLaw:
        values = {name: bound(name, value) for name, value in zip(self.numbers, x, strict=False)}
        corrections = tuple(map(float, x[self.physical :]))
        return msgspec.structs.replace(self.template, corrections=corrections, **values)

    def settle(self, x: Array) -> None:
        """Nothing in this law is chosen."""

    def logarithm(self, x: Array, state: None) -> Array:
        data = self.data
        law = self.law(x)
        seconds = physical_seconds(
            law, data.roof, *data.shape, causal=data.causal, traffic=data.traffic
        )
        added = np.clip(self.basis @ x[self.physical :], -MOST_CORRECTION, MOST_CORRECTION)
        return np.maximum(np.log(seconds) + added, self.floor)

    def jacobian(self, x: Array, state: None) -> Array:
        above = self.logarithm(x, state) > self.floor
        physics = numeric_jacobian(self, x, state, self.physical)
        return np.hstack([physics, self.basis * above[:, None]])
