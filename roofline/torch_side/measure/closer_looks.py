"""What is looked at behind the timing of a run, none of which may disturb it: memory, the host,
energy, single ops, a timeline, a prompt of a new length.

Looks are taken while there is time; one that something disturbed is taken once more, and one that
does not fit into memory is left out with a note.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import torch

from roofline.records.measurement import Achieved, HostOverhead, NewLength
from roofline.specs.kernel_laws import UNTRUSTED
from roofline.torch_side.measure.disturbance import watch
from roofline.torch_side.measure.eager_look import EagerLook, peak_memory_bytes
from roofline.torch_side.measure.energy import energy_per_run
from roofline.torch_side.measure.expectation import Expectation
from roofline.torch_side.measure.host_overhead import host_overhead
from roofline.torch_side.measure.memory_check import let_go
from roofline.torch_side.measure.modes import ignore
from roofline.torch_side.measure.new_length import PREFILLS, new_length
from roofline.torch_side.measure.per_op import achieved, measure_ops
from roofline.torch_side.measure.pipeline import Pipeline
from roofline.torch_side.measure.request import Request
from roofline.torch_side.measure.stages import Stages
from roofline.torch_side.measure.telemetry import NvmlTelemetry
from roofline.torch_side.measure.timeline import timeline
from roofline.torch_side.measure.timing import (
    Clock,
    Mark,
    Progress,
    calls_for,
    stopwatch_for,
    synchronizer,
)
from roofline.torch_side.measure.verdicts import judged
from roofline.units import si

T = TypeVar("T")
_LEAST_ENERGY_S, _ENERGY_S = 0.5, 2.0
_LOOKS = 5
"""Runs in a closer look, where there is time for them."""
_BETWEEN_LOOKS_S = 0.01
"""Runs between two looks at the energy counter take this long, so that looking does not count."""


@dataclass
class Extras:
    """What is found behind the timing."""

    complete: bool = True
    peak_memory_bytes: float | None = None
    energy_j: float | None = None
    host: HostOverhead | None = None
    new_length: NewLength | None = None
    ops: list[Achieved] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class CloserLooks:
    """One run that has been timed, and who looks at it."""

    request: Request
    pipeline: Pipeline
    run: Callable[[Mark], object]
    """Of the pipeline: what was timed."""
    run_s: float
    eager: EagerLook
    expectation: Expectation | None
    device: torch.device
    telemetry: NvmlTelemetry
    clock: Clock
    deadline_s: float
    """Moment of the clock until when there is time."""
    stages: Stages
    progress: Progress
    trace: Callable[[bytes], object] | None
    """Called with the timeline of one run, if anybody wants it."""

    def take(self) -> Extras:
        """All of them; on Ctrl-C those that are done, which then are not complete."""
        extras = Extras()
        try:
            self._fill(extras)
        except KeyboardInterrupt:
            extras.complete = False
        return extras

    def _fill(self, extras: Extras) -> None:
        extras.peak_memory_bytes = self._fitting("peak memory", float | None, self._peak_memory)
        self.progress(0.0, "host")
        extras.host = self._look("host", HostOverhead | None, self._host)
        self.progress(0.2, "energy")
        extras.energy_j = self._look("energy", float | None, self._energy)
        self.progress(0.6, "op by op")
        if self.request.per_op:
            extras.ops = self._look("op by op", list[Achieved] | None, self._ops) or []
        if self.trace is not None:
            self.progress(0.8, "timeline")
            self._fitting("timeline", None, self._timeline)
        # the last: it leaves a prompt of its own behind
        extras.new_length = self._look("new length", NewLength | None, self._new_length)
        self.progress(1.0, "done")

    def _look(self, stage: str, kind: Any, look: Callable[[], T | None]) -> T | None:
        return self._fitting(stage, kind, partial(self._calmly, stage, look))

    def _fitting(self, stage: str, kind: Any, look: Callable[[], T | None]) -> T | None:
        """What a look finds, None where memory runs out: it then is done, and not tried again."""
        short = False

        def found() -> T | None:
            nonlocal short
            try:
                return look()
            except torch.OutOfMemoryError:
                short = True
            let_go(self.device)  # behind the handler, whose frames hold on to it
            self.stages.notes.append(f"no {stage}: it needs more memory than the run has left")
            return None

        return self.stages.once(
            stage, kind, found, finished=lambda found: short or found is not None
        )

    def _calmly(self, stage: str, look: Callable[[], T]) -> T:
        """What a look finds; another look's where something disturbed it and there is time."""
        notes, warnings = self.stages.notes, self.stages.warnings
        noted, began_s = len(notes), self.clock()
        with watch(self.device, self.telemetry, self.clock) as disturbance:
            found, other = look(), disturbance()
            if other and self._left_s > self.clock() - began_s:
                del notes[noted:]
                found, other = look(), disturbance()
        if other and found is not None:
            warnings.append(f"{UNTRUSTED}{stage}: {other}")
        return found

    @property
    def _left_s(self) -> float:
        """Of the time given."""
        return self.deadline_s - self.clock()

    def _looks(self, each: int) -> int:
        """How many closer looks there is time for, of so many runs each; one is thrown away."""
        if not self.run_s:
            return _LOOKS
        return min(_LOOKS, int(self._left_s / (each * self.run_s)) - 1)

    def _peak_memory(self) -> float | None:
        """Bytes, by the device's allocator, where it keeps count."""
        if self.device.type != "cuda":
            kind = self.device.type
            self.stages.notes.append(f"no peak memory: torch keeps no count of it on {kind}")
            return None
        if self.request.mode == "compile":
            return peak_memory_bytes(partial(self.run, ignore), self.device)
        return self.eager.peak_memory_bytes

    def _host(self) -> HostOverhead | None:
        """What the host takes beside the device, where there is time to look."""
        notes = self.stages.notes
        looks = self._looks(3)  # one without a profiler, and one with, which is slower
        if looks <= 0:
            notes.append(f"no look at the host: raise the {si(self.request.cap_s, 's')} given")
            return None
        found = host_overhead(partial(self.run, ignore), self.device, looks)
        host = judged(found, self.expectation)
        if host != found:
            notes.append(
                f"{found.verdict} by the kernels seen alone, {host.verdict} by the "
                "roofline, which no run is faster than"
            )
        return host

    def _energy(self) -> float | None:
        """Joules of one run, where there is a counter and time to look at it."""
        if not self.telemetry.available or self._left_s <= _LEAST_ENERGY_S:
            return None
        once = partial(self.run, ignore)
        stopwatch = stopwatch_for(self.device, self.clock)
        return energy_per_run(
            once,
            self.telemetry,
            synchronize=synchronizer(self.device),
            clock=self.clock,
            calls=calls_for(once, stopwatch, least_s=_BETWEEN_LOOKS_S),
            least_s=min(_ENERGY_S, self._left_s),
        )

    def _ops(self) -> list[Achieved]:
        """Single ops: they were asked for, so as few looks as can be, if need be."""
        times = measure_ops(self.run, self.pipeline.model, self.device, max(1, self._looks(3)))
        return achieved(times, self.expectation.ops if self.expectation else ())

    def _timeline(self) -> None:
        """For whoever wants it: a file of its own, which each sitting makes anew."""
        assert self.trace is not None
        self.trace(timeline(self.run, self.device, self.expectation))

    def _new_length(self) -> NewLength | None:
        """A prefill of a length that is new, where lengths count and there is time to look."""
        if self.request.mode != "eager" or self._left_s < PREFILLS * self.run_s:
            return None
        return new_length(
            self.pipeline.prefill_of,
            self.pipeline.prompt_tokens,
            synchronize=synchronizer(self.device),
            clock=self.clock,
        )
