"""`EnergyLaw` from measured energies of whole steps or runs.

A row is one run on one device: `energy_j`, `time_ms`, and what it computed and moved, `flops` and
`bytes`, in matmuls of `dtype`. Three columns may be left out: `model`, so that whole models are
held out for the error; `grouped`, 1 where a mixture of experts ran, which gets a law of its own;
`kernel_ms`, how long kernels ran of the time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from msgspec.structs import replace
from numpy.typing import NDArray

from roofline.device.kernel_types import kernel_roof
from roofline.device.laws.energy import DENSE, EnergyLaw, energy_joules, moe_kernel
from roofline.fitting.fitters import FITTERS, Fitter
from roofline.fitting.law_fit import NumericFit, best_law
from roofline.fitting.rows import FitError, columns, errors_percent, in_turn, rounded
from roofline.fitting.tables import by_kernel
from roofline.model.polynomial import Array
from roofline.specs.hardware import Hardware
from roofline.units import MILLI

START = (0.2, 0.6, 2.0, 0.3)
"""Shares of TDP that a fit starts at: idle, memory, compute and busy. Idle is what a B200 draws
while it waits for images (ML.ENERGY v3, 27 % at a tenth of the time busy)."""
SPREAD = (0.05, 0.5, 0.5, 1.0)
"""Prior standard deviations of their logarithms: idle power shows in few rows, so that it stays
near its start."""
LEAST_ROWS = 8
"""A law has three or four numbers."""
COLUMNS = ("energy_j", "time_ms", "flops", "bytes")


def fit_energy(rows: Mapping[str, Any], hardware: Hardware, *, busy: bool = False) -> EnergyLaw:
    """A law from rows as above. busy: whether `busy_share` is fitted, or 0.

    The errors are those of fits without the models that they are measured on. Raises FitError.
    """
    data = _Energies.of(rows, hardware)
    tests = in_turn(data.models)
    predicted = [data.where(test).predict(_fitted(data.where(~test), busy)) for test in tests]
    errors = errors_percent(predicted, [data.joules[test] for test in tests])
    return replace(rounded(_fitted(data, busy)), rows=data.joules.size, **errors)


class _Energies:
    """Measured rows, with their times at the device's peaks."""

    def __init__(self, tdp_w: float, models: Array, *arrays: Array) -> None:
        self.tdp_w, self.models, self.arrays = tdp_w, models, arrays
        self.joules, self.elapsed, self.kernels, self.memory, self.compute = arrays

    @classmethod
    def of(cls, rows: Mapping[str, Any], hardware: Hardware) -> _Energies:
        """Raises FitError."""
        if hardware.tdp_w is None:
            raise FitError(f"{hardware.name} has no `tdp_w`, which power is a share of")
        joules, seconds, flops, moved = columns(rows, COLUMNS, least=LEAST_ROWS)
        peaks = {name: kernel_roof(hardware, name) for name in set(map(str, rows["dtype"]))}
        peak = np.array([peaks[str(name)].flops_per_s for name in rows["dtype"]])
        kernels = (
            columns(rows, ("kernel_ms",), least=1)[0] * MILLI if "kernel_ms" in rows else seconds
        )
        above = joules / seconds / hardware.tdp_w.value
        if above.max() > 1.1:
            raise FitError(f"a row draws {above.max():.2f} times the device's TDP: check its units")
        names = np.asarray(rows.get("model", np.arange(joules.size)), dtype=str)
        models = np.unique(names, return_inverse=True)[1].astype(np.float64)
        memory = moved / hardware.memory_bytes_per_s
        return cls(hardware.tdp_w.value, models, joules, seconds, kernels, memory, flops / peak)

    def where(self, mask: NDArray[np.bool_]) -> _Energies:
        """Some of the rows."""
        return _Energies(self.tdp_w, self.models[mask], *(array[mask] for array in self.arrays))

    def predict(self, law: EnergyLaw) -> Array:
        return energy_joules(
            law,
            self.tdp_w,
            elapsed_s=self.elapsed,
            kernel_s=self.kernels,
            memory_s=self.memory,
            compute_s=self.compute,
        )


class _EnergyFit(NumericFit):
    """Logarithms of the shares."""

    def __init__(self, data: _Energies, busy: bool) -> None:
        self.data, numbers = data, 4 if busy else 3
        self.measured = np.log(data.joules)
        self.start, self.spread = np.log(START[:numbers]), np.array(SPREAD[:numbers])

    def law(self, x: Array) -> EnergyLaw:
        idle, memory, compute, *busy = (float(value) for value in np.exp(x))
        return EnergyLaw(
            rows=self.data.joules.size,
            median_error_percent=0.0,
            p90_error_percent=0.0,
            idle_share=min(idle, 1.0),
            memory_share=memory,
            compute_share=compute,
            busy_share=busy[0] if busy else 0.0,
        )

    def logarithm(self, x: Array, state: None) -> Array:
        return np.log(self.data.predict(self.law(x)))


def _fitted(data: _Energies, busy: bool) -> EnergyLaw:
    law: EnergyLaw = best_law([_EnergyFit(data, busy)])
    return law


def _kernels(hardware: Hardware, rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Rows of models without experts, and those of mixtures by data type."""
    grouped = rows["grouped"].astype(bool) if "grouped" in rows else rows["energy_j"] < 0
    dense = {DENSE: rows[~grouped]} if (~grouped).any() else {}
    mixed = {moe_kernel(name): some for name, some in by_kernel(rows[grouped]).items()}
    return {**dense, **mixed}


def _fit(hardware: Hardware, kernel: str, rows: dict[str, Any]) -> EnergyLaw:
    return fit_energy(rows, hardware, busy=kernel != DENSE)


FITTERS.register(EnergyLaw.family, Fitter(("energy_j", "flops", "bytes"), _kernels, _fit))
