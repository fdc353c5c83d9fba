"""Predicted against measured: the components of the study's records."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roofline.explore.study import Study
from roofline.records.measurement import Record
from roofline.records.validation import TimedCell, Validation
from roofline.report.plots import prediction
from roofline.report.plots.naming import listed
from roofline.report.plots.style import DOUBLE_IN
from roofline.units import percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Page


def applies(study: Study) -> bool:
    """Whether anything in a record was predicted, which takes a device with laws."""
    return bool(cells(study))


def alt(study: Study) -> str:
    """The error of every run from beginning to end."""
    said = [
        f"{measured.name}: {percent(error, signed=True)}"
        for measured in study.records
        if (error := measured.record.whole.attainable_error) is not None
    ]
    whole = f" End to end: {listed(said)}." if said else ""
    return f"Predicted over measured times, the median, by component.{whole}"


def draw(study: Study, width_in: float = DOUBLE_IN) -> Page:
    """As `roofline validate` draws it."""
    validation = Validation(
        created="",
        complete=True,
        inputs={},
        environment={},
        took_s=0.0,
        counts=[],
        cells=cells(study),
    )
    return prediction.draw(validation, width_in)


def cells(study: Study) -> list[TimedCell]:
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
        for record in (measured.record for measured in study.records)
        for name, span in record.spans.items()
        for steps in [_steps(record) if name == "decode" else 1]
        if span.attainable_time_s is not None
        and span.roofline_time_s is not None
        and span.summary.p50_s > 0
    ]


def _steps(record: Record) -> int:
    """That a run took together."""
    return record.inputs["output_tokens"] if record.inputs["stage"] == "generate" else 1
