"""Smooth functions that the laws share."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import ArrayLike

from roofline.model.polynomial import Array

SHARP, SHARPER = 2, 3
"""How sharply a cache ends: of twice its size, 1 part in 2⁴ + 1, or in 2⁸ + 1, is still found in
it."""

MOST_CORRECTION = 0.7
"""Largest correction of the logarithm of attention's time, so that it never runs away."""


def within_cache(size_bytes: Array, cache_bytes: float, sharpness: int = SHARP) -> Array:
    """Share of an operand that is found in a cache: 1 far below its size, ½ at it."""
    if cache_bytes < 1e-9:  # nor could the power of a quotient by it be held
        return np.zeros_like(size_bytes)
    power = size_bytes / cache_bytes
    for _ in range(sharpness):
        power = np.square(power)
    share: Array = 1 / (1 + power)
    return share


def norm4(left: ArrayLike, right: ArrayLike) -> Array:
    """Smooth maximum (l⁴ + r⁴)^¼ of two times that overlap."""
    root: Array = np.sqrt(np.sqrt(np.square(np.square(left)) + np.square(np.square(right))))
    return root


def scaled(value: Array, span: tuple[float, float]) -> Array:
    """A value with its span mapped to [−1, 1], and held at the ends beyond."""
    low, high = span
    mapped: Array = (2 * value - low - high) / (high - low)
    return np.minimum(np.maximum(mapped, -1.0), 1.0)


def monomials(variables: Sequence[Array], degree: int) -> list[Array]:
    """All products of up to `degree` of the variables, 1 first, in a fixed order."""
    products: dict[tuple[int, ...], Array] = {(): np.ones_like(variables[0])}
    for count in range(1, degree + 1):
        for factors in combinations_with_replacement(range(len(variables)), count):
            *most, last = factors
            products[factors] = products[tuple(most)] * variables[last]
    return list(products.values())


def polynomial(
    variables: Sequence[Array], degree: int, coefficients: Sequence[float]
) -> Array | float:
    """Σ cᵢ·mᵢ over the `monomials` of the variables, whose shapes broadcast.

    By Horner's rule, one variable in the others, so that numbers that do not vary, given last, are
    worked in before any array is.
    """
    values = [float(value) if np.ndim(value) == 0 else value for value in variables]
    positions = _positions(len(values), degree)

    def inner(exponents: tuple[int, ...], left: int) -> Array | float:
        index = len(exponents)
        if index == len(values):
            return coefficients[positions[exponents]]
        total = inner((*exponents, left), 0)
        for power in range(left - 1, -1, -1):
            total = total * values[index] + inner((*exponents, power), left - power)
        return total

    return inner((), degree)


@lru_cache(maxsize=16)
def _positions(count: int, degree: int) -> dict[tuple[int, ...], int]:
    """Place of each monomial in `monomials`, by its exponents."""
    factors = [
        one
        for power in range(degree + 1)
        for one in combinations_with_replacement(range(count), power)
    ]
    return {tuple(map(one.count, range(count))): place for place, one in enumerate(factors)}


def hats(value: Array, nodes: Sequence[float]) -> Array:
    """For each node a function that is 1 there, 0 at the others, linear in the logarithm of the
    value, and held beyond the outer nodes: [..., nodes].
    """
    indices = np.arange(len(nodes))
    position = np.interp(np.log(value), np.log(nodes), indices)
    return np.maximum(1.0 - np.abs(position[..., None] - indices), 0.0)


def corrected(seconds: Array, added: Array | float) -> Array:
    """Seconds times the exponential of a correction, held within its bounds."""
    held = np.minimum(np.maximum(added, -MOST_CORRECTION), MOST_CORRECTION)
    corrected_s: Array = seconds * np.exp(held)
    return corrected_s
