"""Elementwise and row-wise ops: launch + bytes / bandwidth."""

from typing import ClassVar

import numpy as np

from roofline.device.laws.smooth import within_cache
from roofline.device.roof import FloatOrArray, Roof
from roofline.model.polynomial import Array
from roofline.specs.kernel_laws import Law, NonNegative, register_laws
from roofline.specs.sourced import Positive
from roofline.units import GIGA, MIB, MICRO


class PointwiseLaw(Law, frozen=True):
    """Numbers of `pointwise_seconds`, for one kind of op."""

    family: ClassVar[str] = "pointwise"
    launch_us: NonNegative
    """Time of a launch, in µs."""
    bandwidth_gb_per_s: Positive
    """Bandwidth of an op whose bytes no cache holds, in GB/s."""
    cached_bandwidth_gb_per_s: Positive | None = None
    """Bandwidth of an op whose bytes fit in the cache, in GB/s; left out, as without a cache."""
    cache_mib: Positive | None = None
    """Size of the cache, in MiB."""

    @property
    def terms(self) -> str:
        """`2.9 µs a launch + bytes ÷ 2650 GB/s`"""
        return f"{self.launch_us:.3g} µs a launch + bytes ÷ {self.bandwidth_gb_per_s:.4g} GB/s"


@register_laws(PointwiseLaw)
def pointwise_seconds(
    law: PointwiseLaw, roof: Roof, *, traffic_bytes: FloatOrArray, flops: FloatOrArray = 0.0
) -> Array:
    """Seconds of an op that moves `traffic_bytes` and computes `flops`; arguments broadcast.

    t = max(launch_us + T·(h / b_cache + (1 − h) / b), t_roof), in s, with T `traffic_bytes`; h =
    1 / (1 + (T / cache)⁴) the share of them found in the cache; b (times `bandwidth_ratio`) and
    b_cache the law's bandwidths in B/s; t_roof `Roof.seconds` of `flops` and T. Latency and
    bandwidth of a message, here of a launch: Hockney, "The communication challenge for MPP", 1994.
    The smooth edge of the cache is ours.
    """
    size = np.asarray(traffic_bytes, dtype=np.float64)
    bandwidth = law.bandwidth_gb_per_s * law.bandwidth_ratio
    seconds_per_byte: FloatOrArray = 1 / (bandwidth * GIGA)
    if law.cached_bandwidth_gb_per_s is not None and law.cache_mib is not None:
        cached = within_cache(size, law.cache_mib * MIB)
        cached_pace = 1 / (law.cached_bandwidth_gb_per_s * GIGA)
        seconds_per_byte = seconds_per_byte + cached * (cached_pace - seconds_per_byte)
    seconds = law.launch_us * MICRO + size * seconds_per_byte
    return np.maximum(seconds, roof.seconds(flops, size))
