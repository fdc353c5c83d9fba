"""`analyze`: names and numbers in, an estimate out. The one entry for a single task and a sweep."""

from __future__ import annotations

from functools import lru_cache, partial
from math import prod
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import ArrayLike

from roofline.device.borrowed import laws_of
from roofline.device.law_choice import Laws
from roofline.device.peaks import rates
from roofline.engine.accounting import exact, llm_viewer
from roofline.engine.layout import Layers, Layout, lay_out
from roofline.engine.memo import DIRECT_BELOW
from roofline.engine.price import EVALUATED, FROM_LAWS, Plan, Prompt, evaluate
from roofline.engine.result import Estimate, Totals, plain
from roofline.engine.scenario import DEFAULT_TEXT_TOKENS, Scenario
from roofline.errors import ScenarioError
from roofline.model.architectures.decoder import AttentionKind
from roofline.model.counted import ComponentCost
from roofline.model.polynomial import Array
from roofline.specs.catalog import load_hardware, load_quantization, mode_outside_llm
from roofline.specs.hardware import Hardware
from roofline.specs.kernel_laws import KernelLaws
from roofline.specs.models import Model
from roofline.specs.quantization import Quantization
from roofline.units import TERA

Accounting: TypeAlias = Literal["exact", "llm-viewer"]
ACCOUNTINGS: tuple[Accounting, ...] = get_args(Accounting)
ATTENTIONS: tuple[AttentionKind, ...] = get_args(AttentionKind)


def analyze(
    model: str | Model,
    hardware: str | Hardware,
    quant: str | Quantization = "fp16",
    visual_tokens: ArrayLike | None = None,
    text_tokens: ArrayLike = DEFAULT_TEXT_TOKENS,
    batch: ArrayLike = 1,
    stage: str = "prefill",
    output_tokens: ArrayLike = 0,
    attention: str | None = None,
    accounting: str = "exact",
    reducer: str | None = None,
    vision_layers: Layers | None = None,
    llm_layers: Layers | None = None,
) -> Estimate:
    """Price a model's prefill, one decode step, or a whole generation on a device.

    model, hardware, quant: names from the catalog, paths of YAML files, or specs.
    visual_tokens: per sequence, as they reach the LLM, all images and frames together; left out,
        as many as the model's images give, or none for an LLM that no LMM is known to use.
    text_tokens, batch, output_tokens: counts. These and `visual_tokens` may be arrays that
        broadcast; every figure of the estimate then has the broadcast shape.
    stage: `prefill`, `decode` (one token more) or `generate` (prefill and `output_tokens` steps).
    attention: `flash` or `eager`; left out, flash under `exact`, eager under `llm-viewer`.
    accounting: `exact`, or `llm-viewer` to reproduce numbers published with that tool.
    reducer: one that `roofline.reducers.find` knows, whose own work is a component of its own. It
        leaves `visual_tokens`, by default as many as is typical of it; for a method inside the
        LLM these are what its later layers see.
    vision_layers, llm_layers: [(layers, tokens), …] where reducers inside the model make layers
        see different token counts: ViT sequence length, and visual tokens in the LLM. A third
        number is the count in the MLP, where tokens are merged before it.

    Raises UnknownNameError, SpecError, UnsupportedModeError, ScenarioError.
    """
    request = _Request(
        model,
        hardware,
        quant,
        visual_tokens,
        text_tokens,
        batch,
        stage,
        output_tokens,
        attention,
        accounting,
        reducer,
        vision_layers,
        llm_layers,
    )
    return request.estimate()


def sweep(
    model: str | Model,
    hardware: str | Hardware,
    quant: str | Quantization = "fp16",
    *,
    visual_tokens: ArrayLike,
    text_tokens: ArrayLike = DEFAULT_TEXT_TOKENS,
    batch: ArrayLike = 1,
    output_tokens: ArrayLike = 0,
    **options: Any,
) -> Estimate:
    """`analyze` every combination: each 1-d axis gets a dimension of its own, in the order above.

    Figures have shape [visual, text, batch, output], without the axes given as plain numbers.
    """
    axes = [np.asarray(axis) for axis in (visual_tokens, text_tokens, batch, output_tokens)]
    if any(axis.ndim > 1 for axis in axes):
        raise ScenarioError("a sweep's axes are numbers or 1-d arrays; `analyze` takes any shape")
    grid = iter(np.ix_(*(axis for axis in axes if axis.ndim)))
    visual, text, sequences, output = (next(grid) if axis.ndim else axis for axis in axes)
    return analyze(
        model,
        hardware,
        quant,
        visual_tokens=visual,
        text_tokens=text,
        batch=sequences,
        output_tokens=output,
        **options,
    )


