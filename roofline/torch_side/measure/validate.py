"""Hold the analysis against what PyTorch counts and what this machine takes.

Three layers: FLOPs against FlopCounterMode; traffic and live tensors against a traced model, and
peak memory against the allocator; predicted against measured time, on sizes of a whole model that
the calibration never saw.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import cached_property
from math import ceil
from typing import Any

import torch
from msgspec import structs

from roofline.engine.analysis import analyze
from roofline.engine.axes import Stage
from roofline.engine.result import Totals
from roofline.errors import InputError, ScenarioError
from roofline.model.polynomial import Array
from roofline.records.journal import Journal
from roofline.records.statistics import StoppingRule, WarmUpRule
from roofline.records.validation import Count, TimedCell, Validation
from roofline.specs.catalog import load_hardware
from roofline.specs.hardware import Hardware
from roofline.specs.kernel_laws import read_kernel_laws
from roofline.specs.models import Lmm
from roofline.specs.reading import build
from roofline.specs.writing import as_plain
from roofline.torch_side.calibrate.calibrate import Calibration, TooLittleTimeError, calibrate
from roofline.torch_side.load import load_model
from roofline.torch_side.measure import machine
from roofline.torch_side.measure.disturbance import watch
from roofline.torch_side.measure.eager_look import EagerLook, eager_look
from roofline.torch_side.measure.memory_check import MemoryShortError
from roofline.torch_side.measure.modes import GRAPHS
from roofline.torch_side.measure.pipeline import Pipeline, build_pipeline
from roofline.torch_side.measure.scenes import BATCHES, DEFAULT_REDUCER, Scene, merged, scenes
from roofline.torch_side.measure.stages import Stages
from roofline.torch_side.measure.timing import (
    Clock,
    Progress,
    Subject,
    interrupted,
    measure,
    stopwatch_for,
)
from roofline.torch_side.measure.trial import Measurement
from roofline.torch_side.measure.validation_request import ValidationRequest, check_hardware
from roofline.torch_side.oracle.checks import CostCheck, compare_costs
from roofline.torch_side.oracle.reduced import AND
from roofline.units import si

_CALIBRATION_SHARE = 0.5


def validate(
    hardware: str | Hardware,
    *,
    model: str | Lmm,
    reducer: str = DEFAULT_REDUCER,
    device: str | None = None,
    quant: str | None = None,
    mode: str = "eager",
    seconds: float = 90.0,
    began_s: float | None = None,
    clock: Clock = time.perf_counter,
    progress: Progress | None = None,
    stages: Stages | None = None,
) -> Validation:
    """Validate the analysis of a model on the device that `hardware` was calibrated on.

    seconds: roughly what the timing may take.
    began_s: what `clock` said when it all began; left out, now.
    stages: what earlier sittings have found; left out, nothing.

    Raises InputError: what `ValidationRequest.of`, `check_hardware` and `load_model` raise, and for
    a device without laws of its own.
    """
    began_s = clock() if began_s is None else began_s
    request = ValidationRequest.of(
        model=model, reducer=reducer, quant=quant, device=device, mode=mode
    )
    spec = load_hardware(hardware)
    check_hardware(request, spec)
    validator = _Validator(request, spec, clock, stages or Stages(None))
    return validator.run(seconds, began_s, progress)


def calibrate_and_validate(
    *,
    model: str | Lmm | None = None,
    reducer: str = DEFAULT_REDUCER,
    hardware: str | Hardware | None = None,
    quant: str | None = None,
    device: str | None = None,
    mode: str = "eager",
    seconds: float = 170.0,
    clock: Clock = time.perf_counter,
    progress: Progress | None = None,
    journal: Journal | None = None,
) -> tuple[Validation, Calibration | None]:
    """Validate; without `hardware` calibrate first, in a share of the time. What cannot run is said
    before.

    journal: `about_validation`. What is found is kept there, and what is there already is not
        measured again.
    """
    began_s, share = clock(), 0.0
    request = ValidationRequest.of(
        model=model, reducer=reducer, quant=quant, device=device, mode=mode
    )
    stages, calibration = Stages(journal), None
    if hardware is None:
        share = _CALIBRATION_SHARE

        def measured() -> dict[str, Any]:
            found = calibrate(
                request.device,
                modes=request.calibrated_modes,
                seconds=share * seconds,
                clock=clock,
                progress=progress and (lambda done, doing: progress(share * done, doing)),
                journal=journal,
            )
            return {**vars(found), "hardware": as_plain(found.hardware)}

        try:
            known = stages.once("calibration", dict[str, Any], measured)
        except TooLittleTimeError as error:
            raise InputError(
                f"a calibration takes {share:.0%} of the time, and {error.needed_s:.0f} s at least "
                f"here: give --seconds {ceil(error.needed_s / share)} or more, or --hw with a "
                "calibration that was made before"
            ) from None
        hardware = _read_hardware(known["hardware"])
        calibration = Calibration(**known | {"hardware": hardware})
    found = validate(
        hardware,
        **structs.asdict(request),
        seconds=(1 - share) * seconds,
        began_s=began_s,
        clock=clock,
        progress=progress and (lambda done, doing: progress(share + (1 - share) * done, doing)),
        stages=stages,
    )
    return found, calibration


def _read_hardware(plain: dict[str, Any]) -> Hardware:
    """What `as_plain` made of a calibrated device, which has its laws in place."""
    laws = read_kernel_laws(plain["kernel_laws"], "calibration")
    return build(Hardware, plain | {"kernel_laws": laws}, "calibration")


class _Validator:
    def __init__(
        self,
        request: ValidationRequest,
        hardware: Hardware,
        clock: Clock,
        stages: Stages,
    ) -> None:
        self.spec, self.quant, self.mode = request.model, request.quant, request.mode
        self.device = torch.device(request.device)
        self.scenes = scenes(request.model, request.reducer)
        laws = hardware.kernel_laws
        if laws is None:
            raise InputError(
                f"{hardware.name} has peaks alone, which predict no time: give --hw a file of "
                "`roofline calibrate`, or none to calibrate first"
            )
        self.calibration_untrusted = laws.doubt
        self.hardware, self.clock = hardware, clock
        self.stages, self.notes = stages, stages.notes
        if other := machine.another_device(self.device, hardware):
            self.notes.append(f"the spec may be of another device: {other}")

    def run(self, seconds: float, began_s: float, progress: Progress | None) -> Validation:
        once = self.stages.once
        counts = once("counts", list[Count], lambda: list(self._counts()))
        try:
            return self._measured_against(counts, seconds, began_s, progress)
        except torch.OutOfMemoryError:
            raise MemoryShortError(
                f"the prompts of a validation of {self.spec.name} in {self.quant}, up to batch "
                f"{max(BATCHES)}, need more than the {si(machine.memory_bytes(self.device), 'B')} "
                f"of {machine.device_name(self.device)}: give a smaller --model, or --quant"
            ) from None

    def _measured_against(
        self, counts: list[Count], seconds: float, began_s: float, progress: Progress | None
    ) -> Validation:
        once = self.stages.once
        # before any graph: those hold on to memory
        eager, before_bytes = once("eager run", tuple[EagerLook, float], self._eager_look)
        counts = [*counts, *self._peak_memory(eager, before_bytes)]
        measured = once(
            "timing",
            dict[str, Measurement],
            lambda: self._timed(seconds, progress),
            finished=lambda measured: not interrupted(measured),
        )
        cells = [
            cell for scene in self.scenes for cell in self._cells(scene, measured) if cell.samples_s
        ]
        return Validation(
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            complete=not interrupted(measured),
            inputs={
                "model": self.spec.name,
                "hardware": self.hardware.name,
                "quant": self.quant,
                "mode": self.mode,
                "attention": "sdpa",
                "seconds": seconds,
            },
            environment=machine.environment(self.device),
            took_s=self.clock() - began_s,
            counts=counts,
            cells=merged(cells),
            notes=self.notes,
            calibration_untrusted=self.calibration_untrusted,
            attention_kernels=eager.attention_kernels,
        )

    def _counts(self) -> Iterator[Count]:
        """FLOPs, traffic and live tensors, by prefill and one decode step of the whole model."""
        full = self.scenes[-1]
        for stage in ("prefill", "decode"):
            checks = compare_costs(
                self.spec,
                visual_tokens=full.visual_tokens,
                text_tokens=full.text_tokens,
                batch=full.batch,
                stage=stage,
            )
            for check in checks:
                yield _counted(check, check.component if stage == "prefill" else stage)
        yield from self._reduced_counts()

    def _reduced_counts(self) -> Iterator[Count]:
        """FLOPs of the prompt that is reduced, of what the reducer acts in."""
        reduced = next(scene for scene in self.scenes if scene.reducer)
        try:
            checks = compare_costs(
                self.spec,
                reducer=reduced.reducer,
                visual_tokens=reduced.visual_tokens,
                text_tokens=reduced.text_tokens,
            )
        except ScenarioError as error:
            self.notes.append(f"FLOPs of the reduced prompt are not compared: {error}")
            return
        for check in checks:
            if check.quantity == "flops" and "reducer" in check.component.split(AND):
                yield _counted(check, check.component)

    @cached_property
    def _loaded(self) -> Any:
        """The model itself, where something is left to be measured."""
        return load_model(self.spec, device=self.device, quant=self.quant)

    def _pipeline(self, scene: Scene, *, mode: str) -> Pipeline:
        return build_pipeline(
            self.spec,
            reducer=scene.reducer,
            visual_tokens=scene.visual_tokens,
            text_tokens=scene.text_tokens,
            batch=scene.batch,
            loaded=self._loaded,
            mode=mode,
        )

    @property
    def _longest(self) -> Scene:
        return max(self.scenes, key=lambda scene: scene.tokens * scene.batch)

    def _eager_look(self) -> tuple[EagerLook, float]:
        """At the longest prompt; and the bytes that were allocated before it ran."""
        with self._pipeline(self._longest, mode="eager") as pipeline:
            on_cuda = self.device.type == "cuda"
            before = torch.cuda.memory_allocated(self.device) if on_cuda else 0
            return eager_look(pipeline.prefill, self.device), float(before)

    def _peak_memory(self, eager: EagerLook, before_bytes: float) -> list[Count]:
        """Of the longest prompt, run eagerly, by the allocator, where it keeps count."""
        if eager.peak_memory_bytes is None:
            self.notes.append(
                f"peak memory stands against the traced model alone: torch keeps no count of it on "
                f"{self.device.type}"
            )
            return []
        estimate = self._estimate(self._longest, "prefill")
        return [
            Count(
                component="whole",
                quantity="peak_activation_bytes",
                analytic=float(estimate["whole"].peak_activation_bytes),
                witnessed=eager.peak_memory_bytes - before_bytes,
                witness="allocator",
            )
        ]

    def _timed(self, seconds: float, progress: Progress | None) -> dict[str, Measurement]:
        with ExitStack() as open_pipelines:
            pipelines = {
                scene: open_pipelines.enter_context(self._pipeline(scene, mode=self.mode))
                for scene in self.scenes
            }
            return self._measured(pipelines, seconds, progress)

    def _measured(
        self, pipelines: dict[Scene, Pipeline], seconds: float, progress: Progress | None
    ) -> dict[str, Measurement]:
        subjects = []
        for scene, pipeline in pipelines.items():
            subjects.append(Subject(scene.name, pipeline.prefill))
            if scene.decodes:
                # the step reads the cache that its own prompt has filled
                subjects.append(Subject(f"{scene.name}, decode", pipeline.decode_step))
        rule = StoppingRule(relative_ci=1e-6, least=5, cap_s=seconds / len(subjects))
        with watch(self.device, clock=self.clock) as disturbance:
            return measure(
                subjects,
                stopwatch_for(self.device, self.clock),
                rule,
                warm_up=WarmUpRule(window=1, most=1, cap_s=0.0),
                clock=self.clock,
                deadline_s=self.clock() + seconds,
                repeats=1,
                progress=progress,
                disturbance=disturbance,
                known=self.stages.stretches,
                keep=self.stages.keep,
            )

    def _cells(self, scene: Scene, measured: dict[str, Measurement]) -> Iterator[TimedCell]:
        """What each component of a scene took, beside what was predicted."""
        prefill = measured[scene.name]
        estimate = self._estimate(scene, "prefill")
        for component, samples in (*prefill.spans.items(), ("whole", prefill.total)):
            if component in estimate:
                yield self._cell(
                    component, scene, estimate[component], samples, prefill.disturbance
                )
        if scene.decodes:
            decode = measured[f"{scene.name}, decode"]
            totals = self._estimate(scene, "decode")["llm"]
            yield self._cell("decode", scene, totals, decode.total, decode.disturbance)

    def _cell(
        self,
        component: str,
        scene: Scene,
        totals: Totals,
        samples: list[float],
        disturbance: str,
    ) -> TimedCell:
        return TimedCell(
            component=component,
            tokens=scene.tokens,
            batch=scene.batch,
            attainable_time_s=float(totals.predicted_time_s),
            attainable_time_low_s=_number(totals.predicted_time_low_s),
            attainable_time_high_s=_number(totals.predicted_time_high_s),
            roofline_time_s=float(totals.roofline_time_s),
            samples_s=samples,
            disturbance=disturbance,
        )

    def _estimate(self, scene: Scene, stage: Stage) -> dict[str, Totals]:
        estimate = analyze(
            self.spec,
            self.hardware,
            self.quant,
            visual_tokens=scene.visual_tokens,
            text_tokens=scene.text_tokens,
            batch=scene.batch,
            stage=stage,
            reducer=scene.reducer,
            runtime=None if self.mode in GRAPHS else self.mode,
        )
        return {**estimate.components, "whole": estimate.end_to_end}


def _number(seconds: Array | None) -> float | None:
    return None if seconds is None else float(seconds)


def _counted(check: CostCheck, component: str) -> Count:
    return Count(
        component=component,
        quantity=check.quantity,
        analytic=check.analytic,
        witnessed=check.traced,
        aside={name: float(flops) for name, flops in check.aside.items()},
        witness="FlopCounterMode" if check.quantity == "flops" else "traced model",
    )
