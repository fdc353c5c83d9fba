"""`MoeLaw` from measured mixture-of-experts MLPs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from msgspec.structs import replace

from roofline.device.kernel_types import MATMUL_KERNELS, OperandBytes, kernel_roof
from roofline.device.laws.moe import (
    ROWS_NODES,
    SHAPE,
    TOUCHED_NODES,
    MoeLaw,
    moe_flops,
    moe_seconds,
    physical_seconds,
    shape_variables,
    stretch,
    touched_experts,
    weighted,
)
from roofline.device.laws.smooth import hats
from roofline.device.roof import Roof
from roofline.fitting.fitters import FITTERS, Fitter
from roofline.fitting.law_fit import PHYSICS_SPREAD, NumericFit, best_law, law_with_error
from roofline.fitting.numbers import bound, free
from roofline.fitting.rows import (
    FASTER_THAN_ROOF,
    LEAST_ROWS,
    FitError,
    check_physics,
    columns,
    in_turn,
    of_one_source,
)
from roofline.fitting.tables import by_kernel
from roofline.model.polynomial import Array
from roofline.specs.hardware import Hardware

START = MoeLaw(
    rows=1,
    median_error_percent=0.0,
    p90_error_percent=0.0,
    launch_us=12.0,
    row_ns=0.5,
    expert_ns=10.0,
    efficiency=0.5,
    least_rows=8.0,
    fill_k=100.0,
    step_ns=2.0,
    bandwidth_fraction=0.85,
    activation_passes=1.5,
    unaligned_slowdown=0.5,
    cached_bandwidth_ratio=4.0,
    cached_share=0.3,
)
"""Where a fit starts: at good kernels, …"""

STARTS = (
    START,
    replace(START, launch_us=30.0, efficiency=0.85, least_rows=100.0, fill_k=300.0, step_ns=0.5),
    replace(START, launch_us=30.0, efficiency=0.3, least_rows=250.0, fill_k=1000.0, step_ns=0.3),
    replace(START, efficiency=0.2, bandwidth_fraction=0.2, least_rows=64.0, cached_share=0.9),
)
"""… and at others. The best of what they lead to counts."""

_NUMBERS = (
    "launch_us",
    "row_ns",
    "expert_ns",
    "efficiency",
    "least_rows",
    "fill_k",
    "step_ns",
    "bandwidth_fraction",
    "activation_passes",
    "unaligned_slowdown",
    "cached_bandwidth_ratio",
    "cached_share",
)
_SHAPE_SPREAD = 0.1
_RISE = -4.0
"""Logarithm of a curve's rise from one node to the next, where a fit starts."""
_RISE_SPREAD = 2.0
_TILT_SPREAD = 0.5
_MOST_ODD = 0.05
"""Share of rows that may beat the roof, and are left out: where tokens were not sent to as many
experts as balanced routing touches, or an expert has no gate.
"""
_COLUMNS = ("num_tokens", "hidden_size", "inter_size", "topk", "num_experts")


def fit_moe(rows: Mapping[str, Any], roof: Roof, width: OperandBytes) -> MoeLaw:
    """A law from columns `num_tokens`, `hidden_size`, `inter_size`, `topk`, `num_experts`,
    `time_ms`, and two that may be left out: `moe_tp_size`, devices that share an expert's
    `inter_size` (1), and `gated`, whether it has a gate (1 or 0; 1).

    width: bytes an element of weights, inputs and outputs. The errors are those of first fits on
    sets of (hidden_size, inter_size, moe_tp_size, topk, num_experts) held out from them. Raises
    FitError.
    """
    rows = of_one_source(rows)
    data = _MoeTimes.of(rows, roof, width)
    if data.seconds.size < LEAST_ROWS:
        raise FitError(f"{data.seconds.size} measurements are too few for a fit; give {LEAST_ROWS}")
    odd = data.faster_than_roof()
    if odd.mean() > _MOST_ODD:
        check_physics(roof, data.seconds, data.flops, data.traffic, rows=rows)
    data = data.where(~odd)
    return law_with_error(data, _fitted, in_turn(*data.shape[1:]))


def _fit(hardware: Hardware, kernel: str, rows: dict[str, Any]) -> MoeLaw:
    if kernel not in MATMUL_KERNELS:
        raise FitError(f"dtype must be one of {', '.join(MATMUL_KERNELS)}")
    return fit_moe(rows, kernel_roof(hardware, kernel), MATMUL_KERNELS[kernel])


