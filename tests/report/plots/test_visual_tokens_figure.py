"""Lines over visual tokens as they are drawn: a colour and a shape for each device."""

from __future__ import annotations

import numpy as np
import pytest
from artists import charted, drawn, labels, legend, lines, the_line
from made_up import bare
from matplotlib.colors import to_rgba

from roofline.explore.study import Study, study
from roofline.report.plots import draw
from roofline.report.plots.style import SHAPES


def test_lines_and_marks_are_those_of_the_chart(attainable: Study) -> None:
    chart = charted("visual-tokens", attainable)
    page = draw(chart)
    for axes, panel in zip(page.axes, chart.panels, strict=True):
        for series in panel.series:
            if series.role == "error":
                continue
            name = f"{series.role} {series.of} {series.variant}".strip()
            x, y = the_line(axes, name)
            assert x.tolist() == list(series.x)
            assert y.tolist() == list(series.y)
        requested = [line.get_xdata()[0] for line in lines(axes, "requested")]
        assert requested == [line.at for line in panel.lines] == [40, 576]
        assert axes.get_ylabel() == panel.y.label
        assert axes.get_xlabel() == panel.x.label
        assert axes.get_yscale() == panel.y.scale
    assert legend(page) == labels(chart)


def test_the_error_is_an_area_around_the_line(attainable: Study) -> None:
    chart = charted("visual-tokens", attainable)
    (error,) = (series for series in chart.panels[0].series if series.role == "error")
    (area,) = (c for c in draw(chart).axes[0].collections if c.get_gid() == "band")
    (path,) = area.get_paths()
    corners = {tuple(corner) for corner in path.vertices.tolist()}

    assert set(zip(error.x, error.low, strict=True)) <= corners
    assert set(zip(error.x, error.high, strict=True)) <= corners


def test_a_line_breaks_where_the_chart_has_a_gap() -> None:
    found = study(model=["llava-1.5-7b"], hardware=[bare("v100")], visual_tokens=[40], batch=12)
    axes = drawn("visual-tokens", found).axes[0]
    (_, solid), (_, dotted) = (
        the_line(axes, f"{kind} v100 fp16") for kind in ("time", "too large")
    )

    assert 0 < np.isnan(solid).sum() < 576
    assert (np.isnan(solid) ^ np.isnan(dotted)).all()
    (line,) = lines(axes, "time v100 fp16")
    (other,) = lines(axes, "too large v100 fp16")
    assert line.get_linestyle() == "-"
    assert other.get_linestyle() != "-"


@pytest.mark.parametrize(("name", "kind"), [("visual-tokens", "floor"), ("answer", "step")])
def test_seven_devices_differ_by_colour_and_by_shape(
    name: str, kind: str, studies: dict[str, Study]
) -> None:
    found = studies["nine"]
    page = drawn(name, found)
    shown = {line.get_label(): line for line in page.legends[0].get_lines()}
    devices = [device for device in found.hardware if device in shown]

    assert devices == list(found.hardware[:7])
    assert len({to_rgba(shown[device].get_color()) for device in devices}) == 7
    assert [shown[device].get_marker() for device in devices] == list(SHAPES[:7])
    assert page.get_suptitle() == "2 more devices not shown"
    seen = {
        str(line.get_gid()).split()[1]: (line.get_marker(), line.get_color())
        for line in page.axes[0].lines
        if str(line.get_gid()).startswith(kind)
    }
    assert seen == {d: (shown[d].get_marker(), shown[d].get_color()) for d in devices}


def test_open_and_filled_marks_are_those_of_the_legend(one: Study) -> None:
    page = drawn("visual-tokens", one)
    (ridge,), (floor,) = lines(page, "ridge v100 fp16"), lines(page, "floor v100 fp16")
    keys = {line.get_label(): line for line in page.legends[0].get_lines()}
    open_key = keys["LLM bound by memory up to here"]
    filled_key = keys["within 5 % of the least: fewer no longer help"]

    assert ridge.get_markerfacecolor() == open_key.get_markerfacecolor() == "white"
    assert floor.get_markerfacecolor() == floor.get_color()
    assert filled_key.get_markerfacecolor() == filled_key.get_color()
    assert ridge.get_marker() == floor.get_marker()
