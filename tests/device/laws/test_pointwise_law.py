"""Attainable time of vector ops, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from roofline.device.laws import Roof, pointwise_seconds
from roofline.device.laws.pointwise import PointwiseLaw

ROOF = Roof(flops_per_s=1e13, bytes_per_s=1e12, units=100, cache_bytes=4e7)
FIT = {"rows": 10, "median_error_percent": 4.0, "p90_error_percent": 10.0}


def test_launch_and_bandwidth() -> None:
    law = PointwiseLaw(**FIT, launch_us=2.0, bandwidth_gb_per_s=800)
    # 1 MB at 800 GB/s is 1.25 µs
    assert pointwise_seconds(law, ROOF, traffic_bytes=1e6) == pytest.approx(3.25e-6)


def test_cached_bandwidth_far_inside_the_cache_and_plain_far_outside() -> None:
    law = PointwiseLaw(
        **FIT, launch_us=0.0, bandwidth_gb_per_s=400, cached_bandwidth_gb_per_s=800, cache_mib=32
    )
    inside, at, outside = pointwise_seconds(
        law, ROOF, traffic_bytes=np.array([2.0**20, 2.0**25, 2.0**30])
    ) / np.array([2.0**20, 2.0**25, 2.0**30])
    assert inside == pytest.approx(1 / 800e9, rel=1e-5)
    assert at == pytest.approx((1 / 400e9 + 1 / 800e9) / 2)  # half of it is found
    assert outside == pytest.approx(1 / 400e9, rel=1e-5)


def test_never_below_the_roofline() -> None:
    law = PointwiseLaw(
        **FIT, launch_us=0.0, bandwidth_gb_per_s=5000, cached_bandwidth_gb_per_s=9000, cache_mib=1
    )
    assert pointwise_seconds(law, ROOF, traffic_bytes=1e9, flops=1e3) == 1e-3
    assert pointwise_seconds(law, ROOF, traffic_bytes=1e3, flops=1e10) == 1e-3
