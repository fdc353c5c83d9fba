"""`profile` in several sittings: killed at any of its findings, the next one goes on behind it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from PIL import Image

from roofline.errors import OutputError
from roofline.records.journal import Journal
from roofline.records.measurement import Achieved, HostOverhead, Record, load_record
from roofline.torch_side.measure import closer_looks, machine
from roofline.torch_side.measure.disturbance import CpuDisturbance
from roofline.torch_side.measure.pipeline import Pipeline
from roofline.torch_side.measure.profile import profile
from roofline.torch_side.measure.request import Request
from roofline.torch_side.measure.stages import RESUMED, SAMPLES, about_run

TICK_S = 1 / 16
BUSY = HostOverhead(busy_s=0.5, wall_s=1.0, kernels=3, verdict="launch-bound")
OP = Achieved("llm", "q_proj", "linear", 4, 4, 1e-3, 1e-4, 1e-5)


class Killed(BaseException):
    """As SIGKILL: nobody handles it, and nothing is put in order on the way."""


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Closer looks of no time, counted."""
    taken = {"host": 0, "ops": 0}

    def host(run: object, device: object, looks: int) -> HostOverhead:
        taken["host"] += 1
        return BUSY

    def ops(*_: object) -> list[Achieved]:
        taken["ops"] += 1
        return [OP]

    monkeypatch.setattr(closer_looks, "host_overhead", host)
    monkeypatch.setattr(closer_looks, "measure_ops", lambda *_: [])
    monkeypatch.setattr(closer_looks, "achieved", ops)
    return taken


def request(**changes: Any) -> Request:
    axes = {"model": "llava-tiny", "device": "cpu", "quant": "bf16", "hardware": "xeon-8480"}
    return Request.of(**axes | {"per_op": True} | changes)


def run(journal: Journal | None, given: Request | None = None) -> Record:
    ticks = count()
    return profile(given or request(), clock=lambda: next(ticks) * TICK_S, journal=journal)


def shape(record: Record) -> Any:
    """What it holds, but for the times, and the moment of it."""
    document = record.to_dict()
    for span in document["spans"].values():
        del span["samples_s"]
    spans = {name: sorted(span) for name, span in document["spans"].items()}
    notes = [note for note in record.notes if note != RESUMED]
    return document | {"created": "", "spans": spans, "notes": notes, "warnings": []}


def killed_after(
    findings: int, target: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any
) -> bool:
    """Whether the kill came in time."""
    add, added = Journal.add, count(1)

    def add_and_die(self: Journal, kind: str, data: Any) -> None:
        add(self, kind, data)
        if next(added) == findings:
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(Journal, "add", add_and_die)
        try:
            given = request(**changes)
            run(Journal.begin(str(target), about_run(given)), given)
        except Killed:
            return True
    return False


def test_killed_at_any_finding_it_goes_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, quick_looks: dict[str, int]
) -> None:
    whole = shape(run(None))
    for findings in count(1):
        target = tmp_path / f"{findings}.json"
        if not killed_after(findings, target, monkeypatch):
            break
        journal = Journal.resume(str(target), about_run(request()))
        before = [msgspec.to_builtins(finding) for finding in journal.findings]
        assert len(before) == findings
        quick_looks.update(host=0, ops=0)
        found = run(journal)

        assert shape(found) == whole
        assert found.complete
        assert found.notes.count(RESUMED) == 1
        assert [msgspec.to_builtins(f) for f in journal.findings][:findings] == before
        kept = [sample for stretch in journal.of(SAMPLES) for sample in stretch["samples"]["whole"]]
        assert found.whole.samples_s == [sum(sample.values()) for sample in kept]
        kinds = {finding["kind"] for finding in before}
        assert quick_looks == {"host": "host" not in kinds, "ops": "op by op" not in kinds}
    assert findings > 4  # stretches of samples, timing, host, single ops


def test_what_was_measured_is_not_measured_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    journal = Journal.begin(str(tmp_path / "a.json"), about_run(request()))
    first = run(journal)
    assert not first.notes.count(RESUMED)
    timed: list[object] = []
    prefill = Pipeline.prefill
    monkeypatch.setattr(
        Pipeline, "prefill", lambda *given: (timed.append(given), prefill(*given))[1]
    )
    again = run(Journal.resume(str(tmp_path / "a.json"), about_run(request())))

    assert len(timed) == 1  # when the pipeline is made
    assert replace(again, created=first.created, notes=first.notes) == first


