"""`PointwiseLaw` from measured elementwise and row-wise ops."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from roofline.device.laws.pointwise import pointwise_seconds
from roofline.device.roof import Array, Roof
from roofline.fitting.descent import descend, numeric_jacobian
from roofline.fitting.rows import check_physics, columns, errors_percent, held_out, rounded
from roofline.specs.kernel_laws import PointwiseLaw
from roofline.units import GIGA, MIB, MICRO

LEAST_ROWS = 6
"""The law has four numbers."""
_SPREAD = 1.5
"""Prior standard deviation of their logarithms."""


def fit_pointwise(rows: Mapping[str, Any], roof: Roof) -> PointwiseLaw:
    """A law from columns `bytes` (read and written) and `time_ms`. Raises FitError.

    The cache has numbers of its own where `roof` has a cache.
    """
    size, seconds = columns(rows, ("bytes", "time_ms"), least=LEAST_ROWS)
    check_physics(roof, seconds, np.zeros_like(size), size)
    tests = held_out(size)
    predicted = []
    for test in tests:
        law = _fit(roof, size[~test], seconds[~test])
        predicted.append(pointwise_seconds(law, roof, traffic_bytes=size[test]))
    errors = errors_percent(predicted, [seconds[test] for test in tests])
    law = _fit(roof, size, seconds)
    return msgspec.structs.replace(rounded(law), rows=size.size, **errors)


def _fit(roof: Roof, size: Array, seconds: Array) -> PointwiseLaw:
    model = _PointwiseFit(roof, size, seconds)
    return model.law(descend(model, model.measured)[0])


class _PointwiseFit:
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

    def settle(self, x: Array) -> None:
        """Nothing in this law is chosen."""

    def logarithm(self, x: Array, state: None) -> Array:
        return np.log(pointwise_seconds(self.law(x), self.roof, traffic_bytes=self.size))

    def jacobian(self, x: Array, state: None) -> Array:
        return numeric_jacobian(self, x, state, x.size)
