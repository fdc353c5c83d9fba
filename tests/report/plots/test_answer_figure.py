"""Answers as they are drawn: lines of the chart, and a panel without content that says why."""

from __future__ import annotations

import numpy as np
import pytest
from artists import charted, drawn, labels, legend, lines, the_line
from made_up import bare

from roofline.explore.study import Study, study
from roofline.report.plots import draw
from roofline.report.plots.style import DOUBLE_IN, SINGLE_IN


def test_lines_are_those_of_the_chart(attainable: Study) -> None:
    chart = charted("answer", attainable)
    page = draw(chart)
    for axes, panel in zip(page.axes, chart.panels, strict=True):
        for series in panel.series:
            x, y = the_line(axes, f"{series.role} {series.of} {series.variant}")
            assert x.tolist() == list(series.x)
            np.testing.assert_array_equal(y, np.asarray(series.y, dtype=float))
        assert axes.get_ylabel() == panel.y.label
        assert axes.get_xlabel() == "output tokens"
        assert axes.get_xlim() == panel.x.limits
    assert legend(page) == labels(chart)


def test_dashes_tell_prompts_apart_as_the_legend_says(one: Study) -> None:
    page = drawn("answer", one)
    keys = {line.get_label(): line for line in page.legends[0].get_lines()}
    (whole,), (kept,) = lines(page, "step v100 576"), lines(page, "step v100 40 prumerge")

    def dashes(line: object) -> object:
        return line._unscaled_dash_pattern  # type: ignore[attr-defined]

    assert dashes(whole) == dashes(keys["all visual tokens"])
    assert dashes(kept) == dashes(keys["fewer visual tokens: 40 prumerge"])
    assert dashes(whole) != dashes(kept)


def test_steps_that_hardly_differ_look_so(one: Study) -> None:
    axes = drawn("answer", one).axes[0]
    low, high = axes.get_ylim()
    _, steps = the_line(axes, "step v100 576")

    assert max(steps) / min(steps) < 1.1
    assert high / low >= 2.999


@pytest.mark.parametrize("width_in", [SINGLE_IN, DOUBLE_IN])
def test_a_panel_without_a_gain_says_so_in_place_of_axes(width_in: float) -> None:
    models = ["llava-1.5-7b", "llama-3-8b"]
    if width_in == SINGLE_IN:  # where a page has room for one row
        models.reverse()
    found = study(model=models, hardware=[bare("h200")])
    *full, empty = drawn("answer", found, width_in).axes
    above = full[2] if width_in == DOUBLE_IN else full[-1]

    assert [" ".join(text.get_text().split()) for text in empty.texts] == [
        "no prompt has fewer visual tokens"
    ]
    assert not empty.axison
    assert not empty.lines
    assert all(axes.axison and axes.lines for axes in full)
    assert above.get_xlabel() == "output tokens"  # which no axes below it would say
