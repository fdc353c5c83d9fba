"""A scenario evaluated: laid out, counted, on a device priced, component by component."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from math import prod
from typing import Any, TypeVar

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from roofline.device.borrowed import laws_of
from roofline.device.host import Host
from roofline.device.law_choice import LawChoice
from roofline.device.peaks import component_peaks
from roofline.device.resources import BOUNDS
from roofline.engine.accounting import ACCOUNTINGS
from roofline.engine.axes import COUNTS
from roofline.engine.count import COUNTED, CountPlan, over_steps
from roofline.engine.energy import FROM_ENERGY, energy_law
from roofline.engine.layout import Layout, lay_out
from roofline.engine.parts import SampleViews, shown
from roofline.engine.pictures import pictures_of
from roofline.engine.price import ELAPSED, FROM_HOST, FROM_LAWS, PricePlan, evaluate
from roofline.engine.result import (
    OpQuantities,
    OpTotals,
    Quantities,
    ReducerFacts,
    Totals,
)
from roofline.engine.scenario import Scenario
from roofline.errors import ScenarioError
from roofline.model.architectures import AttentionKind
from roofline.model.counted import AMOUNTS, ComponentCounts, CountedOp
from roofline.model.polynomial import Array, Point, Polynomial
from roofline.specs.hardware import Hardware
from roofline.specs.kernel_laws import KernelLaws, is_of
from roofline.specs.quantization import Quantization
from roofline.specs.runtimes import Runtime
from roofline.units import TERA


class Case(Struct, frozen=True, eq=False):
    """Configurations that one layout goes for.

    Those are all; or those of one token count of a reducer; or those with images, or without.
    """

    layout: Layout
    counts: Mapping[str, Array]
    where: np.ndarray[Any, Any] | None
    """Which of the flattened configurations these are; None for all."""
    plans: Sequence[CountPlan | PricePlan]


class Run:
    """A scenario on its way to a record."""

    def __init__(self, scenario: Scenario) -> None:
        self.accounting = ACCOUNTINGS.find(scenario.accounting)
        if scenario.reducer is not None and not self.accounting.takes_reducers:
            raise ScenarioError(f"{scenario.accounting} accounting knows no reducers: use exact")
        attention = scenario.attention or self.accounting.attention
        runtime = scenario.runtime
        kernels = scenario.kernels or (runtime.kernels if runtime else "unfused")
        if not self.accounting.has_laws and (runtime or kernels != "unfused"):
            raise ScenarioError(f"{scenario.accounting} accounting knows no runtimes: use exact")
        self.scenario = replace(scenario, attention=attention, kernels=kernels)
        self._known: dict[Any, CountPlan | PricePlan] = {}
        self.cases = self._cases()
        self.layout = self.cases[0].layout

    def counted(self) -> tuple[dict[str, Quantities], Quantities]:
        """Each component, and all of them together."""
        return self._parts(Quantities, {})

    def priced(self) -> tuple[dict[str, Totals], Totals, dict[str, Any]]:
        """The same on the scenario's hardware, and the facts of the device."""
        hardware = self.scenario.hardware
        assert hardware is not None
        tdp_w = None if hardware.tdp_w is None else hardware.tdp_w.value
        facts = {"device_memory_bytes": hardware.memory_bytes, "device_tdp_w": tdp_w}
        parts, whole = self._parts(Totals, facts)
        plans = [plan for plan in self.cases[0].plans if isinstance(plan, PricePlan)]
        return parts, whole, _device(hardware, plans)

    def counted_ops(self) -> list[OpQuantities]:
        """Every distinct op."""
        return _joined([_ops(case, _op_quantities) for case in self.cases], self.scenario.shape)

    def priced_ops(self) -> list[OpTotals]:
        """The same on the scenario's hardware."""
        return _joined([_ops(case, _op_totals) for case in self.cases], self.scenario.shape)

    def _cases(self) -> list[Case]:
        """One for all configurations, or as many as there are layouts among them."""
        visual = self.scenario.counts.get("visual_tokens")
        if self.scenario.reducer is not None and visual is not None and visual.size > 1:
            return self._split((self._lay_out(n), visual == n) for n in np.unique(visual))
        layout = self._lay_out(None if visual is None or not visual.size else visual.flat[0])
        self.scenario = _with_defaults(self.scenario, layout)
        seen = self.scenario.counts["visual_tokens"] > 0
        if layout.vision is None or layout.llm is None or seen.all():
            return [Case(layout, self.scenario.counts, None, self._plans(layout))]
        text = replace(layout, has_images=False)
        if not seen.any():
            return [Case(text, self.scenario.counts, None, self._plans(text))]
        return self._split([(layout, seen), (text, ~seen)])

    def _split(self, layouts: Iterable[tuple[Layout, NDArray[np.bool_]]]) -> list[Case]:
        """A case for each layout, of those configurations whose visual tokens are marked."""
        shape, counts = self.scenario.shape, self.scenario.counts
        flat = {name: np.broadcast_to(array, shape).ravel() for name, array in counts.items()}
        cases = []
        for layout, marked in layouts:
            where = np.flatnonzero(np.broadcast_to(marked, shape))
            chosen = {name: array[where] for name, array in flat.items()}
            cases.append(Case(layout, chosen, where, self._plans(layout)))
        return cases

    def _lay_out(self, visual: float | None) -> Layout:
        scenario = self.scenario
        assert scenario.attention is not None
        assert scenario.kernels is not None
        return lay_out(
            scenario.model,
            stage=scenario.stage,
            attention=scenario.attention,
            kernels=scenario.kernels,
            vision_layers=scenario.vision_layers,
            llm_layers=scenario.llm_layers,
            reducer=scenario.reducer,
            visual_tokens=None if visual is None else float(visual),
            sample=_sample(scenario),
        )

    def _plans(self, layout: Layout) -> Sequence[CountPlan | PricePlan]:
        scenario = self.scenario
        counts = self.accounting.count(layout, scenario.quant)
        return [self._plan(each) for each in counts]

    def _plan(self, counts: ComponentCounts) -> CountPlan | PricePlan:
        """One for all cases that have the same component."""
        if counts not in self._known:
            scenario, hardware = self.scenario, self.scenario.hardware
            if hardware is None:
                self._known[counts] = CountPlan(counts)
            else:
                laws = laws_of(hardware) if self.accounting.has_laws else None
                if scenario.library is not None:
                    _check_library(scenario.library, hardware, laws)
                runtime = scenario.runtime
                library = scenario.library or (runtime and runtime.library)
                run_by = runtime, scenario.attention or "flash", library
                self._known[counts] = _plan(hardware, laws, counts, scenario.quant, *run_by)
        return self._known[counts]

    def _parts(self, kind: type[_Q], facts: dict[str, Any]) -> tuple[dict[str, _Q], _Q]:
        """Each component's figures, and all of them together."""
        outputs: dict[str, dict[str, Array]] = {}
        shape = self.scenario.shape
        for case in _merged(self.cases):
            results = evaluate(case.plans, case.counts, case.layout.derived)
            for plan, values in zip(case.plans, results, strict=True):
                known = outputs.setdefault(plan.counts.component, {})
                values["weight_bytes"] = np.full(values["flops"].shape, plan.counts.weight_bytes)
                for name, value in values.items():
                    if case.where is None:
                        known[name] = value
                    else:
                        known.setdefault(name, np.zeros(prod(shape)))[case.where] = value
        plans = [plan for case in self.cases for plan in case.plans]
        priced = [plan for plan in plans if isinstance(plan, PricePlan)]
        unknown: list[str] = [] if any(plan.laws for plan in priced) else [*FROM_LAWS]
        if not any(plan.host for plan in priced):
            unknown += FROM_HOST
        elif self.scenario.runtime is None:
            unknown += ELAPSED
        if not any(plan.energies is not None for plan in priced):
            unknown += FROM_ENERGY
        parts = {
            component: _figures(kind, values, shape, unknown) | facts
            for component, values in outputs.items()
        }
        whole = _together(list(parts.values()))
        return {name: kind(**figures) for name, figures in parts.items()}, kind(**whole)

    @property
    def facts(self) -> dict[str, Any]:
        """What an estimate says beside its figures."""
        scenario, layout = self.scenario, self.layout
        return {
            "inputs": scenario.inputs | {"attention": layout.attention, "kernels": layout.kernels},
            "reducer": _reducer_facts(layout),
            "main": layout.main,
            "unreduced_visual_tokens": layout.unreduced_visual_tokens,
            "scenario": scenario,
        }


