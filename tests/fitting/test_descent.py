"""Least squares: its answers against closed forms and a search of the whole range."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from roofline.fitting.descent import NOISE, descend, numeric_jacobian

Array = Any


class Shift:
    """log time = x for every row: one number."""

    def __init__(self, start: float, spread: float) -> None:
        self.start, self.spread = np.array([start]), np.array([spread])
        self.settled: list[float] = []

    def settle(self, x: Array) -> None:
        self.settled.append(float(x[0]))

    def logarithm(self, x: Array, state: None) -> Array:
        return np.full(self.rows, x[0])

    def jacobian(self, x: Array, state: None) -> Array:
        return np.full((self.rows, 1), self.slope)

    rows, slope = 1, 1.0
    """Its true slope is 1."""


def loss(x: Any, measured: Sequence[float], start: float, spread: float) -> Any:
    """Soft L1 of relative errors and the prior, row by row, as the paper on robust loss has it:
    2 s² (√(1 + (e/s)²) − 1) with the scale s of the noise.
    """
    total = (NOISE / spread) ** 2 * (x - start) ** 2
    for one in measured:
        ratio = np.exp(x - one)
        error = np.where(ratio <= 2, ratio - 1, 1 + 2 * np.log(ratio / 2))
        total = total + 2 * NOISE**2 * (np.sqrt(1 + (error / NOISE) ** 2) - 1)
    return total


@pytest.mark.parametrize(
    ("measured", "start", "spread"),
    [
        ([0.002], 0.0, NOISE),
        ([0.0, 0.0, 0.0, 2.0], 1.0, 100.0),
        ([0.0, 0.1, 0.5, 0.6, 3.0], -2.0, 0.5),
        ([-4.0, -4.1], 3.0, 5.0),
        ([0.0] * 20 + [-2.0], 0.5, 5.0),  # the last is predicted e² times as slow as it is
    ],
)
def test_the_least_loss_is_that_of_a_search(
    measured: list[float], start: float, spread: float
) -> None:
    model = Shift(start, spread)
    model.rows = len(measured)
    x, best = descend(model, np.array(measured))
    grid = np.linspace(-5, 5, 20_001)
    losses = loss(grid, measured, start, spread)

    assert x[0] == pytest.approx(grid[int(np.argmin(losses))], abs=2e-3)
    assert best == pytest.approx(loss(x[0], measured, start, spread), rel=1e-9)
    assert best <= min(losses) * (1 + 1e-4)


def test_a_prior_as_wide_as_the_noise_pulls_half_way() -> None:
    x, _ = descend(Shift(0.0, NOISE), np.array([0.002]))
    assert x[0] == pytest.approx(0.001, rel=0.01)


def test_an_odd_row_moves_less_than_the_mean_would() -> None:
    model = Shift(0.0, 100.0)
    model.rows = 5
    x, _ = descend(model, np.array([0.0, 0.0, 0.0, 0.0, 1.0]))
    assert 0 < x[0] < 0.03  # the mean is at 0.2


@pytest.mark.parametrize("odd", [1.0, 3.0])
def test_errors_beyond_4_percent_pull_by_their_number_not_their_size(odd: float) -> None:
    """The pull of a row is its error up to 4 %, then 4 %, times how the error grows with x: 1 where
    predictions are right, e^−odd of the row that took e^odd times as long.

    So eight rows at 0 and an odd one rest where 8 x = 0.04 e^−odd, but for its share of an error.
    """
    model = Shift(0.0, 1e4)
    model.rows = 9
    x, _ = descend(model, np.array([0.0] * 8 + [odd]))
    assert x[0] == pytest.approx(0.04 * np.exp(-odd) / 8, rel=0.02)


def test_it_starts_where_it_is_told_to() -> None:
    model = Shift(0.0, 100.0)
    x, _ = descend(model, np.array([0.5]), start=np.array([0.45]), steps=0)
    assert x[0] == 0.45
    assert model.settled == [0.45]


def test_without_a_start_it_is_that_of_the_prior() -> None:
    x, best = descend(Shift(0.25, 100.0), np.array([0.25]), steps=0)
    assert (x[0], best) == (0.25, 0.0)


def test_choices_are_made_anew_at_every_trial() -> None:
    model = Shift(3.0, 100.0)
    x, _ = descend(model, np.array([0.0]))
    assert model.settled[0] == 3.0
    assert model.settled[-1] == pytest.approx(x[0], abs=1e-3)
    assert max(abs(np.diff(model.settled))) <= 1.0 + 1e-12  # the longest step


def test_a_step_that_makes_it_worse_is_not_taken() -> None:
    model = Shift(0.0, 100.0)
    model.slope = 0.1  # so that steps go ten times too far
    x, best = descend(model, np.array([0.45]))
    assert x[0] == pytest.approx(0.45, abs=0.01)
    assert best < 1e-3


def test_a_step_solves_the_reweighted_equations_of_all_rows_and_the_prior() -> None:
    start, spread, measured = 0.3, 0.2, (0.25, 0.1, 0.32, 1.5)
    curvature = (NOISE / spread) ** 2
    gradient = curvature * (0.35 - start)
    for one in measured:
        ratio = np.exp(0.35 - one)
        error, slope = ratio - 1, ratio
        weight = 1 / np.sqrt(1 + (error / NOISE) ** 2)
        curvature += weight * slope * slope
        gradient += weight * slope * error
    model = Shift(start, spread)
    model.rows = 4
    x, _ = descend(model, np.array(measured), start=np.array([0.35]), steps=1)
    # Levenberg and Marquardt lift the diagonal, at first by a hundredth
    assert x[0] == pytest.approx(0.35 - gradient / (1.01 * curvature), rel=1e-6)


def test_damping_grows_fourfold_until_a_step_gains_and_then_shrinks_fivefold() -> None:
    model = Shift(0.0, 1e6)
    model.slope = 0.1
    descend(model, np.array([0.05]), steps=3)
    # one row and no prior: a step is error / slope / (1 + damping)
    x, *trials = model.settled
    dampings, gained = [], []
    for trial in trials:
        ratio = np.exp(x - 0.05)
        dampings.append((ratio - 1) / (0.1 * ratio) / (x - trial) - 1)
        gained.append(abs(trial - 0.05) < abs(x - 0.05))
        x = trial if gained[-1] else x

    assert gained.count(True) == 3
    assert gained.count(False) >= 3
    assert dampings[0] == pytest.approx(0.01, rel=1e-3)
    for before, after, gain in zip(dampings, dampings[1:], gained, strict=False):
        assert after / before == pytest.approx(1 / 5 if gain else 4, rel=1e-3)


def test_where_no_step_gains_it_stays_and_gives_up() -> None:
    model = Shift(0.0, 1e6)
    model.slope = -1.0  # every step goes the wrong way
    x, best = descend(model, np.array([0.5]))

    assert x[0] == 0.0
    assert best == pytest.approx(loss(0.0, [0.5], 0.0, 1e6), rel=1e-9)
    # dampings 0.01 · 4ⁿ below a million: n = 0 to 13
    assert len(model.settled) == 1 + 14


def test_sixty_steps_of_one_are_the_most() -> None:
    model = Shift(1000.0, 1e6)
    x, _ = descend(model, np.array([0.0]))
    assert x[0] == 940.0


def test_it_ends_where_a_step_gains_next_to_nothing() -> None:
    model = Shift(0.02, 1.0)
    model.rows = 3
    _, best = descend(model, np.array([0.0, 0.01, 0.05]))
    assert best == pytest.approx(min(loss(FINE, [0.0, 0.01, 0.05], 0.02, 1.0)))
    assert 3 <= len(model.settled) <= 7


FINE = np.linspace(-0.1, 0.1, 4001)


def test_forward_differences_are_slopes() -> None:
    class Bent:
        start = spread = np.ones(2)

        def settle(self, x: Array) -> None: ...

        def logarithm(self, x: Array, state: None) -> Array:
            return np.array([x[0] ** 2 + 3 * x[1], x[0] * x[1]])

        def jacobian(self, x: Array, state: None) -> Array:
            raise NotImplementedError

    slopes = numeric_jacobian(Bent(), np.array([2.0, 5.0]), None, 2)
    np.testing.assert_allclose(slopes, [[4.0, 3.0], [5.0, 2.0]], rtol=1e-4)
    assert numeric_jacobian(Bent(), np.array([2.0, 5.0]), None, 1).shape == (2, 1)
