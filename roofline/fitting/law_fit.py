"""What fits of laws share: forward differences, corrections beside the physics, held-out errors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from roofline.device.laws.smooth import MOST_CORRECTION
from roofline.device.roof import Roof
from roofline.fitting.descent import FitModel, descend, numeric_jacobian
from roofline.fitting.numbers import bound, free
from roofline.fitting.rows import errors_percent, rounded
from roofline.model.polynomial import Array
from roofline.specs.kernel_laws import Law

PHYSICS_SPREAD = 1.5
"""Prior standard deviation of a number of the physics, as `numbers.free` has it."""
_CORRECTION_SPREAD = 0.1
_Law = TypeVar("_Law", bound=Law)


class TimedRows(Protocol):
    """Measured rows of one kernel."""

    seconds: Array

    def where(self, mask: Any) -> Any:
        """Some of the rows."""

    def predict(self, law: Any) -> Array:
        """Seconds of every row by a law."""


class PhysicalTimes(TimedRows, Protocol):
    """Those of a kernel whose law corrects its physics by functions of the shape."""

    roof: Roof
    flops: Array
    traffic: Array

    def physical(self, law: Any) -> Array:
        """Seconds of every row by the law's physics alone."""


class NumericFit(ABC):
    """A law of which nothing is chosen, with its slopes by forward differences."""

    start: Array
    spread: Array

    def settle(self, x: Array) -> None:  # noqa: B027  # nothing is all there is to do
        """Nothing."""

    @abstractmethod
    def logarithm(self, x: Array, state: None) -> Array:
        """Predicted log time of every row."""

    def jacobian(self, x: Array, state: None) -> Array:
        """Its derivatives, [rows, numbers]."""
        return numeric_jacobian(self, x, state, x.size)


class CorrectedFit(NumericFit):
    """A law as a vector: some numbers of its physics, then the coefficients of its correction.

    ln t = max(ln t_physical + clip(c·φ, ±0.7), ln t_roof), with φ = `basis` [rows, functions].
    """

    def __init__(
        self, data: PhysicalTimes, start: Any, numbers: Sequence[str], basis: Array
    ) -> None:
        self.data, self.template, self.numbers = data, start, numbers
        self.basis, self.physical = basis, len(numbers)
        self.measured = np.log(data.seconds)
        self.floor = np.log(data.roof.seconds(data.flops, data.traffic))
        self.start = np.array([free(start, name) for name in numbers] + [0.0] * basis.shape[1])
        self.spread = np.repeat(
            [PHYSICS_SPREAD, _CORRECTION_SPREAD], [len(numbers), basis.shape[1]]
        )

    def law(self, x: Array) -> Any:
        """The start with those numbers."""
        values = {name: bound(name, value) for name, value in zip(self.numbers, x, strict=False)}
        corrections = tuple(map(float, x[self.physical :]))
        return msgspec.structs.replace(self.template, corrections=corrections, **values)

    def logarithm(self, x: Array, state: None) -> Array:
        """As above."""
        added = np.clip(self.basis @ x[self.physical :], -MOST_CORRECTION, MOST_CORRECTION)
        return np.maximum(np.log(self.data.physical(self.law(x))) + added, self.floor)

    def jacobian(self, x: Array, state: None) -> Array:
        """φ itself by the coefficients; nothing of what is at the roof."""
        above = self.logarithm(x, state) > self.floor
        physics = numeric_jacobian(self, x, state, self.physical)
        return np.hstack([physics, self.basis * above[:, None]])


class LawFit(FitModel[None], Protocol):
    """What can be fitted, and says which law it has become."""

    measured: Array

    def law(self, x: Array) -> Any:
        """The law of a vector."""


def best_law(models: Sequence[LawFit]) -> Any:
    """The law of the model that comes nearest to what it has measured, each from its start."""
    fits = [descend(model, model.measured) for model in models]
    best = min(range(len(fits)), key=lambda i: fits[i][1])
    return models[best].law(fits[best][0])


def law_with_error(
    data: TimedRows, fitted: Callable[[Any], _Law], tests: Sequence[NDArray[np.bool_]]
) -> _Law:
    """The law `fitted` to all rows, with the error of such fits to the rows beside each test.

    Raises FitError without a test.
    """
    predicted = [data.where(test).predict(fitted(data.where(~test))) for test in tests]
    errors = errors_percent(predicted, [data.seconds[test] for test in tests])
    return msgspec.structs.replace(rounded(fitted(data)), rows=data.seconds.size, **errors)