class _Request(Struct, frozen=True):
    """The arguments of `analyze`, kept so that an estimate can ask for its unreduced twin."""

    model: str | Model
    hardware: str | Hardware
    quant: str | Quantization
    visual_tokens: ArrayLike | None
    text_tokens: ArrayLike
    batch: ArrayLike
    stage: str
    output_tokens: ArrayLike
    attention: str | None
    accounting: str
    reducer: str | None
    vision_layers: Layers | None
    llm_layers: Layers | None

    def estimate(self) -> Estimate:
        scenario = Scenario.of(
            visual_tokens=self.visual_tokens,
            text_tokens=self.text_tokens,
            batch=self.batch,
            output_tokens=self.output_tokens,
            stage=self.stage,
        )
        hardware, mode = load_hardware(self.hardware), load_quantization(self.quant)
        work = self._workload(scenario)
        scenario = _with_defaults(scenario, work, self.visual_tokens is not None, self.llm_layers)
        costs = self._price(work, mode)
        laws = laws_of(hardware) if self.accounting == "exact" else None
        plan = _known_plan if prod(scenario.shape) <= DIRECT_BELOW else _plan
        plans = [plan(hardware, laws, cost, mode) for cost in costs]
        prompt = Prompt(work.images_per_sample, work.unreduced_visual_tokens)
        results = evaluate(plans, prompt, scenario)
        components = {
            plan.cost.component: _totals(plan, values, hardware)
            for plan, values in zip(plans, results, strict=True)
        }
        main = components[work.main]
        return Estimate(
            **{name: getattr(main, name) for name in (*EVALUATED, "weight_bytes")},
            device_memory_bytes=hardware.memory_bytes,
            inputs=self._inputs(work, hardware, mode, scenario),
            device=_device(hardware, plans),
            components=components,
            end_to_end=_together(list(components.values()), hardware),
            hardware=hardware,
            scenario=scenario,
            plans=plans,
            prompt=prompt,
            work=work,
            reanalyze=partial(self._unreduced, work, scenario),
        )

    def _workload(self, scenario: Scenario) -> Layout:
        if self.accounting not in ACCOUNTINGS:
            raise ScenarioError(
                f"unknown accounting {self.accounting!r}: choose one of {', '.join(ACCOUNTINGS)}"
            )
        attention = self.attention or ("flash" if self.accounting == "exact" else "eager")
        if attention not in ATTENTIONS:
            raise ScenarioError(
                f"unknown attention {attention!r}: choose one of {', '.join(ATTENTIONS)}"
            )
        count = None
        if self.reducer is not None:
            if self.accounting != "exact":
                raise ScenarioError("llm-viewer accounting knows no reducers: use exact")
            if scenario.visual_tokens.ndim:
                raise ScenarioError("with a reducer, `visual_tokens` is one number at a time")
            count = None if self.visual_tokens is None else float(scenario.visual_tokens)
        return lay_out(
            self.model,
            stage=scenario.stage,
            attention=attention,
            vision_layers=self.vision_layers,
            llm_layers=self.llm_layers,
            reducer=self.reducer,
            visual_tokens=count,
        )

    def _price(self, work: Layout, mode: Quantization) -> list[ComponentCost]:
        if self.accounting == "llm-viewer":
            return llm_viewer.price(work, mode)
        return exact.price(work, mode, mode_outside_llm(mode) if work.llm else mode)

    def _inputs(
        self, work: Layout, hardware: Hardware, mode: Quantization, scenario: Scenario
    ) -> dict[str, Any]:
        inputs: dict[str, Any] = {"model": work.name, "hardware": hardware.name, "quant": mode.name}
        for name in ("visual_tokens", "text_tokens", "batch", "output_tokens"):
            inputs[name] = plain(getattr(scenario, name))
        return inputs | {
            "reducer": self.reducer,
            "stage": scenario.stage,
            "attention": work.attention,
            "accounting": self.accounting,
        }

    def _unreduced(self, work: Layout, scenario: Scenario) -> Estimate | None:
        per_sample = work.unreduced_visual_tokens
        if per_sample is None or work.llm is None:
            return None
        full = np.ceil(scenario.visual_tokens / per_sample) * per_sample
        whole = replace(self, visual_tokens=full, reducer=None, vision_layers=None, llm_layers=None)
        return whole.estimate()


