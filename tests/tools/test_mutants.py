"""Mutations are those that are meant, each in its place; runs end, and end what does not."""

from __future__ import annotations

import ast
import os
import signal
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]

SOURCE = '''\
"""A module: 1 + 1."""

from typing import Literal

Kind = Literal["a", "b"]
SIZES: dict[str, int] = {"small": 3}


@lru_cache(maxsize=64)
def area(width: int = 2, height: float | None = None) -> float:
    """Width × 2."""
    assert width > 0
    if width < 1 and not height:
        raise ValueError(f"{width - 1} is too small")
    sizes = [width for width, _ in zip([width, height], "ab", strict=True)]
    sizes[0] += 1
    label = f"{width / 10:.1f} wide, " f"{max(sizes)} é"
    return divide(min(sizes), sizes[-1]) * -height
'''
CHANGES = {
    "3 → 4",
    "3 → 2",
    "2 → 3",
    "2 → 1",
    "width < 1 and (not height) → width < 1 or not height",
    "width < 1 → width <= 1",
    "width < 1 → width > 1",
    "1 → 2",
    "1 → 0",
    "not height → height",
    "raise ValueError(f'{width - 1} is too small') → pass",
    "0 → -1",
    "zip([width, height], 'ab', strict=True) → zip('ab', [width, height], strict=True)",
    "sizes[0] += 1 → pass",
    "width / 10 → width * 10",
    "10 → 11",
    "10 → 9",
    "max(sizes) → min(sizes)",
    "min(sizes) → max(sizes)",
    "divide(min(sizes), sizes[-1]) → divide(sizes[-1], min(sizes))",
    "sizes[-1] → sizes[0]",
    "divide(min(sizes), sizes[-1]) * -height → divide(min(sizes), sizes[-1]) / -height",
    "-height → height",
}


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "tools"))


def test_what_is_mutated_and_what_is_left_alone(tools: None) -> None:
    """Not annotations, decorators, docstrings, assertions, formats, `strict`, an error's words."""
    from mutations import mutations

    found = mutations(SOURCE)

    assert {m.change for m in found} == CHANGES
    assert [m.line for m in found if m.change == "2 → 3"] == [10]
    assert [m.in_function for m in found if m.change in ("2 → 3", "3 → 4")] == [False, False]
    assert all(m.in_function for m in found if m.line > 10)


def test_a_mutation_changes_that_place_and_no_other(tools: None) -> None:
    from mutations import mutations

    before = SOURCE.splitlines()
    for mutation in mutations(SOURCE):
        source = mutation.applied(SOURCE)
        after = source.splitlines()
        changed = [i + 1 for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b]

        assert changed == [mutation.line]
        assert ast.dump(ast.parse(source)) != ast.dump(ast.parse(SOURCE))


def test_runs_are_timed_out_judged_and_undone(tools: None, tmp_path: Path) -> None:
    from runs import CRASHED, TIMED_OUT, Job, run_all

    seven = tmp_path / "seven"
    seven.write_text("7")
    folder = tmp_path / "tree"
    folder.mkdir()

    def hangs(tree: Path) -> int:
        time.sleep(60)
        return 0

    def crashes(tree: Path) -> int:
        os.kill(os.getpid(), signal.SIGKILL)
        return 0

    def reads(tree: Path) -> int:
        return int((tree / "number").read_text())

    def job(about: str, work: Any, limit_s: float = 30.0) -> Any:
        return Job(
            about,
            work,
            limit_s,
            before=lambda tree: (tree / "number").symlink_to(seven),
            after=lambda tree: (tree / "number").unlink(),
        )

    jobs = [job("hang", hangs, 0.2), job("crash", crashes), job("read", reads), job("read", reads)]
    done = [(about, code) for about, code, _ in run_all(jobs, [folder])]

    assert done == [("hang", TIMED_OUT), ("crash", CRASHED), ("read", 7), ("read", 7)]
    assert list(folder.iterdir()) == []


def test_tests_that_run_the_line_come_first_and_the_quickest_of_them(tools: None) -> None:
    pytest.importorskip("coverage", reason="the checks' environment has it")
    from covering_tests import CoveringTests

    known = CoveringTests()
    file = "roofline/model/op.py"
    known.add(
        {
            "seconds": {
                "tests/model/test_block.py::a": 2.0,
                "tests/model/test_block.py::b": 1.0,
                "tests/engine/test_ops.py::c": 0.1,
                "d": 9.0,
            },
            "lines": {
                file: {
                    "7": [
                        "tests/model/test_block.py::a",
                        "tests/model/test_block.py::b",
                        "tests/engine/test_ops.py::c",
                        "one that failed",
                    ],
                    "8": ["d"],
                }
            },
        }
    )

    def tests(line: int, budget_s: float, *, in_function: bool = True) -> list[str]:
        return known.of(file, line, in_function=in_function, budget_s=budget_s)

    assert tests(7, 100) == [
        "tests/model/test_block.py::b",
        "tests/model/test_block.py::a",
        "tests/engine/test_ops.py::c",
        "d",
    ]
    assert tests(7, 3.5) == [
        "tests/model/test_block.py::b",
        "tests/model/test_block.py::a",
        "tests/engine/test_ops.py::c",
    ]
    assert tests(8, 0) == ["d"]  # one at least
    assert tests(7, 3, in_function=False)[0] == "tests/model/test_block.py::b"
    assert known.of("roofline/units.py", 1, in_function=True, budget_s=1) == []


def test_the_share_of_a_room_and_its_gaps(tools: None) -> None:
    import coverage_report

    files = {
        "roofline/engine/price.py": {
            "executed_lines": [1, 2, 5],
            "missing_lines": [3, 4, 9],
            "executed_branches": [[2, 5]],
            "missing_branches": [[2, 3], [3, 4], [5, 0]],
        },
        "roofline/units.py": {"executed_lines": [1], "missing_lines": []},
    }
    lines, branches = coverage_report.shares(files)["engine"]

    assert (lines.percent, branches.percent) == (50, 25)
    assert coverage_report.shares(files)["units"] == ((1, 1), (0, 0))
    assert coverage_report.gaps(files, ["engine"]) == "roofline/engine/price.py: 3–4, 9, 2→3, 5→end"
    assert set(coverage_report.FLOORS) <= {p.name for p in (ROOT / "roofline").iterdir()}


def test_the_list_of_equivalent_mutants_gives_reasons() -> None:
    entries = tomllib.loads((ROOT / "tools" / "equivalent_mutants.toml").read_text("utf-8"))
    for entry in entries.get("mutant", []):
        assert set(entry) == {"file", "line", "change", "reason"}
        assert len(entry["reason"]) > 15
