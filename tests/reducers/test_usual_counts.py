"""What each method usually leaves, in figures of the papers."""

from __future__ import annotations

from typing import Any

import pytest

from roofline import reducers
from roofline.errors import ScenarioError
from roofline.reducers.base import Reducer, VisionReducer
from roofline.reducers.prumerge import PruMergePlus


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        # by patches of an image: 576 as in the papers, and few
        ("prumerge", {576: 40, 144: 10, 36: 2, 16: 2, 1: 2}),  # 40 of 576
        ("sequential", {576: 40, 144: 10, 36: 2, 16: 2, 1: 2}),
        ("prumerge+", {576: 144, 144: 36, 12: 3, 9: 2, 4: 2}),  # a fourth
        ("visionzip", {576: 64, 144: 16, 27: 3, 26: 2, 9: 2}),  # 64 of 576
        ("divprune", {576: 57, 100: 10, 30: 3, 29: 2, 9: 2}),  # 10 %
        ("fastervlm", {576: 57, 100: 10, 30: 3, 29: 2, 9: 2}),
        ("fastv", {576: 288, 9: 5, 1: 1}),  # half of them leave
        ("fastv:ratio=0.75", {576: 144, 9: 3}),
        ("fastv:ratio=0.9999", {576: 1}),  # one is left at least
        ("fastv:ratio=0", {576: 576}),
        # and one as the release ranks and keeps: int(N·ratio) centres and the extra token
        ("prumerge:ratio=0.3", {16: 5, 10: 4}),
        ("prumerge:ratio=0.01", {16: 2}),
        ("prumerge:ratio=0", {16: 2}),
        ("prumerge:variant=paper:ratio=0.3", {16: 4}),
        ("prumerge:variant=paper:ratio=7", {16: 16}),
        # as many again by position, as far as there are any
        ("prumerge+:variant=paper:ratio=0.25", {16: 8}),
        ("prumerge+:variant=paper:ratio=0.75", {16: 16}),
        ("prumerge+:ratio=0.25", {16: 4 + 4 + 1}),
        ("prumerge+:ratio=0", {16: 1 + 0 + 1}),
    ],
)
def test_what_is_usually_left(text: str, counts: dict[int, int]) -> None:
    reducer = reducers.find(text)

    assert {patches: reducer.default_kept(patches, 24) for patches in counts} == counts


@pytest.mark.parametrize(
    ("ratio", "added"),
    [
        # every int(1/ratio)-th patch from the middle of the first step on, and not the last patch
        (1.0, list(range(15))),
        (3.0, list(range(15))),
        (0.3, [1, 4, 7, 10, 13]),
        (0.25, [2, 6, 10, 14]),
        (1 / 16, [8]),
        (1 / 28, [14]),
        (1 / 30, []),
        (1 / 100, []),
        (0.0, []),
    ],
)
def test_patches_that_prumerge_plus_adds(ratio: float, added: list[int]) -> None:
    grid = PruMergePlus(ratio=ratio).grid(16)

    assert list(grid) == added
    assert grid.start <= grid.stop  # `torch.arange` takes no other


def test_prumerge_plus_takes_a_fourth_by_attention_or_in_the_paper_half() -> None:
    released, paper = PruMergePlus(), PruMergePlus(variant="paper")

    assert [released.strongest(576, count) for count in (1, 3, 8, 11, 144)] == [1, 1, 2, 2, 36]
    assert [paper.strongest(576, count) for count in (1, 2, 3, 8, 143)] == [1, 1, 2, 4, 72]
    assert PruMergePlus(ratio=0.125).strongest(576) == 72


@pytest.mark.parametrize(("text", "least"), [("prumerge", 2), ("prumerge:variant=paper", 1)])
def test_prumerge_leaves_a_centre_and_as_released_the_extra_token(text: str, least: int) -> None:
    assert reducers.find(text).least == least


def test_a_grid_of_ones_own_says_how_many_are_left() -> None:
    assert reducers.find("spatial").needs_count
    assert not reducers.find("spatial:grid=2,3").needs_count


@pytest.mark.parametrize(
    ("text", "tokens"), [("visionzip", 2), ("visionzip:contextual=1", 2), ("visionzip", 64)]
)
def test_a_dominant_token_is_left_beside_contextual_ones(text: str, tokens: int) -> None:
    # of 64 tokens 10 are merged ones, of fewer as large a share
    contextual = reducers.find(text).contextual_of(tokens)  # type: ignore[attr-defined]

    assert contextual == {2: 1 if "=1" in text else 0, 64: 10}[tokens]
    with pytest.raises(ScenarioError, match="below the 2 tokens left, not 2"):
        reducers.find("visionzip:contextual=2").contextual_of(2)  # type: ignore[attr-defined]


class Nameless(VisionReducer, frozen=True):
    """A method that does not say what it does."""

    name = "nameless"


@pytest.mark.parametrize(
    ("method", "arguments"),
    [("schedule", (17, 5)), ("start_op", (None,)), ("stage_ops", (None, 17, 9))],
)
def test_a_method_has_to_say_what_it_does(method: str, arguments: tuple[Any, ...]) -> None:
    with pytest.raises(NotImplementedError):
        getattr(Nameless(), method)(*arguments)
    with pytest.raises(NotImplementedError):
        Reducer.default_kept(Nameless(), 16, 5)


def test_unless_it_says_so_a_method_acts_on_features_and_needs_a_count() -> None:
    assert Reducer.needs_count.fget(Nameless())  # type: ignore[attr-defined]
    assert (Nameless().least, Nameless().full_llm_layers, Nameless().connects_all) == (1, 0, False)
    assert tuple(Reducer.extra_ops(Nameless(), None)) == ()  # type: ignore[arg-type]
