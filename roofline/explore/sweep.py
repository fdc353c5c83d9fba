"""Sweeps: every combination of the values on some axes, at once or streamed by chunk."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np
from msgspec.structs import replace

from roofline.engine.axes import COUNTS
from roofline.engine.estimate import Estimate
from roofline.engine.scenario import Scenario
from roofline.errors import ScenarioError
from roofline.specs.hardware import Hardware
from roofline.specs.models import Model
from roofline.specs.quantization import Quantization

STREAMED = 1 << 18
"""Configurations of a streamed chunk."""


def sweep(
    model: str | Model,
    hardware: str | Hardware,
    quant: str | Quantization = "fp16",
    **axes: Any,
) -> Estimate:
    """`analyze` every combination: each 1-d count gets a dimension of its own.

    Figures have shape [visual, text, batch, output], without the counts given as plain numbers.
    Other keywords are those of `analyze`. Raises as that does.
    """
    return Estimate.of(_grid(model, hardware, quant, axes))


def stream(
    model: str | Model,
    hardware: str | Hardware,
    quant: str | Quantization = "fp16",
    *,
    chunk: int = STREAMED,
    **axes: Any,
) -> Iterator[Estimate]:
    """The same combinations in the same order, flattened, `chunk` at a time: memory is bounded.

    Each estimate's figures are 1-d; `estimate.scenario.counts` has the axes' values beside them.
    Raises, when the first is asked for, as `analyze` does, and ScenarioError for a chunk that is
    not positive.
    """
    if chunk < 1:
        raise ScenarioError(f"`chunk` must be 1 or more, and is {chunk}")
    grid = _grid(model, hardware, quant, axes)
    if not grid.shape:
        grid = replace(grid, counts={name: array[None] for name, array in grid.counts.items()})
    for first in range(0, prod(grid.shape), chunk):
        flat = np.arange(first, min(first + chunk, prod(grid.shape)))
        index = np.unravel_index(flat, grid.shape)
        counts = {
            name: np.broadcast_to(array, grid.shape)[index] if array.ndim else array
            for name, array in grid.counts.items()
        }
        yield Estimate.of(replace(grid, counts=counts))


def _grid(
    model: str | Model,
    hardware: str | Hardware,
    quant: str | Quantization,
    axes: dict[str, Any],
) -> Scenario:
    """The scenario of all combinations."""
    lists = {
        axis.name: np.asarray(axes[axis.name]) for axis in COUNTS if axes.get(axis.name) is not None
    }
    if any(values.ndim > 1 for values in lists.values()):
        raise ScenarioError("a sweep's axes are numbers or 1-d arrays; `analyze` takes any shape")
    varied = {name: values for name, values in lists.items() if values.ndim}
    grid = dict(zip(varied, np.ix_(*varied.values()), strict=True))
    return Scenario.of(model, hardware, quant, **{**axes, **grid})
