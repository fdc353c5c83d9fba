"""Predicted against measured as it is drawn: its artists' data, its words, its bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from artists import check_words, words
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from roofline.records.validation import CELLS, TimedCell, Validation
from roofline.report.charts.prediction import validation_chart
from roofline.report.plots import draw, render
from roofline.report.plots.style import DOUBLE_IN, MARKERS, SINGLE_IN

Made = Callable[..., Validation]


def cell(component: str, tokens: int, scale_s: float, batch: int = 1) -> TimedCell:
    """MeasuredRun `scale_s`, predicted 8 % more, the bound a third of it; the median 5 % slower."""
    return TimedCell(
        component=component,
        tokens=tokens,
        batch=batch,
        attainable_time_s=1.08 * scale_s,
        roofline_time_s=scale_s / 3,
        samples_s=[1.05 * scale_s, scale_s, 1.2 * scale_s],
    )


def drawn_validation(found: Validation, width_in: float = DOUBLE_IN) -> Figure:
    return draw(validation_chart(found), width_in)


def points(figure: Figure, name: str) -> Line2D:
    (line,) = [line for line in figure.findobj(Line2D) if line.get_gid() == name]
    return line


def test_predicted_stands_over_measured_in_seconds(validation: Made) -> None:
    figure = drawn_validation(validation())
    llm, bound = points(figure, "predicted llm"), points(figure, "roofline llm")

    assert list(llm.get_xdata()) == [10e-3] * 3
    assert list(llm.get_ydata()) == [10.5e-3, 9e-3, 12e-3]
    assert list(bound.get_xdata()) == [10e-3] * 3
    assert list(bound.get_ydata()) == [2e-3] * 3
    assert bound.get_markerfacecolor() == "none"
    assert bound.get_marker() == llm.get_marker()
    diagonal = points(figure, "equality")
    assert list(diagonal.get_xdata()) == list(diagonal.get_ydata())


def test_bands_lie_behind_at_their_widths(validation: Made) -> None:
    axes = drawn_validation(validation()).axes[0]
    for band, width in zip(axes.collections, (0.25, 0.10), strict=True):
        for x, y in band.get_paths()[0].vertices:
            assert y / x == pytest.approx(1 + width) or y / x == pytest.approx(1 - width)


def test_axes_are_alike_and_those_of_the_chart(validation: Made) -> None:
    axes = drawn_validation(validation()).axes[0]
    panel = validation_chart(validation()).panels[0]

    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert axes.get_xlim() == axes.get_ylim() == pytest.approx(panel.x.limits)


def test_errors_stand_over_tokens_with_the_noise_as_bars(validation: Made) -> None:
    cells = [cell("llm", 80, 1e-3), cell("llm", 40, 1e-3, batch=4)]
    figure = drawn_validation(validation(cells=cells))
    axes = figure.axes[1]
    line = points(figure, "error llm")

    assert list(line.get_xdata()) == [80, 160]  # a single component is not shifted
    assert np.allclose(line.get_ydata(), 8.0)
    (bars,) = axes.containers[0].lines[2]
    low, high = bars.get_segments()[0][:, 1]
    assert low == pytest.approx(100 * (1.08 / 1.05 - 1))
    assert high == pytest.approx(8.0)


def test_components_of_one_size_are_told_apart(validation: Made) -> None:
    names = list(CELLS)
    figure = drawn_validation(validation(cells=[cell(name, 100, 1e-3) for name in names]))
    xs = [float(points(figure, f"error {name}").get_xdata()[0]) for name in names]

    assert len(set(xs)) == len(names)
    assert max(abs(index / 100 - 1) for index in xs) < 0.1


def test_every_component_has_a_marker_and_a_colour_of_its_own() -> None:
    assert list(MARKERS) == list(CELLS)
    assert len({marker for marker, _ in MARKERS.values()}) == len(MARKERS)
    assert len({to_rgb(colour) for _, colour in MARKERS.values()}) == len(MARKERS)


def test_nothing_timed_is_said_in_place_of_axes(validation: Made) -> None:
    for axes in drawn_validation(validation(cells=[])).axes:
        assert [text.get_text() for text in axes.texts] == ["nothing was timed"]
        assert not axes.axison
        assert not axes.lines


def test_axes_say_what_they_show_with_units(validation: Made) -> None:
    figure = drawn_validation(validation())
    times, errors = figure.axes
    figure.draw_without_rendering()

    assert times.get_xlabel() == "measured time"
    assert times.get_ylabel() == "predicted time"
    shown = {text.get_text() for text in words(figure)}
    assert "10 ms" in shown
    assert errors.get_xlabel() == "tokens (prompt × batch)"
    assert errors.get_ylabel() == "predicted / measured − 1, %"
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        *("vision", "LLM", "decode step", "end to end", "roofline bound", "±10 %", "±25 %")
    ]


def grid(scale_s: float) -> list[TimedCell]:
    """As `roofline validate` measures: all components, from a few tokens to thousands."""
    sizes = (16, 80, 616, 1024, 4096)
    return [
        cell(name, tokens, scale_s * tokens * (index + 1), batch)
        for index, name in enumerate(CELLS)
        for tokens in sizes
        for batch in (1, 8)
    ]


CASES = {
    "microseconds": grid(1e-8),
    "seconds": grid(1e-2),
    "a single point": [cell("llm", 80, 3e-3)],
    "another component": [cell("audio", 80, 3e-3)],
    "nothing": [],
}


@pytest.mark.parametrize("width_in", [SINGLE_IN, DOUBLE_IN])
@pytest.mark.parametrize("cells", CASES.values(), ids=CASES)
def test_words_fit_into_the_page_and_do_not_overlap(
    cells: Any, width_in: float, validation: Made
) -> None:
    figure = drawn_validation(validation(cells=cells), width_in)
    assert figure.bbox.width == pytest.approx(width_in * figure.dpi)
    check_words(figure)


@pytest.mark.parametrize(("form", "start"), [("png", b"\x89PNG\r\n"), ("svg", b"<?xml")])
def test_a_file_is_of_its_format_and_always_the_same(
    form: str, start: bytes, validation: Made
) -> None:
    content = render(drawn_validation(validation()), form)

    assert content.startswith(start)
    assert content == render(drawn_validation(validation()), form)
    assert content != render(drawn_validation(validation(cells=validation().cells[1:])), form)


@pytest.mark.parametrize(
    ("tokens", "shown"),
    [([49], [49]), ([16, 1024], [16, 1024]), ([16, 17, 64, 1024], [16, 64, 1024])],
)
def test_token_counts_have_ticks_where_there_is_room(
    tokens: list[int], shown: list[int], validation: Made
) -> None:
    cells = [cell("llm", count, 1e-3) for count in tokens]
    axis = drawn_validation(validation(cells=cells)).axes[1].xaxis
    assert list(axis.get_majorticklocs()) == shown
