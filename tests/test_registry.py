"""A registry holds what a package's files say, and what users add."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from roofline.errors import UnknownNameError
from roofline.registry import Registry


class Animal(NamedTuple):
    name: str
    legs: int


@pytest.fixture
def animals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry[Animal]]:
    """Of a package whose files hold a cat, two birds, and nothing."""
    package = tmp_path / "menagerie"
    package.mkdir()
    start = "from collections import namedtuple\nAnimal = namedtuple('Animal', 'name legs')\n"
    (package / "__init__.py").write_text("")
    (package / "cats.py").write_text(start + "ANIMALS = (Animal('cat', 4),)\n")
    (package / "birds.py").write_text(start + "ANIMALS = (Animal('owl', 2), Animal('wren', 2))\n")
    (package / "keeper.py").write_text("NAME = 'Jo'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield Registry("animal", "menagerie", "ANIMALS")
    for name in [name for name in sys.modules if name.partition(".")[0] == "menagerie"]:
        del sys.modules[name]


def test_files_are_read_when_something_is_looked_up(animals: Registry[Animal]) -> None:
    assert "menagerie" not in sys.modules
    assert animals.find("owl").legs == 2
    assert animals.names() == ["cat", "owl", "wren"]
    assert [animal.legs for animal in animals.entries()] == [4, 2, 2]


def test_a_new_file_needs_no_list(animals: Registry[Animal], tmp_path: Path) -> None:
    (tmp_path / "menagerie" / "fish.py").write_text(
        "from collections import namedtuple\n"
        "ANIMALS = (namedtuple('Animal', 'name legs')('carp', 0),)\n"
    )

    assert animals.find("carp").legs == 0


def test_users_add_and_replace(animals: Registry[Animal]) -> None:
    animals.register(Animal("ant", 6), Animal("cat", 3))

    assert (animals.find("ant").legs, animals.find("cat").legs) == (6, 3)
    assert animals.names() == ["ant", "cat", "owl", "wren"]


def test_an_unknown_name_has_near_ones(animals: Registry[Animal]) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown animal 'wrem': did you mean wren\?"):
        animals.find("wrem")
