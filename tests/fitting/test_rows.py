"""What a table of measurements has to hold, which rows are held out, and what errors are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from roofline.device.laws.matmul import MatmulLaw, Tile
from roofline.device.roof import Roof
from roofline.fitting.numbers import FRACTIONS, bound, free
from roofline.fitting.rows import (
    FEW_SHAPES,
    FitError,
    by_library,
    check_physics,
    columns,
    errors_percent,
    held_out,
    library_name,
    of_one_source,
    rounded,
)

ROOF = Roof(flops_per_s=1e12, bytes_per_s=1e9, units=1, cache_bytes=1e6)


def law(**numbers: Any) -> MatmulLaw:
    fit = {"rows": 3, "median_error_percent": 1.0, "p90_error_percent": 2.0}
    given = {"launch_us": 1.0, "tiles": (), "bandwidth_fraction": 0.5}
    return MatmulLaw(**(fit | given | numbers))


def test_errors_are_relative_to_what_was_measured_over_all_sets() -> None:
    # 10, 20 and 0 % in one set, 100 and 50 % in another: sorted 0, 10, 20, 50, 100
    measured = [np.array([1.0, 10.0, 2.0]), np.array([3.0, 4.0])]
    predicted = [np.array([1.1, 8.0, 2.0]), np.array([6.0, 2.0])]

    found = errors_percent(predicted, measured)
    assert found["median_error_percent"] == 20
    # six tenths of the way from the fourth of five to the fifth
    assert found["p90_error_percent"] == pytest.approx(50 + 0.6 * 50)


def test_errors_are_stated_to_a_hundredth_of_a_percent() -> None:
    found = errors_percent([np.array([4.0, 4.0])], [np.array([3.0, 3.0])])
    assert found == {"median_error_percent": 33.33, "p90_error_percent": 33.33}


def test_times_are_turned_into_seconds_and_nothing_else_is() -> None:
    table = {"m": np.full(20, 7), "time_ms": np.full(20, 2.0)}
    m, seconds = columns(table, ("m", "time_ms"))

    assert set(m) == {7.0}
    assert seconds == pytest.approx(np.full(20, 2e-3))
    assert m.dtype == seconds.dtype == np.float64


@pytest.mark.parametrize(("count", "enough"), [(19, False), (20, True)])
def test_twenty_rows_are_enough(count: int, enough: bool) -> None:
    table = {"m": np.ones(count)}
    if enough:
        assert columns(table, ("m",))[0].size == count
    else:
        with pytest.raises(FitError, match="19 measurements are too few for a fit; give 20"):
            columns(table, ("m",))


def test_columns_that_are_not_there_are_named_with_those_that_are() -> None:
    with pytest.raises(FitError, match=r"lack the columns n, k; there are m, time_ms$"):
        columns({"m": [1], "time_ms": [2.0]}, ("m", "n", "k"))
    with pytest.raises(FitError, match=r"lack the columns m; there are none$"):
        columns({}, ("m",))


SECOND = np.array([1.0])
NOTHING = np.array([0.0])


@pytest.mark.parametrize(
    ("flops", "bytes_", "speed_up", "beats"),
    [
        (1.1e12, 0.0, 1.0, None),
        (1.11e12, 0.0, 1.0, r"1\.11 times the device's peak FLOP/s"),
        (1.11e12, 0.0, 2.0, None),  # it may compute in half the width
        (2.3e12, 0.0, 2.0, r"1\.15 times the device's peak FLOP/s"),
        (1.0, 1.1e9, 1.0, None),
        (1.0, 1.11e9, 1.0, r"1\.11 times the device's peak DRAM bandwidth"),
        (1.0, 1.11e9, 2.0, "DRAM bandwidth"),  # narrower types move no faster
    ],
)
def test_a_tenth_above_the_peak_is_within_what_clocks_do(
    flops: float, bytes_: float, speed_up: float, beats: str | None
) -> None:
    arguments = (ROOF, SECOND, np.array([flops]), np.array([bytes_]))
    if beats is None:
        check_physics(*arguments, speed_up=speed_up)
    else:
        with pytest.raises(FitError, match=beats):
            check_physics(*arguments, speed_up=speed_up)


def test_the_cache_may_be_faster_than_dram_for_what_fits_in_it() -> None:
    # 1 MB at ten times the bandwidth of DRAM; of more, what lies beyond 1 MB is DRAM's
    check_physics(ROOF, np.array([1e-4]), NOTHING, np.array([1e6]))
    check_physics(ROOF, np.array([1e-4]), NOTHING, np.array([1e6 + 1.09e5]))
    with pytest.raises(FitError, match=r"11\.11 times the device's peak DRAM bandwidth"):
        check_physics(ROOF, np.array([1e-4]), NOTHING, np.array([1e6 + 1.11e5]))


def test_the_worst_row_is_named() -> None:
    with pytest.raises(FitError, match=r"row 2 of the measurements takes 1000 ms, 3\.00 times"):
        check_physics(ROOF, np.ones(4), np.array([1.0, 2e12, 3e12, 1.0]), np.zeros(4))


@pytest.mark.parametrize(
    ("slow_rows", "slow", "refused"),
    [(2, 2000.0, False), (3, 2000.0, True), (5, 1000.0, False), (5, 1000.9, True)],
)
def test_a_median_beyond_a_thousand_rooflines_is_another_unit(
    slow_rows: int, slow: float, refused: bool
) -> None:
    seconds = np.array([slow] * slow_rows + [2.0] * (5 - slow_rows))
    arguments = (ROOF, seconds, np.full(5, 1e12), np.zeros(5))
    if refused:
        with pytest.raises(FitError, match=f"over {slow:.0f} times the roofline"):
            check_physics(*arguments)
    else:
        check_physics(*arguments)


def test_rows_of_the_source_with_most_of_them_are_kept() -> None:
    table = {"source": ["a", "b", "b", "c"], "m": [1, 2, 3, 4]}
    kept = of_one_source(table)

    assert list(kept["source"]) == ["b", "b"]
    assert list(kept["m"]) == [2, 3]
    assert of_one_source({"m": [1]}) == {"m": [1]}
    # names of sources may be numbers; of two the larger, whichever comes first
    assert list(of_one_source({"source": [7, 8, 8], "m": [1, 2, 3]})["m"]) == [2, 3]
    assert list(of_one_source({"source": [7, 7, 8], "m": [1, 2, 3]})["m"]) == [1, 2]


def of(**counts: int) -> list[str]:
    """A column `source`: `a_9` is "a 9"."""
    return [name.replace("_", " ") for name, count in counts.items() for _ in range(count)]


@pytest.mark.parametrize(
    ("sources", "preferred", "expected"),
    [
        (of(a_9=2, b_1=1), "", "a 9"),
        (of(a_9=1, b_1=2), "", "b 1"),
        # of as many rows, or nearly, the one that the table has first
        (of(b_1=1, a_9=1), "", "b 1"),
        (of(b_1=17, a_9=20), "", "b 1"),
        (of(b_1=16, a_9=20), "", "a 9"),
        # in its newest version, whose numbers are compared as such; fewer rows are no version
        (["b 2.9", "b 2.27", "a 1"], "", "b 2.27"),
        (["b 2.9", "b 2.9", "b 2.27"], "", "b 2.9"),
        # whoever is named goes before
        (of(a_9=9, b_1=1), "b", "b 1"),
        (["a 9", "a 9", "b 2.9", "b 2.27", "b 2.9"], "b", "b 2.9"),
        (["a 9", "a 9", "b 2.9", "b 2.27"], "b 2.9", "b 2.9"),
        (of(a_9=2, b_1=1), "c", "a 9"),  # if it is there
        ([], "", ""),
    ],
)
def test_rows_are_split_into_those_of_one_library_and_those_of_others(
    sources: list[str], preferred: str, expected: str
) -> None:
    table = {"source": np.array(sources, dtype=object), "m": np.arange(len(sources))}
    own, others = by_library(table, preferred)

    assert library_name(own) == expected
    assert set(own["source"]) <= {expected}
    rest = [] if others is None else list(others["m"])
    assert sorted([*own["m"], *rest]) == list(table["m"])
    if others is not None:
        assert expected not in others["source"]
    else:
        assert len(set(sources)) < 2


def test_a_table_of_no_library_has_no_others() -> None:
    assert by_library({"m": [1, 2]}) == ({"m": [1, 2]}, None)
    assert library_name({"m": [1, 2]}) == ""


def test_up_to_a_dozen_shapes_are_each_held_out_and_of_more_some() -> None:
    dozen = np.repeat(np.arange(float(FEW_SHAPES)), 2)
    sets = held_out(dozen)
    assert len(sets) == 12
    assert [set(dozen[mask]) for mask in sets] == [{float(i)} for i in range(12)]

    more = np.arange(FEW_SHAPES + 1.0)
    assert len(held_out(more)) == 1
    assert 0 < held_out(more)[0].sum() < more.size


def test_a_quarter_of_many_shapes_is_held_out_by_their_hash() -> None:
    shapes = np.arange(1.0, 5001.0)
    (out,) = held_out(shapes)
    assert 0.23 < out.mean() < 0.27
    # first byte of `printf 1 | sha256sum` and so on; held out where 4 divides it
    first = [0x6B, 0xD4, 0x4E, 0x4B, 0xEF, 0xE7, 0x79, 0x2C, 0x19, 0x4A, 0x4F, 0x6B, 0x3F]
    assert list(out[:13]) == [byte % 4 == 0 for byte in first]

    # all sizes are joined: `printf 4096x1024 | sha256sum` begins with 61, 512x3 with f8
    pairs = np.array([[4096, 1024], [512, 3], [1, 2], *([1, 20 + i] for i in range(20))])
    (out,) = held_out(*pairs.T.astype(float))
    assert list(out[:3]) == [byte % 4 == 0 for byte in (0x61, 0xF8, 0x5E)]


def test_a_shape_is_all_of_its_sizes() -> None:
    # one n, three k: the whole table must not be held out at once
    n, k = np.ones(9), np.repeat([1.0, 2.0, 3.0], 3)
    assert [mask.sum() for mask in held_out(n, k)] == [3, 3, 3]
    assert held_out(n) == []
    assert [mask.sum() for mask in held_out(n[:5], np.array([1.0, 1.0, 1.0, 2.0, 2.0]))] == [3, 2]


def test_numbers_are_kept_to_four_digits_wherever_they_stand() -> None:
    tile = Tile(rows=123456, columns=1, efficiency=0.123456, reluctance=-1.23456e-7)
    short = rounded(law(launch_us=98765.4321, tiles=(tile,), corrections=(2.00049,) + (0.0,) * 190))

    assert short.launch_us == 98770
    assert short.tiles[0] == Tile(rows=123456, columns=1, efficiency=0.1235, reluctance=-1.235e-7)
    assert short.corrections[:2] == (2.0, 0.0)


@pytest.mark.parametrize("name", ["efficiency", "bandwidth_fraction", "wave_share"])
def test_fractions_stay_between_0_and_1_whatever_a_step_does(name: str) -> None:
    assert name in FRACTIONS
    assert 0 <= bound(name, -1e9) < 0.5 < bound(name, 1e9) <= 1
    assert bound(name, 0.0) == 0.5  # even odds


@pytest.mark.parametrize(
    ("name", "value"), [("launch_us", 3.7), ("bandwidth_fraction", 0.3), ("fill_k", 120.0)]
)
def test_a_number_comes_back_from_its_unbounded_form(name: str, value: float) -> None:
    assert bound(name, free(law(**{name: value}), name)) == pytest.approx(value, rel=1e-12)
    assert 0 < bound("launch_us", -1e9) < 1e-20 < 1e20 < bound("launch_us", 1e9) < np.inf


def test_of_cells_the_first_that_is_no_number_is_named() -> None:
    with pytest.raises(FitError, match="row 2 of the measurements has m 'many', no number"):
        columns({"m": [1.0, "2", "many", None]}, ["m"])
