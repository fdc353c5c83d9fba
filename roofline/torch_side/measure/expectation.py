"""What the analysis expects of each span of a run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from roofline.engine.estimate import Counts, Estimate
from roofline.engine.result import OpTotals, Quantities, Totals
from roofline.errors import InputError
from roofline.records.measurement import WHOLE
from roofline.specs.hardware import Hardware
from roofline.specs.runtimes import find_runtime
from roofline.torch_side.measure.modes import GRAPHS
from roofline.torch_side.measure.request import Request


class ExpectedFigures(Struct, frozen=True):
    """The fields of a `records.TimedSpan` that are not measured."""

    flops: float
    memory_access_bytes: float
    roofline_time_s: float | None
    attainable_time_s: float | None

    def plus(self, other: ExpectedFigures, sign: int = 1) -> ExpectedFigures:
        """Figure by figure; what one does not know, the sum does not."""
        return ExpectedFigures(
            flops=self.flops + sign * other.flops,
            memory_access_bytes=self.memory_access_bytes + sign * other.memory_access_bytes,
            roofline_time_s=_sum(self.roofline_time_s, other.roofline_time_s, sign),
            attainable_time_s=_sum(self.attainable_time_s, other.attainable_time_s, sign),
        )


def _sum(one: float | None, other: float | None, sign: int) -> float | None:
    return None if one is None or other is None else one + sign * other


class Expectation:
    """The estimates of a run, and how its spans divide them.

    request: with as many visual tokens as there were. Without `hardware` there are counts, and no
    times. Raises InputError for what the analysis cannot price.
    """

    def __init__(self, request: Request, hardware: Hardware | None) -> None:
        self._graphed = request.mode in GRAPHS
        scenario = replace(request.scenario, hardware=hardware)
        if hardware is not None and not self._graphed:
            scenario = replace(scenario, runtime=find_runtime(request.mode))
        run = Counts.of if hardware is None else Estimate.of
        self._whole: Counts = run(scenario)
        self._prefill = self._whole
        if scenario.stage == "generate":
            self._prefill = run(replace(scenario, stage="prefill"))

    @property
    def estimate(self) -> Estimate | None:
        """The whole run's; None without hardware."""
        return self._whole if isinstance(self._whole, Estimate) else None

    @property
    def visual_tokens(self) -> int:
        """Those that were counted: of a reducer inside the LLM, what its later layers see."""
        return int(self._whole.inputs["visual_tokens"])

    @property
    def ops(self) -> Sequence[OpTotals]:
        """Of the whole run; none without hardware."""
        return self.estimate.ops if self.estimate else ()

    def of(self, span: str, spans: Iterable[str]) -> ExpectedFigures:
        """What is expected of one of the spans of a run."""
        if span == WHOLE:
            return self._figures(self._whole.end_to_end)
        if span == "decode":
            steps = self._figures(self._whole.llm)
            if self._prefill is self._whole:
                return steps
            return steps.plus(self._figures(self._prefill.llm), -1)
        components = self._prefill.components
        first, *inside = (self._figures(components[name]) for name in self._within(span, spans))
        for figures in inside:
            first = first.plus(figures)
        return first

    def ops_of(self, span: str, spans: Iterable[str]) -> list[OpTotals]:
        """The ops of one of the spans of a run, in order; of all decode steps together."""
        if span == WHOLE:
            return list(self.ops)
        decodes = span == "decode"
        within = ["llm"] if decodes else self._within(span, spans)
        return [
            op for op in self.ops if op.component in within and (op.phase == "decode") == decodes
        ]

    def _within(self, span: str, spans: Iterable[str]) -> list[str]:
        """Components that run in a span: its own, and a reducer that has none."""
        reducer = self._prefill.reducer
        if reducer is None or "reducer" in spans:
            return [span]
        inside = "llm" if reducer.site == "llm" else "vision"
        return [span, "reducer"] if span == inside else [span]

    def _figures(self, part: Quantities) -> ExpectedFigures:
        roofline = predicted = None
        if isinstance(part, Totals):
            roofline = part.roofline_time_s
            predicted = part.attainable_time_s
            if predicted is not None and not self._graphed:
                predicted = part.elapsed_time_s
        return ExpectedFigures(
            flops=float(part.flops),
            memory_access_bytes=float(part.memory_access_bytes),
            roofline_time_s=None if roofline is None else float(roofline),
            attainable_time_s=None if predicted is None else float(predicted),
        )


def expected(request: Request, hardware: Hardware | None, notes: list[str]) -> Expectation | None:
    """The same, or None with a note for what has no price."""
    try:
        return Expectation(request, hardware)
    except InputError as error:
        notes.append(f"no estimate: {error}")
        return None
