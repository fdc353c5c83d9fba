"""Laws of kernel time as tables over counts, read off by interpolation.

A law is worked out once at the knots of the counts that vary (rows of a matmul; sequences and
tokens of attention), a quarter of an octave apart, where tables of measurements have their points.
Between them time is linear in the count. No kernel takes longer than a larger one of its kind,
which it could be padded to: each knot takes the least of its own time and those beyond, so that no
time falls as a count rises. A law of another device, or of another data type, knows neither this
one's tiles nor its waves: how far it is above the roofline is averaged over neighbouring knots, in
the logarithm.

Reading a table takes nanoseconds, a law microseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import frexp
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from roofline.model.polynomial import Array

SMOOTHED_KNOTS = 4
"""Knots to either side that the time of a borrowed law is averaged over: an octave."""


class CountAxis(NamedTuple):
    """A count that varies, and where a table has its values."""

    octaves: int
    """From 1 to 2^octaves."""
    per_octave: int = 4
    """Knots in an octave: 4 are at 1, 1¼, 1½ and 1¾ times a power of two."""
    power: int = 1
    """Of the count that times go with beyond the last knot, at most."""

    @property
    def knots(self) -> Array:
        """Ascending, [octaves · per_octave + 1]."""
        steps = np.arange(self.octaves * self.per_octave + 1)
        octave, step = np.divmod(steps, self.per_octave)
        return np.asarray(np.ldexp(1 + step / self.per_octave, octave), dtype=np.float64)

    def places(self, counts: Array) -> Places:
        """Where counts from 1 on lie among the knots; less is taken for 1."""
        last = float(1 << self.octaves)
        beyond: Array | None = None
        if counts.ndim == 0:  # NumPy takes ten times as long for a single number
            one = float(counts)
            if one > last:
                beyond = np.float64((one / last) ** self.power)  # type: ignore[assignment]
            number, power = frexp(min(max(one, 1.0), last))
            place = self.per_octave * (power + (2 * number - 2))
            index = min(int(place), self.octaves * self.per_octave - 1)
            return Places(np.intp(index), np.float64(place - index), beyond)  # type: ignore[arg-type]
        if counts.size and counts.max() > last:
            beyond = np.maximum(counts / last, 1.0) ** self.power
        mantissa, exponent = np.frexp(np.minimum(np.maximum(counts, 1.0), last))
        position = self.per_octave * (exponent + (2 * mantissa - 2))
        below = np.minimum(position.astype(np.intp), self.octaves * self.per_octave - 1)
        return Places(below, position - below, beyond)


class Places(NamedTuple):
    """Where counts lie among the knots of an axis."""

    below: NDArray[np.intp]
    """Index of the last knot that is not above the count."""
    share: Array
    """Of the way from there to the next."""
    beyond: Array | None
    """What times beyond the last knot are multiplied by; None where no count is beyond."""


class Curve:
    """Seconds over one count, or several: `values` at the knots, [knots of each axis]."""

    def __init__(self, axes: Sequence[CountAxis], values: Array) -> None:
        self.axes = tuple(axes)
        self._corners = _corners(values)

    def __call__(self, *counts: Array) -> Array:
        """At counts that broadcast, one for each axis."""
        return self.at(
            *(axis.places(np.asarray(n)) for axis, n in zip(self.axes, counts, strict=True))
        )

    def at(self, *places: Places) -> Array:
        """The same at places among the knots: multilinear interpolation."""
        index: NDArray[np.intp] = places[0].below
        for axis, place in zip(self.axes[1:], places[1:], strict=True):
            index = index * (axis.octaves * axis.per_octave) + place.below
        value = _interpolated(self._corners, index, [place.share for place in places])
        for place in places:
            if place.beyond is not None:
                value = value * place.beyond
        return value


def _corners(values: Array) -> list[Array]:
    """Multilinear coefficients of every cell, flat: for one axis the value at its lower knot and
    the rise to the next; for two the value, the rises along each, and what both add together; …
    """
    parts = [values]
    for axis in range(values.ndim):
        parts = [
            piece
            for part in parts
            for piece in (np.delete(part, -1, axis=axis), np.diff(part, axis=axis))
        ]
    return [np.ascontiguousarray(part).ravel() for part in parts]


def _interpolated(
    corners: Sequence[Array], index: NDArray[np.intp], shares: Sequence[Array]
) -> Array:
    if not shares:
        return corners[0][index]
    # the first axis was split first: its lower halves stand before its rises
    half = len(corners) // 2
    low = _interpolated(corners[:half], index, shares[1:])
    rise = _interpolated(corners[half:], index, shares[1:])
    return low + shares[0] * rise


def tabulated(
    axes: Sequence[CountAxis],
    law: Callable[..., Array],
    bound: Callable[..., Array],
    *,
    smooth: bool = False,
) -> Curve:
    """A law over the counts of `axes`, which it takes as arrays that broadcast, as a curve.

    bound: what no time is below, of the same counts. smooth: the law is another device's.
    """
    grid = np.meshgrid(*(axis.knots for axis in axes), indexing="ij")
    least = np.asarray(bound(*grid), dtype=np.float64)
    values = np.broadcast_to(law(*grid), grid[0].shape)
    if smooth:
        values = least * np.exp(_averaged(np.log(values / least)))
    values = _never_falling(values)
    return Curve(axes, np.maximum(values, least))


def _never_falling(values: Array) -> Array:
    """The least of each value and of all that come later on any axis."""
    for axis in range(values.ndim):
        backwards = np.flip(values, axis)
        values = np.flip(np.minimum.accumulate(backwards, axis), axis)
    return values


def _averaged(values: Array) -> Array:
    """With triangular weights over neighbouring knots, along every axis; mirrored at the ends."""
    width = SMOOTHED_KNOTS
    weights = np.bartlett(2 * width + 3)[1:-1]
    for axis in range(values.ndim):
        reach = min(width, values.shape[axis] - 1)
        kept = weights[width - reach : width + reach + 1]
        padding = [(0, 0)] * values.ndim
        padding[axis] = (reach, reach)
        wide = np.pad(values, padding, mode="reflect")
        windows = np.lib.stride_tricks.sliding_window_view(wide, 2 * reach + 1, axis=axis)
        values = (windows * (kept / kept.sum())).sum(axis=-1)  # no BLAS: its order varies
    return values
