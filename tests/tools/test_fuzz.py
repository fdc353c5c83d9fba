"""The fuzz harness: it sees what it is for, and some of its cases end well."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

import numpy as np
import pytest

FUZZ = Path(__file__).parents[2] / "tools" / "fuzz"


@pytest.fixture(scope="module")
def fuzz() -> Iterator[dict[str, ModuleType]]:
    """Its modules, which are found in their own folder."""
    sys.path.insert(0, str(FUZZ))
    try:
        yield {name: import_module(name) for name in ("judge", "commands", "cases")}
    finally:
        sys.path.remove(str(FUZZ))


@pytest.mark.parametrize(
    ("ended", "given", "said"),
    [
        ((0, "12.5 ms\n", "", ""), {}, ""),
        ((2, "", "roofline: error: a.yaml: x: is missing\n", ""), {"named": ("a.yaml",)}, ""),
        ((0, '{"a": [1, 2.5, null]}', "", ""), {"is_json": True}, ""),
        ((1, "", "", "Traceback …"), {}, "Traceback"),
        ((1, "", "roofline: error: x\n", ""), {}, "exit code 1"),
        ((None, "", "", ""), {}, "exit code None"),
        ((0, '{"a": Infinity}', "", ""), {"is_json": True}, "Infinity in JSON"),
        ((0, '{"a": 1e999}', "", ""), {"is_json": True}, "not finite"),
        ((0, "{", "", ""), {"is_json": True}, "no JSON"),
        ((0, "Time  nan ms", "", ""), {}, "no number"),
        ((0, "Time  Infinity ms", "", ""), {}, "no number"),
        ((0, "Cache  256 MB  Infinity Cache", "", ""), {}, ""),
        ((0, "Time  1 ms", "RuntimeWarning: divide\n", ""), {}, "beside it"),
        ((0, "\x1b[31mred", "", ""), {}, "control characters"),
        ((2, "1 ms", "roofline: error: x\n", ""), {}, "an error, and output"),
        ((2, "", "roofline: error: x\nroofline: error: y\n", ""), {}, "2 lines"),
        ((2, "", "Usage: roofline\n", ""), {}, "no error of ours"),
        ((2, "", f"roofline: error: {'x' * 5000}\n", ""), {}, "characters"),
        ((2, "", "roofline: error: x\n", ""), {"named": ("a.yaml",)}, "does not say where"),
    ],
)
def test_it_sees_what_is_wrong(
    ended: tuple[Any, ...], given: dict[str, Any], said: str, fuzz: dict[str, ModuleType]
) -> None:
    judge = fuzz["judge"]
    found = list(judge.faults(judge.Ended(*ended), **given))

    assert len(found) == bool(said)
    assert said in "".join(found)


def test_a_warning_of_numpy_and_a_traceback_escape(
    fuzz: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = fuzz["judge"]
    monkeypatch.setattr(judge, "main", lambda: np.log(np.zeros(2)))
    assert "FloatingPointError" in judge.ran(["analyze"]).escaped
    monkeypatch.setattr(judge, "main", lambda: [][0])
    assert "IndexError" in judge.ran(["analyze"]).escaped


@pytest.mark.parametrize("kind", ["specs", "commands", "records"])
def test_a_case_is_the_same_every_time(kind: str, fuzz: dict[str, ModuleType]) -> None:
    draw = fuzz["cases"].KINDS[kind]
    cases = [draw(Random(f"0:{kind}:{number}")) for number in range(20)]

    assert cases == [draw(Random(f"0:{kind}:{number}")) for number in range(20)]
    assert len({str(case) for case in cases}) > 15


@pytest.mark.parametrize(("kind", "count"), [("specs", 150), ("commands", 60), ("records", 60)])
def test_some_cases_end_well(kind: str, count: int, fuzz: dict[str, ModuleType]) -> None:
    failed, codes = [], set()
    with fuzz["commands"].without_measuring():
        for number in range(count):
            case = fuzz["cases"].KINDS[kind](Random(f"tests:{kind}:{number}"))
            ended, wrong = fuzz["cases"].tried(case)
            failed += [(case.arguments, wrong)] if wrong else []
            codes.add(ended.code)

    assert failed == []
    assert codes == {0, 2}


def test_what_is_replaced_is_what_the_commands_import(fuzz: dict[str, ModuleType]) -> None:
    commands = fuzz["commands"]
    for command, home, name in (*commands.REPLACED, commands.DRAWN_BY):
        source = Path(str(import_module(f"roofline.cli.{command}").__file__))
        imported = {
            (node.module, each.name)
            for node in ast.walk(ast.parse(source.read_text(encoding="utf-8")))
            if isinstance(node, ast.ImportFrom)
            for each in node.names
        }
        assert (home, name) in imported, command


def test_every_command_that_measures_gets_as_far_as_that(fuzz: dict[str, ModuleType]) -> None:
    commands, begun = fuzz["commands"], set()
    names = {command for command, *_ in commands.REPLACED}
    with commands.without_measuring():
        for number in range(1500):
            case = commands.command_case(Random(f"begun:{number}"))
            if case.arguments[0] not in names - begun:
                continue
            ended, _ = fuzz["cases"].tried(case)
            if "here the measurement would begin" in ended.err:
                begun.add(case.arguments[0])
            if begun == names:
                break

    assert begun == names


@pytest.mark.parametrize("only", ["foo:1", "specs", "specs:", "specs:x", ":"])
def test_a_case_that_there_is_not_is_told(only: str) -> None:
    command = [sys.executable, str(FUZZ), "--only", only]
    done = subprocess.run(command, capture_output=True, text=True)

    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "is no case: give specs:17" in done.stderr