def _merged(cases: Sequence[Case]) -> Iterable[Case]:
    """Cases of one plan each, over all configurations that share it, in the order of components."""
    if len(cases) == 1:
        return cases
    sharing: dict[int, list[Case]] = {}
    for case in cases:
        for plan in case.plans:
            alone = Case(case.layout, case.counts, case.where, [plan])
            sharing.setdefault(id(plan), []).append(alone)
    return [_joined_case(alike) for alike in sharing.values()]


def _joined_case(alike: Sequence[Case]) -> Case:
    """One for the configurations of all."""
    first = alike[0]
    counts = {name: np.concatenate([case.counts[name] for case in alike]) for name in first.counts}
    where = np.concatenate([case.where for case in alike if case.where is not None])
    return Case(first.layout, counts, where, first.plans)


_WORD = f"U{max(map(len, BOUNDS))}"
"""What an op is bound by."""
_Q = TypeVar("_Q", bound=Quantities)


def _check_library(library: str, hardware: Hardware, laws: KernelLaws | None) -> None:
    """Raise ScenarioError for one that none of the device's laws was fitted to."""
    if laws is None:
        raise ScenarioError(f"{hardware.name} has no laws, and so none of the library {library!r}")
    known = laws.libraries
    if not any(is_of(library, name) for name in known):
        they = f"they are of {', '.join(known)}" if known else "theirs is not stated"
        raise ScenarioError(f"no law of {hardware.name} is of the library {library!r}: {they}")


