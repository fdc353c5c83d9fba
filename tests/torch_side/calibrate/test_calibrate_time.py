"""How long a calibration may take: what the command line accepts, and what is made of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from roofline.cli.calibrate import calibrate as command
from roofline.errors import InputError
from roofline.torch_side.calibrate import calibrate as module
from roofline.torch_side.measure.timing import Measurement


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

    monkeypatch.setattr(module._Calibrator, "_cost_s", lambda *_: 0.0)
    monkeypatch.setattr(module, "measure", measured)
    monkeypatch.setattr(module, "calls_for", lambda *_: 1)
    monkeypatch.setattr(module, "measured_hardware", lambda *_, **__: None)
    monkeypatch.setattr(module, "host_laws", host_laws)
    for name, value in {
        "_CPU_ROWS": (1,),
        "_CPU_SHAPES": ((8, 8),),
        "_VECTOR_ROWS": (1,),
        "_WIDTHS": (8,),
        "_PROMPTS": (8, 16),
    }.items():
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(module.machine, "cache_bytes", lambda device: 2.0**16)
    with pytest.raises(MeasuringError):
        module.calibrate("cpu", modes=["fp32"], seconds=seconds)

    # half of a kernel's share is for what comes before its samples
    assert 2 * sum(caps) + sum(hosts) == pytest.approx(seconds)
    assert all(warm_up < cap for warm_up, cap in zip(warm_ups, caps, strict=True))
