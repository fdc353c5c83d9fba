"""A calibration that was killed goes on where it stopped, and ends as if nothing had been."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from made_up_machine import HOSTS, pretend, shrink

from roofline.cli.calibrate import calibrate as command
from roofline.errors import InputError, OutputError
from roofline.records.journal import Journal
from roofline.torch_side.calibrate import calibrate as module
from roofline.torch_side.calibrate import kernel_timing, microbench, selection
from roofline.torch_side.calibrate.calibrate import Calibration, about, calibrate
from roofline.torch_side.calibrate.microbench import Bench, TimedCall
from roofline.torch_side.measure import machine
from roofline.torch_side.measure.trial import Stretch

MODES = ["bf16", "w8a16"]


class Killed(BaseException):
    """Nothing catches it, as nothing catches SIGKILL."""


@pytest.fixture(scope="module")
def uninterrupted() -> tuple[Calibration, list[str]]:
    """A calibration as it ends by itself, and the kernels that it has timed."""
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        timed = pretend(patch)
        return run(), timed


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of kernels, each time that they are timed."""
    shrink(monkeypatch)
    return pretend(monkeypatch)


def run(journal: Journal | None = None) -> Calibration:
    return calibrate("cpu", name="here", modes=MODES, seconds=60.0, journal=journal)


def killed_after(findings: int, target: str, patch: pytest.MonkeyPatch) -> None:
    """Begin, and die as soon as so many findings are on the disk."""
    journal = Journal.begin(target, about("cpu", MODES))
    add, left = journal.add, iter(range(findings))

    def add_or_die(kind: str, data: Any) -> None:
        if next(left, None) is None:
            raise Killed
        add(kind, data)

    patch.setattr(journal, "add", add_or_die)
    with pytest.raises(Killed):
        run(journal)


@pytest.mark.parametrize("findings", [0, 1, 11, 40, 120])
def test_what_was_measured_is_not_measured_again(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    timed: list[str],
    uninterrupted: tuple[Calibration, list[str]],
    findings: int,
) -> None:
    whole, once = uninterrupted
    target = str(tmp_path / "here.yaml")
    killed_after(findings, target, monkeypatch)
    timed.clear()

    resumed = run(Journal.resume(target, about("cpu", MODES)))

    assert timed == once[findings:]
    assert resumed.rows == whole.rows
    assert resumed.hardware == whole.hardware
    assert (resumed.notes, resumed.untrusted) == (whole.notes, whole.untrusted)
    assert resumed.csv() == whole.csv()


def test_less_free_memory_makes_no_other_kernels(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    timed: list[str],
    uninterrupted: tuple[Calibration, list[str]],
) -> None:
    whole, once = uninterrupted
    target = str(tmp_path / "here.yaml")
    killed_after(40, target, monkeypatch)
    timed.clear()
    pools: list[float] = []
    weights = selection.weights
    monkeypatch.setattr(
        selection, "weights", lambda size, *more: (pools.append(size), weights(size, *more))[1]
    )
    monkeypatch.setattr(machine, "free_bytes", lambda device: 2.0**20)

    resumed = run(Journal.resume(target, about("cpu", MODES)))

    assert timed == once[40:]
    assert resumed.rows == whole.rows
    assert set(pools) == {6 * 2.0**20}  # of the cache


def test_the_host_is_a_stage_of_its_own(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    timed: list[str],
    uninterrupted: tuple[Calibration, list[str]],
) -> None:
    target = str(tmp_path / "here.yaml")
    whole, once = uninterrupted
    kernels = len(once)
    killed_after(kernels, target, monkeypatch)
    journal = Journal.resume(target, about("cpu", MODES))
    assert len(journal.findings) == kernels
    timed.clear()
    run(journal)
    journal.close(finished=False)

    monkeypatch.setattr(module, "host_laws", pytest.fail)
    again = run(Journal.resume(target, about("cpu", MODES)))

    assert timed == []
    assert again.hardware == whole.hardware


