"""Smooth functions that the laws share."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import ArrayLike

from roofline.device.roof import Array

CACHE_EDGE = 4
"""How sharply a cache ends: of twice its size, 1 part in 2⁴ + 1 is still found in it."""


def within_cache(size_bytes: Array, cache_bytes: float) -> Array:
    """Share of an operand that is found in a cache: 1 far below its size, ½ at it."""
    if cache_bytes <= 0:
        return np.zeros_like(size_bytes)
    share: Array = 1 / (1 + (size_bytes / cache_bytes) ** CACHE_EDGE)
    return share


def norm4(left: ArrayLike, right: ArrayLike) -> Array:
    """Smooth maximum (l⁴ + r⁴)^¼ of two times that overlap."""
    root: Array = np.sqrt(np.sqrt(np.square(np.square(left)) + np.square(np.square(right))))
    return root


def scaled(value: Array, span: tuple[float, float]) -> Array:
    """A value with its span mapped to [−1, 1], and held at the ends beyond."""
    low, high = span
    return np.clip((2 * value - low - high) / (high - low), -1.0, 1.0)


def monomials(variables: Sequence[Array], degree: int) -> list[Array]:
    """All products of up to `degree` of the variables, 1 first, in a fixed order."""
    products = [np.ones_like(variables[0])]
    for count in range(1, degree + 1):
        for factors in combinations_with_replacement(variables, count):
            products.append(np.prod(factors, axis=0))
    return products


def hats(value: Array, nodes: Sequence[float]) -> list[Array]:
    """For each node a function that is 1 there, 0 at the others, linear in the logarithm."""
    position, marks = np.log(value), np.log(nodes)
    return [np.interp(position, marks, unit) for unit in np.eye(len(nodes))]
