"""Functions of one or two whole numbers that are computed once for each, however often it comes up.

A law of kernel time costs microseconds. A sweep of millions of configurations has only thousands of
different batches and prompt lengths, on which nearly all kernels of a model depend.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from roofline.model.polynomial import Array, Point, all_equal

Function: TypeAlias = Callable[[Point], Sequence[Array]]

DIRECT_BELOW = 256
"""So few configurations are computed as they come."""
MOST = 1 << 22
"""Table entries; beyond, everything is computed as it comes."""
MOST_POINTS = 1 << 10
"""Single points that are remembered at a time."""


class MemoTable:
    """`function` of the variables `names` of a point, and of no others."""

    def __init__(self, names: Sequence[str], function: Function) -> None:
        self._names, self._function = tuple(names), function
        self._points: dict[tuple[float, ...], list[Array]] = {}
        self._stride = 0
        self._known: NDArray[np.bool_] = np.zeros(0, dtype=bool)
        self._values: list[Array] = []

    def __call__(self, point: Point) -> Sequence[Array]:
        """The same as `function(point)`, to the last bit."""
        given = [np.asarray(point[name]) for name in self._names]
        if given and all(map(all_equal, given)):
            shape = np.broadcast_shapes(*(numbers.shape for numbers in given))
            single = self._at(tuple(float(numbers.flat[0]) for numbers in given))
            return [np.broadcast_to(value, shape) for value in single]
        variables = np.broadcast_arrays(*given)
        if len(variables) not in (1, 2) or variables[0].size <= DIRECT_BELOW:
            return self._function(point)
        whole = [variable.astype(np.intp) for variable in variables]
        if not all(np.array_equal(w, v) for w, v in zip(whole, variables, strict=True)):
            return self._function(point)
        key = self._key(whole)
        if key is None:
            return self._function(point)
        new = np.unique(key[~self._known[key]])
        if new.size:
            self._remember(new)
        return [values[key] for values in self._values]

    def _at(self, key: tuple[float, ...]) -> list[Array]:
        """At a single point."""
        known = self._points.get(key)
        if known is None:
            if len(self._points) >= MOST_POINTS:
                self._points.clear()
            point = Point({n: np.asarray(v) for n, v in zip(self._names, key, strict=True)})
            known = self._points[key] = [np.asarray(value) for value in self._function(point)]
        return known

    def _key(self, whole: Sequence[NDArray[np.intp]]) -> NDArray[np.intp] | None:
        """One number for each combination; None where a table of them would be too large."""
        last = [int(numbers.max()) for numbers in whole]
        if min(int(numbers.min()) for numbers in whole) < 0:
            return None
        stride = 1 << (last[1]).bit_length() if len(whole) == 2 else 1
        if stride > self._stride:
            self._stride, self._known, self._values = stride, np.zeros(0, dtype=bool), []
        size = (last[0] + 1) * self._stride
        if size > MOST:
            return None
        if size > self._known.size:
            room = min(MOST, 2 * size)
            self._known = np.concatenate([self._known, np.zeros(room - self._known.size, bool)])
            self._values = [np.resize(values, room) for values in self._values]
        return whole[0] * self._stride + whole[1] if len(whole) == 2 else whole[0]

    def _remember(self, keys: NDArray[np.intp]) -> None:
        parts = (keys,) if len(self._names) == 1 else np.divmod(keys, self._stride)
        values = {n: part.astype(np.float64) for n, part in zip(self._names, parts, strict=True)}
        results = self._function(Point(values))
        if not self._values:
            self._values = [np.empty(self._known.size) for _ in results]
        for table, result in zip(self._values, results, strict=True):
            table[keys] = result
        self._known[keys] = True