def test_samples_of_the_host_are_kept_as_they_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, timed: list[str]
) -> None:
    target = str(tmp_path / "here.yaml")
    taken = [Stretch({"prefill 3": [{"llm": 1.0 + i}]}, "others" * i) for i in range(2)]

    def killed(*_: object, keep: Callable[[Stretch], object], **__: object) -> None:
        for stretch in taken:
            keep(stretch)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(module, "host_laws", killed)
        with pytest.raises(Killed):
            run(Journal.begin(target, about("cpu", MODES)))
    found: list[Stretch] = []

    def resumed(*_: object, known: Sequence[Stretch], **__: object) -> tuple[object, str]:
        found.extend(known)
        return HOSTS, ""

    monkeypatch.setattr(module, "host_laws", resumed)
    run(Journal.resume(target, about("cpu", MODES)))

    assert found == taken


def test_kernels_that_did_not_run_are_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, timed: list[str]
) -> None:
    target = str(tmp_path / "here.yaml")
    tried: list[object] = []

    def refuse(*_: object) -> None:
        tried.append(None)
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(microbench, "through_layer", refuse)
    monkeypatch.setattr(kernel_timing, "calls_for", lambda run, *_: run() or 1)
    journal = Journal.begin(target, about("cpu", MODES))
    first = run(journal)
    journal.close(finished=False)
    assert tried
    tried.clear()

    again = run(Journal.resume(target, about("cpu", MODES)))

    assert tried == []
    assert again.notes == first.notes == ["not measured: matmul w8a16: no such kernel"]


@pytest.mark.parametrize(
    ("op", "level", "named"),
    [
        ("copy read write", "memory", "memory ceiling .*: copy memory"),
        ("copy read write", "cache", "cache ceiling .*: copy cache"),
        ("launch", None, "launch overhead .*: launch"),
    ],
)
def test_a_ceiling_that_does_not_run_is_one_line_and_is_tried_again(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    timed: list[str],
    op: str,
    level: str | None,
    named: str,
) -> None:
    """As where memory is short: that does not last."""
    target = str(tmp_path / "here.yaml")
    chosen = module.chosen_benches

    def too_large() -> TimedCall:
        raise torch.OutOfMemoryError("out of memory")

    def short_of_memory(*given: Any) -> dict[str, list[Bench]]:
        def short(bench: Bench) -> bool:
            return bench.row["op"] in op.split() and bench.row.get("level") == level

        return {
            part: [replace(each, make=too_large) if short(each) else each for each in benches]
            for part, benches in chosen(*given).items()
        }

    journal = Journal.begin(target, about("cpu", MODES))
    with monkeypatch.context() as patch:
        patch.setattr(module, "chosen_benches", short_of_memory)
        with pytest.raises(InputError, match=rf"{named}.*: out of memory\): .*--resume"):
            run(journal)
    journal.close(finished=False)
    assert all("matmul" not in name for name in timed)

    found = run(Journal.resume(target, about("cpu", MODES)))

    assert found.notes == []
    assert set(Counter(timed).values()) == {2}  # in either sweep
    assert len(timed) == 2 * len(found.rows)


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("kernel", {"columns": {"op": "launch"}, "call_s": [1e-6]}),
        ("kernel", {"name": "launch", "columns": {"op": "launch"}, "call_s": 1e-6}),
        ("left out", {"name": "launch"}),
        ("host", {"laws": {"llm": {}}, "disturbed": ""}),
    ],
)
def test_a_finding_of_another_shape_is_one_line(
    tmp_path: Path, timed: list[str], kind: str, data: Any
) -> None:
    target = str(tmp_path / "here.yaml")
    journal = Journal.begin(target, about("cpu", MODES))
    journal.add(kind, data)
    journal.close(finished=False)

    with pytest.raises(OutputError, match=r"here.yaml.partial is damaged \(.*\): --force begins"):
        run(Journal.resume(target, about("cpu", MODES)))


def test_a_journal_of_other_modes_is_refused(tmp_path: Path) -> None:
    target = str(tmp_path / "here.yaml")
    Journal.begin(target, about("cpu", MODES)).close(finished=False)

    with pytest.raises(OutputError, match="modes is"):
        Journal.resume(target, about("cpu", ["fp32"]))


