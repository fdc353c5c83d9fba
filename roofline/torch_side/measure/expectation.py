"""What the analysis expects of each span of a run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from roofline.engine.result import Estimate, Totals
from roofline.errors import InputError
from roofline.records.measurement import WHOLE
from roofline.specs.hardware import Hardware
from roofline.torch_side.measure.request import ANY_DEVICE, Request


class Figures(Struct, frozen=True):
    """The fields of a `record.TimedSpan` that are not measured."""

    flops: float
    memory_access_bytes: float
    roofline_time_s: float | None
    attainable_time_s: float | None

    def plus(self, other: Figures, sign: int = 1) -> Figures:
        """Figure by figure; what one does not know, the sum does not."""
        return Figures(
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
        self._hardware, self._graphed = hardware, request.mode == "cuda-graph"
        device = hardware or ANY_DEVICE
        self._whole = request.estimate(device)
        self._prefill = self._whole
        if request.stage == "generate":
            self._prefill = replace(request, stage="prefill").estimate(device)

    @property
    def estimate(self) -> Estimate | None:
        """The whole run's; None without hardware."""
        return self._whole if self._hardware else None

    @property
    def op_table(self) -> list[dict[str, Any]]:
        """Ops of the whole run."""
        return self._whole.op_table() if self._hardware else []

    def of(self, span: str, spans: Iterable[str]) -> Figures:
        """What is expected of one of the spans of a run."""
        if span == WHOLE:
            return self._figures(self._whole.end_to_end)
        if span == "decode":
            steps = self._figures(self._whole.components["llm"])
            if self._prefill is self._whole:
                return steps
            return steps.plus(self._figures(self._prefill.components["llm"]), -1)
        parts = self._prefill.components
        figures, reducer = self._figures(parts[span]), self._prefill.work.reducer
        if reducer is None or "reducer" in spans:
            return figures
        inside = "llm" if reducer.site == "llm" else "vision"
        return figures.plus(self._figures(parts["reducer"])) if span == inside else figures

    def _figures(self, totals: Totals) -> Figures:
        predicted = totals.attainable_time_s if self._graphed else totals.eager_time_s
        timed = self._hardware is not None
        return Figures(
            flops=float(totals.flops),
            memory_access_bytes=float(totals.memory_access_bytes),
            roofline_time_s=float(totals.time_s) if timed else None,
            attainable_time_s=float(predicted) if timed and predicted is not None else None,
        )


def expected(request: Request, hardware: Hardware | None, notes: list[str]) -> Expectation | None:
    """The same, or None with a note for what has no price."""
    try:
        return Expectation(request, hardware)
    except InputError as error:
        notes.append(f"no estimate: {error}")
        return None
