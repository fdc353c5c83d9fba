"""The analysis held against what PyTorch counts: FLOPs, traffic and live tensors, on meta tensors.

FLOPs are `FlopCounterMode`'s. Bytes are those of the traced aten calls, taken together to kernels
by the fusions that `model.fusions.FUSIONS` lists. No weights are needed: a model of any size
takes seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial, reduce
from operator import add
from typing import Any, TypeAlias

from msgspec import Struct
from torch.utils.flop_counter import FlopCounterMode

from roofline.engine.analysis import count
from roofline.engine.estimate import Counts
from roofline.engine.run import Run
from roofline.errors import ScenarioError
from roofline.model.architectures import AttentionKind
from roofline.model.counted import TRAFFIC
from roofline.model.polynomial import Point, Polynomial
from roofline.model.variables import IMAGES
from roofline.specs.catalog import load_model
from roofline.specs.hub import model_from_config
from roofline.specs.models import DEFAULT_ARCHITECTURE, Lmm, Model
from roofline.torch_side.families import families
from roofline.torch_side.families.base import OpOwners
from roofline.torch_side.oracle.decoders import (
    config_of,
    decoder_on_meta,
    decoder_trace,
    owners_of,
)
from roofline.torch_side.oracle.flops import SeenFlops, seen
from roofline.torch_side.oracle.fusion import group, rules_for
from roofline.torch_side.oracle.reduced import AND, reduced_flops
from roofline.torch_side.oracle.subjects import trace_connector, trace_llm, trace_vision
from roofline.torch_side.oracle.trace import Trace
from roofline.torch_side.oracle.traffic import measure

QUANTITIES = (
    "flops",
    "memory_access_bytes",
    "activation_store_bytes",
    "peak_activation_bytes",
)
"""Of each component that are compared."""


class TracedCost(Struct, frozen=True):
    """What one component does at a stage, by FlopCounterMode and by its traced calls."""

    flops: SeenFlops
    weight_read_bytes: int
    activation_read_bytes: int
    activation_write_bytes: int
    kv_read_bytes: int
    kv_write_bytes: int
    peak_activation_bytes: int

    @property
    def memory_access_bytes(self) -> int:
        """All DRAM traffic."""
        return sum(getattr(self, column) for column in TRAFFIC)

    @property
    def activation_store_bytes(self) -> int:
        """Activations written."""
        return self.activation_write_bytes


class CostCheck(Struct, frozen=True):
    """One number of the analysis and what was traced; FLOPs or bytes, by the quantity's name."""

    component: str
    quantity: str
    analytic: float
    traced: int
    aside: dict[str, int] = {}
    """FLOPs among the traced that are no matmuls of the analysis, by name: see `SeenFlops`."""

    @property
    def difference(self) -> float:
        """Analytic, with what stands aside − traced: 0 where they agree."""
        return self.analytic + sum(self.aside.values()) - self.traced


Traceable: TypeAlias = str | Model | Mapping[str, Any]
"""A model of the catalog, a spec, or the `config.json` of a language model."""


def traced_costs(model: Traceable, **scenario: Any) -> dict[str, TracedCost]:
    """Trace each component of a model in fp16, on the inputs that `count` counts it with.

    scenario: arguments of `analyze` that say what runs: counts (one number each), `stage`,
        `attention`.

    Raises what `analyze` raises.
    """
    return _traced(_counted(model, scenario), model)


def compare_costs(model: Traceable, **scenario: Any) -> list[CostCheck]:
    """`QUANTITIES` of each component of a model, as the analysis has them and as they are traced.

    A `reducer` is counted on the reduced Hugging Face model. What it does inside the vision tower
    or the LLM cannot be told apart from them there: the row is that of both, `vision + reducer`.
    Bytes are compared for the other components: no list of fusions covers a reducer's own ops.

    scenario: arguments of `analyze` that say what runs: counts (one number each), `stage`,
        `attention`, `reducer`.

    Raises what `analyze` raises, and ScenarioError for a reducer that cannot be counted: one whose
    counts depend on the picture, or one inside the LLM behind the prefill.
    """
    estimate = _counted(model, scenario)
    traced = _traced(estimate, model)
    counted = {name: cost.flops for name, cost in traced.items()}
    if estimate.reducer is not None and estimate.scenario.stage != "decode":
        assert not isinstance(model, Mapping)  # what a reducer acts on is an LMM
        counted = reduced_flops(model, estimate)
        if estimate.scenario.stage == "generate":  # the steps behind the prompt are traced alone
            counted["llm"] = traced["llm"].flops
    checks = []
    for name, flops in counted.items():
        parts = [estimate.components[part] for part in name.split(AND)]
        analytic = float(sum(part.flops for part in parts))
        checks.append(CostCheck(name, "flops", analytic, flops.total, flops.aside))
        for quantity in QUANTITIES[1:] if name in traced else ():
            analytic = float(getattr(parts[0], quantity))
            checks.append(CostCheck(name, quantity, analytic, getattr(traced[name], quantity)))
    return checks


