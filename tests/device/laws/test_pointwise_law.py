"""Attainable time of vector ops, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace

from roofline.device.laws import Roof, pointwise_seconds
from roofline.device.laws.pointwise import PointwiseLaw

ROOF = Roof(flops_per_s=1e13, bytes_per_s=1e12, units=100, cache_bytes=4e7)
FIT = {"rows": 10, "median_error_percent": 4.0, "p90_error_percent": 10.0}


def test_launch_and_bandwidth() -> None:
    law = PointwiseLaw(**FIT, launch_us=2.0, bandwidth_gb_per_s=800)
    # 1 MB at 800 GB/s is 1.25 µs
    np.testing.assert_allclose(pointwise_seconds(law, ROOF, traffic_bytes=1e6), 3.25e-6, rtol=1e-12)
    # nothing to do, and no launch, takes no time at all
    idle = replace(law, launch_us=0.0)
    assert pointwise_seconds(idle, ROOF, traffic_bytes=0.0) == 0.0


def test_cached_bandwidth_far_inside_the_cache_and_plain_far_outside() -> None:
    law = PointwiseLaw(
        **FIT, launch_us=0.0, bandwidth_gb_per_s=400, cached_bandwidth_gb_per_s=800, cache_mib=32
    )
    inside, at, outside = pointwise_seconds(
        law, ROOF, traffic_bytes=np.array([2.0**20, 2.0**25, 2.0**30])
    ) / np.array([2.0**20, 2.0**25, 2.0**30])
    np.testing.assert_allclose(inside, 1 / 800e9, rtol=1e-5)
    np.testing.assert_allclose(at, (1 / 400e9 + 1 / 800e9) / 2)  # half of it is found
    np.testing.assert_allclose(outside, 1 / 400e9, rtol=1e-5)


@pytest.mark.parametrize("half", [{"cache_mib": 32.0}, {"cached_bandwidth_gb_per_s": 800.0}])
def test_a_cache_without_size_or_bandwidth_is_none(half: dict[str, float]) -> None:
    law = PointwiseLaw(**FIT, launch_us=2.0, bandwidth_gb_per_s=400)
    size = np.array([1e3, 1e6, 1e9])
    np.testing.assert_array_equal(
        pointwise_seconds(replace(law, **half), ROOF, traffic_bytes=size),
        pointwise_seconds(law, ROOF, traffic_bytes=size),
    )


def test_never_below_the_roofline() -> None:
    law = PointwiseLaw(
        **FIT, launch_us=0.0, bandwidth_gb_per_s=5000, cached_bandwidth_gb_per_s=9000, cache_mib=1
    )
    assert pointwise_seconds(law, ROOF, traffic_bytes=1e9, flops=1e3) == 1e-3
    assert pointwise_seconds(law, ROOF, traffic_bytes=1e3, flops=1e10) == 1e-3
