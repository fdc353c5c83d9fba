"""Measure a device's ceilings and the laws of its kernels, and write them down as its spec.

Every kernel is timed side by side with others of its kind, and is in the journal before the next
are; and all of them again in a second sweep, since a machine that others share is slow for half a
minute at a time, which the samples of one sweep cannot tell from a slow kernel. Ceilings are the
fastest samples that were seen, so that the roofline stays a bound; laws are fitted to the lower
quartile of each kernel's: a model's run is made of many kernels, and not all of them have that
luck.
"""

from __future__ import annotations

import csv
import io
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from math import ceil
from typing import Any

import numpy as np
import torch
from msgspec import Struct
from msgspec.structs import replace

from roofline.device.laws.host import HostLaw
from roofline.errors import InputError
from roofline.records.journal import Journal
from roofline.specs.hardware import Hardware
from roofline.specs.kernel_laws import UNTRUSTED
from roofline.torch_side.calibrate.doubts import doubts, remarks
from roofline.torch_side.calibrate.found_ceilings import check_ceilings
from roofline.torch_side.calibrate.host_time import host_laws
from roofline.torch_side.calibrate.kernel_samples import KernelSamples, row_of
from roofline.torch_side.calibrate.kernel_timing import KernelTimer
from roofline.torch_side.calibrate.measured_spec import measured_hardware, vector_peak
from roofline.torch_side.calibrate.microbench import Bench
from roofline.torch_side.calibrate.selection import Modes, chosen_benches, chosen_modes
from roofline.torch_side.load import checked_device
from roofline.torch_side.measure import machine
from roofline.torch_side.measure.disturbance import blind_spots, busy_before, watch
from roofline.torch_side.measure.telemetry import open_telemetry
from roofline.torch_side.measure.timing import Clock, Progress
from roofline.torch_side.measure.trial import Stretch

_LEAST_S = 0.015
"""A kernel takes no less: to be made, warmed up and timed once."""
_PROBES = 8
"""Kernels of a part that tell what all of it takes."""
_OVERTIME = 1.2
"""A little more than was asked for may pass."""

_SHARES = {"ceilings": 0.1, "matmul": 0.4, "attention": 0.15, "pointwise": 0.2, "host": 0.15}
"""Of the time that a calibration may take."""

_SWEEPS = 2
"""Times that every kernel is timed, all others between."""

_ROWS_FORM = 4
"""Of the journal's rows: another one has other columns, or other kernels behind the same name."""
_FACTS = ("device", "roofline", "torch", "cuda", "transformers", "threads")
"""What else makes rows comparable, of `machine.environment`."""
_KERNEL, _LEFT_OUT = "kernel", "left out"
_HOST_SAMPLES, _HOST = "host samples", "host"
"""Kinds of findings; samples are `Stretch`es."""


class _LeftOutKernel(Struct, frozen=True):
    """Of one kernel why there is no row."""

    name: str
    note: str


class _MeasuredHost(Struct, frozen=True):
    """What the host takes, and what disturbed its measurement; empty for nothing."""

    laws: dict[str, HostLaw]
    disturbed: str


class TooLittleTimeError(InputError):
    """Less than all kernels take.

    needed_s: what they take.
    """

    def __init__(self, message: str, needed_s: float) -> None:
        super().__init__(message)
        self.needed_s = needed_s


