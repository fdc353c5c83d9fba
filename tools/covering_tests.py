"""Which tests run which line, kept from one run of `tools/mutants.py` to the next.

Each file of tests is run once under coverage, with the running test as the context. What it found
is kept under `.mutants/` until that file, a module that it ran, a helper of the tests or a spec
changes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import coverage
import pytest
from runs import ROOT, Job, run_all, run_tests

KEPT = ROOT / ".mutants"
SPECS = ("hardware", "models", "roofline/data")
LONGEST_FILE_S = 900.0


class CoveringTests:
    """Tests by line, and how long each takes."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._lines: dict[tuple[str, int], set[str]] = {}
        self._files: dict[str, set[str]] = {}

    def add(self, found: dict[str, Any]) -> None:
        """What one file of tests found: {"seconds": {test: s}, "lines": {file: {line: [test]}}}."""
        self.seconds |= found["seconds"]
        for file, lines in found["lines"].items():
            for line, tests in lines.items():
                passed = {test for test in tests if test in self.seconds}
                self._lines.setdefault((file, int(line)), set()).update(passed)
                self._files.setdefault(file, set()).update(passed)

    def of(self, file: str, line: int, *, in_function: bool, budget_s: float) -> list[str]:
        """Tests worth running for a fault in that line, the most telling first.

        First those that run the line, of the tests of its own room; then others that run it; then
        those that run another line of the file: what is cached is run by the first test alone, and
        what runs on import by none. The quickest of each come first, up to `budget_s`.
        """
        direct = self._lines.get((file, line), set()) if in_function else set()
        room = file.split("/")[1]

        def rank(test: str) -> tuple[bool, bool, float, str]:
            elsewhere = not test.startswith(f"tests/{room}/")
            return test not in direct, elsewhere, self.seconds[test], test

        chosen: list[str] = []
        spent = 0.0
        for test in sorted(self._files.get(file, set()), key=rank):
            spent += self.seconds[test]
            if chosen and spent > budget_s:
                break
            chosen.append(test)
        return chosen


class _Recorder:
    """A pytest plugin: the running test is the context of what is measured."""

    def __init__(self, measuring: coverage.Coverage) -> None:
        self.measuring = measuring
        self.seconds: dict[str, float] = {}
        self._failed: set[str] = set()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self.measuring.switch_context(item.nodeid)
        result = yield
        self.measuring.switch_context("")
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        before = self.seconds.get(report.nodeid, 0.0)
        self.seconds[report.nodeid] = before + report.duration
        if report.outcome != "passed":
            self._failed.add(report.nodeid)

    @property
    def passed(self) -> dict[str, float]:
        return {test: s for test, s in self.seconds.items() if test not in self._failed}


def covering_tests(paths: Sequence[str], trees: Sequence[Path]) -> CoveringTests:
    """Of the tests there, by what was kept or else by running them in the trees."""
    KEPT.mkdir(exist_ok=True)
    (KEPT / ".gitignore").write_text("*\n", encoding="utf-8")
    tree = trees[0]
    files = sorted(
        file
        for path in paths
        for file in ((tree / path).rglob("test_*.py") if (tree / path).is_dir() else [tree / path])
    )
    shared = [f for f in (tree / "tests").rglob("*.py") if not f.name.startswith("test_")]
    shared += [f for folder in SPECS for f in (tree / folder).rglob("*.yaml")]
    common = {_name(file, tree): _hash(file) for file in shared}
    kept = {file: KEPT / f"{_name(file, tree).replace('/', '-')}.json" for file in files}
    missing = [file for file in files if not _fresh(kept[file], tree)]
    missing.sort(key=lambda file: file.stat().st_size, reverse=True)  # the longest first
    jobs = [_measurement(_name(file, tree), kept[file], common) for file in missing]
    failed = set()
    for number, (name, code, took) in enumerate(run_all(jobs, trees), 1):
        note = "" if code == 0 else f", exit code {code}"
        print(f"covered lines {number}/{len(jobs)}: {name}, {took:.0f} s{note}", flush=True)
        if code:  # what it ran until then is no map for the next time
            failed.add(tree / name)
    found = CoveringTests()
    for file in files:
        if _fresh(kept[file], tree):
            found.add(json.loads(kept[file].read_text(encoding="utf-8")))
        if file in failed:
            kept[file].unlink(missing_ok=True)
    return found


def _fresh(kept: Path, tree: Path) -> bool:
    """Whether all that it rests on is as it was."""
    if not kept.exists():
        return False
    depends = json.loads(kept.read_text(encoding="utf-8"))["depends"]
    return all(_hash(tree / name) == was for name, was in depends.items())


def _measurement(file: str, target: Path, common: dict[str, str]) -> Job[str]:
    def work(tree: Path) -> int:
        measuring = coverage.Coverage(
            data_file=None, source=[str(tree / "roofline")], config_file=False
        )
        recorder = _Recorder(measuring)
        measuring.start()
        code = run_tests(tree, [file], [recorder])
        measuring.stop()
        data = measuring.get_data()
        lines = {
            _name(Path(path), tree): {
                line: [test for test in tests if test]
                for line, tests in data.contexts_by_lineno(path).items()
            }
            for path in data.measured_files()
        }
        depends = {name: _hash(tree / name) for name in [file, *lines]}
        found = {"depends": common | depends, "seconds": recorder.passed, "lines": lines}
        target.write_text(json.dumps(found), encoding="utf-8")
        return code

    return Job(file, work, LONGEST_FILE_S)


def _name(file: Path, tree: Path) -> str:
    return file.relative_to(tree).as_posix()


@cache
def _hash(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16] if file.is_file() else ""