def _counted(model: Traceable, scenario: Mapping[str, Any]) -> Counts:
    """A model, or the one that a config describes."""
    spec = model_from_config(model) if isinstance(model, Mapping) else model
    return count(spec, **scenario)


def _architecture(model: str | Model) -> str:
    """Whose modules are traced: an LMM's own, and for a part by itself those of the default."""
    spec = load_model(model)
    return spec.architecture if isinstance(spec, Lmm) else DEFAULT_ARCHITECTURE


def _traced(estimate: Counts, model: Traceable) -> dict[str, TracedCost]:
    """Costs of the components that a stage runs and no reducer acts in."""
    if isinstance(model, Mapping):
        return {"llm": _traced_decoder(estimate, model)}
    architecture = _architecture(model)
    scenario = estimate.scenario
    layout = Run(scenario).layout
    attention = layout.attention
    if scenario.shape:
        raise ScenarioError("one scenario is traced at a time: give one number for each count")
    site = layout.reducer.site if layout.reducer else None
    if layout.reducer and site == "llm" and scenario.stage != "prefill":
        raise ScenarioError(
            f"layers behind {layout.reducer.name} have caches of two lengths, which are not "
            "traced: "
            "compare the stage prefill"
        )
    point = Point(scenario.counts, layout.derived)
    batch, text, visual = (int(point[name]) for name in ("batch", "text_tokens", "visual_tokens"))
    passes: dict[str, list[Callable[[], Trace]]] = {}
    if layout.vision and scenario.stage != "decode" and site != "vision":
        blocks = sum(group.layers for group in layout.vision_groups[0])
        images = int(point(IMAGES))
        vision = partial(trace_vision, layout.vision, attention, architecture=architecture)
        passes["vision"] = [partial(vision, blocks=blocks, images=images)]
    if layout.vision and layout.llm and layout.connector and scenario.stage != "decode":
        tokens = int(point(Polynomial.of(layout.connected))) // batch
        passes["connector"] = [
            partial(
                trace_connector,
                layout.vision,
                layout.llm,
                samples=batch,
                tokens=tokens,
                architecture=architecture,
            )
        ]
    if layout.llm and site != "llm":
        llm = partial(trace_llm, layout.llm, attention, batch=batch, architecture=architecture)
        prompt = [] if scenario.stage == "decode" else [partial(llm, text=text, visual=visual)]
        steps = range(int(point["steps"]))
        passes["llm"] = [
            *prompt,
            *(partial(llm, text=1, cached=visual + text + step) for step in steps),
        ]
    owners = families.find(architecture).owners
    return {
        name: _total([_cost(run, attention, owners) for run in runs])
        for name, runs in passes.items()
    }


def _traced_decoder(estimate: Counts, config: Mapping[str, Any]) -> TracedCost:
    """Costs of a language model that a config describes, all of whose prompt is text."""
    scenario = estimate.scenario
    layout = Run(scenario).layout
    if scenario.shape:
        raise ScenarioError("one scenario is traced at a time: give one number for each count")
    point = Point(scenario.counts, layout.derived)
    prompt, batch, steps = (int(point[n]) for n in ("prompt_tokens", "batch", "steps"))
    llm = partial(decoder_trace, config, layout.attention, batch=batch)
    runs = [] if scenario.stage == "decode" else [llm(text=prompt)]
    runs += [llm(text=1, cached=prompt + step) for step in range(steps)]
    owners = owners_of(decoder_on_meta(config_of(config), layout.attention))
    return _total([_cost(run, layout.attention, owners) for run in runs])


def _cost(run: Callable[[], Trace], attention: AttentionKind, owners: OpOwners) -> TracedCost:
    with FlopCounterMode(display=False) as counter:
        trace = run()
    traffic = measure(trace, group(trace, rules_for(attention)))
    rows = traffic.table().values()
    return TracedCost(
        flops=seen(counter, owners),
        **{column: sum(row[column] for row in rows) for column in TRAFFIC},
        peak_activation_bytes=traffic.peak(),
    )


def _total(costs: list[TracedCost]) -> TracedCost:
    """One pass after the other: everything adds up but what is alive at once."""
    return TracedCost(
        flops=reduce(add, (cost.flops for cost in costs)),
        **{name: sum(getattr(cost, name) for cost in costs) for name in TRAFFIC},
        peak_activation_bytes=max(cost.peak_activation_bytes for cost in costs),
    )
