"""`MatmulLaw` from measured matmuls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
import numpy as np

from roofline.device.kernel_types import MATMUL_KERNELS, kernel_roof
from roofline.device.laws.matmul import (
    MOST_CORRECTION,
    Blocks,
    MatmulLaw,
    blocks,
    chosen_seconds,
    correction_basis,
    fixed_seconds,
    kernel_seconds,
    matmul_seconds,
)
from roofline.device.roof import Roof
from roofline.fitting.descent import WIDTH, descend
from roofline.fitting.fitters import FITTERS, Fitter
from roofline.fitting.initial_guesses import CPU, starts
from roofline.fitting.numbers import bound, free
from roofline.fitting.rows import (
    FitError,
    check_physics,
    columns,
    errors_percent,
    held_out,
    of_one_source,
    rounded,
)
from roofline.fitting.tables import by_kernel
from roofline.model.polynomial import Array
from roofline.specs.hardware import Hardware

_TRIAL_ROWS = 2000
"""Of more rows only some shapes try the starts."""
_PHYSICS_SPREAD = 1.5
"""Prior standard deviation of the physical numbers' logarithms (log odds of fractions)."""
_RELUCTANCE_SPREAD = 0.3
_CORRECTION_SPREAD = 0.07
_FEW_ROWS, _FEW_ROWS_SPREAD = 500, 0.5
"""Below so many rows the prior is as much narrower."""
_WEIGHT_ONLY_SPEED_UP = 2.0
"""Some weight-only kernels quantize their inputs after all and compute in 8 bits."""

_NUMBERS = (
    "launch_us",
    "bandwidth_fraction",
    "starvation",
    "fill_k",
    "wave_share",
    "wave_overhead",
    "packing_passes",
    "quantizing_passes",
    "quantizing_row_ns",
    "quantizing_k_ns",
    "choice_sharpness",
    "split_us",
    "split_bandwidth_ratio",
    "feed_bandwidth_ratio",
    "cached_bandwidth_ratio",
    "cached_weights_share",
    "cached_activations_share",
)
"""What is fitted of a law: those of its start that are above zero."""


_BESIDE = {
    "launch_us",
    "packing_passes",
    "quantizing_passes",
    "quantizing_row_ns",
    "quantizing_k_ns",
    "choice_sharpness",
}
"""Those that no single kernel's time depends on."""


def fit_matmul(
    rows: Mapping[str, Any],
    roof: Roof,
    *,
    kernel: str = "bf16",
    kind: Literal["gpu", "cpu"] = "gpu",
) -> MatmulLaw:
    """A law from columns `m`, `n`, `k`, `time_ms`, one measured [m, k] @ [k, n] a row.

    `kernel` is a key of `MATMUL_KERNELS`, which has the widths of its operands. A CPU gets fewer
    numbers and no corrections, for it is fitted to dozens of measurements instead of thousands. The
    error is that of first fits on (n, k) shapes held out from them. Raises FitError.
    """
    if kernel not in MATMUL_KERNELS:
        raise FitError(f"no matmul kernel {kernel!r}; there are {', '.join(MATMUL_KERNELS)}")
    rows = of_one_source(rows)
    m, n, k, seconds = columns(rows, ("m", "n", "k", "time_ms"))
    data = _MatmulTimes(roof, kernel, m, n, k, seconds)
    width = MATMUL_KERNELS[kernel]
    check_physics(
        roof,
        seconds,
        2 * m * n * k,
        data.weight_bytes + data.activation_bytes,
        speed_up=_WEIGHT_ONLY_SPEED_UP if width.weight < width.input else 1.0,
        rows=rows,
    )
    tests = held_out(n, k)
    start, first = _most_promising(data, starts(kind, width.weight, width.input))
    last, predicted = first, []
    for test in tests:
        model = _MatmulFit(data.where(~test), start)
        last = _best(model, first)
        predicted.append(data.where(test).predict(model.law(last)))
    errors = errors_percent(predicted, [seconds[test] for test in tests])
    model = _MatmulFit(data, start)
    x, _ = descend(model, model.measured, last)
    return msgspec.structs.replace(rounded(model.law(x)), rows=m.size, **errors)


