"""How many tokens each ViT block sees: figures of the papers, and loops over blocks."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roofline.errors import InputError
from roofline.reducers.token_schedules import (
    Schedule,
    ats_schedule,
    budgets,
    crossget_schedule,
    evit_schedule,
    grids_near,
    squarest,
    stages_of,
    tome_schedule,
)


def merges(schedule: Schedule) -> list[int]:
    return [before - after for before, after in schedule]


def visual_after(schedule: Schedule) -> list[int]:
    """Of the blocks that reduce, without the class token."""
    return [after - 1 for before, after in schedule if after < before]


# merging in every block --------------------------------------------------------------------------


def test_tome_merges_432_over_23_blocks() -> None:
    assert merges(tome_schedule(577, 23, count=144)) == [19] * 18 + [18] * 5
    assert tome_schedule(577, 23) == tome_schedule(577, 23, count=144)
    assert tome_schedule(577, 23)[0] == (577, 558)
    assert tome_schedule(577, 23)[-1] == (163, 145)


@pytest.mark.parametrize(("patches", "quarter"), [(1, 1), (4, 1), (7, 1), (8, 2), (36, 9)])
def test_tome_leaves_a_quarter_unless_told(patches: int, quarter: int) -> None:
    assert tome_schedule(1 + patches, 6)[-1][1] == 1 + quarter


def test_a_fixed_r_stops_at_half() -> None:
    assert merges(tome_schedule(10, 5, r=3)) == [3, 3, 1, 1, 0]
    assert merges(tome_schedule(10, 3, r=0)) == [0, 0, 0]
    assert merges(tome_schedule(2, 1, r=5)) == [0]  # one patch has none to merge with
    assert merges(tome_schedule(3, 1, r=5)) == [1]
    assert merges(crossget_schedule(10, 4, r=4)) == [4, 2, 1, 1]


@given(patches=st.integers(1, 300), blocks=st.integers(1, 24), data=st.data())
def test_tome_reaches_any_count_that_halving_can_reach(
    patches: int, blocks: int, data: st.DataObject
) -> None:
    least = -(-patches // 2**blocks)
    count = data.draw(st.integers(least, patches))
    schedule = tome_schedule(patches + 1, blocks, count)
    parts = merges(schedule)

    assert schedule[-1][1] == count + 1
    assert parts == sorted(parts, reverse=True)
    assert all(0 <= r <= (before - 1) // 2 for (before, _), r in zip(schedule, parts, strict=True))
    uncapped = [r for (before, _), r in zip(schedule, parts, strict=True) if r < (before - 1) // 2]
    assert not uncapped or max(uncapped) - min(uncapped) <= 1


def test_crossget_s_578_tokens_lose_13_a_block() -> None:
    schedule = crossget_schedule(577, 23)

    assert schedule[0] == (578, 565)
    assert schedule[-1][1] == 578 - 23 * 13
    assert schedule == crossget_schedule(577, 23, r=13) == crossget_schedule(577, 23, count=278)


@given(patches=st.integers(1, 300), blocks=st.integers(1, 24), data=st.data())
def test_crossget_reaches_any_count_that_halving_can_reach(
    patches: int, blocks: int, data: st.DataObject
) -> None:
    count = 1 + data.draw(st.integers(-(-patches // 2**blocks), patches))
    schedule = crossget_schedule(patches + 1, blocks, count)

    assert schedule[0][0] == patches + 2
    assert schedule[-1][1] == 1 + count
    assert all(before - after <= (before - 2) // 2 for before, after in schedule)


@pytest.mark.parametrize(
    ("schedule", "options", "message"),
    [
        (tome_schedule, {"count": 0}, "`count` must be between 1 and 576, and is 0"),
        (tome_schedule, {"count": 577}, "`count` must be between 1 and 576, and is 577"),
        (crossget_schedule, {"count": 1}, "`count` must be between 2 and 577, and is 1"),
        (crossget_schedule, {"count": 578}, "`count` must be between 2 and 577, and is 578"),
        (tome_schedule, {"count": 35}, "cannot merge so many: 16 too many"),  # 576 − 35·2⁴
        (tome_schedule, {"count": 3, "r": 3}, "give `count` or `r`, not both"),
        (crossget_schedule, {"count": 3, "r": 3}, "give `count` or `r`, not both"),
        (tome_schedule, {"r": -1}, "`r` must not be negative, and is -1"),
        (crossget_schedule, {"r": -1}, "`r` must not be negative, and is -1"),
    ],
)
def test_merges_that_cannot_be(schedule: Any, options: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        schedule(577, 4, **options)


@pytest.mark.parametrize("schedule", [tome_schedule, crossget_schedule, evit_schedule])
def test_a_tower_has_a_patch_beside_its_class_token(schedule: Any) -> None:
    assert schedule(2, 1)[0][1] in (2, 3)
    with pytest.raises(InputError, match="1 patch or more, not 1"):
        schedule(1, 1)


# dropping in some blocks -------------------------------------------------------------------------


def test_stages_scale_with_the_tower() -> None:
    assert stages_of(23) == stages_of(24) == (6, 12, 18)
    assert stages_of(12) == stages_of(11) == (3, 6, 9)
    assert [stages_of(n) for n in (1, 2, 3, 4, 5)] == [
        *((0,), (1,), (1, 2), (1, 2, 3), (2, 3, 4)),
    ]


def test_stages_are_those_asked_for() -> None:
    assert stages_of(23, (0, 22)) == (0, 22)
    assert stages_of(2, [0, 1]) == (0, 1)
    assert stages_of(5, ()) == ()


@pytest.mark.parametrize("stages", [(6, 23), (6, 6), (9, 6), (-1, 3), (40, 50)])
def test_stages_that_are_not_there(stages: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="ascending indices of the 23 blocks"):
        stages_of(23, stages)


def test_a_tower_that_reduces_runs_a_block() -> None:
    with pytest.raises(InputError, match="runs 1 block or more, not 0"):
        stages_of(0)


@given(st.integers(1, 700), st.integers(0, 6), st.floats(0.01, 1))
def test_budgets_shrink_by_the_rate_stage_by_stage(patches: int, stages: int, rate: float) -> None:
    found = budgets(patches, stages, rate=rate)

    assert len(found) == stages
    share = Fraction(1)
    for budget in found:  # powers of floats may miss a whole number by a hair
        share *= Fraction(rate)
        exact = max(Fraction(1), patches * share)
        assert budget <= exact * (1 + Fraction(1, 10**12))
        assert budget + 1 > exact * (1 - Fraction(1, 10**12))


def test_budgets_by_hand() -> None:
    assert budgets(80, 3, rate=0.5) == (40, 20, 10)
    assert budgets(3, 3, rate=0.5) == (1, 1, 1)
    assert budgets(81, 4, count=1) == (27, 9, 3, 1)
    assert budgets(64, 2, count=4) == (16, 4)
    assert budgets(10, 1, count=7) == (7,)
    assert budgets(5, 2, count=5) == (5, 5)


@pytest.mark.parametrize("count", [0, 11])
def test_budgets_end_between_one_and_all(count: int) -> None:
    assert budgets(10, 1, count=1) == (1,)
    with pytest.raises(InputError, match=f"between 1 and 10, and is {count}"):
        budgets(10, 1, count=count)


def test_budgets_of_llava() -> None:
    """The figures of Haurum et al. 2023 for 576 patches: 63 % three times."""
    assert visual_after(evit_schedule(577, 23)) == [362, 228, 144]
    assert visual_after(evit_schedule(577, 23, count=144)) == [362, 228, 144]
    assert evit_schedule(577, 23)[5:8] == [(577, 577), (577, 363), (363, 363)]
    assert ats_schedule(577, 23) == ats_schedule(577, 23, count=144) == evit_schedule(577, 23)


def test_the_paper_keeps_a_share_and_the_fused_token() -> None:
    schedule = evit_schedule(577, 23, rule="paper")
    kept = [math.ceil(0.63 * 576), math.ceil(0.63 * 364), math.ceil(0.63 * 231)]

    assert kept == [363, 230, 146]
    assert visual_after(schedule) == [k + 1 for k in kept]


@given(patches=st.integers(1, 700), blocks=st.integers(1, 30), data=st.data())
def test_any_count_is_reached(patches: int, blocks: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, patches))
    schedule = evit_schedule(patches + 1, blocks, count=count)

    assert schedule[-1][1] == count + 1
    assert len(schedule) == blocks
    assert all(b[0] == a[1] for a, b in pairwise(schedule))
    assert ats_schedule(patches + 1, blocks, count=count) == schedule


def test_nothing_dropped_nothing_fused() -> None:
    assert visual_after(evit_schedule(17, 4, rate=1.0)) == []
    assert visual_after(evit_schedule(17, 4, rate=1.0, rule="paper")) == []
    assert visual_after(evit_schedule(17, 4, count=16)) == []


def test_counts_of_ats_may_be_those_that_were_drawn() -> None:
    schedule = ats_schedule(577, 23, counts=(300, 200, 100))
    drawn = ats_schedule(10, 4, stages=(0, 2), counts=(5, 7))

    assert [schedule[stage] for stage in (6, 12, 18)] == [(577, 301), (301, 201), (201, 101)]
    assert schedule[-1] == (101, 101)
    assert drawn == [(10, 6), (6, 6), (6, 6), (6, 6)]  # no stage brings tokens back


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": 0}, "`rate` must be above 0 and at most 1, and is 0"),
        ({"rate": 1.5}, "`rate` must be above 0 and at most 1, and is 1.5"),
        ({"rate": 0, "rule": "paper"}, "`rate` must be above 0"),
        ({"rate": 1.5, "rule": "paper"}, "`rate` must be above 0"),
        ({"count": 0}, "between 1 and 576"),
        ({"count": 577}, "between 1 and 576"),
        ({"stages": (6, 23)}, "ascending"),
        ({"stages": (), "count": 144}, "without a stage no `count`"),
        ({"rule": "release"}, '`rule` is "budget" or "paper", not \'release\''),
        ({"rule": "paper", "count": 144}, 'rule "paper" takes a `rate`, no `count`'),
    ],
)
def test_schedules_that_evit_cannot_keep(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        evit_schedule(577, 23, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"counts": (3, 2)}, "3 stages need as many counts, not 2"),
        ({"counts": (4, 3, 2, 1)}, "3 stages need as many counts, not 4"),
        ({"rate": 0}, "`rate` must be"),
        ({"count": 577}, "between 1 and 576"),
        ({"stages": (7, 6)}, "ascending"),
    ],
)
def test_schedules_that_ats_cannot_keep(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ats_schedule(577, 23, **options)


# grids -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [1, 2, 5, 6, 9])
def test_the_squarest_grid_is_that_of_a_naive_search(side: int) -> None:
    pairs = [(r, c) for r in range(1, side + 1) for c in range(1, side + 1) if r <= c]
    for count in range(1, side**2 + 2):
        fitting = [pair for pair in pairs if pair[0] * pair[1] == count]
        if fitting:
            assert squarest(count, side, side) == min(fitting, key=lambda pair: pair[1] - pair[0])
        else:
            with pytest.raises(InputError, match=f"{count} patches form no grid within {side}×"):
                squarest(count, side, side)


@pytest.mark.parametrize(
    ("count", "grid"),
    [(36, (6, 6)), (40, (5, 8)), (35, (5, 7)), (16, (4, 4)), (23, (1, 23)), (576, (24, 24))],
)
def test_grids_of_llava(count: int, grid: tuple[int, int]) -> None:
    assert squarest(count, 24, 24) == grid


def test_counts_near_one_that_forms_no_grid() -> None:
    with pytest.raises(InputError, match=r"near counts that do: 27, 28, 30$"):
        squarest(29, 24, 24)  # 31 is as near as 27, and a prime beyond 24


@pytest.mark.parametrize("side", [1, 2, 4, 7])
@pytest.mark.parametrize("count", [1, 5, 13, 40])
def test_nearest_grids_first_and_of_equals_the_smaller(count: int, side: int) -> None:
    found = grids_near(count, side)
    products = {r * c for r in range(1, side + 1) for c in range(1, side + 1)}

    assert set(found) == products
    assert len(found) == len(products)
    for one, other in pairwise(found):
        apart, further = abs(one - count), abs(other - count)
        assert apart < further or (apart == further and one < other)
