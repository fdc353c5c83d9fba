"""Sizes of a kernel as callers give them: numbers or arrays, checked and broadcast."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from roofline.errors import ScenarioError
from roofline.model.polynomial import Array


def sizes_of(**sizes: ArrayLike) -> list[Array]:
    """As float64 of their common shape. Raises ScenarioError for what is no size."""
    values = []
    for name, size in sizes.items():
        try:
            value = np.asarray(size, dtype=np.float64)
        except (TypeError, ValueError):
            raise ScenarioError(f"{name} must be a number or an array of numbers") from None
        if not np.all(np.isfinite(value) & (value > 0)):
            raise ScenarioError(f"{name} must be finite and above zero")
        values.append(value)
    try:
        return list(np.broadcast_arrays(*values))
    except ValueError:
        shapes = ", ".join(f"{name} {np.shape(size)}" for name, size in sizes.items())
        raise ScenarioError(f"sizes do not broadcast: {shapes}") from None
