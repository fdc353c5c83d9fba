"""Curves over counts: read off at knots, linear between, and never falling."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roofline.device.curves import CountAxis, Curve, tabulated
from roofline.model.polynomial import Array

ROWS = CountAxis(octaves=8)
BOTH = (CountAxis(octaves=4, per_octave=2), CountAxis(octaves=6, power=2))


def nothing(*counts: Array) -> Array:
    return np.full(np.broadcast_shapes(*(count.shape for count in counts)), 1e-12)


def table(function: Callable[..., Array], *axes: CountAxis, smooth: bool = False) -> Curve:
    return tabulated(axes, function, nothing, smooth=smooth)


def test_knots_are_quarters_of_an_octave() -> None:
    knots = ROWS.knots
    assert knots[:9].tolist() == [1, 1.25, 1.5, 1.75, 2, 2.5, 3, 3.5, 4]
    assert knots[-2:].tolist() == [224, 256]
    assert CountAxis(octaves=2, per_octave=1).knots.tolist() == [1, 2, 4]


def test_a_law_that_is_linear_in_a_count_is_read_off_exactly() -> None:
    curve = table(lambda m: 3e-6 + 2e-9 * m, ROWS)
    counts = np.array([1.0, 2.0, 17.0, 100.0, 255.0, 256.0])
    np.testing.assert_allclose(curve(counts), 3e-6 + 2e-9 * counts, rtol=1e-14)


def test_between_knots_time_is_linear() -> None:
    curve = table(np.square, ROWS)
    assert float(curve(np.asarray(224.0))) == 224**2
    assert float(curve(np.asarray(240.0))) == pytest.approx((224**2 + 256**2) / 2)


def test_two_counts_are_interpolated_one_after_the_other() -> None:
    curve = table(lambda b, t: b * t**2, *BOTH)
    counts = np.array([[1.0], [3.0], [5.0]]), np.array([1.0, 6.0, 41.0])

    def squared(t: float) -> float:
        knots = BOTH[1].knots
        return float(np.interp(t, knots, knots**2))

    expected = [[b * squared(t) for t in (1, 6, 41)] for b in (1, 3, 5)]
    np.testing.assert_allclose(curve(*counts), expected, rtol=1e-13)


def test_beyond_the_last_knot_time_goes_with_a_power_of_the_count() -> None:
    linear = table(lambda m: 1 + m, ROWS)
    assert float(linear(np.asarray(1024.0))) == 4 * 257
    square = table(lambda b, t: b * t**2, *BOTH)
    assert float(square(np.asarray(2.0), np.asarray(256.0))) == pytest.approx(2 * 256**2)
    assert float(square(np.asarray(64.0), np.asarray(64.0))) == pytest.approx(64 * 64**2)


def test_less_than_one_is_taken_for_one() -> None:
    assert float(table(lambda m: m, ROWS)(np.asarray(0.0))) == 1


def test_a_kernel_takes_no_longer_than_a_larger_one_that_it_could_be_padded_to() -> None:
    curve = table(lambda m: np.where(m == 64, 5.0, 9.0 - (m > 100) * 2), ROWS)
    assert curve(np.array([1.0, 48.0, 64.0, 80.0, 256.0])).tolist() == [5, 5, 5, 7, 7]


def test_no_time_is_below_the_bound() -> None:
    curve = tabulated((ROWS,), lambda m: np.full(m.shape, 10.0), lambda m: m)
    assert curve(np.array([2.0, 10.0, 40.0, 256.0])).tolist() == [10, 10, 40, 256]


def test_a_borrowed_law_has_no_steps() -> None:
    def stepped(m: Array) -> Array:
        return np.asarray(np.ceil(m / 64))

    own, borrowed = (
        tabulated((ROWS,), stepped, lambda m: m / 100, smooth=smooth) for smooth in (False, True)
    )
    counts = np.array([60.0, 64.0, 80.0, 96.0, 112.0, 128.0])
    assert float(own(np.asarray(80.0))) == 2 * float(own(np.asarray(64.0)))
    steps = borrowed(counts)[1:] / borrowed(counts)[:-1]
    assert steps.max() < 1.3
    # on the whole it is the same law
    assert float(np.mean(borrowed(counts) / own(counts))) == pytest.approx(1, abs=0.1)


def test_smoothing_leaves_a_law_that_is_a_share_of_its_bound() -> None:
    curve = tabulated((ROWS,), lambda m: 3 * (1 + m), lambda m: 1 + m, smooth=True)
    counts = np.array([1.0, 3.0, 64.0, 256.0])
    np.testing.assert_allclose(curve(counts), 3 * (1 + counts), rtol=1e-13)


def test_arrays_of_no_counts() -> None:
    assert table(lambda m: m, ROWS)(np.zeros(0)).shape == (0,)


@given(st.lists(st.floats(0, 5000), min_size=2, max_size=30), st.integers(0, 100), st.booleans())
def test_no_time_falls_as_a_count_rises(counts: list[float], seed: int, smooth: bool) -> None:
    noise = np.random.default_rng(seed).lognormal(0, 0.5, ROWS.knots.size)
    curve = tabulated((ROWS,), lambda m: noise * (5 + m), lambda m: m / 9, smooth=smooth)
    times = curve(np.sort(counts))
    assert (np.diff(times) >= -1e-12 * times[1:]).all()


@given(st.integers(0, 100))
def test_no_time_falls_along_either_of_two_counts(seed: int) -> None:
    random = np.random.default_rng(seed)
    grid = [axis.knots.size for axis in BOTH]
    noise = random.lognormal(0, 0.5, grid)
    curve = table(lambda b, t: noise * b * t, *BOTH)
    times = curve(np.linspace(1, 40, 50)[:, None], np.linspace(1, 90, 60))
    assert (np.diff(times, axis=0) >= -1e-12 * times[1:]).all()
    assert (np.diff(times, axis=1) >= -1e-12 * times[:, 1:]).all()


@pytest.mark.parametrize("count", [0.0, 1.0, 1.3, 7.0, 240.0, 256.0, 257.0, 1e6])
def test_a_single_count_is_read_as_one_of_many(count: float) -> None:
    curve = table(lambda b, t: b * (3 + t) ** 2, *BOTH)
    many = curve(np.array([count, 2.0]), np.array([2.0, count]))
    assert float(curve(np.asarray(count), np.asarray(2.0))) == many[0]
    assert float(curve(np.asarray(2.0), np.asarray(count))) == many[1]