@lru_cache(maxsize=64)
def _plan(
    hardware: Hardware,
    laws: KernelLaws | None,
    counts: ComponentCounts,
    mode: Quantization,
    runtime: Runtime | None,
    attention: AttentionKind,
    library: str | None,
) -> PricePlan:
    peaks = component_peaks(hardware, counts, mode.name)
    choice = LawChoice(laws, counts, peaks, library) if laws else None
    host = Host.of(runtime, hardware, laws, attention)
    return PricePlan(counts, peaks, choice, host)


def _sample(scenario: Scenario) -> SampleViews | None:
    """What a sample shows, where that is not settled by the model."""
    if scenario.pictures is None:
        return None
    return shown(scenario.model, pictures_of(scenario.pictures)).sample


def _with_defaults(scenario: Scenario, layout: Layout) -> Scenario:
    """Fill in visual tokens that were not given; refuse those that contradict the model."""
    visual = scenario.counts.get("visual_tokens")
    if (
        layout.llm is None
        and visual is not None
        and np.any(visual != layout.unreduced_visual_tokens)
    ):
        raise ScenarioError(
            f"{layout.name} has no LLM that visual tokens could reach: leave them out"
        )
    if scenario.llm_layers is not None:
        first = float(scenario.llm_layers[0][1])
        if visual is not None and np.any(visual != first):
            raise ScenarioError("`visual_tokens` and the first entry of `llm_layers` differ")
        visual = np.asarray(first)
    if visual is None:
        visual = np.asarray(float(layout.default_visual_tokens))
    most = layout.unreduced_visual_tokens
    if scenario.pictures and most is not None and np.any(visual > most):
        raise ScenarioError(
            f"{scenario.pictures} gives {layout.name} {most} visual tokens, not "
            f"{visual.max():g}: show it more or larger pictures (--image, pictures)"
        )
    text = scenario.counts["text_tokens"]
    if layout.llm is not None and np.any((visual == 0) & (text == 0)):
        raise ScenarioError("a prompt needs a token: give visual tokens, text tokens or both")
    if np.any(text == 0) and any(min(tokens) == 0 for _, *tokens in scenario.llm_layers or ()):
        raise ScenarioError("`llm_layers` leaves a layer without any token: give text tokens")
    known = {**scenario.counts, "visual_tokens": visual}
    return replace(scenario, counts={axis.name: known[axis.name] for axis in COUNTS})


