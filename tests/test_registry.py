"""Registries: what is found by name, and when modules are imported for it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from roofline.errors import UnknownNameError
from roofline.registry import Registry


def test_values_are_found_by_name_in_the_order_of_registration() -> None:
    numbers: Registry[int] = Registry("number")

    assert numbers.register("two", 2) == 2
    numbers.register("one", 1)
    assert numbers.names() == ("two", "one")
    assert numbers.find("one") == 1


def test_an_unknown_name_offers_near_ones_and_the_remedy() -> None:
    numbers: Registry[int] = Registry("number", remedy="or count")
    numbers.register("seven", 7)

    with pytest.raises(
        UnknownNameError, match="unknown number 'sevn': did you mean seven"
    ) as error:
        numbers.find("sevn")
    assert "(or count)" in str(error.value)


def test_a_name_is_taken_once() -> None:
    numbers: Registry[int] = Registry("number")
    numbers.register("one", 1)

    with pytest.raises(ValueError, match="the number 'one' is registered already"):
        numbers.register("one", 2)
    assert numbers.find("one") == 1


def test_modules_of_the_package_are_imported_at_the_first_look_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "colours_of_a_test"
    package.mkdir()
    (package / "__init__.py").write_text("from roofline.registry import Registry\n")
    (package / "red.py").write_text("import holder\nholder.COLOURS.register('red', 'f00')\n")
    (package / "blue.py").write_text("import holder\nholder.COLOURS.register('blue', '00f')\n")
    (tmp_path / "holder.py").write_text(
        "from roofline.registry import Registry\n"
        "COLOURS = Registry('colour', package='colours_of_a_test')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import holder  # type: ignore[import-not-found]

    holder.COLOURS.register("green", "0f0")
    assert "colours_of_a_test.red" not in sys.modules  # who only registers imports nothing
    assert holder.COLOURS.find("red") == "f00"
    assert set(holder.COLOURS.names()) == {"red", "green", "blue"}
