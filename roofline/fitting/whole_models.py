"""A device's laws corrected by times of whole models, in as few numbers as the rows support.

Predicted and measured times differ by a rate, a bandwidth, and what the host takes for a kernel and
for a pass. Which of those are fitted is decided by models left out: one more number has to bring
their error down. Every number is drawn towards the law as it stands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from roofline.engine.estimate import Estimate
from roofline.engine.result import Totals
from roofline.engine.scenario import Scenario
from roofline.fitting.rows import FASTER_THAN_ROOF, FitError
from roofline.fitting.whole_rows import WholeModelTime
from roofline.model.polynomial import Array
from roofline.specs.correction import Correction
from roofline.specs.hardware import Hardware
from roofline.specs.runtimes import find_runtime
from roofline.units import MICRO

KEY = "models"
"""Of the measurements among the sources of a corrected spec."""
NOISE = 0.05
"""What two measurements of one model differ by: where errors begin to count linearly."""
SPREADS = {"rate": 0.3, "bandwidth": 0.15, "kernel_us": 3.0, "step_us": 3000.0}
"""Prior standard deviations: of logarithms, or in µs."""
NUMBERS = (
    ("rate",),
    ("bandwidth",),
    ("step_us",),
    ("kernel_us",),
    ("rate", "bandwidth"),
    ("rate", "kernel_us"),
    ("rate", "step_us"),
    ("bandwidth", "step_us"),
    ("rate", "bandwidth", "kernel_us"),
    ("rate", "bandwidth", "step_us"),
)
"""Sets of numbers that are tried, the fewest first."""
MODELS_PER_NUMBER = 2
"""Of so many models one number more is fitted; of one model, the bandwidth if it was measured
decoding or answering, else the rate."""
WORTH = 0.9
"""A further number has to bring the error of models left out below that share."""
RATES = np.exp([-1.6, -0.8, -0.4, -0.2, -0.1, 0.0, 0.1, 0.2, 0.4, 0.8])
BANDWIDTHS = np.exp([-0.8, -0.3, -0.1, 0.0, 0.12])
"""Factors at which the analysis is asked; between them logarithms of time are linear."""
_STEPS = 30


class WholeModelFit(NamedTuple):
    """A device with its correction, and what was known of each row."""

    hardware: Hardware
    predicted_s: Array
    """Of each row, by the correction."""
    left_out_s: Array
    """The same by a correction fitted without the row's model; NaN of a single model."""
    uncorrected_s: Array
    """By the laws as they were."""


def predicted_seconds(hardware: Hardware, rows: Sequence[WholeModelTime]) -> Array:
    """What the tool says of each row on a device, [rows] in s: elapsed time under the row's
    runtime, else that of kernels alone.
    """
    return np.array([float(one.predicted_time_s) for one in totals_of(hardware, rows)])


def fit_whole_models(
    hardware: Hardware, rows: Sequence[WholeModelTime], *, source: str
) -> WholeModelFit:
    """The device corrected by the rows. A correction that it has is replaced.

    source: who measured, for the file's `sources`. Raises FitError for times that
    beat the roofline, UnsupportedModeError for a precision that the device does not have.
    """
    plain = replace(hardware, correction=None)
    if plain.kernel_laws is None and plain.laws_from is None:
        raise FitError(f"{hardware.name} has no laws to correct: name a device with --like")
    measured = np.array([row.seconds for row in rows])
    bound = np.array([float(one.roofline_time_s) for one in totals_of(plain, rows)])
    for row, least in zip(rows, bound, strict=True):
        if row.seconds * FASTER_THAN_ROOF < least:
            raise FitError(
                f"{row.where}: {row.label} in {row.seconds:.4g} s is {least / row.seconds:.2f} "
                "times as fast as the roofline; check its batch, precision and unit of time"
            )
    surface = _Surface(plain, rows)
    labels = np.array([row.label for row in rows])
    stages = tuple(dict.fromkeys(row.stage for row in rows))
    alone = "bandwidth" if {"decode", "answer"} & set(stages) else "rate"
    chosen, left_out = _chosen(surface, measured, labels, alone)
    numbers = _fit(surface, measured, labels, chosen, np.ones(len(rows), dtype=bool))
    uncorrected = surface.seconds(np.zeros(4))
    errors: dict[str, float] = {}
    if np.isfinite(left_out).all():
        off = 100 * np.abs(left_out / measured - 1)
        median, p90 = np.quantile(off, (0.5, 0.9)).tolist()
        errors = {"median_error_percent": round(median, 2), "p90_error_percent": round(p90, 2)}
    before = float(np.median(100 * np.abs(uncorrected / measured - 1)))
    factors = np.exp(numbers[:2]).tolist()
    correction = Correction(
        source=KEY,
        stages=stages,
        rows=len(rows),
        models=len(set(labels)),
        rate=round(factors[0], 3),
        bandwidth=round(factors[1], 3),
        kernel_us=round(float(numbers[2]), 2),
        step_us=round(float(numbers[3]), 1),
        uncorrected_median_error_percent=round(before, 2),
        **errors,
    )
    sources = {**plain.sources, KEY: source}
    corrected = replace(plain, correction=correction, sources=sources)
    return WholeModelFit(corrected, surface.seconds(numbers), left_out, uncorrected)


