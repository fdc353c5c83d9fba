"""Predictions of records against what was measured, by the span."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from artists import compared, legend, the_line
from msgspec.structs import replace

from roofline.explore.study import Study
from roofline.records.measurement import Record, TimedSpan
from roofline.report.plots import FIGURES


def test_spans_of_records_stand_over_what_was_measured(recorded: Study) -> None:
    page = FIGURES["prediction"].draw(recorded)
    x, y = the_line(page, "predicted llm")

    assert x == pytest.approx([4e-3])  # the median
    assert list(y) == [4.1e-3]
    _, error = the_line(page, "error whole")
    assert error == pytest.approx([100 * (5.85 / 6.1 - 1)])
    assert "r.json: -4.1 %" in FIGURES["prediction"].alt(recorded)
    assert "roofline bound" in legend(page)


@pytest.mark.parametrize(("stage", "length", "steps"), [("generate", 64, 64), ("decode", 64, 1)])
def test_decode_steps_that_a_run_took_together_count_one_by_one(
    stage: str, length: int, steps: int, record: Callable[..., Record]
) -> None:
    made = record(inputs={"stage": stage, "output_tokens": length})
    run = TimedSpan(samples_s=[0.4, 0.3, 0.8], roofline_time_s=0.2, attainable_time_s=0.32)
    found = compared(replace(made, spans=made.spans | {"decode": run}))
    page = FIGURES["prediction"].draw(found)

    assert the_line(page, "predicted decode")[0] == pytest.approx([0.4 / steps])
    assert the_line(page, "predicted decode")[1] == pytest.approx([0.32 / steps])
    assert the_line(page, "roofline decode")[1] == pytest.approx([0.2 / steps])


def test_a_bound_is_no_prediction(record: Callable[..., Record]) -> None:
    made = record()
    spans = {name: replace(span, attainable_time_s=None) for name, span in made.spans.items()}
    assert FIGURES["prediction"].applies(compared(made))
    assert not FIGURES["prediction"].applies(compared(replace(made, spans=spans)))
