"""Predictions against what was measured: of records by the span, of validations by the cell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from artists import charted, compared, labels, the_series
from msgspec.structs import replace

from roofline.explore.study import MeasuredRun, Study
from roofline.records.measurement import Record, TimedSpan
from roofline.records.validation import TimedCell, Validation
from roofline.report.charts import report_charts
from roofline.report.charts.prediction import record_cells, tolerance_name, validation_chart

Made = Callable[..., Validation]


def test_spans_of_records_stand_over_what_was_measured(recorded: Study) -> None:
    chart = charted("prediction", recorded)
    times, errors = chart.panels
    predicted, bound = (the_series(times, role, "llm") for role in ("predicted", "roofline"))

    assert predicted.x == bound.x == pytest.approx([4e-3])  # the median
    assert predicted.y == (4.1e-3,)
    assert bound.y == (3e-3,)
    error = the_series(errors, "error", "whole")
    assert error.x == (80,)  # 40 visual and 40 text tokens
    assert error.y == pytest.approx([100 * (5.85 / 6.1 - 1)])
    assert labels(chart) == [
        *("vision", "reducer", "LLM", "end to end", "roofline bound", "±10 %", "±25 %")
    ]


def test_the_alt_text_has_the_error_of_every_run(record: Callable[..., Record]) -> None:
    found = compared(record())
    slower = record()
    spans = slower.spans | {
        "whole": TimedSpan(samples_s=[10e-3], roofline_time_s=3.4e-3, attainable_time_s=12e-3)
    }
    found = replace(found, records=(*found.records, MeasuredRun("s", replace(slower, spans=spans))))

    assert charted("prediction", found).alt == (
        "Predicted over measured times, the median, by component. End to end: r.json: -4.1 %; "
        "s: +20 %."
    )
    spans = {name: span for name, span in record().spans.items() if name != "reducer"}
    spans |= {"whole": TimedSpan(samples_s=[10e-3])}
    alone = charted("prediction", compared(replace(record(), spans=spans)))
    assert alone.alt == "Predicted over measured times, the median, by component."


@pytest.mark.parametrize(("stage", "length", "steps"), [("generate", 64, 64), ("decode", 64, 1)])
def test_decode_steps_that_a_run_took_together_count_one_by_one(
    stage: str, length: int, steps: int, record: Callable[..., Record]
) -> None:
    made = record(inputs={"stage": stage, "output_tokens": length})
    run = TimedSpan(samples_s=[0.4, 0.3, 0.8], roofline_time_s=0.2, attainable_time_s=0.32)
    found = compared(replace(made, spans=made.spans | {"decode": run}))
    times = charted("prediction", found).panels[0]

    assert the_series(times, "predicted", "decode").x == pytest.approx([0.4 / steps])
    assert the_series(times, "predicted", "decode").y == pytest.approx([0.32 / steps])
    assert the_series(times, "roofline", "decode").y == pytest.approx([0.2 / steps])


def test_a_bound_is_no_prediction(record: Callable[..., Record]) -> None:
    made = record()
    spans = {name: replace(span, attainable_time_s=None) for name, span in made.spans.items()}
    applies = report_charts()["prediction"].applies
    assert applies(compared(made))
    assert not applies(compared(replace(made, spans=spans)))


def test_predicted_stands_over_measured_in_seconds(validation: Made) -> None:
    times, _ = validation_chart(validation()).panels
    predicted, bound = (the_series(times, role, "llm") for role in ("predicted", "roofline"))

    assert predicted.x == bound.x == (10e-3,) * 3  # the fastest sample
    assert predicted.y == (10.5e-3, 9e-3, 12e-3)
    assert bound.y == (2e-3,) * 3
    assert (times.x.label, times.y.label) == ("measured time", "predicted time")
    assert times.x.unit == times.y.unit == "s"


def test_axes_are_alike_and_hold_every_point(validation: Made) -> None:
    times, _ = validation_chart(validation()).panels
    low, high = times.x.limits

    assert times.y.limits == (low, high)
    assert times.x.scale == times.y.scale == "log"
    assert low is not None
    assert low < 2e-3
    assert high is not None
    assert high > 12e-3
    equality = the_series(times, "equality")
    assert equality.x == equality.y == (low, high)


def test_bands_are_a_tenth_and_a_quarter_wide(validation: Made) -> None:
    times, errors = validation_chart(validation()).panels
    for width, name in ((0.25, "±25 %"), (0.10, "±10 %")):
        band = the_series(times, "tolerance", name)
        assert [low / x for low, x in zip(band.low, band.x, strict=True)] == pytest.approx(
            [1 - width] * 2
        )
        assert [high / x for high, x in zip(band.high, band.x, strict=True)] == pytest.approx(
            [1 + width] * 2
        )
        (line,) = (line for line in errors.lines if line.label == name)
        assert (line.axis, line.at, line.to) == ("y", -100 * width, 100 * width)
    # the wider one is behind
    assert [series.of for series in times.series[:2]] == ["±25 %", "±10 %"]
    assert [line.label for line in errors.lines[:2]] == ["±25 %", "±10 %"]


def test_errors_stand_over_tokens_down_to_that_of_the_median(validation: Made) -> None:
    cells = [
        TimedCell(
            component="llm",
            tokens=tokens,
            batch=batch,
            attainable_time_s=1.08,
            roofline_time_s=0.3,
            samples_s=[1.05, 1.0, 1.2],
        )
        for tokens, batch in ((80, 1), (40, 4))
    ]
    error = the_series(validation_chart(validation(cells=cells)).panels[1], "error", "llm")

    assert error.x == (80, 160)
    assert error.y == error.high == pytest.approx([8.0] * 2)
    assert error.low == pytest.approx([100 * (1.08 / 1.05 - 1)] * 2)


def test_large_errors_are_within_the_panel(validation: Made) -> None:
    slow = TimedCell(
        component="llm",
        tokens=16,
        batch=1,
        attainable_time_s=3.0,
        roofline_time_s=0.1,
        samples_s=[1.0],
    )
    low, high = validation_chart(validation(cells=[slow])).panels[1].y.limits
    assert high == pytest.approx(220)
    assert low == pytest.approx(-220)
    assert validation_chart(validation()).panels[1].y.limits == (-30, 30)


def test_components_stand_in_the_order_in_which_they_run_and_others_behind(
    validation: Made,
) -> None:
    def cell(name: str) -> TimedCell:
        return TimedCell(
            component=name,
            tokens=16,
            batch=1,
            attainable_time_s=1.0,
            roofline_time_s=0.1,
            samples_s=[1.0],
        )

    cells = [cell(name) for name in ("audio", "whole", "decode", "vision")]
    chart = validation_chart(validation(cells=cells))
    assert labels(chart)[:4] == ["vision", "decode step", "end to end", "audio"]
    assert [series.of for series in chart.panels[1].series] == [
        *("vision", "decode", "whole", "audio")
    ]


def test_the_alt_text_of_a_validation_has_the_median_errors(validation: Made) -> None:
    assert validation_chart(validation()).alt == (
        "Predicted over measured times, the fastest sample, by component. Median of the absolute "
        "errors: vision 10 %; LLM 10 %; decode step 3.0 %; end to end 5.0 %."
    )


def test_what_was_not_timed_is_said_in_place_of_empty_axes(validation: Made) -> None:
    chart = validation_chart(validation(cells=[]))
    assert [panel.empty_because for panel in chart.panels] == ["nothing was timed"] * 2
    assert chart.alt.endswith(" Nothing was timed.")
    assert {panel.empty_because for panel in validation_chart(validation()).panels} == {""}


def timed(measured_s: float, predicted_s: float, bound_s: float, **given: Any) -> TimedCell:
    fields: dict[str, Any] = {"component": "llm", "tokens": 16, "batch": 1} | given
    return TimedCell(
        attainable_time_s=predicted_s, roofline_time_s=bound_s, samples_s=[measured_s], **fields
    )


@pytest.mark.parametrize(
    ("cells", "ends"),
    [
        ([(0.01, 0.1, 0.001)], (0.001 / 1.6, 0.1 * 1.6)),
        ([(0.1, 0.01, 0.001)], (0.001 / 1.6, 0.1 * 1.6)),
        ([(1.0, 1.0, 1.0)], (20**-0.5, 20**0.5)),  # from one end to the other at least 20-fold
        ([(1.0, 2.0, 2.0)], (2 * 40**-0.5, 40**0.5)),
        ([(0.1, 0.01, 0.0)], (0.01 / 1.6, 0.1 * 1.6)),  # what takes no time has no place
        ([], (1e-3 * 20**-0.5, 1e-3 * 20**0.5)),
    ],
)
def test_axes_reach_a_little_beyond_the_outermost_times(
    cells: list[tuple[float, float, float]], ends: tuple[float, float], validation: Made
) -> None:
    chart = validation_chart(validation(cells=[timed(*times) for times in cells]))
    times = chart.panels[0]
    assert times.x.limits == times.y.limits == pytest.approx(ends)
    for width in (0.25, 0.1):
        band = the_series(times, "tolerance", f"±{100 * width:.0f} %")
        assert band.x == band.y == times.x.limits
        assert band.low == pytest.approx([(1 - width) * end for end in ends])
        assert band.high == pytest.approx([(1 + width) * end for end in ends])


@pytest.mark.parametrize(
    ("predicted_s", "limit"), [(1.27, 30), (0.73, 30), (1.5, 55), (0.5, 55), (1.28, 30.8)]
)
def test_errors_have_a_third_of_equality_to_either_side_at_least(
    predicted_s: float, limit: float, validation: Made
) -> None:
    """A tenth of room beyond the largest error, else 30 %."""
    errors = validation_chart(validation(cells=[timed(1.0, predicted_s, 0.1)])).panels[1]
    assert errors.y.limits == pytest.approx((-limit, limit))
    assert (errors.x.scale, errors.y.scale) == ("log", "linear")
    equality = errors.lines[-1]
    assert (equality.role, equality.axis, equality.at, equality.to) == ("equality", "y", 0.0, None)


def test_errors_against_the_median_are_within_the_panel(validation: Made) -> None:
    """The fastest of three took 1 s, the median 4 s: half as long is predicted as that."""
    cell = TimedCell(
        component="llm",
        tokens=16,
        batch=1,
        attainable_time_s=1.0,
        roofline_time_s=0.5,
        samples_s=[4.0, 1.0, 5.0],
    )
    errors = validation_chart(validation(cells=[cell])).panels[1]
    assert errors.y.limits == pytest.approx((-82.5, 82.5))
    assert errors.series[0].low == pytest.approx([-75.0])
    assert errors.series[0].high == pytest.approx([0.0])


def test_series_stand_behind_those_of_their_own_component(validation: Made) -> None:
    """Bands and equality behind all of them; each bound behind its prediction."""
    cells = [timed(1.0, 2.0, 0.5, component=name) for name in ("llm", "vision")]
    times = validation_chart(validation(cells=cells)).panels[0]
    assert [(one.role, one.of) for one in times.series] == [
        ("tolerance", "±25 %"),
        ("tolerance", "±10 %"),
        ("equality", ""),
        *((role, name) for name in ("vision", "llm") for role in ("roofline", "predicted")),
    ]
    assert (times.series[-1].x, times.series[-1].y) == ((1.0,), (2.0,))
    assert times.series[-2].y == (0.5,)


@pytest.mark.parametrize(("width", "name"), [(0.1, "±10 %"), (0.25, "±25 %"), (0.9, "±90 %")])
def test_a_band_is_named_in_percent(width: float, name: str) -> None:
    assert tolerance_name(width) == name


def test_the_legend_of_a_prediction_has_the_narrow_band_first(validation: Made) -> None:
    chart = validation_chart(validation(cells=[timed(1.0, 2.0, 0.5)]))
    assert [(entry.role, entry.label, entry.of) for entry in chart.legend] == [
        ("component", "LLM", "llm"),
        ("roofline", "roofline bound", ""),
        ("tolerance", "±10 %", "±10 %"),
        ("tolerance", "±25 %", "±25 %"),
    ]


def test_spans_without_a_time_a_bound_or_a_prediction_are_no_points(
    record: Callable[..., Record],
) -> None:
    known: dict[str, Any] = {"roofline_time_s": 0.5, "attainable_time_s": 2.0}
    spans = {
        "vision": TimedSpan(samples_s=[1.0], attainable_time_s=2.0),
        "reducer": TimedSpan(samples_s=[1.0], roofline_time_s=0.5),
        "connector": TimedSpan(samples_s=[0.0], **known),
        "llm": TimedSpan(samples_s=[1.0, 3.0, 8.0], **known),
        "whole": TimedSpan(samples_s=[4.0], **known),
    }
    made = record(inputs={"visual_tokens": 70, "text_tokens": 30, "batch": 2}, spans=spans)
    assert [
        (c.component, c.tokens, c.batch, c.samples_s, c.attainable_time_s, c.roofline_time_s)
        for c in record_cells(compared(made))
    ] == [("llm", 100, 2, [3.0], 2.0, 0.5), ("whole", 100, 2, [4.0], 2.0, 0.5)]
    errors = charted("prediction", compared(made)).panels[1]
    assert the_series(errors, "error", "llm").x == (200.0,)


def test_only_the_steps_of_an_answer_were_several(record: Callable[..., Record]) -> None:
    """Other spans of such a run happen once, however long the answer."""
    known: dict[str, Any] = {"roofline_time_s": 1.0, "attainable_time_s": 2.0}
    spans = {name: TimedSpan(samples_s=[4.0], **known) for name in ("llm", "decode", "whole")}
    made = record(inputs={"stage": "generate", "output_tokens": 8}, spans=spans)
    assert [
        (c.component, c.samples_s, c.roofline_time_s) for c in record_cells(compared(made))
    ] == [
        ("llm", [4.0], 1.0),
        ("decode", [0.5], 0.125),
        ("whole", [4.0], 1.0),
    ]