def _kernels(hardware: Hardware, rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    return by_kernel(rows)


def _seconds(hardware: Hardware, kernel: str, law: MoeLaw, rows: Mapping[str, Any]) -> Array:
    roof = kernel_roof(hardware, kernel)
    return _MoeTimes.of(rows, roof, MATMUL_KERNELS[kernel]).predict(law)


FITTERS.register(MoeLaw.family, Fitter(_COLUMNS, _kernels, _fit, seconds=_seconds))


class _MoeTimes:
    """Shapes and times."""

    def __init__(self, roof: Roof, width: OperandBytes, *arrays: Array) -> None:
        self.roof, self.width, self.arrays = roof, width, arrays
        *self.shape, self.gated, self.seconds = arrays
        tokens, hidden, intermediate, experts, top_k = self.shape
        touched = touched_experts(tokens, experts, top_k)
        self.weights = width.weight * (2 + self.gated) * touched * hidden * intermediate
        self.activations = (width.input + width.output) * tokens * hidden
        self.traffic = self.weights + self.activations
        self.flops = moe_flops(*self.shape, gated=self.gated)

    @classmethod
    def of(cls, rows: Mapping[str, Any], roof: Roof, width: OperandBytes) -> _MoeTimes:
        tokens, hidden, inner, top_k, experts, seconds = columns(
            rows, (*_COLUMNS, "time_ms"), least=1
        )
        ways = columns(rows, ("moe_tp_size",), least=1)[0] if "moe_tp_size" in rows else 1.0
        gated = np.asarray(rows.get("gated", np.ones_like(seconds)), dtype=bool)
        return cls(roof, width, tokens, hidden, inner / ways, experts, top_k, gated, seconds)

    def where(self, mask: Any) -> _MoeTimes:
        return _MoeTimes(self.roof, self.width, *(array[mask] for array in self.arrays))

    def faster_than_roof(self) -> Any:
        """Rows that beat the peak, or DRAM with more than its cache holds, beyond doubt."""
        cached = self.traffic <= self.roof.cache_bytes
        bound = self.roof.seconds(self.flops, np.where(cached, 0.0, self.traffic))
        return bound > FASTER_THAN_ROOF * self.seconds

    def predict(self, law: MoeLaw) -> Array:
        return moe_seconds(
            law,
            self.roof,
            *self.shape,
            weight_bytes=self.weights,
            activation_bytes=self.activations,
            gated=self.gated,
        )


def _fitted(data: _MoeTimes) -> MoeLaw:
    law: MoeLaw = best_law([_MoeFit(data, start) for start in STARTS])
    return law


class _MoeFit(NumericFit):
    """The law's numbers as a vector: physics, shape, tilts and rises of the two curves."""

    def __init__(self, data: _MoeTimes, start: MoeLaw) -> None:
        self.data = data
        tokens, hidden, intermediate, experts, top_k = data.shape
        self.variables = shape_variables(hidden, intermediate, experts, top_k)
        touched = touched_experts(tokens, experts, top_k)
        # a rise counts at all nodes behind it
        self.rows = _rises(hats(tokens * top_k / touched, ROWS_NODES))
        self.touched = _rises(hats(touched, TOUCHED_NODES))
        self.measured = np.log(data.seconds)
        self.floor = np.log(data.roof.seconds(data.flops, data.traffic))
        physics = [free(start, name) for name in _NUMBERS]
        parts = (
            (physics, PHYSICS_SPREAD),
            ([0.0] * (1 + len(SHAPE)), _SHAPE_SPREAD),
            ([0.0] * len(SHAPE), _TILT_SPREAD),
            ([0.0] * len(SHAPE), _TILT_SPREAD),
            ([_RISE] * (len(ROWS_NODES) - 1), _RISE_SPREAD),
            ([_RISE] * (len(TOUCHED_NODES) - 1), _RISE_SPREAD),
        )
        self.start = np.concatenate([start for start, _ in parts])
        self.spread = np.repeat([spread for _, spread in parts], [len(start) for start, _ in parts])
        self.ends = np.cumsum([len(start) for start, _ in parts])[:-1]

    def law(self, x: Array) -> MoeLaw:
        physics, shape, rows_tilt, touched_tilt, rows, touched = np.split(x, self.ends)
        return replace(
            START,
            **{name: bound(name, value) for name, value in zip(_NUMBERS, physics, strict=True)},
            shape_corrections=tuple(shape.tolist()),
            rows_tilt=tuple(rows_tilt.tolist()),
            touched_tilt=tuple(touched_tilt.tolist()),
            rows_curve=(0.0, *np.cumsum(np.exp(rows)).tolist()),
            touched_curve=(0.0, *np.cumsum(np.exp(touched)).tolist()),
        )

    def logarithm(self, x: Array, state: None) -> Array:
        data = self.data
        _, (constant, *slopes), *tilts, rows, touched = np.split(x, self.ends)
        law = self.law(x)
        seconds = physical_seconds(
            law, data.roof, *data.shape, weight_bytes=data.weights, gated=data.gated
        )
        added = constant + weighted(slopes, self.variables)
        curves = (self.rows @ np.exp(rows), self.touched @ np.exp(touched))
        for tilt, curve in zip(tilts, curves, strict=True):
            added = added + stretch(tilt.tolist(), self.variables) * curve
        total: Array = np.maximum(np.log(seconds) + added, self.floor)
        return total


def _rises(at_nodes: Array) -> Array:
    """Of hat functions [rows, nodes] those that a rise before each node but the first switches on:
    [rows, nodes − 1].
    """
    return np.cumsum(at_nodes[:, ::-1], axis=1)[:, ::-1][:, 1:]
