"""`PointwiseLaw` from measured elementwise and row-wise ops."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from msgspec.structs import replace

from roofline.device.kernel_types import kernel_roof
from roofline.device.laws.pointwise import PointwiseLaw, pointwise_seconds
from roofline.device.roof import Roof
from roofline.fitting.fitters import FITTERS, Fitter, Laws
from roofline.fitting.law_fit import NumericFit, best_law
from roofline.fitting.rows import (
    check_physics,
    columns,
    errors_percent,
    held_out,
    of_one_source,
    rounded,
)
from roofline.model.polynomial import Array
from roofline.specs.hardware import Hardware
from roofline.units import GIGA, MIB, MICRO

PLAINEST = "residual"
"""Vector op whose law goes for all that were not measured."""

LEAST_ROWS = 6
"""The law has four numbers."""
_SPREAD = 1.5
"""Prior standard deviation of their logarithms."""


def fit_pointwise(rows: Mapping[str, Any], roof: Roof) -> PointwiseLaw:
    """A law from columns `bytes` (read and written) and `time_ms`. Raises FitError.

    The cache has numbers of its own where `roof` has a cache.
    """
    rows = of_one_source(rows)
    size, seconds = columns(rows, ("bytes", "time_ms"), least=LEAST_ROWS)
    check_physics(roof, seconds, np.zeros_like(size), size, rows=rows)
    tests = held_out(size)
    predicted = []
    for test in tests:
        law = _fitted(roof, size[~test], seconds[~test])
        predicted.append(pointwise_seconds(law, roof, traffic_bytes=size[test]))
    errors = errors_percent(predicted, [seconds[test] for test in tests])
    law = _fitted(roof, size, seconds)
    return replace(rounded(law), rows=size.size, **errors)


def _functions(hardware: Hardware, rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Rows by function; without that column, all of them as `default`."""
    if "function" not in rows:
        return {"default": rows}
    return {str(function): some for function, some in rows.groupby("function", sort=False)}


def _fit(hardware: Hardware, function: str, rows: dict[str, Any]) -> PointwiseLaw:
    roof = replace(kernel_roof(hardware, "fp32"), flops_per_s=hardware.vector_flops_per_s)
    return fit_pointwise(rows, roof)


def _with_default(laws: Laws) -> Laws:
    others = laws.get("default") or laws.get(PLAINEST) or next(iter(laws.values()))
    return {**laws, "default": others}


FITTERS.register(
    PointwiseLaw.family,
    Fitter(("bytes",), _functions, _fit, _with_default, without=("energy_j",)),
)


def _fitted(roof: Roof, size: Array, seconds: Array) -> PointwiseLaw:
    law: PointwiseLaw = best_law([_PointwiseFit(roof, size, seconds)])
    return law


class _PointwiseFit(NumericFit):
    """Logarithms of launch, bandwidth, cached bandwidth and cache size."""

    def __init__(self, roof: Roof, size: Array, seconds: Array) -> None:
        self.roof, self.size, self.measured = roof, size, np.log(seconds)
        # an op of several passes is far from DRAM's bandwidth, a cached one may be beyond it
        bandwidth = size / seconds / GIGA
        start = [seconds.min() / 2 / MICRO, bandwidth[size.argmax()]]
        if roof.cache_bytes:
            start += [bandwidth.max(), roof.cache_bytes / 2 / MIB]
        self.start = np.log(start)
        self.spread = np.full(len(start), _SPREAD)

    def law(self, x: Array) -> PointwiseLaw:
        launch, bandwidth, *cache = (float(value) for value in np.exp(x))
        return PointwiseLaw(
            rows=self.size.size,
            median_error_percent=0.0,
            p90_error_percent=0.0,
            launch_us=launch,
            bandwidth_gb_per_s=bandwidth,
            cached_bandwidth_gb_per_s=cache[0] if cache else None,
            cache_mib=cache[1] if cache else None,
        )

    def logarithm(self, x: Array, state: None) -> Array:
        return np.log(pointwise_seconds(self.law(x), self.roof, traffic_bytes=self.size))
