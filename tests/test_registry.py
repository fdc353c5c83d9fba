"""Registries: what ships is found when it is needed, and users come first."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from roofline.errors import UnknownNameError
from roofline.registry import Registry


def test_what_is_registered_is_found_by_its_name() -> None:
    registry: Registry[int] = Registry("number")

    assert registry.register("one", 1) == 1
    registry.register("two", 2)

    assert registry.find("two") == 2
    assert registry.names() == ("one", "two")
    assert list(registry) == [1, 2]
    assert "one" in registry
    assert "three" not in registry


def test_an_unknown_name_is_an_error_that_offers_near_ones_and_the_remedy() -> None:
    registry: Registry[int] = Registry("number", remedy="or write it out")
    registry.register("eleven", 11)

    with pytest.raises(UnknownNameError, match="unknown number 'elevn': did you mean eleven") as e:
        registry.find("elevn")
    assert "or write it out" in str(e.value)


def test_a_later_one_of_a_name_goes_first() -> None:
    registry: Registry[int] = Registry("number")
    registry.register("one", 1)

    registry.register("one", 11)

    assert registry.find("one") == 11


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A package with a registry, whose module `first` registers itself."""
    folder = tmp_path / "made_up_things"
    folder.mkdir()
    (folder / "__init__.py").write_text(
        "from roofline.registry import Registry\nTHINGS = Registry('thing', __name__)\n"
    )
    (folder / "first.py").write_text(
        "from made_up_things import THINGS\nTHINGS.register('first', 'shipped')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "made_up_things"
    for name in [n for n in sys.modules if n.startswith("made_up_things")]:
        del sys.modules[name]


def test_a_package_s_modules_are_imported_when_something_is_looked_up(package: str) -> None:
    things = __import__(package).THINGS
    assert f"{package}.first" not in sys.modules

    assert things.find("first") == "shipped"


def test_what_a_user_registered_before_stays(package: str) -> None:
    things = __import__(package).THINGS
    things.register("first", "mine")

    assert things.names() == ("first",)
    assert things.find("first") == "mine"
