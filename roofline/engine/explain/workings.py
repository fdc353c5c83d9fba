"""An estimate taken apart again: its ops, the elements and widths that they were counted from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from msgspec import Struct

from roofline.engine.axes import VARIED
from roofline.engine.count import CountPlan
from roofline.engine.price import PricePlan
from roofline.engine.result import OpQuantities, Quantities
from roofline.engine.run import Run
from roofline.engine.scenario import Scenario
from roofline.model.counted import ComponentCounts, CountedOp
from roofline.model.polynomial import Point
from roofline.specs.hardware import Hardware
from roofline.specs.sourced import Sourced


class Figures(Protocol):
    """What is explained: an estimate, or counts on no device."""

    @property
    def inputs(self) -> dict[str, Any]: ...
    @property
    def components(self) -> Mapping[str, Quantities]: ...
    @property
    def end_to_end(self) -> Quantities: ...
    @property
    def ops(self) -> Sequence[OpQuantities]: ...
    @property
    def main(self) -> str: ...
    @property
    def scenario(self) -> Scenario: ...


class Part(Struct, frozen=True, eq=False):
    """One distinct op."""

    plan: CountPlan | PricePlan
    """Of its component."""
    op: CountedOp
    row: OpQuantities
    """Over all its occurrences."""

    @property
    def counts(self) -> ComponentCounts:
        return self.plan.counts


class Workings:
    """What an explanation draws on."""

    def __init__(self, estimate: Figures) -> None:
        run = Run(estimate.scenario)
        (case,) = run.cases
        self.estimate, self.layout = estimate, case.layout
        self.plans: Sequence[CountPlan | PricePlan] = case.plans
        self.point = Point(case.counts, case.layout.derived).at(step=1.0)  # type: ignore[arg-type]
        """The configuration, in the first decode step."""
        self.hardware: Hardware | None = estimate.scenario.hardware
        pairs = [(plan, op) for plan in case.plans for op in plan.counts.ops]
        self.parts = [
            Part(plan, op, row) for (plan, op), row in zip(pairs, estimate.ops, strict=True)
        ]

    def of(self, component: str) -> list[Part]:
        """The ops of a component."""
        return [part for part in self.parts if part.row.component == component]

    def named(self, name: str) -> list[Part]:
        """The ops of a name, of the main component unless one stands before a dot."""
        component, dot, op = name.partition(".")
        parts = [part for part in self.parts if part.op.name == (op if dot else name)]
        if dot:
            return [part for part in parts if part.row.component == component]
        main = [part for part in parts if part.row.component == self.estimate.main]
        return main or parts

    @property
    def configuration(self) -> str:
        """In words: `llava-1.5-7b, prefill on a100-80gb, fp16, 576 visual + 40 text tokens`."""
        inputs = self.estimate.inputs
        where = f" on {inputs['hardware']}" if inputs["hardware"] else ""
        words = [f"{inputs['model']}, {inputs['stage']}{where}", str(inputs["quant"])]
        before = ("model", "hardware", "quant", "stage")
        words += [
            axis.phrase.format(inputs[axis.name])
            for axis in VARIED
            if inputs[axis.name] and axis.name not in before
        ]
        return ", ".join(words)

    def cited(self, figure: Sourced) -> str:
        """Who says so of a figure of the device, and what there is to know."""
        assert self.hardware is not None
        text = " ".join(self.hardware.sources[figure.source].split())
        return f"{text} ({figure.note})" if figure.note else text

    def spec_source(self, component: str) -> tuple[str, str] | None:
        """Where the sizes of a component are from."""
        if component == "reducer":
            assert self.layout.reducer is not None
            return self.layout.reducer.label, self.layout.reducer.source
        spec: Any = getattr(self.layout, component, None)
        return None if spec is None else (f"sizes of {spec.name}", spec.source)
