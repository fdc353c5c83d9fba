"""What a page has room for: which are shown, what is said of the others, what they are called."""

from __future__ import annotations

from typing import Any

import pytest
from made_up_prompts import deployed, prompt, totals

from roofline.report.charts.chart import listed, spoken
from roofline.report.charts.device_panels import device_panels
from roofline.report.charts.naming import deployment_name, prompt_name, unusual_counts
from roofline.report.charts.selection import first, pair_first, spread


@pytest.mark.parametrize(
    ("count", "shown", "left_out"),
    [(2, 2, ""), (3, 3, ""), (4, 3, "1 more thing not shown"), (9, 3, "6 more things not shown")],
)
def test_the_first_are_shown(count: int, shown: int, left_out: str) -> None:
    assert first(range(count), 3, "thing") == (range(shown), left_out)


@pytest.mark.parametrize(
    ("count", "shown", "left_out"),
    [
        (3, [0, 1, 2], ""),
        (4, [0, 1, 2, 3], ""),
        (5, [0, 1, 3, 4], "1 thing between these not shown"),
        (7, [0, 2, 4, 6], "3 things between these not shown"),
        (100, [0, 33, 66, 99], "96 things between these not shown"),
    ],
)
def test_those_that_are_spread_reach_from_end_to_end(
    count: int, shown: list[int], left_out: str
) -> None:
    found, words = spread(range(count), 4, "thing")
    assert (list(found), words) == (shown, left_out)


def test_the_pair_of_a_deployment_is_the_quickest_reduced_prompt_and_what_it_is_compared_with() -> (
    None
):
    """Whoever has the fewest tokens, and whatever comes first."""
    whole, double = prompt(100, totals(1.0)), prompt(200, totals(2.0))
    kept = [
        prompt(n, totals(time_s), unreduced=w)
        for n, time_s, w in ((20, 0.9, whole), (150, 0.5, double), (30, 0.6, whole))
    ]
    assert deployed(whole, double, *kept).pair == (double, kept[1])
    assert deployed(double, whole).pair == (double,)


def test_the_pair_stands_before_the_other_prompts() -> None:
    whole = prompt(100, totals(1.0))
    kept = [prompt(n, totals(1.0 / n), unreduced=whole) for n in (2, 3, 9, 4, 5)]
    one = deployed(whole, *kept)
    found, words = pair_first(one, 6)
    assert [p.visual_tokens for p in found] == [100, 9, 2, 3, 4, 5]
    assert words == ""
    found, words = pair_first(one, 4)
    assert [p.visual_tokens for p in found] == [100, 9, 2, 5]
    assert words == "2 prompts between these not shown"


def test_reasons_are_said_once() -> None:
    assert spoken("a", "", "b", "a") == ("a", "b")
    assert spoken("") == ()


@pytest.mark.parametrize(("count", "text"), [(1, "a"), (3, "a; b; c"), (4, "a; b; c; and 1 more")])
def test_lists_are_cut_short(count: int, text: str) -> None:
    assert listed("abcd"[:count], 3) == text


@pytest.mark.parametrize(("count", "cut"), [(6, False), (7, True)])
def test_lists_have_six_items_unless_told_otherwise(count: int, cut: bool) -> None:
    assert ("and 1 more" in listed("x" * count)) is cut


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, []),
        ({"batch": 8}, ["batch 8"]),
        ({"text_tokens": 50, "batch": 8}, ["50 text tokens", "batch 8"]),
        ({"output_tokens": 9, "visual_tokens": 3}, []),
    ],
)
def test_counts_that_are_not_the_usual_are_named(given: dict[str, Any], words: list[str]) -> None:
    made = {"visual_tokens": 9} | given
    one = prompt(made.pop("visual_tokens"), totals(1.0), **made)
    assert unusual_counts(one.estimate.inputs) == words
    assert deployment_name(deployed(one)) == ", ".join(["m", "d", "fp16", *words])
    assert unusual_counts({"model": "m"}) == []


def test_a_prompt_is_called_by_its_tokens_and_who_left_them() -> None:
    found = [prompt(n, totals(1.0), reducer=who) for n, who in ((9, None), (8, "r"), (0, None))]
    assert [prompt_name(one) for one in found] == ["9", "8 r", "text alone"]


@pytest.mark.parametrize(
    ("devices", "models", "shown", "left_out"),
    [
        (7, 4, 28, ()),
        (8, 4, 28, ("1 more device not shown",)),
        (2, 5, 8, ("1 more row not shown",)),
        (9, 6, 28, ("2 more devices not shown", "2 more rows not shown")),
    ],
)
def test_a_page_has_seven_devices_and_four_rows(
    devices: int, models: int, shown: int, left_out: tuple[str, ...]
) -> None:
    found = [
        deployed(prompt(9, totals(1.0), model=f"m{m}", hardware=f"d{d}"))
        for m in range(models)
        for d in range(devices)
    ]
    panels = device_panels(found)
    assert len(panels.deployments) == shown
    assert panels.left_out == left_out
    assert [title for title, _ in panels.rows] == [f"m{m}, fp16" for m in range(min(models, 4))]
    assert [entry.label for entry in panels.legend] == [f"d{d}" for d in range(min(devices, 7))]
