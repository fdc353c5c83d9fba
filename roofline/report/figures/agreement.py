"""Predicted against measured: the components of the study's records."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roofline.report.figures import prediction
from roofline.report.figures.naming import listed
from roofline.report.figures.style import DOUBLE_IN
from roofline.study import Study
from roofline.units import percent
from roofline.validation import Cell, Validation

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Page


def applies(study: Study) -> bool:
    """Whether any record was compared with a device's spec."""
    return bool(cells(study))


def alt(study: Study) -> str:
    """The error of every run from beginning to end."""
    said = []
    for measured in study.records:
        whole = measured.record.whole
        if (share := whole.roofline_share) is not None:
            error = share - 1 if whole.attainable_error is None else whole.attainable_error
            said.append(f"{measured.name}: {percent(error, signed=True)}")
    return (
        "Predicted over measured times by component. End to end, against the median: "
        f"{listed(said)}."
    )


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


def cells(study: Study) -> list[Cell]:
    """Spans that somebody predicted; by the bound, where the device has no laws."""
    return [
        Cell(
            component=name,
            tokens=record.inputs.visual_tokens + record.inputs.text_tokens,
            batch=record.inputs.batch,
            predicted_s=(
                span.roofline_time_s if span.attainable_time_s is None else span.attainable_time_s
            ),
            roofline_s=span.roofline_time_s,
            samples_s=span.samples_s,
        )
        for record in (measured.record for measured in study.records)
        for name, span in record.spans.items()
        if span.roofline_time_s is not None and min(span.samples_s) > 0
    ]