class TestCommand:
    def call(self, folder: Path, *options: str) -> Any:
        given = ["--quant", "fp32", "--seconds", "60", *options, "-o", str(folder / "here.yaml")]
        return CliRunner().invoke(command, given)

    def test_a_finished_run_leaves_no_journal(self, tmp_path: Path, timed: list[str]) -> None:
        assert self.call(tmp_path).exit_code == 0
        assert [file.name for file in tmp_path.iterdir()] == ["here.yaml"]

    def test_an_interrupted_one_says_how_to_go_on(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, timed: list[str]
    ) -> None:
        def interrupt(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(module, "host_laws", interrupt)
            cut = self.call(tmp_path)
        kernels = len(timed)
        assert "here.yaml.partial keeps what was measured: --resume goes on" in cut.stderr
        refused = self.call(tmp_path)
        assert isinstance(refused.exception, OutputError)
        assert "--resume goes on with it" in str(refused.exception)

        assert self.call(tmp_path, "--resume").exit_code == 0

        assert len(timed) == kernels
        assert [file.name for file in tmp_path.iterdir()] == ["here.yaml"]

    def test_a_forgotten_resume_is_refused_before_anything_else(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "here.yaml.partial").write_text("{}")
        monkeypatch.setattr("roofline.cli.calibrate.require", pytest.fail)

        refused = self.call(tmp_path)

        assert isinstance(refused.exception, OutputError)
        assert "--resume goes on with it" in str(refused.exception)

    def test_where_nothing_can_be_written_what_was_measured_stays(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, timed: list[str]
    ) -> None:
        def full(*_: object, **__: object) -> None:
            raise OutputError("cannot write here.yaml: no space left on device")

        with monkeypatch.context() as patch:
            patch.setattr("roofline.cli.output.write_measured", full)
            failed = self.call(tmp_path)
        kernels = len(timed)
        assert "no space left" in str(failed.exception)
        assert "keeps what was measured: --resume goes on" in failed.stderr

        assert self.call(tmp_path, "--resume").exit_code == 0
        assert len(timed) == kernels

    def test_one_that_is_refused_leaves_nothing(self, tmp_path: Path) -> None:
        refused = self.call(tmp_path, "--seconds", "0.001")

        assert "kernels take some" in str(refused.exception)
        assert "keeps what was measured" not in refused.stderr
        assert list(tmp_path.iterdir()) == []


SMALL = """
import pytest
import torch
from made_up_machine import shrink
from roofline.records.journal import Journal
from roofline.torch_side.calibrate import calibrate as module
torch.set_num_threads({threads})
patch = pytest.MonkeyPatch()
shrink(patch)
journal = Journal.begin({target!r}, module.about("cpu", ["fp32"]))
module.calibrate("cpu", modes=["fp32"], seconds=30.0, journal=journal)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows kills otherwise")
def test_a_process_that_is_killed_at_any_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real one, whose kernels take what they take."""
    target = str(tmp_path / "here.yaml")
    file = Path(f"{target}.partial")
    paths = os.pathsep.join(filter(None, sys.path))
    process = subprocess.Popen(
        [sys.executable, "-c", SMALL.format(target=target, threads=torch.get_num_threads())],
        env={**os.environ, "PYTHONPATH": paths},
        stderr=subprocess.PIPE,
    )
    try:
        deadline = time.monotonic() + 120
        while not file.exists() or file.read_bytes().count(b"\n") < 15:
            assert process.poll() is None, process.communicate()[1].decode()
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    shrink(monkeypatch)
    timed = pretend(monkeypatch)
    journal = Journal.resume(target, about("cpu", ["fp32"]))
    measured = [finding.data["name"] for finding in journal.findings]
    assert len(measured) >= 14

    found = calibrate("cpu", modes=["fp32"], seconds=60.0, journal=journal)

    times = Counter(measured + timed)
    assert set(times.values()) == {2}  # in either sweep
    assert len(found.rows) == len(times)
    whole = calibrate("cpu", modes=["fp32"], seconds=60.0)
    assert [set(row) for row in found.rows] == [set(row) for row in whole.rows]
    assert [row["op"] for row in found.rows] == [row["op"] for row in whole.rows]
    laws, expected = found.hardware.kernel_laws, whole.hardware.kernel_laws
    assert laws is not None
    assert expected is not None
    assert {name: list(some) for name, some in laws.families.items()} == {
        name: list(some) for name, some in expected.families.items()
    }
