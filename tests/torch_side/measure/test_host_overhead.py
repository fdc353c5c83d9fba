"""Busy time against wall time, on a clock that the test winds."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from roofline.errors import InputError
from roofline.torch_side.measure import host_overhead as module
from roofline.torch_side.measure.host_overhead import host_overhead


def clock(*walls: float) -> Callable[[], float]:
    """Readings before and after each run."""
    readings = [reading for wall in walls for reading in (0.0, wall)]
    return lambda: readings.pop(0)


def matmul() -> None:
    torch.ones(8, 8) @ torch.ones(8, 8)


def test_what_waits_is_launch_bound() -> None:
    found = host_overhead(matmul, "cpu", repeats=3, clock=clock(999.0, 3600.0, 3.0, 7200.0))

    assert found.wall_s == 3600.0  # the median of 3600, 3 and 7200: the first run does not count
    assert found.verdict == "launch-bound"
    assert found.kernels >= 3  # two fills, one product
    assert 0 < found.busy_s < 3600


def test_what_works_all_the_time_is_device_bound() -> None:
    found = host_overhead(matmul, "cpu", repeats=1, clock=clock(1.0, 1e-12))

    assert found.busy_share == 1.0
    assert found.verdict == "device-bound"


@pytest.mark.parametrize(
    ("busy_s", "verdict"), [(0.79, "launch-bound"), (0.8, "device-bound"), (1.1, "device-bound")]
)
def test_the_verdict_turns_at_four_fifths(
    monkeypatch: pytest.MonkeyPatch, busy_s: float, verdict: str
) -> None:
    monkeypatch.setattr(module, "busy", lambda events, on_cpu: (10, busy_s))

    found = host_overhead(matmul, "cpu", repeats=1, clock=clock(9.0, 1.0))

    assert (found.verdict, found.kernels) == (verdict, 10)


def test_every_run_is_followed_by_its_like() -> None:
    runs: list[None] = []
    host_overhead(lambda: (runs.append(None), matmul()), "cpu", repeats=2)

    assert len(runs) == 2 * (2 + 1)


def test_no_repeats() -> None:
    with pytest.raises(InputError, match="`repeats` must be 1 or more"):
        host_overhead(matmul, "cpu", repeats=0)
