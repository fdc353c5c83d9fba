"""Robust nonlinear least squares: Levenberg-Marquardt on a soft-L1 loss, with a Gaussian prior.

The residual is the relative error of the predicted time. Beyond `NOISE` a row counts by its error,
not its square (soft L1, reweighted at every step), so that an odd kernel bends nothing.
The prior keeps a number near its start where the measurements do not speak of it.
"""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

import numpy as np

from roofline.model.polynomial import Array

NOISE = 0.04
"""Spread of measured times, relative: sources agree no better."""

_EXCESS = float(np.log(2.0))
"""Above twice the measured time the error grows with the logarithm of time: a first guess may be
off by orders of magnitude.
"""

LONGEST_STEP = 1.0
MOST_STEPS = 60
WIDTH = 1e-5
"""Of a forward difference."""
_LEAST_GAIN = 2e-5
_State = TypeVar("_State")


class FitModel(Protocol, Generic[_State]):
    """A law with its numbers as a vector in which any value is allowed."""

    start: Array
    spread: Array
    """Standard deviation of the prior around `start`."""

    def settle(self, x: Array) -> _State:
        """The discrete choices that are best at x, held while a step is worked out."""

    def logarithm(self, x: Array, state: _State) -> Array:
        """Predicted log time of every measured row."""

    def jacobian(self, x: Array, state: _State) -> Array:
        """Its derivatives, [rows, numbers]."""


def descend(
    model: FitModel[_State], measured: Array, start: Array | None = None, steps: int = MOST_STEPS
) -> tuple[Array, float]:
    """The numbers that fit log times `measured` best, and their loss. Deterministic."""
    x = np.array(model.start if start is None else start, dtype=np.float64)
    precision = (NOISE / model.spread) ** 2

    def loss(x: Array, predicted: Array) -> float:
        error, _ = _relative(predicted - measured)
        rows = 2 * NOISE**2 * (np.sqrt(1 + (error / NOISE) ** 2) - 1)
        return float(rows.sum() + (precision * (x - model.start) ** 2).sum())

    state = model.settle(x)
    predicted = model.logarithm(x, state)
    best, damping = loss(x, predicted), 1e-2
    for _ in range(steps):
        residual, gradual = _relative(predicted - measured)
        slope = model.jacobian(x, state) * gradual[:, None]
        weighted = slope / np.sqrt(1 + (residual / NOISE) ** 2)[:, None]
        curvature = weighted.T @ slope + np.diag(precision)
        gradient = weighted.T @ residual + precision * (x - model.start)
        while damping < 1e6:
            lift = damping * (np.diag(np.diag(curvature)) + 1e-6 * np.eye(x.size))
            step = -np.linalg.solve(curvature + lift, gradient)
            trial = x + np.clip(step, -LONGEST_STEP, LONGEST_STEP)
            state = model.settle(trial)
            predicted = model.logarithm(trial, state)
            gain = best - loss(trial, predicted)
            if gain > 0:
                break
            damping *= 4
        else:
            break
        x, best, damping = trial, best - gain, max(damping / 5, 1e-6)
        if gain < _LEAST_GAIN * best:
            break
    return x, best


def _relative(logarithm: Array) -> tuple[Array, Array]:
    """Relative error of a time from the logarithm of predicted over measured; its derivative."""
    derivative = np.exp(np.minimum(logarithm, _EXCESS))
    return derivative - 1 + derivative * np.maximum(logarithm - _EXCESS, 0.0), derivative


def numeric_jacobian(model: FitModel[_State], x: Array, state: _State, count: int) -> Array:
    """Forward differences by the first `count` numbers."""
    at = model.logarithm(x, state)
    slopes = np.empty((at.size, count))
    for i in range(count):
        moved = x.copy()
        moved[i] += WIDTH
        slopes[:, i] = (model.logarithm(moved, state) - at) / WIDTH
    return slopes
