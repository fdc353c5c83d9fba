"""Figures of all components together, and of one: what they are the sum of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from roofline.device.host import waits_of
from roofline.engine.accounting.exact import resident
from roofline.engine.energy import energy_law
from roofline.engine.explain.explanation import Explanation, Line, Lines
from roofline.engine.explain.formulas import (
    equal,
    in_symbols,
    listed,
    plain_number,
    product,
    value_of,
    worked,
)
from roofline.engine.explain.ops import flops, sources
from roofline.engine.explain.workings import Part, Workings
from roofline.engine.price import PricePlan
from roofline.engine.result import OpTotals, Totals
from roofline.errors import ScenarioError
from roofline.model.counted import Phase
from roofline.model.polynomial import Polynomial
from roofline.units import percent, si

_LONGEST = 10
"""Ops that an explanation of time lists."""


def explain_flops(workings: Workings) -> Explanation:
    """Matmul-class FLOPs: op by op, component by component."""
    groups = []
    for component, total in _parts(workings, "flops"):
        counting = [part for part in workings.of(component) if float(part.row.flops)]
        lines = [(f"  {_name(part)}", _flops(workings, part)) for part in counting]
        groups.append(Lines.of(lines, f"{component}: {si(total, 'FLOP')}"))
    groups.append(Lines.of([("End to end", _sum(workings, "flops", "FLOP"))]))
    cited = sources(workings, workings.parts, rates=False, widths=False)
    return _explanation(workings, "FLOPs", groups, cited)


def explain_time(workings: Workings) -> Explanation:
    """Roofline and attainable time, host time beside it."""
    whole = workings.estimate.end_to_end
    if not isinstance(whole, Totals):
        raise ScenarioError("nothing takes time on no device: give hardware (--hw)")
    ranked = sorted(workings.parts, key=lambda part: -_predicted(part))
    longest = [(f"  {_name(part, whole=True)}", _time(part)) for part in ranked[:_LONGEST]]
    groups = [
        Lines.of(_whole_time(workings, whole)),
        Lines.of(longest, f"The {len(longest)} that take longest"),
    ]
    return _explanation(workings, "Time", groups, sources(workings, workings.parts))


def _whole_time(workings: Workings, whole: Totals) -> Iterator[Line]:
    yield "Roofline", _sum(workings, "roofline_time_s", "s")
    yield "  of an op", "times it runs × the slowest of its FLOPs and bytes ÷ the device's rates"
    yield "  bound", _bounds(whole)
    if whole.attainable_time_s is not None and whole.attainable_error_s is not None:
        yield "Attainable", _sum(workings, "attainable_time_s", "s")
        yield "  of an op", "times it runs × its law's time, every launch included"
        error = si(whole.attainable_error_s, "s")
        yield "  band", f"±{error}: Σ over ops of what nine in ten kernels are off at most"
    if whole.host_time_s is not None and whole.host_time_s:
        yield "Host", _sum(workings, "host_time_s", "s")
        yield from _launches(workings)
    runtime = workings.estimate.scenario.runtime
    low, high = whole.elapsed_time_low_s, whole.elapsed_time_high_s
    if runtime is not None and low is not None and high is not None:
        how = "the longer of kernels and host" if runtime.overlaps else "kernels and host added"
        yield "Elapsed", _sum(workings, "elapsed_time_s", "s")
        yield "  of a component", f"{how}, phase by phase: {runtime.title}"
        yield "  band", f"{si(low, 's')} to {si(high, 's')}: low and high ends of both"
        yield "  source", runtime.source


def _launches(workings: Workings) -> Iterator[Line]:
    """Kernels that a pass of each component issues, where the host is priced by them."""
    phases: tuple[tuple[Phase, str], ...] = (("prefill", "  launches"), ("decode", "  of a step"))
    for phase, name in phases:
        issued: list[tuple[str, int]] = []
        waits = 0
        for plan in workings.plans:
            if not isinstance(plan, PricePlan) or plan.host is None or not plan.host.by_launches:
                return
            if any(op.phase == phase for op in plan.counts.ops):
                issued.append((plan.counts.component, plan.host.issues(plan.counts, phase)))
                waits += waits_of(plan.counts, phase)
        if issued:
            text = " + ".join(f"{component} {number:,}" for component, number in issued)
            text = text if len(issued) == 1 else f"{text} = {sum(n for _, n in issued):,}"
            yield name, text + (f"; {waits} numbers read back" if waits else "")


def explain_energy(workings: Workings) -> Explanation:
    """Energy in the predicted time, and its bound."""
    whole = workings.estimate.end_to_end
    if not isinstance(whole, Totals):
        raise ScenarioError("nothing takes energy on no device: give hardware (--hw)")
    lines: list[Line] = []
    cited: dict[str, str] = {}
    if whole.energy_j is not None and whole.energy_error_j is not None:
        plan = workings.plans[0]
        assert isinstance(plan, PricePlan)
        assert plan.laws is not None  # or there were no energy
        law = energy_law(plan.peaks.hardware, plan.laws.kernel_laws)
        assert law is not None
        lines = [
            ("Energy", _sum(workings, "energy_j", "J")),
            ("  law", f"{law.terms} ({law.origin or plan.laws.kernel_laws.origin})"),
            (
                "  band",
                f"±{si(whole.energy_error_j, 'J')}: what nine in ten models are off at most",
            ),
            ("Power", f"{si(whole.energy_j, 'J')} ÷ {si(whole.predicted_time_s, 's')}"),
        ]
    if whole.energy_bound_j is not None and whole.device_tdp_w is not None:
        watts, seconds = si(whole.device_tdp_w, "W"), si(whole.predicted_time_s, "s")
        lines.append(("Bound", f"{watts} TDP × {seconds} = {si(whole.energy_bound_j, 'J')}"))
        assert workings.hardware is not None
        assert workings.hardware.tdp_w is not None
        cited[watts] = workings.cited(workings.hardware.tdp_w)
    if not lines:
        raise ScenarioError(f"nobody knows the energy of {workings.estimate.inputs['hardware']}")
    return _explanation(workings, "Energy", [Lines.of(lines)], cited.items())


def explain_memory(workings: Workings) -> Explanation:
    """Weights, KV cache and peak activations, against what the device has."""
    whole, hardware = workings.estimate.end_to_end, workings.hardware
    parts = (
        ("weights", whole.weight_bytes),
        ("KV cache", whole.kv_cache_bytes),
        ("activations", whole.peak_activation_bytes),
    )
    lines = [
        *((f"  {component}", text) for component, text in _weights(workings)),
        ("Weights", listed(_parts(workings, "weight_bytes"), "B")),
        ("KV cache", _kv(workings)),
        ("Peak activations", _peak(workings)),
        ("Peak memory", listed(parts, "B")),
    ]
    cited = dict(sources(workings, workings.parts, rates=False))
    if isinstance(whole, Totals) and hardware is not None:
        capacity = hardware.memory_capacity_gib
        verdict = "it fits" if whole.fits else "it does not fit"
        text = f"{capacity.value:g} GiB × 2³⁰ = {si(hardware.memory_bytes, 'B')}: {verdict}"
        lines.append(("Device", text))
        cited = {f"{capacity.value:g} GiB": workings.cited(capacity), **cited}
    return _explanation(workings, "Memory", [Lines.of(lines)], cited.items())


def explain_kv(workings: Workings) -> Explanation:
    """The KV cache at the end of the stage."""
    llm = workings.layout.llm
    if llm is None:
        raise ScenarioError(f"{workings.layout.name} has no LLM, and so no KV cache")
    groups = workings.layout.llm_groups
    elements = f"{plain_number(llm.cached_width)} elements a layer"
    if llm.mla is None:
        elements = f"2 × {llm.kv_heads} heads × {llm.head_size} = {elements}"
    lines = [
        ("KV cache", _kv(workings)),
        ("Of a token", elements),
        ("Layers", ", ".join(f"{g.layers} that see {in_symbols(g.tokens)}" for g in groups)),
    ]
    cited = sources(workings, workings.of("llm"), rates=False)
    return _explanation(workings, "KV cache", [Lines.of(lines)], cited)


def explain_component(workings: Workings, component: str) -> Explanation:
    """FLOPs, traffic, weights and time of a component, and each of its ops."""
    part, parts = workings.estimate.components[component], workings.of(component)
    weights = dict(_weights(workings)).get(component, si(part.weight_bytes, "B"))
    lines = [
        ("FLOPs", f"{si(part.flops, 'FLOP')}, vector ops {si(part.vector_flops, 'FLOP')}"),
        ("Traffic", f"{si(part.memory_access_bytes, 'B')}, the sum of its ops"),
        ("Weights", weights),
    ]
    if isinstance(part, Totals):
        lines.append(("Roofline", f"{si(part.roofline_time_s, 's')}: {_bounds(part)}"))
        if part.attainable_time_s is not None:
            lines.append(("Attainable", f"{si(part.attainable_time_s, 's')}, the sum of its ops"))
    ops = [(f"  {_name(each)}", "; ".join(_figures(workings, each))) for each in parts]
    groups = [Lines.of(lines), Lines.of(ops, "Op by op")]
    return _explanation(workings, component, groups, sources(workings, parts))


def _explanation(
    workings: Workings, title: str, groups: Iterable[Lines], cited: Iterable[Line]
) -> Explanation:
    return Explanation(f"{title}: {workings.configuration}", tuple(groups), tuple(cited))


def _parts(workings: Workings, name: str) -> list[tuple[str, Any]]:
    return [(c, getattr(part, name)) for c, part in workings.estimate.components.items()]


def _sum(workings: Workings, name: str, unit: str) -> str:
    return listed(_parts(workings, name), unit)


def _name(part: Part, *, whole: bool = False) -> str:
    words = [f"{part.row.component}.{part.op.name}" if whole else part.op.name, part.op.layers]
    if part.op.phase == "decode":
        words.append("(decode)")
    return " ".join(filter(None, words))


def _figures(workings: Workings, part: Part) -> Iterator[str]:
    """How often an op runs, and what that comes to."""
    count = float(part.row.count)
    if float(part.row.flops):
        yield _flops(workings, part)
    elif count != 1:
        yield f"{plain_number(count)} times"
    yield si(part.row.memory_access_bytes, "B")
    if isinstance(part.row, OpTotals):
        yield _time(part)


def _flops(workings: Workings, part: Part) -> str:
    """`32 × 2 × 80 × 4,096 × 4,096 = 85.9 GFLOP`; of several decode steps the mean of one."""
    row, count = part.row, float(part.row.count)
    total = si(row.flops, "FLOP")
    if part.op.phase == "decode" and float(workings.point["steps"]) > 1:
        numbers = si(float(row.flops) / count, "FLOP")
    else:
        numbers = flops(part.op.shape, part.op.amounts.flops, workings.point).split(" = ")[-2]
    return equal(numbers if count == 1 else f"{plain_number(count)} × {numbers}", total)


def _predicted(part: Part) -> float:
    row = part.row
    assert isinstance(row, OpTotals)
    known = row.attainable_time_s
    return float(row.roofline_time_s if known is None else known)


def _time(part: Part) -> str:
    row = part.row
    assert isinstance(row, OpTotals)
    text = f"{si(row.roofline_time_s, 's')} at the roofline ({row.bound})"
    if row.attainable_time_s is not None:
        text += f", {si(row.attainable_time_s, 's')} attainable"
    return text


def _bounds(part: Totals) -> str:
    """Which share of the roofline time waits for what."""
    total = float(part.roofline_time_s)
    seconds = {word: float(time) for word, time in part.bound_times_s.items()}
    seconds["memory"] = total - sum(seconds.values())
    ranked = sorted(seconds.items(), key=lambda item: -item[1])
    waits = ", ".join(f"{percent(time / total)} {word}" for word, time in ranked if time > 0)
    return f"ops bound by {waits}" if waits else "nothing runs"


def _weights(workings: Workings) -> Iterator[Line]:
    """Parameters by their role, times their width; the sum alone of a convention of its own."""
    components = {component.name: component for component in workings.layout.components}
    for plan in workings.plans:
        counts, mode = plan.counts, plan.counts.mode
        if not counts.weight_bytes:
            continue
        component = components[counts.component]
        formula = " + ".join(
            product(elements, f"{width:g} B") + ("" if role == "linear" else f" ({role})")
            for role, elements, width in resident(component, mode)
            if elements
        )
        if component.copies > 1:
            formula = f"{component.copies} × ({formula})"
        texts = [si(counts.weight_bytes, "B")]
        if all(op.elements is not None for op in counts.ops):  # else of a formula of its own
            texts.insert(0, formula)
        yield component.name, equal(*texts)


def _kv(workings: Workings) -> str:
    for plan in workings.plans:
        cached, width = plan.counts.kv_cache_bytes, plan.counts.mode.kv_bytes
        if cached:
            return worked(cached / width, workings.point, "B", f"{width:g} B")
    return si(0.0, "B")


def _peak(workings: Workings) -> str:
    """The largest sum of tensors that live at once, over all components."""
    point = workings.point.at(step=workings.point["steps"])
    candidates: list[tuple[float, str, Polynomial]] = [
        (value_of(each, point), plan.counts.component, each)
        for plan in workings.plans
        for each in plan.counts.peak_activation_bytes
    ]
    _, component, largest = max(candidates, key=lambda one: one[0])
    return f"{worked(largest, point, 'B')}, in the {component}"
