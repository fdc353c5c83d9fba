"""What follows from the figures of a record: by hand, from round numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from toy import ops, toy

from roofline.engine.result import OpQuantities, Quantities, Totals, quotient

NEEDED = {name: np.float64(0.0) for name in Quantities.__struct_fields__}


def totals(**figures: Any) -> Totals:
    """A component on a device without laws, that computes nothing in 8 s."""
    given: dict[str, Any] = {
        "roofline_time_s": 8.0,
        "bound_times_s": {"compute": 1.0},
        "attainable_time_s": None,
        "attainable_error_s": None,
        "host_time_s": None,
        "device_memory_bytes": 100.0,
    }
    return Totals(**(NEEDED | given | figures))


def test_memory_at_its_peak_is_weights_cache_and_activations() -> None:
    held = {"weight_bytes": 50.0, "kv_cache_bytes": 30.0, "peak_activation_bytes": 7.0}

    assert totals(**held).peak_memory_bytes == 87
    assert totals(**held).fits
    assert totals(**held, device_memory_bytes=87.0).fits  # to the last byte
    assert not totals(**held, device_memory_bytes=86.0).fits


@pytest.mark.parametrize(
    ("time", "error", "low", "high"),
    [
        (20.0, 3.0, 17.0, 23.0),
        (20.0, 15.0, 8.0, 35.0),  # no kernel is faster than its roofline
        (6.0, 1.0, 6.0, 7.0),  # a law below it is taken at its word
        (6.0, 0.0, 6.0, 6.0),
    ],
)
def test_the_band_around_an_attainable_time(
    time: float, error: float, low: float, high: float
) -> None:
    part = totals(attainable_time_s=time, attainable_error_s=error)

    assert part.attainable_time_low_s == low
    assert part.attainable_time_high_s == high


@pytest.mark.parametrize(("time", "error"), [(None, None), (20.0, None), (None, 3.0)])
def test_there_is_no_band_without_time_and_error(time: float | None, error: float | None) -> None:
    part = totals(attainable_time_s=time, attainable_error_s=error)

    assert part.attainable_time_low_s is part.attainable_time_high_s is None


def test_the_best_that_is_known_is_elapsed_or_attainable_or_else_the_roofline() -> None:
    assert totals().predicted_time_s == 8
    assert totals(attainable_time_s=20.0).predicted_time_s == 20
    assert "attainable_time_s" not in totals().headline
    assert totals(attainable_time_s=20.0, elapsed_time_s=30.0).predicted_time_s == 30
    assert totals(elapsed_time_s=30.0).predicted_time_s == 30
    assert totals(attainable_time_s=20.0, elapsed_time_s=30.0).kernel_time_s == 20
    assert totals(elapsed_time_s=30.0).kernel_time_s == 8
    assert "attainable_time_s" in totals(attainable_time_s=20.0).headline


@pytest.mark.parametrize(
    ("times", "bound"),
    [
        ({"compute": 5.0}, "compute"),
        ({"compute": 3.0}, "memory"),
        ({"compute": 4.0}, "compute"),  # half and half
        ({"compute": 0.0}, "memory"),
    ],
)
def test_what_binds_is_what_most_of_the_time_waits_for(times: dict[str, float], bound: str) -> None:
    assert totals(bound_times_s=times).bound == bound


def test_what_binds_is_told_configuration_by_configuration() -> None:
    many = totals(
        roofline_time_s=np.asarray([8.0, 8.0, 0.0, 0.5]),
        bound_times_s={"compute": np.asarray([7.0, 1.0, 0.0, 0.1])},
    )

    assert list(many.bound) == ["compute", "memory", "compute", "memory"]
    assert many.to_dict()["bound"] == ["compute", "memory", None, "memory"]  # where nothing runs


def test_flops_for_each_byte() -> None:
    flops, moved = np.asarray([[6.0], [9.0]]), np.asarray([0.0, 0.5, 3.0])

    np.testing.assert_array_equal(quotient(flops, moved), [[0, 12, 2], [0, 18, 3]])
    assert quotient(np.asarray(6.0), np.asarray(4.0)) == 1.5
    part = totals(flops=np.float64(6.0), memory_access_bytes=np.float64(4.0))
    assert part.arithmetic_intensity == 1.5


def test_traffic_of_an_op_is_of_five_kinds() -> None:
    op: OpQuantities = ops(toy())["prefill q_proj"]
    kinds = ("weight_read", "activation_read", "activation_write", "kv_read", "kv_write")
    made = replace(op, **{f"{kind}_bytes": np.float64(10**i) for i, kind in enumerate(kinds)})

    assert made.memory_access_bytes == 11111
    assert replace(made, flops=np.float64(33333.0)).arithmetic_intensity == 3
