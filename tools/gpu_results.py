"""What `tools/gpu.py` has left in a folder, and what both specs make of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from roofline.engine.analysis import analyze
from roofline.engine.result import Totals
from roofline.errors import InputError
from roofline.records.measurement import Record, load_record
from roofline.specs.catalog import load_hardware
from roofline.specs.hardware import Hardware
from roofline.torch_side.measure.modes import GRAPHS


@dataclass(frozen=True)
class GpuRun:
    """A record, and what the device as it was calibrated makes of the same."""

    name: str
    record: Record
    measured_hardware: Hardware | None

    @property
    def median_s(self) -> float:
        return self.record.whole.summary.p50_s

    @property
    def title(self) -> str:
        given = self.record.inputs
        return f"{given['quant']}, {given['stage']}, {given['mode']}"

    @property
    def catalogue(self) -> dict[str, Any] | None:
        """The estimate by the catalogue's spec."""
        whole: dict[str, Any] | None = (self.record.estimate or {}).get("end_to_end")
        return whole

    @cached_property
    def calibrated(self) -> Totals | None:
        """The estimate by the device as it was calibrated."""
        if self.measured_hardware is None:
            return None
        axes = {name: value for name, value in self.record.axes.items() if name != "hardware"}
        mode = self.record.inputs["mode"]
        model, quant = axes.pop("model"), axes.pop("quant")
        runtime = None if mode in GRAPHS else mode
        try:
            found = analyze(model, self.measured_hardware, quant, runtime=runtime, **axes)
        except InputError:
            return None
        return found.end_to_end

    def attainable_ops(self, hardware: str) -> dict[tuple[str, str], float]:
        """Seconds of all that an op does, by component and name, on a device of the catalogue; none
        where it has no laws.
        """
        axes = {name: value for name, value in self.record.axes.items() if name != "hardware"}
        model, quant = axes.pop("model"), axes.pop("quant")
        found: dict[tuple[str, str], float] = {}
        for op in analyze(model, hardware, quant, **axes).ops:
            if op.attainable_time_s is not None:
                key = op.component, op.name
                found[key] = found.get(key, 0.0) + float(op.attainable_time_s)
        return found

    @property
    def predictions(self) -> dict[str, tuple[float, float, float]]:
        """Seconds and their band, by whose spec they are."""
        own = None if self.calibrated is None else self.calibrated.to_dict()
        found: dict[str, tuple[float, float, float]] = {}
        for whose, figures in (("catalogue", self.catalogue), ("calibrated", own)):
            for kind in ("elapsed", "attainable"):
                if figures is not None and figures.get(f"{kind}_time_s") is not None:
                    time_s, low_s, high_s = (
                        float(figures[f"{kind}_time{end}_s"]) for end in ("", "_low", "_high")
                    )
                    found.setdefault(whose, (time_s, low_s, high_s))
        return found

    def error(self, whose: str) -> float | None:
        """Predicted / measured − 1."""
        known = self.predictions.get(whose)
        return None if known is None else known[0] / self.median_s - 1

    @property
    def memory_error(self) -> float | None:
        """Predicted / measured − 1 of peak memory, by the catalogue's spec."""
        return self._error("peak_memory_bytes", self.record.peak_memory_bytes)

    @property
    def energy_error(self) -> float | None:
        """The same of energy."""
        return self._error("energy_j", self.record.telemetry.energy_j)

    def _error(self, figure: str, measured: float | None) -> float | None:
        expected = (self.catalogue or {}).get(figure)
        return float(expected / measured - 1) if expected is not None and measured else None


def read_hardware(folder: Path) -> Hardware | None:
    """The device as it was calibrated; None before it was."""
    spec = folder / "hardware.yaml"
    return load_hardware(str(spec)) if spec.exists() else None


def read_runs(folder: Path) -> tuple[list[GpuRun], list[str]]:
    """All records of the folder, and what cannot be read."""
    hardware, runs, unread = read_hardware(folder), [], []
    for file in sorted((folder / "records").glob("*.json")):
        try:
            runs.append(GpuRun(file.stem, load_record(file), hardware))
        except InputError as error:
            unread.append(f"{file.name}: {error}")
    return runs, unread


def read_probe(folder: Path) -> dict[str, Any]:
    """What `gpu_probe` wrote; nothing before it has run."""
    file = folder / "probe.json"
    found: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    return found
