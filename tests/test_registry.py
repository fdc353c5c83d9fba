"""A registry of a package that is made for the test."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from roofline.errors import UnknownNameError
from roofline.registry import Registry

MODULE = """
class Fruit:
    def __init__(self, name):
        self.name = name

FRUITS = [{}]
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    folder = tmp_path / "orchard"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "tools.py").write_text("LADDER = 1", encoding="utf-8")
    for file, names in {"apple": ["apple"], "stone": ["plum", "cherry"]}.items():
        made = ", ".join(f"Fruit({name!r})" for name in names)
        (folder / f"{file}.py").write_text(MODULE.format(made), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield "orchard"
    for module in [m for m in sys.modules if m.partition(".")[0] == "orchard"]:
        del sys.modules[module]


class Own:
    def __init__(self, name: str) -> None:
        self.name = name


def read() -> set[str]:
    return {m.partition(".")[2] for m in sys.modules if m.startswith("orchard.")}


def test_a_file_of_the_name_is_looked_into_first(package: str) -> None:
    registry: Registry[Own] = Registry("fruit", package, "FRUITS")

    assert registry.find("apple").name == "apple"
    assert read() == {"apple"}
    assert registry.find("plum", module="stone").name == "plum"
    assert read() == {"apple", "stone"}


def test_an_entry_of_another_file_is_found_too(package: str) -> None:
    assert Registry[Own]("fruit", package, "FRUITS").find("cherry").name == "cherry"


def test_all_names_are_those_of_all_files_and_of_users(package: str) -> None:
    registry: Registry[Own] = Registry("fruit", package, "FRUITS")
    registry.register(Own("fig"))

    assert registry.names() == ["apple", "cherry", "fig", "plum"]
    assert [entry.name for entry in registry] == registry.names()


def test_a_user_s_entry_stays_before_and_after_the_file_is_read(package: str) -> None:
    registry: Registry[Own] = Registry("fruit", package, "FRUITS")
    registry.register(early := Own("plum"))
    assert registry.find("cherry").name == "cherry"
    assert registry.find("plum") is early

    registry.register(late := Own("apple"))
    registry.names()
    assert registry.find("apple") is late


def test_an_unknown_name_is_told_the_nearest(package: str) -> None:
    registry: Registry[Own] = Registry("fruit", package, "FRUITS")
    for name, hint in {"chery": "did you mean cherry?", "x": "known: apple, cherry, plum"}.items():
        with pytest.raises(UnknownNameError, match=re.escape(f"unknown fruit {name!r}: {hint}")):
            registry.find(name)
    with pytest.raises(UnknownNameError):
        registry.find("tools")
