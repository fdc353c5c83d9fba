"""Run a model on this machine, time its components, and write down what came out.

The run is timed twice, side by side: with a mark behind each component, and as a whole without.
Marks cost next to nothing, so that the components add up to the whole; the record has both.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from msgspec import Struct

from roofline.records.journal import Journal
from roofline.records.measurement import (
    ANALYSIS,
    WHOLE,
    Achieved,
    HostOverhead,
    NewLength,
    Record,
    Snapshot,
    Telemetry,
    spec_hashes,
)
from roofline.records.statistics import (
    UNTRUSTED,
    StoppingRule,
    WarmUpRule,
    summarize,
)
from roofline.specs.hardware import Hardware
from roofline.torch_side.load import ATTENTION_KERNELS, checked_device
from roofline.torch_side.low_bit import runs_as
from roofline.torch_side.measure import machine
from roofline.torch_side.measure.disturbance import watch
from roofline.torch_side.measure.eager_look import EagerLook, eager_look, peak_memory_bytes
from roofline.torch_side.measure.energy import energy_per_run
from roofline.torch_side.measure.expectation import Expectation, expected
from roofline.torch_side.measure.host_overhead import host_overhead
from roofline.torch_side.measure.memory_check import check_memory, short_of_memory
from roofline.torch_side.measure.modes import GRAPHS, ignore
from roofline.torch_side.measure.new_length import PREFILLS, new_length
from roofline.torch_side.measure.per_op import achieved, measure_ops
from roofline.torch_side.measure.pipeline import Pipeline, build_pipeline
from roofline.torch_side.measure.request import Request
from roofline.torch_side.measure.stages import Stages
from roofline.torch_side.measure.telemetry import NvmlTelemetry, open_telemetry, telemetry_warnings
from roofline.torch_side.measure.timeline import timeline
from roofline.torch_side.measure.timing import (
    Clock,
    Disturbance,
    Mark,
    Progress,
    Subject,
    calls_for,
    interrupted,
    measure,
    stopwatch_for,
    synchronizer,
)
from roofline.torch_side.measure.trial import Measurement
from roofline.torch_side.measure.verdicts import (
    MARKED,
    judged,
    not_adding_up,
    timed_spans,
    timing_warnings,
)
from roofline.units import si

T = TypeVar("T")
_TOLERATED_OVERTIME = 0.2
_SAMPLES_SHARE = 0.75
"""Of the time given, at most; the rest is for what is looked at behind the timing."""
_WARM_UP_SHARE = 0.1
_LEAST_ENERGY_S, _ENERGY_S = 0.5, 2.0
_LOOKS = 5
"""Runs in a closer look, where there is time for them."""
_BETWEEN_LOOKS_S = 0.01
"""Runs between two looks at the energy counter take this long, so that looking does not count."""


@dataclass
class _Extras:
    """What is measured behind the timing."""

    complete: bool
    peak_memory_bytes: float | None = None
    energy_j: float | None = None
    host: HostOverhead | None = None
    new_length: NewLength | None = None
    ops: list[Achieved] = field(default_factory=list)


class _Timing(Struct):
    """The samples, and the device meanwhile."""

    measured: dict[str, Measurement]
    before: Snapshot
    during: list[Snapshot]
    after: Snapshot


def profile(
    request: Request,
    *,
    clock: Clock = time.perf_counter,
    progress: Progress | None = None,
    journal: Journal | None = None,
    trace: Callable[[bytes], object] | None = None,
) -> Record:
    """Measure as asked. Ctrl-C ends it early: the record then says that it is not complete.

    journal: `about_run` of the request. What is measured is kept there, and what is there already
        is not measured again.
    trace: called with the timeline of one run, the last (`timeline.timeline`).

    Raises InputError: what `build_pipeline` and `load_model` raise, and
    MemoryShortError.
    Raises KeyboardInterrupt if nothing at all had been measured yet.
    """
    return _Run(request, clock, progress, Stages(journal), trace).record()


class _Run:
    """One request on its way to a record."""

    def __init__(
        self,
        request: Request,
        clock: Clock,
        progress: Progress | None,
        stages: Stages,
        trace: Callable[[bytes], object] | None,
    ) -> None:
        self.spec, self.clock, self.progress, self.trace = request.spec, clock, progress, trace
        self.device = checked_device(request.device)
        self.request, self.stages = request, stages
        self.notes = stages.notes
        if low_bit := runs_as(request.scenario.quant.name, self.device):
            self.notes.append(low_bit)
        self.hardware = self._hardware()
        self._eager: EagerLook
        self._reserved_bytes = 0
        """What the allocator held before graphs were captured."""
        self._graph_memory_bytes: float | None = None

    def record(self) -> Record:
        """Everything, in the order in which it is measured."""
        telemetry = open_telemetry(self.device, clock=self.clock)
        with self._pipeline() as pipeline:
            self.began_s = self.clock()
            timing = self.stages.once(
                "timing",
                _Timing,
                partial(self._timed, pipeline, telemetry),
                finished=lambda timing: not interrupted(timing.measured),
            )
            measured = timing.measured
            if not all(each.total for each in measured.values()):
                raise KeyboardInterrupt
            expectation = expected(self._as_run(pipeline), self.hardware, self.notes)
            extras = _Extras(complete=not interrupted(measured))
            if extras.complete:
                try:
                    self._look_closer(pipeline, telemetry, expectation, extras, measured)
                except KeyboardInterrupt:
                    extras.complete = False
            inputs = self._inputs(pipeline, expectation)
            self._check_time(measured)
        spans = timed_spans(measured, expectation)
        estimate = expectation.estimate if expectation else None
        known = telemetry.available
        return Record(
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            complete=extras.complete,
            inputs=inputs,
            specs=spec_hashes([self.spec, *([self.hardware] if self.hardware else [])]),
            environment=machine.environment(self.device),
            spans=spans,
            peak_memory_bytes=extras.peak_memory_bytes,
            graph_memory_bytes=self._graph_memory_bytes,
            attention_kernels=self._eager.attention_kernels,
            new_length=extras.new_length,
            telemetry=Telemetry(
                device=telemetry.describe() or None,
                before=timing.before if known else None,
                during=timing.during,
                after=timing.after if known else None,
                energy_j=extras.energy_j,
            ),
            host=extras.host,
            ops=extras.ops,
            estimate=estimate.to_dict() if estimate else None,
            warnings=[
                *timing_warnings(measured, self._rule),
                *self.stages.warnings,
                *not_adding_up(extras.ops, spans),
                *telemetry_warnings(timing.before, timing.during, timing.after),
            ],
            notes=self.notes + telemetry.notes,
        )

    def _hardware(self) -> Hardware | None:
        """The device's spec: the one that was named, else the one of its name in the catalog."""
        if self.request.scenario.hardware is not None:
            return self.request.scenario.hardware
        found = machine.catalogued(self.device)
        if found is None:
            self.notes.append(
                f"no spec of {machine.device_name(self.device)}, so nothing to compare with: make "
                "one with `roofline calibrate -o my.yaml` and give --hw my.yaml"
            )
        return found

    def _pipeline(self) -> Pipeline:
        """Ready to run. Raises MemoryShortError, before anything is loaded where that is known."""
        request = self.request
        check_memory(request, self.device)
        try:
            pipeline = build_pipeline(
                self.spec,
                reducer=request.scenario.reducer,
                visual_tokens=request.visual_tokens,
                batch=request.count("batch"),
                text_tokens=request.count("text_tokens"),
                output_tokens=request.count("output_tokens"),
                image=request.image,
                checkpoint=request.checkpoint,
                quant=request.scenario.quant.name,
                device=self.device,
                attention=ATTENTION_KERNELS[request.attention],
                mode=request.mode,
                seed=request.seed,
                on_eager=self._while_eager,
            )
        except torch.OutOfMemoryError:
            raise short_of_memory(request, self.device) from None
        if self.device.type == "cuda" and request.mode in GRAPHS:
            reserved = torch.cuda.memory_reserved(self.device)
            self._graph_memory_bytes = float(max(0, reserved - self._reserved_bytes))
        return pipeline

    def _while_eager(self, pipeline: Pipeline) -> None:
        """What is not to be seen any more once steps have become graphs."""
        if self.request.scenario.stage == "decode":
            pipeline.prefill()  # fills the cache that the step reads
        self._eager = self.stages.once(
            "eager run", EagerLook, lambda: eager_look(self._run(pipeline), self.device)
        )
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            self._reserved_bytes = torch.cuda.memory_reserved(self.device)

    def _timed(self, pipeline: Pipeline, telemetry: NvmlTelemetry) -> _Timing:
        before = telemetry.snapshot()
        with watch(self.device, telemetry, self.clock) as disturbance:
            measured = self._measured(pipeline, disturbance)
        return _Timing(measured, before, list(disturbance.during), telemetry.snapshot())

    def _measured(self, pipeline: Pipeline, disturbance: Disturbance) -> dict[str, Measurement]:
        """Samples of the run with marks and of the same without, side by side."""
        run = self._run(pipeline)
        if self.request.scenario.stage != "prefill":
            pipeline.prefill()  # fills the cache that decode steps read
        subjects = [Subject(MARKED, run), Subject(WHOLE, lambda _: run(ignore))]
        rule = self._rule
        stopwatch = stopwatch_for(self.device, self.clock)
        return measure(
            subjects,
            stopwatch,
            rule,
            warm_up=WarmUpRule(cap_s=min(WarmUpRule().cap_s, _WARM_UP_SHARE * self.request.cap_s)),
            together=True,
            clock=self.clock,
            progress=lambda share, doing: self._report(_SAMPLES_SHARE * share, doing),
            deadline_s=self.began_s + _SAMPLES_SHARE * self.request.cap_s,
            repeats=1,
            disturbance=disturbance,
            known=self.stages.stretches,
            keep=self.stages.keep,
        )

    def _report(self, share: float, doing: str) -> None:
        if self.progress is not None:
            self.progress(share, doing)

    @property
    def _left_s(self) -> float:
        """Of the time given."""
        return self.began_s + self.request.cap_s - self.clock()

    def _looks(self, run_s: float, each: int) -> int:
        """How many closer looks there is time for, of so many runs each; one is thrown away."""
        return min(_LOOKS, int(self._left_s / (each * run_s)) - 1) if run_s else _LOOKS

    def _check_time(self, measured: Mapping[str, Measurement]) -> None:
        """Say what a run would have needed, where it was given less."""
        if self._left_s < -_TOLERATED_OVERTIME * self.request.cap_s:
            took_s = self.clock() - self.began_s
            self.notes.append(
                f"took {si(took_s, 's')}, not the {si(self.request.cap_s, 's')} given: a run of "
                f"{si(_run_s(measured), 's')} is warmed up, timed and looked at, each at least once"
            )

    @property
    def _rule(self) -> StoppingRule:
        return StoppingRule(relative_ci=self.request.relative_ci, cap_s=self.request.cap_s)

    def _run(self, pipeline: Pipeline) -> Callable[[Mark], object]:
        stages: Mapping[str, Callable[[Mark], object]] = {
            "prefill": pipeline.prefill,
            "decode": pipeline.decode_step,
            "generate": pipeline.generate,
        }
        return stages[self.request.scenario.stage]

    def _look_closer(
        self,
        pipeline: Pipeline,
        device: NvmlTelemetry,
        expectation: Expectation | None,
        extras: _Extras,
        measured: Mapping[str, Measurement],
    ) -> None:
        """Memory, host overhead, energy and single ops, none of which may disturb the timing."""
        run_s = _run_s(measured)
        extras.peak_memory_bytes = self.stages.once(
            "peak memory", float | None, partial(self._peak_memory, pipeline)
        )

        def look(stage: str, kind: Any, closer: Callable[[], T]) -> T:
            return self.stages.once(stage, kind, partial(self._calmly, stage, closer, device))

        self._report(_SAMPLES_SHARE, "host")
        host = partial(self._host, pipeline, expectation, run_s)
        extras.host = look("host", HostOverhead | None, host)
        self._report(0.8, "energy")
        extras.energy_j = look("energy", float | None, partial(self._energy, pipeline, device))
        self._report(0.9, "op by op")
        if self.request.per_op:
            ops = partial(self._ops, pipeline, expectation, run_s)
            extras.ops = look("op by op", list[Achieved], ops)
        if self.trace is not None:
            self._report(0.95, "timeline")
            self.trace(timeline(self._run(pipeline), self.device, expectation))
        extras.new_length = look(  # the last: it leaves a prompt of its own behind
            "new length", NewLength | None, partial(self._new_length, pipeline, run_s)
        )
        self._report(1.0, "done")

    def _calmly(self, stage: str, look: Callable[[], T], telemetry: NvmlTelemetry) -> T:
        """What a look finds; another look's where something disturbed it and there is time."""
        noted, began_s = len(self.notes), self.clock()
        with watch(self.device, telemetry, self.clock) as disturbance:
            found, other = look(), disturbance()
            if other and self._left_s > self.clock() - began_s:
                del self.notes[noted:]
                found, other = look(), disturbance()
        if other and found is not None:
            self.stages.warnings.append(f"{UNTRUSTED}{stage}: {other}")
        return found

    def _peak_memory(self, pipeline: Pipeline) -> float | None:
        """Bytes, by the device's allocator, where it keeps count."""
        if self.device.type != "cuda":
            self.notes.append(f"no peak memory: torch keeps no count of it on {self.device.type}")
            return None
        if self.request.mode == "compile":
            run = partial(self._run(pipeline), ignore)
            return peak_memory_bytes(run, self.device)
        return self._eager.peak_memory_bytes

    def _new_length(self, pipeline: Pipeline, run_s: float) -> NewLength | None:
        """A prefill of a length that is new, where lengths count and there is time to look."""
        if self.request.mode != "eager" or self._left_s < PREFILLS * run_s:
            return None
        return new_length(
            pipeline.prefill_of,
            pipeline.prompt_tokens,
            synchronize=synchronizer(self.device),
            clock=self.clock,
        )

    def _host(
        self, pipeline: Pipeline, expectation: Expectation | None, run_s: float
    ) -> HostOverhead | None:
        """What the host takes beside the device, where there is time to look."""
        looks = self._looks(run_s, 3)  # one without a profiler, and one with, which is slower
        if looks <= 0:
            self.notes.append(f"no look at the host: raise the {si(self.request.cap_s, 's')} given")
            return None
        found = host_overhead(partial(self._run(pipeline), ignore), self.device, looks)
        host = judged(found, expectation)
        if host != found:
            self.notes.append(
                f"{found.verdict} by the kernels seen alone, {host.verdict} by the "
                "roofline, which no run is faster than"
            )
        return host

    def _energy(self, pipeline: Pipeline, device: NvmlTelemetry) -> float | None:
        """Joules of one run, where there is a counter and time to look at it."""
        if not device.available or self._left_s <= _LEAST_ENERGY_S:
            return None
        once = partial(self._run(pipeline), ignore)
        stopwatch = stopwatch_for(self.device, self.clock)
        return energy_per_run(
            once,
            device,
            synchronize=synchronizer(self.device),
            clock=self.clock,
            calls=calls_for(once, stopwatch, least_s=_BETWEEN_LOOKS_S),
            least_s=min(_ENERGY_S, self._left_s),
        )

    def _ops(
        self, pipeline: Pipeline, expectation: Expectation | None, run_s: float
    ) -> list[Achieved]:
        """Single ops: they were asked for, so as few looks as can be, if need be."""
        looks = max(1, self._looks(run_s, 3))
        times = measure_ops(self._run(pipeline), pipeline.model, self.device, looks)
        return achieved(times, expectation.ops if expectation else ())

    def _as_run(self, pipeline: Pipeline) -> Request:
        """The request with as many visual tokens as an adaptive reducer has left."""
        reducer = self.request.scenario.reducer
        inside_llm = reducer is not None and reducer.site == "llm"
        if self.request.visual_tokens is not None or inside_llm:
            return self.request
        least, most = min(pipeline.visual_tokens), max(pipeline.visual_tokens)
        if least < most:
            self.notes.append(
                f"sequences have {least} to {most} visual tokens; the estimate is for the longest, "
                "to which the others are padded"
            )
        return self.request.with_counts(visual_tokens=most)

    def _inputs(self, pipeline: Pipeline, expectation: Expectation | None) -> dict[str, Any]:
        """What was asked, defaults filled in; no paths."""
        request = self.request
        axes = request.scenario.inputs
        for name in ANALYSIS:
            del axes[name]
        return axes | {
            "hardware": self.hardware.name if self.hardware else None,
            "visual_tokens": self._left(pipeline, expectation),
            "mode": request.mode,
            "attention": request.attention,
            "checkpoint": _last(request.checkpoint),
            "image": _last(request.image),
            "device": request.device,
            "seed": request.seed,
        }

    def _left(self, pipeline: Pipeline, expectation: Expectation | None) -> int:
        """Visual tokens: as asked, as an LLM's later layers saw them, or as they reached it."""
        if self.request.visual_tokens is not None:
            return self.request.visual_tokens
        reducer = self.request.scenario.reducer
        if expectation is not None and reducer is not None and reducer.site == "llm":
            return expectation.visual_tokens
        return max(pipeline.visual_tokens)


def _run_s(measured: Mapping[str, Measurement]) -> float:
    """Time of one run."""
    return summarize(measured[WHOLE].total).p50_s


def _last(path: str | None) -> str | None:
    """The name alone: where somebody keeps it is nobody's business."""
    return Path(path).name if path and Path(path).exists() else path