@dataclass
class Calibration:
    """A device as it was measured."""

    hardware: Hardware
    rows: list[dict[str, Any]]
    """Every kernel and its time in seconds: what the laws were fitted to."""
    notes: list[str] = field(default_factory=list)
    """What could not be measured, and why; what is to be known of single kernels."""
    untrusted: str = ""
    """Why the times are not those of a quiet machine; empty where they are."""

    @property
    def comment(self) -> str:
        """What a reader of the spec's file should know first."""
        head = "Measured by `roofline calibrate`; measure again after a change of software."
        doubt = [f"{UNTRUSTED}{self.untrusted}"] if self.untrusted else []
        return "\n".join([*doubt, head, *self.notes])

    def csv(self) -> str:
        """All rows as a table; cells that mean nothing for an op are empty."""
        text = io.StringIO()
        columns = dict.fromkeys(name for row in self.rows for name in row)
        writer = csv.DictWriter(text, list(columns), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        return text.getvalue()


def about(device: str | None = None, modes: Sequence[str] | None = None) -> dict[str, Any]:
    """What makes the rows of two runs comparable, for a journal. Raises InputError.

    The time that they may take does not: it decides on the number of samples alone. Sizes of
    kernels and of the pools behind them follow from the device, whoever uses its memory now.
    """
    torch_device = checked_device(device)
    known = machine.environment(torch_device)
    return {
        "measurement": "calibrate",
        "form": _ROWS_FORM,
        **{name: known[name] for name in _FACTS},
        "modes": chosen_modes(torch_device, modes).names,
    }


def calibrate(
    device: str | None = None,
    *,
    name: str | None = None,
    modes: Sequence[str] | None = None,
    seconds: float = 120.0,
    clock: Clock = time.perf_counter,
    progress: Progress | None = None,
    journal: Journal | None = None,
) -> Calibration:
    """Measure a device that torch can use; by default an accelerator if there is one.

    name: of the spec; left out, made from the device's own.
    modes: quantization modes whose kernels to measure; left out, fp32 and bf16 on a CPU, elsewhere
        fp16, bf16 and the low-bit ones that there are kernels for.
    seconds: roughly what it may take; samples are fewer where it is short.
    journal: `about` the same; holds what is measured, and what an interrupted run has measured
        already, which is not measured again.

    Raises InputError for what the device cannot do, KeyboardInterrupt on Ctrl-C: half a calibration
    is none.
    """
    if not 0 < seconds < np.inf:
        raise InputError(f"a calibration needs some time: seconds must be above 0, got {seconds:g}")
    torch_device = checked_device(device)
    chosen = chosen_modes(torch_device, modes)
    calibrator = _Calibrator(torch_device, chosen, clock, progress, journal or Journal(None, {}))
    return calibrator.run(name, seconds)


class _Calibrator:
    def __init__(
        self,
        device: torch.device,
        modes: Modes,
        clock: Clock,
        progress: Progress | None,
        journal: Journal,
    ) -> None:
        self.device, self.modes, self.clock, self._progress = device, modes, clock, progress
        self.journal = journal
        self.telemetry = open_telemetry(device, clock=clock)
        self.timer = KernelTimer(device, clock, self.telemetry)
        self.room_bytes = machine.memory_bytes(device)
        self.deadline_s = np.inf
        self._done = 0.0

    @property
    def _sweeps(self) -> dict[str, list[KernelSamples]]:
        """What was measured so far of each kernel, by its name."""
        found: dict[str, list[KernelSamples]] = {}
        for each in self.journal.of(_KERNEL):
            samples = self.journal.converted(each, KernelSamples)
            found.setdefault(samples.name, []).append(samples)
        return found

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Of the kernels that were measured so far."""
        return [row_of(sweeps) for sweeps in self._sweeps.values()]

    @property
    def _left_out(self) -> dict[str, str]:
        """Notes on kernels that did not run, by their names."""
        found = self.journal.of(_LEFT_OUT)
        left_out = [self.journal.converted(each, _LeftOutKernel) for each in found]
        measured = self._sweeps
        return {each.name: each.note for each in left_out if each.name not in measured}

    def run(self, name: str | None, seconds: float) -> Calibration:
        busy = busy_before(self.telemetry)
        kernels = {part: len(benches) for part, benches in self._benches().items()}
        self._check_time(seconds)
        self.timer.prepare()
        for sweep in range(_SWEEPS):
            for part, benches in self._left(sweep).items():
                each_s = _SHARES[part] * seconds / kernels[part] / _SWEEPS
                self._time(part, benches, each_s)
                if part == "ceilings":  # that one is missing is better known before the long part
                    check_ceilings(self.rows, self._left_out)
                    vector_peak(self.rows, self.device)

        hardware, beaten = measured_hardware(self.rows, self.device, name=name, modes=self.modes)
        hardware, host_disturbed = self._with_host(hardware, _SHARES["host"] * seconds)
        assert hardware.kernel_laws is not None
        rows = self.rows
        reasons = [busy, host_disturbed and f"the host's time: {host_disturbed}"]
        untrusted = "; ".join(filter(None, [doubts(hardware, rows, beaten), *reasons]))
        if untrusted:
            conditions = f"{hardware.kernel_laws.conditions}; {UNTRUSTED}{untrusted}"
            laws = replace(hardware.kernel_laws, conditions=conditions)
            hardware = replace(hardware, kernel_laws=laws)
        return Calibration(hardware, rows, self._notes(beaten), untrusted)

    def _benches(self) -> dict[str, list[Bench]]:
        """All kernels by part, with operands of their own."""
        cache_bytes, room_bytes = machine.cache_bytes(self.device), self.room_bytes
        return chosen_benches(self.device, self.modes, cache_bytes, room_bytes)

    def _left(self, sweep: int) -> dict[str, list[Bench]]:
        """Those that the journal does not have of this sweep; and ceilings that did not run, for
        without them there is no calibration.
        """
        measured = {name for name, sweeps in self._sweeps.items() if len(sweeps) > sweep}
        known = measured.union(self._left_out)
        return {
            part: [
                bench
                for bench in benches
                if bench.name not in (measured if part == "ceilings" else known)
            ]
            for part, benches in self._benches().items()
        }

    def _check_time(self, seconds: float) -> None:
        """Raise InputError for less time than what is left takes, by a few kernels of each part."""
        times: Counter[str] = Counter()
        for sweep in range(_SWEEPS):
            left = self._left(sweep)
            times.update({part: len(benches) for part, benches in left.items()})
        kernels = sum(map(len, left.values()))  # of the last sweep, of which most are left
        if seconds < _LEAST_S * times.total():
            _refuse(kernels, _LEAST_S * times.total(), "before any has been tried")
        needed_s = 0.0
        for part, benches in left.items():
            some = benches[:: 1 + len(benches) // _PROBES]
            benches.clear()
            costs = []
            while some:  # a pool of weights goes with the last that draws from it
                costs.append(self.timer.cost_s(some.pop(0)))
            needed_s += times[part] * sum(costs) / max(1, len(costs))
        if needed_s > _OVERTIME * seconds:
            _refuse(kernels, needed_s, "on this device as busy as it is")
        self.deadline_s = self.clock() + (1 - _SHARES["host"]) * seconds

    def _time(self, part: str, benches: list[Bench], each_s: float) -> None:
        """Put each kernel of a part into the journal, or why it does not run."""
        progress = self._part(part, 1 / _SWEEPS)
        for samples in self.timer.time(benches, each_s, self.deadline_s, self._leave_out, progress):
            self.journal.add(_KERNEL, samples)

    def _leave_out(self, bench: Bench, reason: str) -> None:
        words = [bench.row[column] for column in ("op", "dtype", "level") if column in bench.row]
        note = f"not measured: {' '.join(words)}: {reason}"
        self.journal.add(_LEFT_OUT, _LeftOutKernel(bench.name, note))

    def _with_host(self, hardware: Hardware, budget_s: float) -> tuple[Hardware, str]:
        """The device with the laws of its host, and what disturbed their measurement."""
        found = next(self.journal.of(_HOST), None)
        if found is None:
            with watch(self.device, self.telemetry, self.clock) as disturbance:
                laws, disturbed = host_laws(
                    hardware,
                    self.device,
                    quant=self.modes.plain[0],
                    budget_s=budget_s,
                    clock=self.clock,
                    progress=self._part("host"),
                    disturbance=disturbance,
                    known=[
                        self.journal.converted(samples, Stretch)
                        for samples in self.journal.of(_HOST_SAMPLES)
                    ],
                    keep=partial(self.journal.add, _HOST_SAMPLES),
                )
            host = _MeasuredHost(laws, disturbed)
            self.journal.add(_HOST, host)
        else:
            host = self.journal.converted(found, _MeasuredHost)
        assert hardware.kernel_laws is not None
        laws_with_host = hardware.kernel_laws.updated(host=host.laws)
        return replace(hardware, kernel_laws=laws_with_host), host.disturbed

    def _notes(self, beaten: Sequence[str]) -> list[str]:
        """A sentence each, none twice."""
        unseen = blind_spots(self.device, self.telemetry)
        notes = [*self.modes.notes, *self._left_out.values(), *remarks(self.rows, beaten), *unseen]
        return list(dict.fromkeys(notes))

    def _part(self, part: str, of_it: float = 1.0) -> Progress | None:
        """Progress of one part, or of so much of it, as that of the whole."""
        if self._progress is None:
            return None
        whole, done, share = self._progress, self._done, of_it * _SHARES[part]
        self._done += share
        return lambda progressed, doing: whole(done + progressed * share, doing)


def _refuse(kernels: int, needed_s: float, known: str) -> None:
    """Raise TooLittleTimeError for less than every kernel takes."""
    raise TooLittleTimeError(
        f"{kernels} kernels take some {ceil(needed_s)} s at least, {known}: give "
        f"--seconds {ceil(needed_s)} or more, or fewer modes",
        needed_s,
    )
