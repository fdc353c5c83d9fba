"""Elementwise and row-wise ops: launch + bytes / bandwidth."""

from __future__ import annotations

import numpy as np

from roofline.device.laws.smooth import within_cache
from roofline.device.roof import Array, Number, Roof
from roofline.specs.kernel_laws import PointwiseLaw
from roofline.units import GIGA, MIB, MICRO


def pointwise_seconds(
    law: PointwiseLaw, roof: Roof, *, traffic_bytes: Number, flops: Number = 0.0
) -> Array:
    """Seconds of an op that moves `traffic_bytes` and computes `flops`; arguments broadcast.

    Never below `roof`, whose `flops_per_s` is here the vector rate.
    """
    size = np.asarray(traffic_bytes, dtype=np.float64)
    seconds_per_byte: Number = 1 / (law.bandwidth_gb_per_s * GIGA)
    if law.cached_bandwidth_gb_per_s is not None and law.cache_mib is not None:
        cached = within_cache(size, law.cache_mib * MIB)
        cached_pace = 1 / (law.cached_bandwidth_gb_per_s * GIGA)
        seconds_per_byte = seconds_per_byte + cached * (cached_pace - seconds_per_byte)
    seconds = law.launch_us * MICRO + size * seconds_per_byte
    return np.maximum(seconds, roof.seconds(flops, size))
