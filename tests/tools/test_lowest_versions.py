"""Lower bounds of pyproject.toml as constraints: read off by a parser of requirements, too."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


@pytest.fixture
def constraints(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    import lowest_versions

    return lowest_versions.constraints


def test_each_bound_is_the_lowest_that_is_admitted(constraints: Any) -> None:
    groups = (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
    admitted = [Requirement(text) for group in groups for text in group]
    wanted = {
        (r.name, spec.version) for r in admitted for spec in r.specifier if spec.operator == ">="
    }

    found = [Requirement(line) for line in constraints(PROJECT)]

    assert {(r.name, next(iter(r.specifier)).version) for r in found} == wanted
    assert {r.name for r in found} == {r.name for r in admitted} - {PROJECT["name"]}


def test_no_pin_of_the_daily_tests_is_below_a_bound(constraints: Any) -> None:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if "==" in line)
    for line in constraints(PROJECT):
        name, lowest = line.split("==")
        if name in pins:
            assert Version(pins[name]) >= Version(lowest), name


def test_a_requirement_without_a_bound_is_refused(constraints: Any) -> None:
    project = {"name": "own", "dependencies": ["torch"], "optional-dependencies": {}}

    with pytest.raises(ValueError, match="torch: give a lower bound"):
        list(constraints(project))


def test_extras_upper_bounds_and_own_groups(constraints: Any) -> None:
    project = {
        "name": "own",
        "dependencies": ["b>=1.2,<2", "c[python]>=0.3"],
        "optional-dependencies": {"all": ["own[more]", "a.b>=6.0.12.2024"]},
    }

    assert list(constraints(project)) == ["a.b==6.0.12.2024", "b==1.2", "c==0.3"]