def test_after_ctrl_c_it_goes_on_as_well(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def pressed(*_: object) -> None:
        raise KeyboardInterrupt

    target = str(tmp_path / "a.json")
    with monkeypatch.context() as patched:
        patched.setattr(closer_looks, "host_overhead", pressed)
        part = run(Journal.begin(target, about_run(request())))
    whole = run(Journal.resume(target, about_run(request())))

    assert (part.complete, part.host) == (False, None)
    assert (whole.complete, whole.host, whole.ops) == (True, BUSY, [OP])
    assert whole.spans == part.spans


def test_more_time_and_another_look_at_the_host(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What there was no time for is no finding, and how much there is does not count."""
    target, short = str(tmp_path / "a.json"), request(cap_s=1.0)
    first = run(Journal.begin(target, about_run(short)), short)
    assert first.host is None
    assert sum("no look at the host" in note for note in first.notes) == 1
    longer = run(Journal.resume(target, about_run(request())))
    assert longer.host == BUSY
    assert not any("no look at the host" in note for note in longer.notes)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"batch": 2}, "batch is 1 there, 2 here"),
        ({"per_op": False}, "per_op is True there, False here"),
        ({"hardware": "h100"}, "hardware is"),
        ({"seed": 1}, "seed is 0 there, 1 here"),
        ({"attention": "eager"}, "attention is 'sdpa' there, 'eager' here"),
    ],
)
def test_another_run_does_not_go_on(changes: dict[str, Any], named: str, tmp_path: Path) -> None:
    target = str(tmp_path / "a.json")
    Journal.begin(target, about_run(request())).close(finished=False)
    with pytest.raises(OutputError, match=named):
        Journal.resume(target, about_run(request(**changes)))


def test_other_versions_specs_or_pictures_do_not_go_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    picture = tmp_path / "a.png"
    Image.new("RGB", (8, 8), "red").save(picture)
    red = about_run(request(image=str(picture)))
    Image.new("RGB", (8, 8), "blue").save(picture)
    assert about_run(request(image=str(picture))) != red
    known = about_run(request())
    spec = request().spec
    other = replace(spec, title="another")
    assert {k for k, v in about_run(request(model=other)).items() if known[k] != v} == {"specs"}
    monkeypatch.setattr(machine, "device_name", lambda device: "another CPU")
    assert about_run(request())["machine"] == "another CPU"


def test_a_damaged_finding_is_one_line(tmp_path: Path) -> None:
    target = str(tmp_path / "a.json")
    journal = Journal.begin(target, about_run(request()))
    journal.add("timing", {"found": {"measured": []}, "notes": [], "warnings": []})
    with pytest.raises(OutputError, match=r"a.json.partial is damaged \(.*\): --force"):
        run(journal)


def test_a_disturbed_look_is_taken_again_or_said_to_be(
    monkeypatch: pytest.MonkeyPatch, quick_looks: dict[str, int]
) -> None:
    def noisy(looks: int) -> Callable[[Any], str]:
        """Calm while samples are taken, and disturbed in so many closer looks."""
        left = iter(["noise"] * looks)
        return lambda self: next(left, "") if quick_looks["host"] else ""

    monkeypatch.setattr(CpuDisturbance, "__call__", noisy(1))
    calm = run(None)
    assert quick_looks["host"] == 2
    assert not any("noise" in warning for warning in calm.warnings)
    quick_looks.update(host=0)
    monkeypatch.setattr(CpuDisturbance, "__call__", noisy(2))
    assert "untrusted: host: noise" in run(None).warnings


def test_a_run_that_was_never_calm_is_untrusted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(CpuDisturbance, "__call__", lambda self: "noise")
    found = run(None)
    whole = len(found.whole.samples_s)

    expected = f"untrusted: noise during {whole} of {whole} samples: measure again when it is quiet"
    assert found.warnings[0] == expected
    file = tmp_path / "record.json"
    file.write_bytes(found.to_json())
    assert load_record(file).warnings[0] == expected