def _fit(hardware: Hardware, kernel: str, rows: dict[str, Any]) -> MatmulLaw:
    return fit_matmul(rows, kernel_roof(hardware, kernel), kernel=kernel, kind=hardware.kind)


def _seconds(hardware: Hardware, kernel: str, law: MatmulLaw, rows: Mapping[str, Any]) -> Array:
    m, n, k, seconds = columns(rows, ("m", "n", "k", "time_ms"), least=1)
    return _MatmulTimes(kernel_roof(hardware, kernel), kernel, m, n, k, seconds).predict(law)


FITTERS.register(
    MatmulLaw.family,
    Fitter(("m", "n", "k"), lambda hardware, rows: by_kernel(rows), _fit, seconds=_seconds),
)


def _most_promising(
    data: _MatmulTimes, candidates: Sequence[MatmulLaw]
) -> tuple[MatmulLaw, Array | None]:
    """The start that explains some of the shapes best, and how far the fit to them came.

    The shapes are none of those that the error is measured on; where there are too few to spare
    some, all are tried, and nothing of the fit is handed on.
    """
    if len(candidates) == 1:
        return candidates[0], None
    some = _trial(data)
    data = data if some is None else some
    models = [_MatmulFit(data, candidate) for candidate in candidates]
    fits = [descend(model, model.measured) for model in models]
    best = min(range(len(fits)), key=lambda i: fits[i][1])
    return candidates[best], None if some is None else fits[best][0]


def _trial(data: _MatmulTimes) -> _MatmulTimes | None:
    """Some shapes beside those that measure the error; None where each of them may be needed."""
    tests = held_out(data.n, data.k)
    if data.m.size <= _TRIAL_ROWS or len(tests) != 1:
        return None
    rest = data.where(~tests[0])
    trials = held_out(rest.k, rest.n)
    return rest.where(trials[0]) if len(trials) == 1 else None


def _best(model: _MatmulFit, first: Array | None) -> Array:
    """The better of the fits from the prior and, if there is such, from where a trial came."""
    fits = [descend(model, model.measured, x) for x in (None, first)[: 1 + (first is not None)]]
    return min(fits, key=lambda fit: fit[1])[0]


class _MatmulTimes:
    """Shapes and times of one kernel."""

    def __init__(self, roof: Roof, kernel: str, m: Array, n: Array, k: Array, s: Array) -> None:
        self.roof, self.kernel = roof, kernel
        self.m, self.n, self.k, self.seconds = m, n, k, s
        width = MATMUL_KERNELS[kernel]
        self.weight_bytes = width.weight * n * k
        self.activation_bytes = m * (width.input * k + width.output * n)

    def where(self, mask: Any) -> _MatmulTimes:
        picked = (a[mask] for a in (self.m, self.n, self.k, self.seconds))
        return _MatmulTimes(self.roof, self.kernel, *picked)

    def predict(self, law: MatmulLaw) -> Array:
        return matmul_seconds(
            law,
            self.roof,
            self.m,
            self.n,
            self.k,
            weight_bytes=self.weight_bytes,
            activation_bytes=self.activation_bytes,
        )


