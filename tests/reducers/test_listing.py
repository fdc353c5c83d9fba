"""`roofline.reducers()`, and the options of a reducer with what their fields say."""

from __future__ import annotations

import subprocess
import sys
from typing import Annotated

import pytest
from msgspec import Meta

import roofline
from roofline import count, reducers
from roofline.reducers.base import Reducer
from roofline.reducers.fastv import FastV
from roofline.reducers.listing import options_of


def test_the_package_is_a_frame_when_it_is_called() -> None:
    frame = roofline.reducers()

    assert list(frame.index) == list(roofline.reducers.names())
    assert frame.index.name == "reducer"
    assert frame.loc["fastv", "site"] == "llm"
    assert frame.loc["fastv", "options"] == "k=2, ratio=none"
    assert frame.loc["divprune", "options"] == ""
    assert set(frame["cost"]) == {"stated"}
    assert frame.loc["prumerge", "source"] == reducers.find("prumerge").source


def test_it_is_called_whatever_was_imported_before() -> None:
    for first in ("", "import roofline.reducers; ", "from roofline.reducers import find; "):
        code = f"{first}import roofline; print(len(roofline.reducers()))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.stdout.strip() == str(len(reducers.names())), done.stderr


@pytest.mark.parametrize("name", reducers.names())
def test_the_default_count_is_that_of_an_analysis_of_llava(name: str) -> None:
    told = roofline.reducers().loc[name, "default_visual_tokens"]

    assert told == count("llava-1.5-7b", reducer=name).inputs["visual_tokens"]


@pytest.mark.parametrize("name", reducers.names())
def test_every_option_of_what_ships_says_what_it_is(name: str) -> None:
    reducer = reducers.find(name)
    options = options_of(reducer)

    assert [option.name for option in options] == list(reducer.options)
    for option in options:
        assert len(option.help) > 10, option.name
        assert option.takes
        assert reducers.find(f"{name}:{option.name}={option.default}") == reducer


def test_an_option_in_words() -> None:
    k, ratio = options_of(reducers.find("fastv"))

    assert (k.name, k.default, k.takes) == ("k", "2", "a whole number at least 1")
    assert k.help.startswith("The paper's K: layers that see all visual tokens, the last of which")
    assert ratio.default == "none"
    assert ratio.takes == "a number at least 0 and below 1 or none"


class Deeper(FastV, frozen=True):
    """FastV with an option more."""

    name = "deeper"

    every: Annotated[int, Meta(ge=1)] = 4
    """Layers between
    two choices."""
    undocumented: bool = False


def test_options_of_ones_own_are_told_with_those_they_build_on() -> None:
    k, _, every, undocumented = options_of(Deeper())

    assert k.help.startswith("The paper's K")
    assert (every.default, every.help) == ("4", "Layers between two choices.")
    assert undocumented.help == ""


def test_what_was_typed_at_a_prompt_has_no_source_to_read() -> None:
    scope: dict[str, type[Reducer]] = {"Reducer": Reducer}
    exec('class Typed(Reducer, frozen=True):\n    n: int = 3\n    """A number."""', scope)

    (option,) = options_of(scope["Typed"]())
    assert (option.name, option.default, option.help) == ("n", "3", "")
