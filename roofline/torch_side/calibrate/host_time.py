"""What the host takes beside the kernels: Python, dispatch, allocation.

A model too small to compute anything takes hardly more than that. Two of them, of different depth,
tell the share of a layer from that of a forward pass.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

import torch
from msgspec.structs import replace

from roofline.device.laws.host import HostLaw
from roofline.engine.analysis import analyze
from roofline.engine.axes import Stage
from roofline.engine.layout import lay_out
from roofline.records.statistics import StoppingRule, WarmUpRule
from roofline.reducers import find
from roofline.specs.catalog import load_model
from roofline.specs.hardware import Hardware
from roofline.specs.models import LanguageModel, Lmm, VisionEncoder
from roofline.torch_side.measure.pipeline import build_pipeline
from roofline.torch_side.measure.timing import (
    Clock,
    Disturbance,
    Progress,
    Subject,
    interrupted,
    measure,
    stopwatch_for,
)
from roofline.torch_side.measure.trial import Stretch
from roofline.units import MICRO

DEPTHS = (3, 9)
"""Layers of the small models."""
_VISUAL, _TEXT = 4, 8
_MODEL = "llava-tiny"
_REDUCER = "prumerge"
"""Some sixty launches of all kinds: what one of them takes goes for those of other reducers."""
_READ = "read back"
_READS = 20
"""Numbers read back in one sample."""
_WARM_UP_SHARE = 0.25
"""Of the time, at most."""


def host_laws(
    hardware: Hardware,
    device: torch.device,
    *,
    quant: str,
    budget_s: float,
    clock: Clock = time.perf_counter,
    progress: Progress | None = None,
    disturbance: Disturbance | None = None,
    known: Iterable[Stretch] = (),
    keep: Callable[[Stretch], object] | None = None,
) -> tuple[dict[str, HostLaw], str]:
    """Host time of vision, reducer, connector, llm and decode, and what disturbed it although
    samples were taken anew; empty for nothing.

    hardware: with the laws of its kernels. On a CPU the time of the small model's kernels is taken
    off what it takes; elsewhere the host is what such a model waits for. That of the reducer tells
    its launches, so that others take it launch by launch, and what reading back a number takes.
    budget_s: for all samples, once the small models are made.
    known, keep: samples of an earlier sitting, and what holds on to those of this one (`measure`).

    Raises KeyboardInterrupt on Ctrl-C.
    """
    specs = {depth: _of_depth(depth) for depth in DEPTHS}
    subjects, pipelines = [], []
    for depth, spec in specs.items():
        pipeline = build_pipeline(
            spec,
            reducer=_REDUCER,
            visual_tokens=_VISUAL,
            text_tokens=_TEXT,
            quant=quant,
            device=device,
        )
        pipelines.append(pipeline)
        subjects += [
            Subject(f"prefill {depth}", pipeline.prefill, before=None),
            Subject(f"decode {depth}", pipeline.decode_step, before=None),
        ]
    number = torch.ones((), device=device)
    subjects.append(Subject(_READ, lambda _: number.item(), calls=_READS))
    each_s = budget_s / len(subjects)
    warm_up_s = min(WarmUpRule().cap_s, _WARM_UP_SHARE * each_s)
    rule = StoppingRule(relative_ci=0.01, cap_s=each_s - warm_up_s)
    measured = measure(
        subjects,
        stopwatch_for(device, clock),
        rule,
        warm_up=WarmUpRule(cap_s=warm_up_s),
        clock=clock,
        progress=progress,
        deadline_s=clock() + budget_s,
        disturbance=disturbance,
        known=known,
        keep=keep,
    )
    if interrupted(measured):
        raise KeyboardInterrupt
    beside = {
        depth: {
            name: max(0.0, min(samples) - _kernels_s(spec, hardware, quant, name))
            for stage in ("prefill", "decode")
            for name, samples in measured[f"{stage} {depth}"].spans.items()
        }
        for depth, spec in specs.items()
    }
    laws = {name: _law(name, beside) for name in beside[DEPTHS[0]]}
    task = lay_out(specs[DEPTHS[0]], reducer=find(_REDUCER), visual_tokens=_VISUAL).task
    assert task is not None
    laws["reducer"] = replace(
        laws["reducer"],
        launches=find(_REDUCER).launches(task),
        wait_us=min(measured[_READ].total) / MICRO,
    )
    disturbers = dict.fromkeys(each.disturber for each in measured.values() if each.disturber)
    return laws, ", ".join(disturbers)


def _of_depth(layers: int) -> Lmm:
    spec = load_model(_MODEL)
    assert isinstance(spec, Lmm)
    assert isinstance(spec.vision, VisionEncoder)
    assert isinstance(spec.llm, LanguageModel)
    return replace(
        spec,
        vision=replace(spec.vision, num_hidden_layers=layers),
        llm=replace(spec.llm, num_hidden_layers=layers),
        vision_feature_layer=-1,
    )


def _kernels_s(spec: Lmm, hardware: Hardware, quant: str, component: str) -> float:
    """What the kernels of a small model's component take, where the host runs them itself."""
    if hardware.kind != "cpu":
        return 0.0
    stage: Stage = "decode" if component == "decode" else "prefill"
    estimate = analyze(
        spec, hardware, quant, _VISUAL, text_tokens=_TEXT, stage=stage, reducer=_REDUCER
    )
    part = estimate.components["llm" if component == "decode" else component]
    return float(part.attainable_time_s or 0.0)


def _law(name: str, beside_s: Mapping[int, Mapping[str, float]]) -> HostLaw:
    """A line through both depths; reducer and connector have no layers."""
    shallow, deep = DEPTHS
    first, second = beside_s[shallow][name], beside_s[deep][name]
    if name in ("reducer", "connector"):
        return HostLaw(fixed_us=(first + second) / 2 / MICRO, layer_us=0.0)
    layer_s = max(0.0, (second - first) / (deep - shallow))
    return HostLaw(fixed_us=max(0.0, first - shallow * layer_s) / MICRO, layer_us=layer_s / MICRO)
