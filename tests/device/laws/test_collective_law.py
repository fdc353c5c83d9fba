"""Attainable time of collectives: by hand, and properties."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from example_laws import COLLECTIVE, LINK
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from roofline.device.laws import collective_seconds
from roofline.device.laws.collective import TRAVERSALS, bus_seconds, op_of


def seconds(op: str, devices: Any, size: Any, **options: Any) -> Any:
    return collective_seconds(COLLECTIVE, op, devices, size, link_bytes_per_s=LINK, **options)


def test_latency_bandwidth_and_half_speed() -> None:
    # 2 MB is the size of half speed: twice the time at 360 GB/s, √4 = 2 times that of 2 devices
    np.testing.assert_allclose(
        seconds("all_reduce", 8, 2e6), 6e-6 + 8e-6 + 2 * 2 * 2e6 / 360e9, rtol=1e-12
    )
    # the others pass each link once where an all-reduce does twice
    np.testing.assert_allclose(
        seconds("alltoall", 2, 2e6), 6e-6 + 2 * 0.5 * 2e6 / 360e9, rtol=1e-12
    )


def test_a_law_states_its_terms() -> None:
    assert COLLECTIVE.terms.startswith("6 µs, 4 µs a doubling of devices + bytes at up to 80 %")


@pytest.mark.parametrize("op", TRAVERSALS)
def test_only_ops_that_add_up_mind_narrow_elements(op: str) -> None:
    wide, narrow = (seconds(op, 4, 1e9, narrow=narrow) for narrow in (False, True))
    assert (narrow > wide) == (op in ("all_reduce", "reduce_scatter"))


def test_the_bound_is_bus_bandwidth_as_nccl_tests_count_it() -> None:
    # the factors 2(n − 1)/n and (n − 1)/n of nccl-tests' doc/PERFORMANCE.md
    assert bus_seconds("all_reduce", 8, 1e9, link_bytes_per_s=1e11) == pytest.approx(0.0175)
    for op in ("all_gather", "reduce_scatter", "alltoall"):
        assert bus_seconds(op, 8, 1e9, link_bytes_per_s=1e11) == pytest.approx(0.00875)


@settings(deadline=None, max_examples=200)
@given(
    st.sampled_from(sorted(TRAVERSALS)),
    st.integers(2, 512),
    st.floats(1, 1e12),
    st.sampled_from([0.0, 0.6, 1.0, 1.086, 2.5]),
)
def test_never_falls_with_bytes_or_devices_and_never_beats_the_bound(
    op: str, devices: int, size: float, power: float
) -> None:
    law = replace(COLLECTIVE, half_speed_power=power)
    sizes = size * np.array([1, 1.1, 2, 100])
    counts = devices * np.array([1, 1.5, 2, 16])
    times = collective_seconds(law, op, devices, sizes, link_bytes_per_s=LINK)
    of_more = collective_seconds(law, op, counts, size, link_bytes_per_s=LINK)
    for each in (times, of_more):
        assert (np.diff(each) >= -1e-12 * each[1:]).all()
    assert (times >= bus_seconds(op, devices, sizes, link_bytes_per_s=LINK)).all()


def test_a_frameworks_own_kernel_is_of_the_same_op() -> None:
    assert op_of("all_reduce-custom") == op_of("all_reduce") == "all_reduce"
