"""`validate` in several sittings: killed at any of its findings, the next one goes on behind it."""

from __future__ import annotations

from itertools import count
from math import inf
from pathlib import Path
from typing import Any

import pytest
from made_up import lawful, toy_laws
from msgspec.structs import replace

from roofline.device.laws.host import HostLaw
from roofline.errors import OutputError
from roofline.records.journal import Journal
from roofline.records.validation import Validation
from roofline.specs.hardware import Hardware
from roofline.torch_side.calibrate import calibrate as calibration
from roofline.torch_side.calibrate.calibrate import Calibration
from roofline.torch_side.measure import timing
from roofline.torch_side.measure import validate as module
from roofline.torch_side.measure.disturbance import CpuDisturbance
from roofline.torch_side.measure.pipeline import Pipeline
from roofline.torch_side.measure.stages import RESUMED, SAMPLES
from roofline.torch_side.measure.validate import calibrate_and_validate
from roofline.torch_side.measure.validation_request import about_validation

LAWS = toy_laws(
    "fp32",
    tile=16,
    vector_gb_per_s=100.0,
    host={"llm": HostLaw(fixed_us=500.0, layer_us=100.0)},
)
ASKED: dict[str, Any] = {
    "model": "llava-tiny",
    "reducer": "prumerge",
    "hardware": None,
    "quant": None,
    "device": "cpu",
    "mode": "eager",
}


def device() -> Hardware:
    return lawful("xeon", LAWS)


class Killed(BaseException):
    """As SIGKILL: nobody handles it."""


@pytest.fixture(autouse=True)
def calibrated(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Calibrations of no time, counted; and counts of the analysis as well."""
    taken: list[int] = []

    def calibrate(*_: object, **__: object) -> Calibration:
        taken.append(1)
        return Calibration(device(), rows=[{"op": "copy"}], notes=["quick"])

    monkeypatch.setattr(module, "calibrate", calibrate)
    monkeypatch.setattr(module, "scenes", lambda spec, reducer: some_scenes)
    return taken


some_scenes = [
    module.Scene(9, 40, 1, "prumerge"),
    module.Scene(16, 8, 1),
    module.Scene(36, 44, 1, decodes=True),
]


def run(journal: Journal | None) -> tuple[Validation, Calibration | None]:
    return calibrate_and_validate(**ASKED, seconds=1.5, journal=journal)


def shape(found: Validation) -> Any:
    """What it holds, but for the times."""
    cells = [replace(cell, samples_s=[]) for cell in found.cells]
    notes = [note for note in found.notes if note != RESUMED]
    return replace(found, created="", took_s=0.0, cells=cells, notes=notes)


def test_killed_at_any_finding_it_goes_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, calibrated: list[int]
) -> None:
    monkeypatch.setattr(timing, "DISTURBED", inf)  # or samples might be taken anew
    whole, _ = run(None)
    add = Journal.add
    for findings in (1, 2, 3, 4, 5):  # calibration, counts, memory, and stretches of samples
        target = str(tmp_path / f"{findings}.json")
        added = count(1)

        def add_and_die(self: Journal, kind: str, data: Any) -> None:
            add(self, kind, data)
            if next(added) == findings:  # noqa: B023  # used before the next one
                raise Killed

        with monkeypatch.context() as patched, pytest.raises(Killed):  # noqa: PT012
            patched.setattr(Journal, "add", add_and_die)
            run(Journal.begin(target, about_validation(**ASKED)))
        calibrated.clear()
        journal = Journal.resume(target, about_validation(**ASKED))
        found, calibrated_anew = run(journal)

        assert not calibrated
        assert calibrated_anew == Calibration(device(), rows=[{"op": "copy"}], notes=["quick"])
        assert shape(found) == shape(whole)
        assert found.complete
        assert found.notes.count(RESUMED) == 1
        kept = [
            sum(sample.values())
            for stretch in journal.of(SAMPLES)
            for sample in stretch["samples"].get("24 tokens, batch 1", [])
        ]
        cell = next(c for c in found.cells if (c.component, c.tokens) == ("whole", 24))
        assert cell.samples_s == kept
    assert RESUMED not in whole.notes


def test_what_was_timed_is_not_timed_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    target = str(tmp_path / "a.json")
    first, _ = run(Journal.begin(target, about_validation(**ASKED)))
    runs: list[object] = []
    monkeypatch.setattr(module, "load_model", pytest.fail)
    prefill = Pipeline.prefill
    monkeypatch.setattr(
        Pipeline, "prefill", lambda *given: (runs.append(given), prefill(*given))[1]
    )
    again, _ = run(Journal.resume(target, about_validation(**ASKED)))

    assert not runs  # not even to make the pipelines
    assert again.cells == first.cells
    assert again.counts == first.counts


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"model": "llava-small"}, "model is 'llava-tiny' there, 'llava-small' here"),
        ({"reducer": "fastv"}, "reducer is 'prumerge' there, 'fastv' here"),
        ({"quant": "bf16"}, "quant is 'fp32' there, 'bf16' here"),
        ({"mode": "compile"}, "mode is 'eager' there, 'compile' here"),
        ({"hardware": "epyc-9654"}, "hardware is None there, 'epyc-9654' here"),
        ({"hardware": device()}, "hardware is None there, 'xeon"),
    ],
)
def test_another_validation_does_not_go_on(
    changes: dict[str, Any], named: str, tmp_path: Path
) -> None:
    target = str(tmp_path / "a.json")
    Journal.begin(target, about_validation(**ASKED)).close(finished=False)
    with pytest.raises(OutputError, match=named):
        Journal.resume(target, about_validation(**ASKED | changes))


def test_kernels_of_another_form_do_not_go_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Those of a validation's own calibration, which lie in its journal."""
    known = {"own": ASKED, "file": ASKED | {"hardware": device()}}
    for name, asked in known.items():
        Journal.begin(str(tmp_path / name), about_validation(**asked)).close(finished=False)
    monkeypatch.setattr(calibration, "_ROWS_FORM", calibration._ROWS_FORM + 1)

    with pytest.raises(OutputError, match=r"calibration's form is \d+ there, \d+ here"):
        Journal.resume(str(tmp_path / "own"), about_validation(**known["own"]))
    Journal.resume(str(tmp_path / "file"), about_validation(**known["file"]))


def test_a_machine_that_was_never_quiet_is_untrusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CpuDisturbance, "__call__", lambda self: "noise")
    found, _ = run(None)

    assert {cell.disturbance.partition(" during")[0] for cell in found.cells} == {"noise"}
    assert all(cell.disturbed for cell in found.cells)
    cells = len(found.cells)
    assert found.untrusted.startswith(f"{cells} of {cells} cells were disturbed (noise during ")
