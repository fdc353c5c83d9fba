"""How long a calibration may take: what the command line accepts, and what is made of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from made_up_machine import hush, shrink

from roofline.cli.calibrate import calibrate as command
from roofline.errors import InputError
from roofline.torch_side.calibrate import calibrate as module
from roofline.torch_side.calibrate import kernel_timing
from roofline.torch_side.calibrate.microbench import Bench
from roofline.torch_side.measure.timing import Measurement


class FakeClock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def turn_on(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


class MeasuringError(Exception):
    """Raised in place of a measurement: the command line was accepted."""


@pytest.fixture
def requested_s(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that a measurement is started with; none is made."""
    found: list[float] = []

    def measure(*_: Any, seconds: float, **__: Any) -> None:
        found.append(seconds)
        raise MeasuringError

    monkeypatch.setattr(module, "calibrate", measure)
    return found


def run(tmp_path: Path, *options: str) -> Any:
    return CliRunner().invoke(command, [*options, "-o", str(tmp_path / "here.yaml")])


@pytest.mark.parametrize("seconds", ["0", "-1", "-0.001", "soon"])
def test_a_calibration_in_no_time_is_refused_before_anything_is_measured(
    tmp_path: Path, requested_s: list[float], seconds: str
) -> None:
    result = run(tmp_path, "--seconds", seconds)

    assert result.exit_code == 2
    assert "'--seconds'" in result.output
    assert requested_s == []


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf")])
def test_nor_is_one_started_from_python(seconds: float) -> None:
    with pytest.raises(InputError, match="seconds must be above 0"):
        module.calibrate("cpu", modes=["fp32"], seconds=seconds)


@pytest.mark.parametrize("seconds", ["0.001", "1", "1e6"])
def test_any_time_above_zero_is_taken(
    tmp_path: Path, requested_s: list[float], seconds: str
) -> None:
    result = run(tmp_path, "--seconds", seconds)

    assert isinstance(result.exception, MeasuringError)
    assert requested_s == [float(seconds)]


def test_the_default_is_two_minutes(tmp_path: Path, requested_s: list[float]) -> None:
    run(tmp_path)

    assert requested_s == [120.0]


@pytest.mark.parametrize("seconds", [5.0, 100.0])
def test_all_samples_together_may_take_what_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    caps: list[float] = []
    warm_ups: list[float] = []

    def measured(subjects: Any, _: Any, rule: Any, *, warm_up: Any, **__: Any) -> Any:
        caps.append(rule.cap_s * len(subjects))
        warm_ups.append(warm_up.cap_s * len(subjects))
        return {s.name: Measurement(total=[1e-3] * 6, stopped="settled") for s in subjects}

    hosts: list[float] = []

    def host_laws(*_: Any, budget_s: float, **__: Any) -> dict[str, Any]:
        hosts.append(budget_s)
        raise MeasuringError

    shrink(monkeypatch)
    monkeypatch.setattr(kernel_timing, "measure", measured)
    monkeypatch.setattr(kernel_timing, "calls_for", lambda *_: 1)
    monkeypatch.setattr(module, "measured_hardware", lambda *_, **__: (None, []))
    monkeypatch.setattr(module, "host_laws", host_laws)
    hush(monkeypatch)
    with pytest.raises(MeasuringError):
        module.calibrate("cpu", modes=["fp32"], seconds=seconds)

    # half of a kernel's share is for what comes before its samples
    assert 2 * sum(caps) + sum(hosts) == pytest.approx(seconds)
    assert all(warm_up < cap for warm_up, cap in zip(warm_ups, caps, strict=True))


def test_too_little_time_is_refused_before_anything_is_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kernel_timing, "measure", pytest.fail)

    # 11 of ceilings, 2 · (40 + 44) of matmuls and attention, 216 vector ops; all of them twice
    with pytest.raises(
        InputError, match=r"395 kernels take some 12 s at least.*--seconds 12 or more"
    ):
        module.calibrate("cpu", modes=["fp32", "bf16"], seconds=1.0)


def test_what_a_slow_device_needs_is_found_out_first(monkeypatch: pytest.MonkeyPatch) -> None:
    shrink(monkeypatch)
    monkeypatch.setattr(kernel_timing, "measure", pytest.fail)
    monkeypatch.setattr(kernel_timing.KernelTimer, "cost_s", lambda *_: 0.5)

    with pytest.raises(InputError, match=r"165 kernels take some 165 s at least"):
        module.calibrate("cpu", modes=["fp32"], seconds=10.0)


def test_a_kernel_costs_what_it_takes_to_make_and_to_run(clock: FakeClock) -> None:
    """What is made once for all of a kind does not count, nor what the first run takes longer."""
    made, ran = iter([9.0, 0.25]), iter([7.0, 0.5])
    timer = kernel_timing.KernelTimer(torch.device("cpu"), clock)

    def make() -> Any:
        clock.now += next(made)
        return lambda: clock.turn_on(next(ran))

    assert timer.cost_s(Bench({"op": "a"}, make)) == 0.25 + 4 * 0.5


def test_one_that_cannot_run_costs_nothing(clock: FakeClock) -> None:
    timer = kernel_timing.KernelTimer(torch.device("cpu"), clock)

    def make() -> Any:
        raise NotImplementedError

    assert timer.cost_s(Bench({"op": "a"}, make)) == 0.0