def _chosen(
    surface: _Surface, measured: Array, labels: NDArray[np.str_], alone: str
) -> tuple[tuple[str, ...], Array]:
    """The numbers that are worth fitting, `alone` of a single model, and each row by a fit without
    its model.
    """
    everything = np.ones(measured.size, dtype=bool)
    models = list(dict.fromkeys(labels.tolist()))
    if len(models) == 1:
        return (alone,), np.full(measured.size, np.nan)
    best: tuple[str, ...] = ()
    best_s = surface.seconds(np.zeros(4))
    best_error = _mean_error(best_s, measured, labels)
    for numbers in NUMBERS:
        if len(models) < MODELS_PER_NUMBER * len(numbers):
            continue
        left_out = np.empty(measured.size)
        for model in models:
            mine = labels == model
            x = _fit(surface, measured, labels, numbers, everything & ~mine)
            left_out[mine] = surface.seconds(x)[mine]
        error = _mean_error(left_out, measured, labels)
        if error < best_error * (WORTH if len(numbers) > len(best) else 1.0):
            best, best_s, best_error = numbers, left_out, error
    return best, best_s


def _mean_error(predicted: Array, measured: Array, labels: NDArray[np.str_]) -> float:
    """Mean of the absolute errors, every model as much as any other."""
    off = np.abs(predicted / measured - 1)
    return float(np.average(off, weights=_weights(labels)))


def _weights(labels: NDArray[np.str_]) -> Array:
    _, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    return np.asarray(1.0 / counts[inverse])


def _fit(
    surface: _Surface,
    measured: Array,
    labels: NDArray[np.str_],
    numbers: Sequence[str],
    mask: NDArray[np.bool_],
) -> Array:
    """Ln rate, ln bandwidth, kernel_us, step_us; 0 of those that are not in `numbers`.

    Minimises Σ w·2(√(1 + e²) − 1) + Σ (x / spread)², e = ln(predicted / measured) / `NOISE`, by
    Gauss-Newton steps that the weights 1/√(1 + e²) of a robust loss keep. Of a single row, which no
    other can call an outlier, e² + Σ (x / spread)².
    """
    free = [i for i, name in enumerate(SPREADS) if name in numbers]
    spread = np.array(list(SPREADS.values()))
    weights = np.where(mask, _weights(labels), 0.0)
    x = np.zeros(4)
    if not free:
        return x
    for _ in range(_STEPS):
        residual = np.log(surface.seconds(x) / measured) / NOISE
        robust = weights if mask.sum() == 1 else weights / np.sqrt(1 + residual**2)
        slopes = np.stack([surface.slope(x, i) for i in free], axis=-1) / NOISE
        prior = np.diag(1 / spread[free] ** 2)
        curvature = slopes.T @ (slopes * robust[:, None]) + prior
        gradient = slopes.T @ (residual * robust) + prior @ x[free]
        step = np.linalg.solve(curvature, gradient)
        limit = spread[free] * 0.7
        x[free] -= np.clip(step, -limit, limit)
        x[2:] = np.maximum(x[2:], 0.0)
        x[0] = np.clip(x[0], np.log(RATES[0]), np.log(RATES[-1]))
        x[1] = np.clip(x[1], np.log(BANDWIDTHS[0]), np.log(BANDWIDTHS[-1]))
        if np.all(np.abs(step) < 1e-5 * spread[free]):
            break
    return x


