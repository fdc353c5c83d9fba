"""What is remembered is the same as what is computed, and is computed once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from roofline.engine import memo
from roofline.engine.memo import DIRECT_BELOW, MemoTable
from roofline.model.polynomial import Array, Point


class Counting:
    """1 / (batch · prompt), and how many values it was computed for."""

    def __init__(self) -> None:
        self.computed = 0

    def __call__(self, point: Point) -> Sequence[Array]:
        size = point["batch"] * point["prompt"]
        self.computed += np.size(size)
        return [1.0 / size, 2.0 * size]


def grid(batches: int, prompts: int) -> Point:
    batch, prompt = np.meshgrid(np.arange(1.0, batches + 1), np.arange(1.0, prompts + 1))
    return Point({"batch": batch.ravel(), "prompt": prompt.ravel()})


def check(found: Sequence[Array], point: Point) -> None:
    size = point["batch"] * point["prompt"]
    assert np.array_equal(found[0], 1.0 / size)
    assert np.array_equal(found[1], 2.0 * size)


def test_each_combination_is_computed_once() -> None:
    function = Counting()
    known = MemoTable(["batch", "prompt"], function)
    once = grid(8, 100)
    often = Point({name: np.tile(values, 5) for name, values in once.items()})

    for point in (often, once, often):
        check(known(point), point)
    assert function.computed == 800


def test_greater_numbers_come_later() -> None:
    function = Counting()
    known = MemoTable(["batch", "prompt"], function)

    for sizes in ((3, 100), (3, 200), (50, 100), (2, 5000)):
        check(known(grid(*sizes)), grid(*sizes))
    assert function.computed < 300 + 600 + 5000 + 10000  # not everything anew


class Watching:
    """10·first + second, and each pair that it was asked for."""

    def __init__(self) -> None:
        self.evaluated: list[tuple[float, float]] = []

    def __call__(self, point: Point) -> Sequence[Array]:
        first, second = np.broadcast_arrays(point["first"], point["second"])
        self.evaluated += zip(first.ravel().tolist(), second.ravel().tolist(), strict=True)
        return [10.0 * first + second]


def every_pair(firsts: Sequence[float], seconds: Sequence[float]) -> Point:
    """Each of one with each of the other, often enough that a table is worth it."""
    first, second = np.meshgrid(firsts, seconds)
    often = 1 + DIRECT_BELOW // first.size
    return Point({"first": np.tile(first.ravel(), often), "second": np.tile(second.ravel(), often)})


TABLES = {
    "wide": [(range(1, 3), range(1, 900))],
    "tall": [(range(1, 2000), range(1, 4))],
    "zeros": [(range(4), range(200)), ([0], range(150, 400)), (range(3, 300), [0])],
    "one row": [([1], range(1, 300)), ([2], range(1, 300))],
    "growing": [(range(n), range(100)) for n in (3, 20, 50, 400, 41)],
    "widening": [(range(5), range(n)) for n in (1, 2, 100, 1000, 3)],
    "both": [(range(1, n), range(1, m)) for n, m in [(9, 30), (3, 400), (90, 7), (2, 2), (60, 60)]],
}


@pytest.mark.parametrize("grids", TABLES.values(), ids=TABLES)
def test_a_table_holds_whatever_sizes_come(
    grids: list[tuple[Sequence[float], Sequence[float]]],
) -> None:
    function = Watching()
    known = MemoTable(["first", "second"], function)

    for firsts, seconds in grids:
        point = every_pair(firsts, seconds)
        (found,) = known(point)
        assert np.array_equal(found, 10 * point["first"] + point["second"])
        evaluated = len(function.evaluated)
        known(point)
        assert len(function.evaluated) == evaluated  # a second time nothing is computed


@pytest.mark.parametrize("grids", [TABLES["growing"], TABLES["one row"]], ids=["growing", "rows"])
def test_a_table_that_grows_forgets_nothing(
    grids: list[tuple[Sequence[float], Sequence[float]]],
) -> None:
    function = Watching()
    known = MemoTable(["first", "second"], function)
    for grid in grids:
        known(every_pair(*grid))

    assert len(function.evaluated) == len(set(function.evaluated))


@pytest.mark.parametrize(
    ("firsts", "seconds"),
    [
        ([1.0, 2.5, 2.0], [3.0, 4.0]),
        ([1.0, 2.0], [3.0, 4.5]),
        ([1.0, 2.0], [-1.0, 3.0]),
        ([-1.0, 3.0], [1.0, 2.0]),
        ([-7.0, -2.0], [-1.0, -3.0]),
        ([1.0, 1e6], [1.0, 1e6]),
        ([1.0, 1e9], [0.0, 1.0]),
    ],
    ids=str,
)
def test_numbers_that_are_no_places_in_a_table(firsts: list[float], seconds: list[float]) -> None:
    known = MemoTable(["first", "second"], Watching())

    for point in (every_pair(range(5), range(60)), every_pair(firsts, seconds)):
        (found,) = known(point)
        assert np.array_equal(found, 10 * point["first"] + point["second"])


def test_single_points_are_remembered_beside_each_other() -> None:
    function = Watching()
    known = MemoTable(["first", "second"], function)
    points = [Point({"first": np.asarray(a), "second": np.full(3, b)}) for a, b in [(1, 2), (2, 1)]]

    for point in points * 3:
        (found,) = known(point)
        assert list(found) == [10 * point["first"] + point["second"][0]] * 3
    assert function.evaluated == [(1, 2), (2, 1)]


def test_one_variable() -> None:
    calls: list[int] = []

    def double(point: Point) -> Sequence[Array]:
        calls.append(point["batch"].size)
        return [2.0 * point["batch"]]

    batch = np.repeat([1.0, 7.0, 30.0], DIRECT_BELOW)
    (found,) = MemoTable(["batch"], double)(Point({"batch": batch, "other": batch + 0.5}))

    assert np.array_equal(found, 2 * batch)
    assert calls == [3]


@pytest.mark.parametrize(
    "point",
    [
        Point({"batch": np.float64(2), "prompt": np.float64(3)}),
        Point({"batch": np.full(1000, 2.5), "prompt": np.full(1000, 3.0)}),
        Point({"batch": np.full(1000, 1e5), "prompt": np.full(1000, 1e5)}),
        Point({"batch": np.full(1000, -2.0), "prompt": np.full(1000, 3.0)}),
        Point({"batch": np.full((10, 100), 2.0), "prompt": np.full((10, 1), 3.0)}),
    ],
    ids=["one", "fractions", "too-large", "negative", "broadcast"],
)
def test_whatever_fits_no_table_is_computed_as_it_comes(point: Point) -> None:
    found = MemoTable(["batch", "prompt"], Counting())(point)

    check(found, point)


def test_no_variables_and_three() -> None:
    assert MemoTable([], lambda point: [np.ones(2)])(Point({}))[0].sum() == 2
    values = {name: np.arange(1.0, 1001.0) for name in ("batch", "prompt", "step")}
    known = MemoTable(["batch", "prompt", "step"], Counting())
    check(known(Point(values)), Point(values))


def test_a_single_point_is_computed_once_whatever_its_shape(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    function = Counting()
    known = MemoTable(["batch", "prompt"], function)

    for shape in ((), (7,), (3, 2), (1,)):
        point = Point({"batch": np.full(shape, 2.0), "prompt": np.asarray(80.0)})
        found = known(point)
        assert [value.shape for value in found] == [shape, shape]
        assert all(
            np.array_equal(value, np.full(shape, e))
            for value, e in zip(found, (1 / 160, 320.0), strict=True)
        )
    assert function.computed == 1

    monkeypatch.setattr(memo, "MOST_POINTS", 3)
    for batch in range(1, 9):
        one = Point({"batch": np.asarray(float(batch)), "prompt": np.asarray(80.0)})
        check(known(one), one)
    assert len(known._points) <= 3
