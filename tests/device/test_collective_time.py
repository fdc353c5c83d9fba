"""Times of collectives: the bound by hand, laws of a device, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from example_laws import COLLECTIVE
from msgspec.structs import replace

import roofline
from roofline.errors import InputError
from roofline.specs.catalog import all_hardware, load_hardware


@pytest.mark.parametrize(("device", "gigabytes"), [("a100", 300), ("h100", 450), ("l40s", 31.5)])
def test_the_bound_is_the_links(device: str, gigabytes: float) -> None:
    reduce = roofline.collective_time(device, "all_reduce", 8, 1e9)
    gather = roofline.collective_time(device, "all_gather", [2, 8], 1e9)

    np.testing.assert_allclose(reduce.roofline_time_s, 1.75 / gigabytes, rtol=1e-12)
    np.testing.assert_allclose(
        gather.roofline_time_s, np.array([0.5, 0.875]) / gigabytes, rtol=1e-12
    )


def test_laws_go_by_op_and_say_what_they_are_off() -> None:
    device = load_hardware("h100")
    assert device.kernel_laws is not None
    own = replace(COLLECTIVE, latency_us=2.0, p90_other_library_error_percent=30.0)
    laws = {"all_reduce": COLLECTIVE, "all_reduce-custom": own}
    lending = replace(device, kernel_laws=device.kernel_laws.updated(collective=laws))
    device = replace(lending, laws_from=None)
    nccl, custom, gather = (
        roofline.collective_time(device, op, 8, [1e3, 1e8]) for op in (*laws, "all_gather")
    )

    assert nccl.attainable_time_s is not None
    assert custom.attainable_time_s is not None
    np.testing.assert_allclose(nccl.attainable_time_s - custom.attainable_time_s, 4e-6, rtol=1e-6)
    assert custom.p90_other_library_error_percent == 30.0
    assert custom.origin == "fitted"
    assert (nccl.attainable_time_s >= nccl.roofline_time_s).all()
    # one that nobody measured has its bound, unless a relative with the same link lends its law
    assert gather.attainable_time_s is None
    lent = roofline.collective_time(lending, "all_gather", 8, [1e3, 1e8])
    assert load_hardware(str(lending.laws_from)).link == lending.link
    assert lent.attainable_time_s is not None
    assert lent.origin == "typical"
    other_link = replace(lending, link="pcie")
    assert roofline.collective_time(other_link, "all_gather", 8, 1e8).attainable_time_s is None

    narrow = roofline.collective_time(device, "all_reduce", 8, 1e8, dtype="int8").attainable_time_s
    assert narrow is not None
    assert narrow > nccl.attainable_time_s[1]


def test_links_are_of_one_direction() -> None:
    """No device sends more by PCI Express than its generation's 16 lanes; NVLink is faster."""
    for device in all_hardware():
        figure = device.link_bandwidth_gb_per_s
        assert (figure is None) == (device.link is None), device.name
        if figure is not None and device.link == "pcie":
            assert figure.value in (15.75, 31.5, 63.0), device.name
        if figure is not None and device.link == "nvlink":
            assert 150 <= figure.value <= 900, device.name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"op": "broadcast"}, "no collective 'broadcast'.*all_reduce, all_gather"),
        ({"devices": 1}, "devices must be 2 or more"),
        ({"bytes": 0}, "bytes must be finite and above zero"),
        ({"dtype": "w4a16"}, "no collective in 'w4a16'"),
        ({"hardware": "xeon-8480"}, "no link to others.*link_bandwidth_gb_per_s"),
    ],
)
def test_refuses_what_is_no_collective(change: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {"hardware": "h100", "op": "all_reduce", "devices": 8, "bytes": 1e6}
    with pytest.raises(InputError, match=message):
        roofline.collective_time(**good | change)