class _Surface:
    """Times of all rows as a function of the four numbers."""

    def __init__(self, hardware: Hardware, rows: Sequence[WholeModelTime]) -> None:
        source = next(iter(hardware.sources))
        grid = np.empty((RATES.size, BANDWIDTHS.size, len(rows)))
        for i, rate in enumerate(RATES.tolist()):
            for j, bandwidth in enumerate(BANDWIDTHS.tolist()):
                one = Correction(
                    source=source,
                    stages=(rows[0].stage,),
                    rows=1,
                    models=1,
                    rate=rate,
                    bandwidth=bandwidth,
                )
                changed = replace(hardware, correction=one)
                grid[i, j] = np.log(predicted_seconds(changed, rows))
        self._logarithm = grid
        self._launches, self._passes = _launches(hardware, rows)

    def seconds(self, x: Array) -> Array:
        """[rows] at ln rate, ln bandwidth, kernel_us and step_us."""
        rate, i = _position(x[0], np.log(RATES))
        bandwidth, j = _position(x[1], np.log(BANDWIDTHS))
        cell = self._logarithm[i : i + 2, j : j + 2]
        line = cell[0] * (1 - rate) + cell[1] * rate
        kernels = np.exp(line[0] * (1 - bandwidth) + line[1] * bandwidth)
        return np.asarray(
            kernels + MICRO * (x[2] * self._launches + x[3] * self._passes), dtype=np.float64
        )

    def slope(self, x: Array, number: int) -> Array:
        """Derivative of the logarithm by one number, [rows]."""
        width = 1e-4 * list(SPREADS.values())[number]
        moved = x.copy()
        moved[number] += width
        return np.asarray(np.log(self.seconds(moved) / self.seconds(x)) / width)


def _position(value: float, knots: Array) -> tuple[float, int]:
    """Share of the way from a knot to the next, and its index."""
    i = int(np.clip(np.searchsorted(knots, value) - 1, 0, knots.size - 2))
    return float((value - knots[i]) / (knots[i + 1] - knots[i])), i


def _launches(hardware: Hardware, rows: Sequence[WholeModelTime]) -> tuple[Array, Array]:
    """Kernels that each row runs, and passes whose host waits for no device; those of an answer
    added up.
    """
    kernels, passes = np.empty(len(rows)), np.empty(len(rows))
    for i, row in enumerate(rows):
        steps = float(row.axes.get("output_tokens", 0.0))
        counted: dict[str, float] = {}
        for op in _estimate(hardware, row.key, (row.axes["batch"],)).ops:
            if _belongs(op.component, row):
                counted[op.phase] = counted.get(op.phase, 0.0) + float(op.count * op.launches)
        decode = steps if row.stage == "answer" else 1.0
        kernels[i] = counted.get("prefill", 0.0) + decode * counted.get("decode", 0.0)
        runtime = row.axes.get("runtime")
        waits = runtime is not None and not find_runtime(runtime).overlaps
        passes[i] = (1.0 + steps if row.stage == "answer" else 1.0) * waits
    return kernels, passes


def _belongs(component: str, row: WholeModelTime) -> bool:
    """Whether a component runs in what a row has measured."""
    if row.stage == "tower":
        return component == "vision"
    return component == "llm" or row.stage == "answer"


def totals_of(hardware: Hardware, rows: Sequence[WholeModelTime]) -> list[Totals]:
    """The figures of what each row has measured, those of one model and stage as one estimate."""
    groups: dict[Any, list[int]] = {}
    for i, row in enumerate(rows):
        groups.setdefault(row.key, []).append(i)
    found: list[Totals | None] = [None] * len(rows)
    for key, members in groups.items():
        batches = tuple(rows[i].axes["batch"] for i in members)
        estimate = _estimate(hardware, key, batches)
        part = {"tower": "vision", "answer": ""}.get(rows[members[0]].stage, "llm")
        totals = estimate.components[part] if part else estimate.end_to_end
        for position, i in enumerate(members):
            found[i] = _one(totals, position)
    return [one for one in found if one is not None]


def _one(totals: Totals, index: int) -> Totals:
    """One configuration of several."""
    fields: dict[str, Any] = {}
    for name in totals.__struct_fields__:
        value = getattr(totals, name)
        if isinstance(value, Mapping):
            value = {word: np.atleast_1d(seconds)[index] for word, seconds in value.items()}
        elif isinstance(value, np.ndarray) and value.ndim:
            value = value[index]
        fields[name] = value
    return Totals(**fields)


@lru_cache(maxsize=256)
def _estimate(hardware: Hardware, key: tuple[Any, ...], batches: tuple[float, ...]) -> Estimate:
    model, _, quant, axes = key
    scenario = Scenario.of(model, hardware, quant, **dict(axes), batch=np.array(batches))
    return Estimate.of(scenario)
