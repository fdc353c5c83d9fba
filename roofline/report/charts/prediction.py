"""Predicted against measured times: side by side, and by how much over the number of tokens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from roofline.explore.study import Study
from roofline.records.measurement import Record
from roofline.records.validation import TimedCell, Validation, by_component
from roofline.report.charts.chart import (
    LegendEntry,
    Panel,
    PanelAxis,
    PanelChart,
    ReferenceLine,
    Series,
    listed,
)
from roofline.report.charts.naming import component_name
from roofline.report.charts.registry import ReportChart, ReportSection, register
from roofline.units import MILLI, percent

NAME, TITLE = "prediction", "Predicted against measured"
TOLERANCES = (0.25, 0.10)
"""Relative errors around equality that a band marks, the wider one first."""
NOTHING_TIMED = "nothing was timed"
_LEAST_PERCENT = 30
"""To either side of no error, at least."""
_MARGIN, _LEAST_RANGE = 1.6, 20
"""Ratios of times: beyond the outermost points, and between the ends of an axis."""


def applies(study: Study) -> bool:
    """Whether anything in a record was predicted, which takes a device with laws."""
    return bool(record_cells(study))


def record_chart(study: Study) -> PanelChart:
    """The components of a study's records, by the median of their samples."""
    return _chart(
        record_cells(study),
        f"Predicted over measured times, the median, by component.{_ends(study)}",
    )


def _ends(study: Study) -> str:
    """The error of every run from beginning to end."""
    phrases = [
        f"{run.name}: {percent(error, signed=True)}"
        for run in study.records
        if (error := run.record.whole.attainable_error) is not None
    ]
    return f" End to end: {listed(phrases)}." if phrases else ""


def validation_chart(validation: Validation) -> PanelChart:
    """The cells of a validation, by the fastest of their samples."""
    phrases = [
        f"{component_name(name)} {percent(np.median([abs(cell.error) for cell in cells]))}"
        for name, cells in by_component(validation.cells).items()
    ]
    errors = (
        f" Median of the absolute errors: {listed(phrases)}." if phrases else " Nothing was timed."
    )
    return _chart(
        validation.cells,
        f"Predicted over measured times, the fastest sample, by component.{errors}",
    )


def record_cells(study: Study) -> list[TimedCell]:
    """Spans with a prediction, by their medians as in the tables; decode by the step."""
    return [
        TimedCell(
            component=name,
            tokens=record.inputs["visual_tokens"] + record.inputs["text_tokens"],
            batch=record.inputs["batch"],
            attainable_time_s=span.attainable_time_s / steps,
            roofline_time_s=span.roofline_time_s / steps,
            samples_s=[span.summary.p50_s / steps],
        )
        for record in (run.record for run in study.records)
        for name, span in record.spans.items()
        for steps in [_steps(record) if name == "decode" else 1]
        if span.attainable_time_s is not None
        and span.roofline_time_s is not None
        and span.summary.p50_s > 0
    ]


def _steps(record: Record) -> int:
    """That a run took together."""
    return record.inputs["output_tokens"] if record.inputs["stage"] == "generate" else 1


def _chart(cells: Sequence[TimedCell], alt: str) -> PanelChart:
    groups = by_component(cells)
    return PanelChart(
        name=NAME,
        title=TITLE,
        alt=alt,
        panels=(_times(groups), _errors(groups)),
        columns=2,
        legend=tuple(_legend(groups)),
    )


def _times(groups: Mapping[str, Sequence[TimedCell]]) -> Panel:
    """Predicted over measured, within bands around equality; the bound beside it."""
    cells = [cell for group in groups.values() for cell in group]
    times = [
        t
        for c in cells
        for t in (c.measured_time_s, c.attainable_time_s, c.roofline_time_s)
        if t > 0
    ]
    low, high = min(times, default=MILLI), max(times, default=MILLI)
    margin = max(_MARGIN, (_LEAST_RANGE * low / high) ** 0.5)
    limits = (low / margin, high * margin)
    return Panel(
        x=PanelAxis(label="measured time", unit="s", scale="log", limits=limits),
        y=PanelAxis(label="predicted time", unit="s", scale="log", limits=limits),
        series=(
            *(_band(width, limits) for width in TOLERANCES),
            Series(role="equality", x=limits, y=limits),
            *(series for name, group in groups.items() for series in _pairs(name, group)),
        ),
        empty_because="" if groups else NOTHING_TIMED,
    )


def _band(width: float, ends: tuple[float, float]) -> Series:
    """All times that are `width` off at most."""
    return Series(
        role="tolerance",
        of=tolerance_name(width),
        x=ends,
        y=ends,
        low=tuple((1 - width) * measured_time_s for measured_time_s in ends),
        high=tuple((1 + width) * measured_time_s for measured_time_s in ends),
    )


def tolerance_name(width: float) -> str:
    """`±10 %`"""
    return f"±{100 * width:.0f} %"


def _pairs(name: str, cells: Sequence[TimedCell]) -> Iterator[Series]:
    measured = tuple(cell.measured_time_s for cell in cells)
    for role, times in (
        ("roofline", tuple(cell.roofline_time_s for cell in cells)),
        ("predicted", tuple(cell.attainable_time_s for cell in cells)),
    ):
        yield Series(role=role, of=name, x=measured, y=times)


def _errors(groups: Mapping[str, Sequence[TimedCell]]) -> Panel:
    """Signed error over tokens, in percent. Down to what it is against the median sample."""
    series = tuple(
        Series(
            role="error",
            of=name,
            x=tuple(float(cell.tokens * cell.batch) for cell in cells),
            y=tuple(100 * cell.error for cell in cells),
            low=tuple(100 * _against_median(cell) for cell in cells),
            high=tuple(100 * cell.error for cell in cells),
        )
        for name, cells in groups.items()
    )
    errors = [abs(error) for one in series for error in (*one.low, *one.high)]
    limit = max(_LEAST_PERCENT, 1.1 * max(errors, default=0.0))
    return Panel(
        x=PanelAxis(label="tokens (prompt × batch)", scale="log"),
        y=PanelAxis(label="predicted / measured − 1, %", limits=(-limit, limit)),
        series=series,
        lines=(
            *(
                ReferenceLine(
                    role="tolerance",
                    axis="y",
                    at=-100 * width,
                    to=100 * width,
                    label=tolerance_name(width),
                )
                for width in TOLERANCES
            ),
            ReferenceLine(role="equality", axis="y", at=0.0),
        ),
        empty_because="" if groups else NOTHING_TIMED,
    )


def _against_median(cell: TimedCell) -> float:
    """Error if the median counted as what was measured, and not the fastest sample."""
    return cell.attainable_time_s / cell.median_time_s - 1


def _legend(groups: Iterable[str]) -> Iterator[LegendEntry]:
    for name in groups:
        yield LegendEntry(role="component", label=component_name(name), of=name)
    yield LegendEntry(role="roofline", label="roofline bound")
    for width in reversed(TOLERANCES):
        yield LegendEntry(role="tolerance", label=tolerance_name(width), of=tolerance_name(width))


register(
    ReportChart(
        name=NAME, title=TITLE, section=ReportSection.MEASURED, applies=applies, of=record_chart
    )
)
