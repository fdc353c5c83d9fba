"""What a device did that spoils a measurement, and what is no reason to warn."""

from __future__ import annotations

from typing import Any

import pytest

from roofline.torch_side.measure.telemetry import (
    Snapshot,
    telemetry_warnings,
)


def at(sm_clock_mhz: float | None = 1980, **fields: Any) -> Snapshot:
    known = {"throttle": [], "idle": False, "max_sm_clock_mhz": 1980, "temperature_c": 60}
    return Snapshot(taken_at_s=0, sm_clock_mhz=sm_clock_mhz, **(known | fields))


def test_a_quiet_run_needs_no_warning() -> None:
    assert telemetry_warnings(at(1950), [at(1980), at(1800)], at(1900)) == []


def test_nothing_known_is_nothing_to_warn_of() -> None:
    blind = Snapshot(taken_at_s=0)

    assert telemetry_warnings(blind, [], blind) == []
    assert telemetry_warnings(blind, [blind], blind) == []


def test_warns_of_a_falling_clock() -> None:
    during = [at(1755), at(1980), at(1770), at(1980)]  # −11 %

    assert telemetry_warnings(at(1755), during, at(1980)) == [
        "the SM clock fell from 1980 to 1770 MHz: times vary with it"
    ]


def test_rising_and_idle_clocks_are_no_fall() -> None:
    idle = at(345, idle=True)

    assert telemetry_warnings(idle, [at(1200), at(1900), idle, at(1980)], idle) == []


def test_warns_of_a_clock_that_is_held_low() -> None:
    assert telemetry_warnings(at(1400), [at(1410)] * 3, at(1410)) == [
        "the SM clock stayed at or below 1410 of 1980 MHz: peaks on data sheets assume the highest"
    ]


def test_warns_of_throttling_and_how_often() -> None:
    during = [at(throttle=["power cap"])] * 3 + [at(throttle=["power cap", "power brake"]), at()]
    unread = at(throttle=None)

    assert telemetry_warnings(at(), during, unread) == [
        "clocks were held down (power cap) in 4 of 6 snapshots",
        "clocks were held down (power brake) in 1 of 6 snapshots",
    ]


def test_warns_of_heat() -> None:
    assert telemetry_warnings(at(), [at(temperature_c=84)], at()) == []
    assert telemetry_warnings(at(), [at(temperature_c=88)], at()) == [
        "the GPU reached 88 °C: near its limit it slows down"
    ]


@pytest.mark.parametrize(
    ("count", "who"), [(1, "another process computes"), (3, "3 other processes compute")]
)
def test_warns_of_company(count: int, who: str) -> None:
    assert telemetry_warnings(at(other_processes=0), [], at(other_processes=count)) == [
        f"{who} on this GPU: times are not this model's alone"
    ]