def _figures(
    kind: type[Quantities],
    values: dict[str, Array],
    shape: tuple[int, ...],
    unknown: Sequence[str],
) -> dict[str, Any]:
    """Keywords of `Quantities` or `Totals`; figures of one configuration as plain numbers."""
    shaped = {name: value.reshape(shape)[()] for name, value in values.items()}
    if kind is Quantities:
        return {name: shaped[name] for name in (*COUNTED, "weight_bytes")}
    names = {bound: f"{bound}_bound_time_s" for bound in BOUNDS}
    bound = {bound: shaped.pop(name) for bound, name in names.items() if name in shaped}
    shaped |= dict.fromkeys(unknown)  # type: ignore[arg-type]
    return {**shaped, "bound_times_s": bound}


def _together(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Components run one after the other: costs add up, of live activations the largest counts."""
    if len(parts) == 1:
        return parts[0]
    whole: dict[str, Any] = {}
    for name, first in parts[0].items():
        values = [part[name] for part in parts]
        if name == "peak_activation_bytes":
            whole[name] = np.max(np.broadcast_arrays(*values), axis=0)
        elif name == "bound_times_s":
            words = dict.fromkeys(word for times in values for word in times)
            whole[name] = {w: sum(t[w] for t in values if w in t) for w in words}
        elif name.startswith("device_") or first is None:
            whole[name] = first
        else:
            whole[name] = sum(values[1:], first)
    return whole


def _device(hardware: Hardware, plans: Sequence[PricePlan]) -> dict[str, Any]:
    """What the estimate takes from the device, with the peaks that each component ran at."""
    return {
        "name": hardware.name,
        "title": hardware.title,
        "memory_bytes": hardware.memory_bytes,
        "memory_bytes_per_s": hardware.memory_bytes_per_s,
        "vector_flops_per_s": hardware.vector_flops_per_s,
        "peaks": {
            plan.counts.component: {
                "matmul_type": plan.peaks.matmul_type,
                "preferred_type": plan.counts.matmul_types[0],
                "matmul_flops_per_s": plan.peaks.matmul.value * TERA,
                "matmul_engine": plan.peaks.matmul.engine,
                "attention_type": plan.peaks.attention_type,
                "attention_flops_per_s": plan.peaks.attention.value * TERA,
                "vector_flops_per_s": plan.peaks.vector_flops_per_s,
                "ridge_point_flops_per_byte": plan.peaks.ridge_point,
            }
            for plan in plans
        },
        "kernel_laws": _whose_laws(plans),
        "host": _whose_host(plans),
        "energy": _whose_energy(plans),
    }


def _whose_laws(plans: Sequence[PricePlan]) -> dict[str, str] | None:
    """Whose measurements the attainable times rest on; None without any."""
    choice = plans[0].laws
    if choice is None:
        return None
    laws = choice.kernel_laws
    return {
        "origin": laws.origin,
        "source": laws.source,
        "date": laws.date,
        "conditions": laws.conditions,
    }


def _whose_host(plans: Sequence[PricePlan]) -> dict[str, str] | None:
    """What the host's time rests on; None where nobody knows it."""
    host = plans[0].host
    if host is None or host.origin is None:
        return None
    return {"origin": host.origin, "source": host.source}


def _whose_energy(plans: Sequence[PricePlan]) -> dict[str, str] | None:
    """What the energy rests on; None where no law is known."""
    choice = plans[0].laws
    laws = choice.kernel_laws if choice else None
    law = energy_law(plans[0].peaks.hardware, laws)
    if laws is None or law is None:
        return None
    return {"origin": law.origin or laws.origin, "law": law.terms}


def _reducer_facts(layout: Layout) -> ReducerFacts | None:
    reducer, task = layout.reducer, layout.task
    if reducer is None:
        return None
    assert task is not None  # where there is a reducer
    return ReducerFacts(
        reducer.name,
        reducer.label,
        reducer.site,
        layout.default_visual_tokens,
        reducer.default_source,
        reducer.cost,
        reducer.settles_count,
    )


_Op = TypeVar("_Op", bound=OpQuantities)


def _ops(
    case: Case, row_of: Callable[[CountPlan | PricePlan, CountedOp, Point], _Op]
) -> tuple[Case, list[_Op]]:
    point = Point(case.counts, case.layout.derived)
    return case, [row_of(plan, op, point) for plan in case.plans for op in plan.counts.ops]


def _op_quantities(plan: CountPlan | PricePlan, op: CountedOp, point: Point) -> OpQuantities:
    return OpQuantities(**_op_figures(plan, op, point))


def _op_totals(plan: CountPlan | PricePlan, op: CountedOp, point: Point) -> OpTotals:
    assert isinstance(plan, PricePlan)
    kernel = plan.kernel(op)
    times, law = kernel.time(point), plan.laws.law(op) if plan.laws else None
    bound = {**dict(zip(plan.bounds, times.bound, strict=False))}
    last = plan.bounds[-1]
    bound[last] = times.roofline - sum(bound.values(), np.zeros(()))
    largest = np.argmax(np.broadcast_arrays(*bound.values()), axis=0)
    attainable = times.attainable if plan.laws else None
    return OpTotals(
        **_op_figures(plan, op, point),
        resource_times_s={
            name: _over_all(seconds, op, point) for name, seconds in plan.resource_times(op).items()
        },
        roofline_time_s=times.roofline,
        attainable_time_s=attainable,
        attainable_error_s=None if attainable is None else kernel.error * attainable,
        attainable_origin=law.origin if law else None,
        bound=np.asarray(list(bound))[largest],
    )


def _op_figures(plan: CountPlan | PricePlan, op: CountedOp, point: Point) -> dict[str, Any]:
    count = op.count * point["steps"] if op.phase == "decode" else np.float64(op.count)
    return {
        "component": plan.counts.component,
        "phase": op.phase,
        "name": op.name,
        "layers": op.layers,
        "kind": op.kind,
        "count": count,
        "launches": np.int64(op.launches),
        **{name: _over_all(getattr(op.amounts, name), op, point) for name in AMOUNTS},
    }


def _over_all(amount: Polynomial, op: CountedOp, point: Point) -> Array:
    """Over all occurrences of the stage."""
    scaled, nothing = amount * op.count, Polynomial({})
    return over_steps(point, *((nothing, scaled) if op.phase == "decode" else (scaled, nothing)))


def _joined(cases: Sequence[tuple[Case, list[_Op]]], shape: tuple[int, ...]) -> list[_Op]:
    """The ops of all cases; one that a case does not have is nothing there."""
    if len(cases) == 1 and cases[0][0].where is None:
        return cases[0][1]
    joined: dict[Any, _Op] = {}
    for case, rows in cases:
        for row in rows:
            known = joined.get(row.key)
            joined[row.key] = _scattered(row, known, case.where, shape)
    return list(joined.values())


def _scattered(
    row: _Op, known: _Op | None, where: np.ndarray[Any, Any] | None, shape: tuple[int, ...]
) -> _Op:
    """A row's figures at their places among all configurations."""

    def placed(value: Any, before: Any) -> Any:
        if isinstance(value, dict):
            known = before or {}
            none = np.float64(0.0)
            return {n: placed(value.get(n, none), known.get(n)) for n in {**known, **value}}
        if not isinstance(value, np.ndarray | np.generic):
            return value
        scattered = np.zeros(prod(shape), dtype=_WORD if value.dtype.kind == "U" else value.dtype)
        if before is not None:
            scattered[:] = np.ravel(before)
        scattered[where] = value
        return scattered.reshape(shape)

    changes = {
        name: placed(getattr(row, name), None if known is None else getattr(known, name))
        for name in row.__struct_fields__
    }
    return type(row)(**changes)