def _plan(
    hardware: Hardware, laws: KernelLaws | None, cost: ComponentCost, mode: Quantization
) -> Plan:
    used = rates(hardware, cost, mode.name)
    return Plan(cost, used, Laws(hardware, laws, cost, used) if laws else None)


_known_plan = lru_cache(maxsize=64)(_plan)
"""For a few configurations at a time: a plan that has seen a sweep remembers megabytes."""


def _with_defaults(
    scenario: Scenario, work: Layout, visual_given: bool, llm_layers: Layers | None
) -> Scenario:
    """Fill in the visual tokens that were not given; refuse those that contradict the model."""
    if work.llm is None and visual_given:
        raise ScenarioError(
            f"{work.name} has no LLM that visual tokens could reach: leave them out"
        )
    if llm_layers is not None:
        first = float(llm_layers[0][1])
        if visual_given and np.any(scenario.visual_tokens != first):
            raise ScenarioError("`visual_tokens` and the first entry of `llm_layers` differ")
        return replace(scenario, visual_tokens=np.asarray(first))
    if not visual_given and work.task is not None:
        typical = float(work.task.kept * work.images_per_sample)
        return replace(scenario, visual_tokens=np.asarray(typical))
    if visual_given or work.unreduced_visual_tokens is None:
        return scenario
    return replace(scenario, visual_tokens=np.asarray(float(work.unreduced_visual_tokens)))


def _totals(plan: Plan, values: list[Array], hardware: Hardware) -> Totals:
    figures: dict[str, Any] = dict(zip(EVALUATED, (value[()] for value in values), strict=True))
    if plan.laws is None:
        figures |= dict.fromkeys(FROM_LAWS)
    weights = np.full(values[0].shape, plan.cost.weight_bytes)[()]
    return Totals(**figures, weight_bytes=weights, device_memory_bytes=hardware.memory_bytes)


def _together(parts: list[Totals], hardware: Hardware) -> Totals:
    """Components run one after the other: costs add up, of live activations the largest counts."""
    if len(parts) == 1:
        return parts[0]
    summed: dict[str, Any] = {}
    for name in (*EVALUATED, "weight_bytes"):
        values = [getattr(part, name) for part in parts]
        if name != "peak_activation_bytes":
            absent = any(value is None for value in values)
            summed[name] = None if absent else sum(values[1:], values[0])
    peak = parts[0].peak_activation_bytes
    for part in parts[1:]:
        peak = np.maximum(peak, part.peak_activation_bytes)
    return Totals(**summed, peak_activation_bytes=peak, device_memory_bytes=hardware.memory_bytes)


def _device(hardware: Hardware, plans: list[Plan]) -> dict[str, Any]:
    """What the estimate takes from the device, with the peaks that each component ran at."""
    device: dict[str, Any] = {
        "title": hardware.title,
        "memory_bytes": hardware.memory_bytes,
        "memory_bytes_per_s": hardware.memory_bytes_per_s,
        "vector_flops_per_s": hardware.vector_flops_per_s,
        "peaks": {},
        "kernel_laws": _laws_told(plans),
    }
    for plan in plans:
        used = plan.rates
        device["peaks"][plan.cost.component] = {
            "matmul_type": used.matmul_type,
            "matmul_flops_per_s": used.matmul.value * TERA,
            "matmul_engine": used.matmul.engine,
            "attention_type": used.attention_type,
            "attention_flops_per_s": used.attention.value * TERA,
            "vector_flops_per_s": used.vector_flops_per_s,
            "ridge_point_flops_per_byte": used.ridge_point,
        }
    return device


def _laws_told(plans: list[Plan]) -> dict[str, str] | None:
    """Whose measurements the attainable times rest on; None without any."""
    laws = plans[0].laws
    if laws is None:
        return None
    told = laws.attained
    return {
        "origin": told.origin,
        "source": told.source,
        "date": told.date,
        "conditions": told.conditions,
    }
