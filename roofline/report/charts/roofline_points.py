"""Where ops lie on a roofline chart, and what lies above them."""

from __future__ import annotations

from collections.abc import Sequence
from math import log10
from typing import NamedTuple

from msgspec.structs import asdict

from roofline.engine.result import OpTotals
from roofline.explore.study import Deployment, Study
from roofline.report.charts.naming import component_name
from roofline.units import TERA, percent

_SAME = 50
"""Dots closer than one part in so many of a decade are one."""
_NEAR = 0.3
"""Decades within which dots share a name."""
MATTERS, MOST_NAMED = 0.05, 4
"""Share of the time from which on dots have a name, and how many do at most."""

RooflinePoint = tuple[float, float]
"""FLOP/B and FLOP/s."""


class Dot(NamedTuple):
    """Ops of one component that lie in one place."""

    component: str
    point: RooflinePoint
    share: float
    """Of the time of all ops."""
    before: RooflinePoint | None
    """With all visual tokens; None where nothing moved."""
    ops: tuple[tuple[str, str], ...] = ()
    """Name and kind of each."""


class Ceiling(NamedTuple):
    """A peak of the device, and what computes at it."""

    flops_per_s: float
    names: tuple[str, ...]
    used: bool


def dots(deployment: Deployment) -> list[Dot]:
    """Ops of the reduced prompt, and where they were; those in one place together."""
    one = deployment.pair[-1]
    was: dict[tuple[str, str], RooflinePoint] = {}
    for op in one.unreduced.ops if one.unreduced else ():
        if (point := _point(op)) is not None:
            was.setdefault((op.component, op.name), point)
    whole_s = sum(map(_time_s, one.ops))
    found: dict[tuple[object, ...], Dot] = {}
    for op in one.ops:
        if (point := _point(op)) is None:
            continue
        before = was.get((op.component, op.name))
        if before is not None and _cell(before) == _cell(point):
            before = None
        at = (op.component, _cell(point), before and _cell(before))
        known = found.get(at, Dot(op.component, point, 0.0, before))
        ops = dict.fromkeys((*known.ops, (op.name, op.kind)))
        share = known.share + _time_s(op) / whole_s
        found[at] = known._replace(share=share, ops=tuple(ops))
    return list(found.values())


def named(found: Sequence[Dot]) -> dict[Dot, str]:
    """Dots that stand for ops that matter, with a name: `LLM linear 64 %`.

    Dots of a component that are near another that takes longer are part of it.
    """
    groups: list[list[Dot]] = []
    for dot in sorted(found, key=lambda dot: -dot.share):
        near = (group for group in groups if _near(group[0], dot))
        group = next(near, None)
        if group is None:
            groups.append([dot])
        else:
            group.append(dot)
    shares = [(sum(dot.share for dot in group), group) for group in groups]
    ranked = sorted((one for one in shares if one[0] >= MATTERS), key=lambda one: -one[0])
    return {group[0]: _name(group, share) for share, group in ranked[:MOST_NAMED]}


def _near(one: Dot, other: Dot) -> bool:
    return one.component == other.component and all(
        abs(log10(a / b)) < _NEAR for a, b in zip(one.point, other.point, strict=True)
    )


def _name(group: Sequence[Dot], share: float) -> str:
    """By the op, the kind that several have, or the op that takes longest and how many more."""
    ops = list(dict.fromkeys(op for dot in group for op in dot.ops))
    names, kinds = dict.fromkeys(name for name, _ in ops), {kind for _, kind in ops}
    what = next(iter(names))
    if len(names) > 1:
        what = kinds.pop() if len(kinds) == 1 else f"{what} +{len(names) - 1}"
    return f"{component_name(group[0].component)} {what} {percent(share)}"


def _point(op: OpTotals) -> RooflinePoint | None:
    """Of its matmul FLOPs, if it has any: vector units work beside them, under their own roof.

    None for an op that computes nothing or moves nothing.
    """
    work = float(op.flops or op.vector_flops)
    moved, time_s = float(op.memory_access_bytes), _time_s(op)
    return (work / moved, work / time_s) if work and moved and time_s else None


def _time_s(op: OpTotals) -> float:
    return float(op.roofline_time_s if op.attainable_time_s is None else op.attainable_time_s)


def _cell(point: RooflinePoint) -> tuple[int, int]:
    x, y = (round(_SAME * log10(value)) for value in point)
    return x, y


def measured(study: Study, deployment: Deployment) -> list[tuple[str, RooflinePoint]]:
    """Matmuls and attention of records of a prefill that `dots` shows, by component."""
    key = (deployment.model, deployment.hardware, deployment.quant)
    shown = {one.visual_tokens for one in deployment.pair}
    return [
        (op.component, (op.flops_per_s / op.bytes_per_s, op.flops_per_s))
        for record in (one.record for one in study.records)
        if (record.inputs["model"], record.inputs["hardware"], record.inputs["quant"]) == key
        and record.inputs["visual_tokens"] in shown
        and record.inputs["stage"] == "prefill"
        for op in record.ops
        if op.flops_per_s and op.bytes_per_s
    ]


def ceilings(deployment: Deployment) -> list[Ceiling]:
    """Dense peaks of the device by data type, and of its vector units; the highest first.

    A type that is in use without a peak of its own computes on the vector units.
    """
    prompt = deployment.prompts[0]
    device, peaks = prompt.device, prompt.estimate.device["peaks"].values()
    used = {peak[f"{unit}_type"] for peak in peaks for unit in ("matmul", "attention")}
    known = asdict(device.matmul_peaks).items()
    own = [name.rpartition("_")[0] for name, peak in known if peak is not None]
    rates = {
        name: peak.value * TERA
        for name in [*own, *sorted(used)]
        if (peak := device.matmul_peak(name)) is not None
    }
    rates["vector"] = device.vector_flops_per_s
    together: dict[float, list[str]] = {}
    for name, rate in rates.items():
        together.setdefault(rate, []).append(name)
    return [
        Ceiling(rate, tuple(names), not used.isdisjoint(names) or "vector" in names)
        for rate, names in sorted(together.items(), reverse=True)
    ]
