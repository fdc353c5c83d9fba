"""A registry holds what a package's files register, and what users add."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from roofline.errors import UnknownNameError
from roofline.registry import Registry

FILES = {
    "__init__": """
from roofline.registry import Registry
FRUITS = Registry("fruit", __name__)
""",
    "tools": "LADDER = 1",
    "apple": """
from orchard import FRUITS
FRUITS.register("apple", "round")
""",
    "stone": """
from orchard import FRUITS
FRUITS.register("plum", "blue")
FRUITS.register("cherry", "red")
""",
}


@pytest.fixture
def fruits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry[str]]:
    """Of a package whose files hold an apple, two stone fruits, and nothing."""
    folder = tmp_path / "orchard"
    folder.mkdir()
    for name, text in FILES.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield import_module("orchard").FRUITS
    for module in [m for m in sys.modules if m.partition(".")[0] == "orchard"]:
        del sys.modules[module]


def test_files_are_read_when_something_is_looked_up(fruits: Registry[str]) -> None:
    assert not [m for m in sys.modules if m.startswith("orchard.")]
    assert fruits.find("plum") == "blue"
    assert fruits.names() == ("apple", "plum", "cherry")
    assert list(fruits) == ["round", "blue", "red"]
    assert "cherry" in fruits
    assert "tools" not in fruits


def test_a_new_file_needs_no_list(fruits: Registry[str], tmp_path: Path) -> None:
    text = FILES["apple"].replace("apple", "fig")
    (tmp_path / "orchard" / "fig.py").write_text(text, encoding="utf-8")

    assert fruits.find("fig") == "round"


def test_users_add_and_replace_before_and_after_files_are_read(fruits: Registry[str]) -> None:
    fruits.register("plum", "yellow")
    fruits.register("pear", "green")
    assert fruits.find("cherry") == "red"
    assert (fruits.find("plum"), fruits.find("pear")) == ("yellow", "green")

    fruits.register("apple", "sour")
    assert set(fruits.names()) == {"apple", "cherry", "pear", "plum"}
    assert fruits.find("apple") == "sour"


def test_an_unknown_name_is_told_the_nearest(fruits: Registry[str]) -> None:
    for name, hint in {"chery": "did you mean cherry?", "x": "known: apple, cherry, plum"}.items():
        with pytest.raises(UnknownNameError, match=re.escape(f"unknown fruit {name!r}: {hint}")):
            fruits.find(name)
