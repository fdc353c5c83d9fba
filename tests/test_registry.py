"""Registries: found by name, discovered on first need, and open to users."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from roofline.engine.accounting import ACCOUNTINGS
from roofline.errors import UnknownNameError
from roofline.model.architectures import CONNECTORS, LANGUAGE_MODELS, VISION_ENCODERS
from roofline.registry import Registry

PACKAGE = "shapes_that_ship"
SQUARE = """
from {package} import SHAPES, imported
imported.append("square")
SHAPES.register("square", 4)
"""


@pytest.fixture
def shapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry[int]]:
    """A registry whose package holds three modules, two of which register something."""
    folder = tmp_path / PACKAGE
    folder.mkdir()
    (folder / "__init__.py").write_text(
        "from roofline.registry import Registry\n"
        "imported = []\n"
        "SHAPES = Registry('shape', __name__)\n"
    )
    (folder / "square.py").write_text(SQUARE.format(package=PACKAGE))
    (folder / "triangle.py").write_text(
        SQUARE.replace("square", "triangle").format(package=PACKAGE)
    )
    (folder / "helper.py").write_text("raise_nothing = True\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield __import__(PACKAGE).SHAPES
    for name in [name for name in sys.modules if name.split(".")[0] == PACKAGE]:
        del sys.modules[name]


def imported() -> list[str]:
    return list(sys.modules[PACKAGE].imported)


def test_what_is_registered_is_found() -> None:
    registry: Registry[int] = Registry("shape")

    assert registry.register("square", 4) == 4
    assert registry.find("square") == 4
    assert "square" in registry
    assert "circle" not in registry
    assert registry.names() == ("square",)
    assert list(registry) == [4]


def test_the_later_of_one_name_counts_and_keeps_the_place() -> None:
    registry: Registry[int] = Registry("shape")
    for name, sides in (("square", 4), ("triangle", 3), ("square", 5)):
        registry.register(name, sides)

    assert registry.find("square") == 5
    assert registry.names() == ("square", "triangle")
    assert list(registry) == [5, 3]


def test_an_unknown_name_offers_the_nearest() -> None:
    registry: Registry[int] = Registry("shape")
    registry.register("square", 4)
    registry.register("triangle", 3)

    with pytest.raises(
        UnknownNameError, match=r"unknown shape 'squar': did you mean square\?"
    ) as e:
        registry.find("squar")
    assert e.value.nearest == ["square"]
    with pytest.raises(UnknownNameError, match="unknown shape 'x': known: square, triangle"):
        registry.find("x")
    with pytest.raises(UnknownNameError, match="unknown shape 'square'"):
        Registry("shape").find("square")


def test_an_unknown_name_offers_what_else_it_may_be() -> None:
    registry: Registry[int] = Registry("shape", remedy="or draw it")
    registry.register("square", 4)

    with pytest.raises(UnknownNameError, match=r"did you mean square\? \(or draw it\)"):
        registry.find("squar")


def test_nothing_is_imported_before_it_is_needed(shapes: Registry[int]) -> None:
    shapes.register("circle", 1)
    assert shapes.find("circle") == 1
    assert "circle" in shapes
    assert imported() == []

    assert shapes.find("triangle") == 4
    assert sorted(imported()) == ["square", "triangle"]


@pytest.mark.parametrize("ask", [lambda r: r.names(), list, lambda r: "circle" in r])
def test_whoever_asks_for_all_gets_what_ships(shapes: Registry[int], ask: object) -> None:
    ask(shapes)  # type: ignore[operator]

    assert sorted(imported()) == ["square", "triangle"]
    assert sorted(shapes.names()) == ["square", "triangle"]
    assert len(imported()) == 2  # once


def test_a_users_own_wins_over_what_ships(shapes: Registry[int]) -> None:
    shapes.register("square", 400)  # before anything of the package is imported

    assert shapes.find("triangle") == 4
    assert shapes.find("square") == 400
    shapes.register("triangle", 300)  # and after
    assert shapes.find("triangle") == 300
    assert sorted(shapes) == [300, 400]


def test_unknown_names_know_of_what_ships(shapes: Registry[int]) -> None:
    with pytest.raises(UnknownNameError, match="did you mean triangle"):
        shapes.find("triangel")


def test_what_ships_is_there() -> None:
    assert set(ACCOUNTINGS.names()) >= {"exact", "llm-viewer"}
    assert "language-model" in LANGUAGE_MODELS
    assert "vision-encoder" in VISION_ENCODERS
    assert "connector" in CONNECTORS