class _MatmulFit:
    """A law's free numbers as a vector: logarithms, log odds of fractions, corrections as such."""

    def __init__(self, data: _MatmulTimes, start: MatmulLaw) -> None:
        numbers = [name for name in _NUMBERS if getattr(start, name)]
        self.data, self.template, self.numbers = data, start, numbers
        self.measured = np.log(data.seconds)
        bound_s = data.roof.seconds(
            2 * data.m * data.n * data.k, data.weight_bytes + data.activation_bytes
        )
        self.floor = np.log(bound_s)
        self.basis = correction_basis(data.roof, data.m, data.n, data.k, bound_s)
        if start is CPU:
            self.basis = self.basis[:, :0]
        self.all = blocks(
            start.tiles,
            start.splits,
            data.roof,
            data.m,
            data.n,
            data.k,
            data.weight_bytes,
            data.activation_bytes,
        )
        self.start = np.array(
            [free(start, name) for name in numbers]
            + [free(tile, "efficiency") for tile in start.tiles]
            + [0.0] * (len(start.tiles) + self.basis.shape[1])
        )
        self.spread = np.array(
            [_PHYSICS_SPREAD] * (len(numbers) + len(start.tiles))
            + [_RELUCTANCE_SPREAD] * len(start.tiles)
            + [_CORRECTION_SPREAD] * self.basis.shape[1]
        )
        if data.m.size < _FEW_ROWS:
            self.spread *= _FEW_ROWS_SPREAD
        self.physical = self.start.size - self.basis.shape[1]

    def law(self, x: Array) -> MatmulLaw:
        count, tiles = len(self.numbers), len(self.template.tiles)
        values = {name: bound(name, v) for name, v in zip(self.numbers, x[:count], strict=True)}
        efficiencies = x[count : count + tiles]
        reluctances = x[count + tiles : self.physical]
        fitted = tuple(
            msgspec.structs.replace(tile, efficiency=bound("efficiency", e), reluctance=float(r))
            for tile, e, r in zip(self.template.tiles, efficiencies, reluctances, strict=True)
        )
        return msgspec.structs.replace(
            self.template,
            tiles=fitted,
            corrections=tuple(map(float, x[self.physical :])),
            **values,
        )

    def settle(self, x: Array) -> Blocks:
        seconds = kernel_seconds(self.law(x), self.data.roof, self.all)
        return self.all.take(seconds.argmin(axis=-1))

    def logarithm(self, x: Array, state: Blocks) -> Array:
        law = self.law(x)
        chosen, _ = self._chosen(law, kernel_seconds(law, self.data.roof, state)[..., 0])
        return np.maximum(np.log(chosen + self._fixed(law)) + self._added(x), self.floor)

    def jacobian(self, x: Array, state: Blocks) -> Array:
        """By a number that all tiles share, a forward difference. A tile's own numbers change its
        own time only, and with it the odds: that much is worked out on paper.
        """
        law, roof = self.law(x), self.data.roof
        kernels = kernel_seconds(law, roof, state)[..., 0]
        chosen, odds = self._chosen(law, kernels)
        seconds = chosen + self._fixed(law)

        def moved(first: int, last: int) -> MatmulLaw:
            step = np.zeros_like(x)
            step[first:last] = WIDTH
            return self.law(x + step)

        columns = []
        for i, name in enumerate(self.numbers):
            other = moved(i, i + 1)
            times = kernels if name in _BESIDE else kernel_seconds(other, roof, state)[..., 0]
            total = self._chosen(other, times)[0] + self._fixed(other)
            columns.append((np.log(total) - np.log(seconds)) / WIDTH)
        count = len(self.numbers)
        other = moved(count, count + len(law.tiles))
        times = kernel_seconds(other, roof, state)[..., 0]
        share = odds * (chosen / seconds)[:, None]
        excess = law.choice_sharpness * (np.log(kernels) - np.log(chosen)[:, None])
        by_efficiency = share * (1 - excess) * (np.log(times) - np.log(kernels)) / WIDTH
        by_number = np.stack(columns, axis=-1)
        above = np.log(seconds) + self._added(x) > self.floor
        slopes = np.hstack([by_number, by_efficiency, -share * excess, self.basis])
        return np.where(above[:, None], slopes, 0.0)

    def _chosen(self, law: MatmulLaw, kernels: Array) -> tuple[Array, Array]:
        return chosen_seconds(law, kernels, self.data.m, self.data.n)

    def _fixed(self, law: MatmulLaw) -> Array:
        data = self.data
        return fixed_seconds(law, data.roof, data.m, data.k, data.weight_bytes)

    def _added(self, x: Array) -> Array:
        return np.clip(self.basis @ x[self.physical :], -MOST_CORRECTION, MOST_CORRECTION)
