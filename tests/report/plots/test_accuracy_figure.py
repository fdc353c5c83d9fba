"""Accuracy against cost as it is drawn: points, steps, a ring, and faint what does not fit."""

from __future__ import annotations

import pytest
from artists import charted, drawn, labels, legend, lines, the_line, the_series

from roofline.explore.study import Study
from roofline.report.plots import draw


@pytest.mark.parametrize("name", ["accuracy-time", "accuracy-kv-cache"])
def test_points_fronts_and_choices_are_those_of_the_chart(name: str, priced: Study) -> None:
    chart = charted(name, priced)
    page = draw(chart)
    for axes, panel in zip(page.axes, chart.panels, strict=True):
        dots = [
            (float(line.get_xdata()[0]), float(line.get_ydata()[0]), line.get_gid())
            for line in axes.lines
            if line.get_gid() not in {"front", "choice"}
        ]
        assert dots == [(s.x[0], s.y[0], f"{s.of} {s.variant}") for s in panel.series if s.of]
        for role in ("front", "choice"):
            series = the_series(panel, role)
            x, y = the_line(axes, role)
            assert (x.tolist(), y.tolist()) == (list(series.x), list(series.y))
        assert lines(axes, "front")[0].get_drawstyle() == "steps-post"
        assert axes.get_ylabel() == panel.y.label
        assert axes.get_title(loc="left") == panel.title
        assert axes.get_xlim() == panel.x.limits
    assert page.axes[-1].get_xlabel() == chart.panels[-1].x.label
    assert legend(page) == labels(chart)


def test_methods_differ_by_look_and_models_by_fill_as_the_legend_says(priced: Study) -> None:
    page = drawn("accuracy-time", priced)
    keys = {line.get_label(): line for line in page.legends[0].get_lines()}
    for axes in page.axes:
        for line in axes.lines:
            if line.get_gid() in {"front", "choice"}:
                continue
            method, _, model = str(line.get_gid()).rpartition(" ")
            assert line.get_marker() == keys[method].get_marker()
            assert line.get_color() == keys[method].get_color()
            assert line.get_fillstyle() == keys[model].get_fillstyle()


def test_what_does_not_fit_is_faint(studies: dict[str, Study]) -> None:
    page = drawn("accuracy-time", studies["crowded"])
    large = [line for line in page.axes[0].lines if str(line.get_gid()).endswith("13b")]
    small = [line for line in page.axes[0].lines if str(line.get_gid()).endswith("7b")]

    assert large
    assert {line.get_alpha() for line in large} == {0.3}
    assert {line.get_alpha() for line in small} == {None}


def test_the_page_says_where_this_is_and_what_is_elsewhere(studies: dict[str, Study]) -> None:
    assert drawn("accuracy-time", studies["accuracy"]).get_suptitle() == "h200, fp16"
    page = drawn("accuracy-time", studies["crowded"])
    assert page.get_suptitle() == "rtx-4090, fp16; 1 more in the tables"
