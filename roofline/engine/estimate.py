"""The answer as a record: what a scenario needs, and what it costs on a device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import ArrayLike, NDArray

from roofline.device.resources import RESOURCES
from roofline.engine.axes import AXES
from roofline.engine.compare import Comparison, Saving, compare
from roofline.engine.layout import all_visual_tokens
from roofline.engine.result import (
    OpQuantities,
    OpTotals,
    Quantities,
    ReducerFacts,
    Totals,
)
from roofline.engine.run import Run
from roofline.engine.scenario import Scenario
from roofline.engine.stored import read, write
from roofline.engine.views import VIEWS
from roofline.errors import InputError, ScenarioError

if TYPE_CHECKING:
    from os import PathLike

    import pandas as pd
    from matplotlib.figure import Figure

    from roofline.engine.explain import Explanation

_Part = TypeVar("_Part", bound=Quantities)


class Counts(Struct, frozen=True, eq=False, kw_only=True, dict=True):
    """What a scenario needs, on no device: FLOPs, traffic and memory."""

    inputs: dict[str, Any]
    """What was asked, defaults filled in."""
    components: Mapping[str, Quantities]
    """vision, reducer, connector, llm: those that the model has and the accounting knows."""
    end_to_end: Quantities
    """All of them, one after the other."""
    reducer: ReducerFacts | None
    main: str
    """The component that the model is known for: llm, or vision of an encoder alone."""
    unreduced_visual_tokens: int | None
    """Of one sample; None if the model does not tell."""
    scenario: Scenario

    @classmethod
    def of(cls, scenario: Scenario) -> Self:
        """Count a scenario, of one with hardware as well as without.

        Raises UnknownNameError, SpecError, ScenarioError: for what the model refers to, too.
        """
        run = Run(replace(scenario, hardware=None))
        parts, whole = run.counted()
        return cls(**run.facts, components=parts, end_to_end=whole)

    @property
    def llm(self) -> Quantities:
        """The LLM's. Raises InputError for a model without one."""
        return self._of(self.components, "llm")

    def _of(self, components: Mapping[str, _Part], name: str) -> _Part:
        if name not in components:
            raise InputError(f"{self.inputs['model']} has no {name}: {', '.join(components)}")
        return components[name]

    @cached_property
    def ops(self) -> Sequence[OpQuantities]:
        """Every distinct op, computed when first asked for."""
        return Run(self.scenario).counted_ops()

    @cached_property
    def comparison(self) -> Comparison | None:
        """Against the unreduced prompt; None if the model does not tell how long that is."""
        full = self.unreduced()
        if full is None:
            return None
        return compare(
            full.scenario.counts["visual_tokens"],
            (full.components, full.end_to_end),
            (self.components, self.end_to_end),
        )

    def unreduced(self) -> Self | None:
        """The same with all visual tokens of as many samples as it needs, and no reducer.

        None where nothing is reduced, or the model does not tell from what.
        """
        scenario, per_sample = self.scenario, self.unreduced_visual_tokens
        if per_sample is None or "llm" not in self.components:
            return None
        visual = scenario.counts["visual_tokens"]
        reduced = scenario.reducer is not None
        all_visual = all_visual_tokens(visual, per_sample, reduced=reduced)
        layers = scenario.vision_layers, scenario.llm_layers
        plain_prompt = scenario.reducer is None and layers == (None, None)
        if plain_prompt and np.array_equal(visual, all_visual):
            return None
        return self.of(
            replace(
                scenario,
                counts={**scenario.counts, "visual_tokens": all_visual},
                reducer=None,
                vision_layers=None,
                llm_layers=None,
            )
        )

    def __repr__(self) -> str:
        """The answer first, then what was asked and a line for each component: ten at most."""
        return str(VIEWS.find("text")(self))

    def _repr_html_(self) -> str:
        """The same as a table, for a notebook."""
        return str(VIEWS.find("html")(self))

    def explain(self, subject: str) -> Explanation:
        """A figure's formula with its numbers and their sources, in a record that prints itself.

        subject: time, energy, memory, flops, kv, a component, or an op: `q_proj`, `vision.fc1`.
        Raises UnknownNameError, and ScenarioError for several configurations.
        """
        from roofline.engine.explain import explain

        return explain(self, subject)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of every figure."""
        return self.scenario.shape

    def to_frame(self) -> pd.DataFrame:
        """A row for each configuration and component, end to end included; axes as columns.

        Columns are named as in the JSON; what is saved against the unreduced prompt ends in
        `_saving` or `_speedup`, and is empty where there is no such prompt or component.
        """
        import pandas as pd

        parts = {**self.components, "end_to_end": self.end_to_end}
        comparison = self.comparison
        savings: dict[str, Saving] = {}
        if comparison is not None:
            savings = {**comparison.components, "end_to_end": comparison.end_to_end}
        frames = []
        for name, part in parts.items():
            figures = {key: self._flat(getattr(part, key)) for key in part.shown}
            saved = self._saved(savings.get(name))
            frames.append(pd.DataFrame({**self._axes(), "component": name, **figures, **saved}))
        frame = pd.concat(frames, ignore_index=True)
        return frame.astype({"tie": "boolean"}) if "tie" in frame else frame

    def _saved(self, saving: Saving | None) -> dict[str, Any]:
        """Columns of a saving: those of time on a device alone."""
        names = [name for name in Saving.__struct_fields__ if name.endswith("_saving")]
        if isinstance(self.end_to_end, Totals):
            names = ["speedup", *Saving.__struct_fields__]
        return {name: self._flat(saving and getattr(saving, name)) for name in names}

    def ops_frame(self) -> pd.DataFrame:
        """`ops` as a frame; with axes, a row for each op and configuration, axes as columns.

        Columns are the fields of an op; of its times at resources `tensor_time_s` and the like.
        """
        import pandas as pd

        frames = []
        for op in self.ops:
            columns = {name: self._flat(value) for name, value in op.columns().items()}
            frames.append(pd.DataFrame({**(self._axes() if self.shape else {}), **columns}))
        frame = pd.concat(frames, ignore_index=True)
        known = [f"{resource.name}_time_s" for resource in RESOURCES]
        times = [name for name in known if name in frame]
        frame[times] = frame[times].fillna(0.0)  # at resources that an op does not need
        frame = frame[[*(name for name in frame if name not in times), *times]]
        return frame.astype({"count": int, "launches": int})

    def _axes(self) -> dict[str, Any]:
        """A column for each axis; of counts as whole numbers."""
        columns: dict[str, Any] = {}
        for axis in AXES:
            array = self.scenario.counts.get(axis.name)
            value = self.inputs[axis.name]
            columns[axis.name] = (
                [value] * int(np.prod(self.shape))
                if array is None
                else self._flat(array).astype(int)
            )
        return columns

    def _flat(self, value: Any) -> NDArray[Any]:
        known = np.nan if value is None else value  # what is null in the JSON
        return np.broadcast_to(np.asarray(known), self.shape).ravel()

    def plot(self, chart: str = "time", *, width_in: float | None = None) -> Figure:
        """A chart of a report as matplotlib's Figure: what is asked, beside the unreduced prompt.

        chart: `time`, `roofline`, `memory`, `visual-tokens`, `answer`, or one of your own. All are
            of prefill, `answer` also of what follows.
        width_in: inches; left out, two columns of a paper.

        Raises UnknownNameError; InputError for what has nothing to draw, and without matplotlib.
        """
        figure: Figure = VIEWS.find("figure")(self, chart, width_in)
        return figure

    def save(self, file: str | PathLike[str], *, force: bool = False) -> None:
        """Write all figures and specs as JSON, for `roofline.load`.

        force: whether to replace a file. Raises OutputError.
        """
        write({name: getattr(self, name) for name in self.__struct_fields__}, file, force=force)

    def to_dict(self, *, per_op: bool = False) -> dict[str, Any]:
        """The JSON document."""
        comparison = self.comparison
        document: dict[str, Any] = {
            "inputs": self.inputs,
            "components": {name: part.to_dict() for name, part in self.components.items()},
            "end_to_end": self.end_to_end.to_dict(),
            "comparison": None if comparison is None else comparison.to_dict(),
            "reducer": None if self.reducer is None else _fields(self.reducer),
        }
        if per_op:
            document["ops"] = [op.to_dict() for op in self.ops]
        return document


class Estimate(Counts, frozen=True, eq=False, kw_only=True, dict=True):
    """What a scenario costs on a device."""

    device: dict[str, Any]
    """The device's figures that the estimate rests on, and which peaks each component ran at."""
    components: Mapping[str, Totals]
    end_to_end: Totals

    @classmethod
    def of(cls, scenario: Scenario) -> Self:
        """Price a scenario that has hardware.

        Raises as `Counts.of`, ScenarioError without hardware, and UnsupportedModeError.
        """
        if scenario.hardware is None:
            raise ScenarioError("give hardware, or count on no device: `roofline.count`")
        run = Run(scenario)
        parts, whole, device = run.priced()
        return cls(**run.facts, components=parts, end_to_end=whole, device=device)

    @property
    def llm(self) -> Totals:
        """The LLM's. Raises InputError for a model without one."""
        return self._of(self.components, "llm")

    def answered(self, output_tokens: ArrayLike) -> Self:
        """The same prompt, and an answer of so many tokens. Raises ScenarioError without an LLM."""
        generated = replace(self.scenario, stage="generate")
        return self.of(generated.with_counts(output_tokens=output_tokens))

    @cached_property
    def ops(self) -> Sequence[OpTotals]:
        """Every distinct op, computed when first asked for."""
        return Run(self.scenario).priced_ops()

    @cached_property
    def launch_bound_tokens(self) -> int | None:
        """Up to how many visual tokens its prefill waits for the host, and gets no faster.

        None without a runtime whose host works ahead of the device, of several configurations,
        and where the model does not tell how many visual tokens its images give.
        """
        from roofline.engine.launch_bound import waits_for_host

        if "llm" not in self.components:
            return None
        return waits_for_host(self.scenario, self.unreduced_visual_tokens)

    def to_dict(self, *, per_op: bool = False) -> dict[str, Any]:
        """The JSON document."""
        document = super().to_dict(per_op=per_op)
        first = {"inputs": document.pop("inputs"), "device": self.device}
        return {**first, **document, "launch_bound_tokens": self.launch_bound_tokens}


def _fields(struct: Struct) -> dict[str, Any]:
    return {name: getattr(struct, name) for name in struct.__struct_fields__}


def load(file: str | PathLike[str]) -> Counts:
    """What `save` wrote, an `Estimate` or `Counts`, with the same figures.

    Ops and the comparison follow from the specs in the file. Raises EstimateFileError.
    """
    fields = read(file)
    return Estimate(**fields) if "device" in fields else Counts(**fields)
