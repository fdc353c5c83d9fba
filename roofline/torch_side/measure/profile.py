"""Run a model on this machine, time its components, and write down what came out.

The run is timed twice, side by side: with a mark behind each component, and as a whole without.
Marks cost next to nothing, so that the components add up to the whole; the record has both.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch
from msgspec import Struct

from roofline.device.borrowed import laws_of
from roofline.records.journal import Journal
from roofline.records.measurement import ANALYSIS, WHOLE, Record, Snapshot, Telemetry, spec_hashes
from roofline.records.statistics import StoppingRule, WarmUpRule, summarize
from roofline.specs.hardware import Hardware
from roofline.torch_side.load import ATTENTION_KERNELS, checked_device
from roofline.torch_side.low_bit import runs_as
from roofline.torch_side.measure import machine
from roofline.torch_side.measure.closer_looks import CloserLooks, Extras
from roofline.torch_side.measure.disturbance import watch
from roofline.torch_side.measure.eager_look import EagerLook, eager_look
from roofline.torch_side.measure.expectation import Expectation, expected
from roofline.torch_side.measure.memory_check import check_memory, short_of_memory
from roofline.torch_side.measure.modes import GRAPHS, ignore
from roofline.torch_side.measure.pipeline import Pipeline, build_pipeline
from roofline.torch_side.measure.request import Request
from roofline.torch_side.measure.stages import Stages
from roofline.torch_side.measure.telemetry import open_telemetry, telemetry_warnings
from roofline.torch_side.measure.timing import (
    Clock,
    Disturbance,
    Mark,
    Progress,
    Subject,
    interrupted,
    measure,
    stopwatch_for,
)
from roofline.torch_side.measure.trial import Measurement
from roofline.torch_side.measure.verdicts import MARKED, not_adding_up, timed_spans, timing_warnings
from roofline.units import si

_TOLERATED_OVERTIME = 0.2
_SAMPLES_SHARE = 0.75
"""Of the time given, at most; the rest is for what is looked at behind the timing."""
_WARM_UP_SHARE = 0.1


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

    Raises InputError: what `build_pipeline` and `load_model` raise, and MemoryShortError.
    Raises KeyboardInterrupt if nothing at all had been measured yet.
    """
    run = _Run(request, clock, progress, Stages(journal), trace)
    try:
        return run.record()
    except torch.OutOfMemoryError:
        pass
    raise short_of_memory(request, run.device)


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
        self.telemetry = open_telemetry(self.device, clock=self.clock)
        self._eager: EagerLook
        self._reserved_bytes = 0
        """What the allocator held before graphs were captured."""
        self._graph_memory_bytes: float | None = None

    def record(self) -> Record:
        """Everything, in the order in which it is measured."""
        with self._pipeline() as pipeline:
            self.began_s = self.clock()
            timing = self.stages.once(
                "timing",
                _Timing,
                partial(self._timed, pipeline),
                finished=lambda timing: not interrupted(timing.measured),
            )
            measured = timing.measured
            if not all(each.total for each in measured.values()):
                raise KeyboardInterrupt
            expectation = expected(self._as_run(pipeline), self.hardware, self.notes)
            run_s = summarize(measured[WHOLE].total).p50_s
            extras = Extras(complete=False)
            if not interrupted(measured):
                extras = self._closer_looks(pipeline, expectation, run_s).take()
            inputs = self._inputs(pipeline, expectation)
            self._check_time(run_s)
        spans = timed_spans(measured, expectation)
        estimate = expectation.estimate if expectation else None
        telemetry = self.telemetry
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
        spec = self.request.scenario.hardware or machine.catalogued(self.device)
        if spec is None:
            self.notes.append(
                f"no spec of {machine.device_name(self.device)}, so nothing to compare with: make "
                "one with `roofline calibrate -o my.yaml` and give --hw my.yaml"
            )
            return None
        if other := machine.another_device(self.device, spec):
            self.notes.append(f"held against another device: {other}")
        laws = laws_of(spec)
        if laws is not None and laws.doubt:
            doubt = f"expected by laws that are not to be trusted: {laws.doubt}"
            self.stages.warnings.append(doubt)
        return spec

    def _pipeline(self) -> Pipeline:
        """Ready to run. Raises MemoryShortError, before anything is loaded where that is known."""
        request = self.request
        check_memory(request, self.device)
        if request.mode == "compile":  # for which a minute may pass
            self._report(0.0, 0.0, 0.0, "compiling")
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

    def _timed(self, pipeline: Pipeline) -> _Timing:
        before = self.telemetry.snapshot()
        with watch(self.device, self.telemetry, self.clock) as disturbance:
            measured = self._measured(pipeline, disturbance)
        return _Timing(measured, before, list(disturbance.during), self.telemetry.snapshot())

    def _measured(self, pipeline: Pipeline, disturbance: Disturbance) -> dict[str, Measurement]:
        """Samples of the run with marks and of the same without, side by side."""
        run = self._run(pipeline)
        if self.request.scenario.stage != "prefill":
            pipeline.prefill()  # fills the cache that decode steps read
        subjects = [Subject(MARKED, run), Subject(WHOLE, lambda _: run(ignore))]
        return measure(
            subjects,
            stopwatch_for(self.device, self.clock),
            self._rule,
            warm_up=WarmUpRule(cap_s=min(WarmUpRule().cap_s, _WARM_UP_SHARE * self.request.cap_s)),
            together=True,
            clock=self.clock,
            progress=partial(self._report, 0.0, _SAMPLES_SHARE),
            deadline_s=self.began_s + _SAMPLES_SHARE * self.request.cap_s,
            repeats=1,
            disturbance=disturbance,
            known=self.stages.stretches,
            keep=self.stages.keep,
        )

    def _report(self, begun: float, share: float, done: float, doing: str) -> None:
        """Progress of a part as that of the whole."""
        if self.progress is not None:
            self.progress(begun + share * done, doing)

    def _check_time(self, run_s: float) -> None:
        """Say what a run would have needed, where it was given less."""
        took_s = self.clock() - self.began_s
        if took_s > (1 + _TOLERATED_OVERTIME) * self.request.cap_s:
            self.notes.append(
                f"took {si(took_s, 's')}, not the {si(self.request.cap_s, 's')} given: a run of "
                f"{si(run_s, 's')} is warmed up, timed and looked at, each at least once"
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

    def _closer_looks(
        self, pipeline: Pipeline, expectation: Expectation | None, run_s: float
    ) -> CloserLooks:
        return CloserLooks(
            request=self.request,
            pipeline=pipeline,
            run=self._run(pipeline),
            run_s=run_s,
            eager=self._eager,
            expectation=expectation,
            device=self.device,
            telemetry=self.telemetry,
            clock=self.clock,
            deadline_s=self.began_s + self.request.cap_s,
            stages=self.stages,
            progress=partial(self._report, _SAMPLES_SHARE, 1 - _SAMPLES_SHARE),
            trace=self.trace,
        )

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


def _last(path: str | None) -> str | None:
    """The name alone: where somebody keeps it is nobody's business."""
    return Path(path).name if path and Path(path).exists() else path
