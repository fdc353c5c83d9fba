"""`AttentionLaw` from measured fused attention kernels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec
import numpy as np

from roofline.fitting.descent import descend, numeric_jacobian
from roofline.fitting.numbers import bound, free
from roofline.fitting.rows import (
    check_physics,
    columns,
    errors_percent,
    held_out,
    of_one_source,
    rounded,
)
from roofline.kernels.attention import (
    MOST_CORRECTION,
    attention_flops,
    attention_seconds,
    correction_basis,
    physical_seconds,
)
from roofline.kernels.roof import Array, Roof
from roofline.specs.attained import AttentionLaw

START = AttentionLaw(
    rows=1,
    median_error_percent=0.0,
    p90_error_percent=0.0,
    launch_us=5.0,
    block_us=1.0,
    efficiency=0.7,
    head_dim_power=0.5,
    longest_share=0.3,
    fill_keys=100.0,
    bandwidth_fraction=0.7,
    kv_write_passes=1.0,
    cached_bandwidth_ratio=3.0,
    cached_share=0.5,
)
NUMBERS = (
    "launch_us",
    "block_us",
    "efficiency",
    "head_dim_power",
    "longest_share",
    "fill_keys",
    "bandwidth_fraction",
    "kv_write_passes",
    "cached_bandwidth_ratio",
    "cached_share",
)
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
    tokens) and `causal` (1 or 0; 1). A CPU gets no corrections. The error is that of a first fit
    on (tokens, num_heads) pairs held out from it. Raises FitError.
    """
    rows = of_one_source(rows)
    batch, queries, heads, kv_heads, head_dim, seconds = columns(rows, (*_SHAPE, "time_ms"))
    keys = columns(rows, ("keys",))[0] if "keys" in rows else queries
    causal = (
        np.asarray(rows["causal"], dtype=bool) if "causal" in rows else np.full(keys.size, True)
    )
    data = _Measured(
        roof, element_bytes, batch, queries, keys, heads, kv_heads, head_dim, causal, seconds
    )
    check_physics(roof, seconds, data.flops, data.traffic)
    corrected = kind == "gpu"
    test = held_out(queries, heads)
    median = p90 = 0.0
    if 0 < test.sum() < test.size:
        trial = _best(data.where(~test), corrected)
        median, p90 = errors_percent(data.where(test).predict(trial), seconds[test])
    law = _best(data, corrected)
    return msgspec.structs.replace(
        rounded(law), rows=seconds.size, median_error_percent=median, p90_error_percent=p90
    )


def _best(data: _Measured, corrected: bool) -> AttentionLaw:
    """The better of the laws with and without shared blocks."""
    fits = []
    for share in (True, False):
        model = _Model(data, msgspec.structs.replace(START, heads_share_blocks=share), corrected)
        x, loss = descend(model, model.measured)
        fits.append((loss, model.law(x)))
    return min(fits, key=lambda fit: fit[0])[1]


class _Measured:
    """Shapes and times."""

    def __init__(self, roof: Roof, element_bytes: float, *arrays: Any) -> None:
        self.roof, self.element_bytes, self.arrays = roof, element_bytes, arrays
        *self.shape, self.causal, self.seconds = arrays
        batch, queries, keys, heads, kv_heads, head_dim = self.shape
        self.flops = attention_flops(batch, queries, keys, heads, head_dim, causal=self.causal)
        elements = 2 * batch * head_dim * (queries * heads + keys * kv_heads)
        self.traffic = element_bytes * elements

    def where(self, mask: Any) -> _Measured:
        return _Measured(self.roof, self.element_bytes, *(array[mask] for array in self.arrays))

    def predict(self, law: AttentionLaw) -> Array:
        return attention_seconds(
            law, self.roof, *self.shape, causal=self.causal, traffic_bytes=self.traffic
        )


class _Model:
    """The law's free numbers as a vector, corrections last."""

    def __init__(self, data: _Measured, template: AttentionLaw, corrected: bool) -> None:
        self.data, self.template = data, template
        self.measured = np.log(data.seconds)
        self.floor = np.log(data.roof.seconds(data.flops, data.traffic))
        basis = correction_basis(*data.shape)
        self.basis = basis if corrected else basis[:, :0]
        self.physical = len(NUMBERS)
        physics = [free(START, name) for name in NUMBERS]
        self.start = np.array(physics + [0.0] * self.basis.shape[1])
        self.spread = np.array(
            [_PHYSICS_SPREAD] * self.physical + [_CORRECTION_SPREAD] * self.basis.shape[1]
        )

    def law(self, x: Array) -> AttentionLaw:
        values = {name: bound(name, value) for name, value in zip(NUMBERS, x, strict=False)}
        corrections = tuple(map(float, x[self.physical :]))
        return msgspec.structs.replace(self.template, corrections=corrections, **values)

    def settle(self, x: Array) -> None:
        """Nothing in this law is chosen."""

    def logarithm(self, x: Array, state: None) -> Array:
        data = self.data
        seconds = physical_seconds(
            self.law(x), data.roof, *data.shape, flops=data.flops, traffic=data.traffic
        )
        added = np.clip(self.basis @ x[self.physical :], -MOST_CORRECTION, MOST_CORRECTION)
        return np.maximum(np.log(seconds) + added, self.floor)

    def jacobian(self, x: Array, state: None) -> Array:
        above = self.logarithm(x, state) > self.floor
        physics = numeric_jacobian(self, x, state, self.physical)
        return np.hstack([physics, self.basis * above[:, None]])
