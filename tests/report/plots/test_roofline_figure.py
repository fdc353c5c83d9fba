"""The roofline chart as it is drawn: dots, arrows, roofs and their names."""

from __future__ import annotations

import numpy as np
import pytest
from artists import charted, drawn, labels, legend, lines, offsets, the_line
from made_up import bare
from matplotlib.quiver import Quiver

from roofline.explore.study import Study, study
from roofline.report.plots import draw
from roofline.report.plots.style import DOUBLE_IN, SINGLE_IN


def test_dots_and_arrows_are_those_of_the_chart(attainable: Study) -> None:
    chart = charted("roofline", attainable)
    page = draw(chart)
    (axes,), (panel,) = page.axes, chart.panels
    for series in panel.series:
        expected = np.array([series.x, series.y], float).T
        if series.role == "op":
            assert np.array_equal(offsets(axes, f"after {series.of}"), expected)
            (dots,) = (c for c in axes.collections if c.get_gid() == f"after {series.of}")
            assert np.allclose(dots.get_sizes(), 5 + 90 * np.array(series.shares))
        if series.role == "moved":
            assert np.array_equal(offsets(axes, f"before {series.of}"), series.origins)
            (arrows,) = (c for c in axes.collections if c.get_gid() == f"arrows {series.of}")
            assert isinstance(arrows, Quiver)
            ends = np.array([arrows.X + arrows.U, arrows.Y + arrows.V]).T
            assert np.allclose(ends, expected)
    assert {series.role for series in panel.series} >= {"op", "moved"}
    assert legend(page) == labels(chart)


def test_areas_of_dots_share_out_the_time(attainable: Study) -> None:
    (axes,) = drawn("roofline", attainable).axes
    sizes = [
        size
        for collection in axes.collections
        if str(collection.get_gid()).startswith("after")
        for size in collection.get_sizes()
    ]
    (panel,) = charted("roofline", attainable).panels
    shares = [share for series in panel.series for share in series.shares]

    assert sizes == pytest.approx([5 + 90 * share for share in shares])
    assert sum(shares) > 0.9  # what takes hardly any time is not shown


def test_roofs_and_their_names_are_those_of_the_chart(attainable: Study) -> None:
    chart = charted("roofline", attainable)
    (axes,), (panel,) = draw(chart).axes, chart.panels
    for series in panel.series:
        if series.role not in ("slope", "ceiling", "other ceiling"):
            continue
        kind = f"{series.of} roof" if series.role == "slope" else f"ceiling {series.of}"
        x, y = the_line(axes, kind)
        assert (x.tolist(), y.tolist()) == (list(series.x), list(series.y))
    shown = {text.get_text() for text in axes.texts}
    assert {"fp16, bf16 312 T", "vector 19.5 T", "L2 5500 GB/s\nDRAM 2039 GB/s"} <= shown
    assert (axes.get_xlim(), axes.get_ylim()) == (panel.x.limits, panel.y.limits)
    assert axes.get_xlabel() == panel.x.label
    assert axes.get_ylabel() == panel.y.label
    assert axes.get_title(loc="left") == panel.title


@pytest.mark.parametrize("width_in", [SINGLE_IN, DOUBLE_IN])
def test_names_of_dots_hide_no_dot_and_lead_to_theirs(
    width_in: float, studies: dict[str, Study]
) -> None:
    crowded = study(  # names of four dots, near each other
        model="video-llava-7b", hardware=["a100-80gb", "h200"], visual_tokens=256
    )
    for found in (crowded, *(studies[case] for case in ("attainable", "six", "text", "vision"))):
        chart = charted("roofline", found)
        page = draw(chart, width_in)
        page.draw_without_rendering()
        for axes, panel in zip(page.axes, chart.panels, strict=False):
            dots = {
                name: axes.transData.transform((x, y))
                for one in panel.series
                if one.role == "op"
                for x, y, name in zip(one.x, one.y, one.names, strict=True)
            }
            places = [
                axes.transData.transform(place)
                for one in panel.series
                if one.role == "op"
                for place in zip(one.x, one.y, strict=True)
            ]
            names = [text for text in axes.texts if text.get_gid() == "name"]
            assert sorted(t.get_text() for t in names) == sorted(name for name in dots if name)
            ends = [
                axes.transData.transform([line.get_xdata()[0], line.get_ydata()[0]])
                for line in lines(axes, "lead")
            ]
            for text in names:
                box = text.get_window_extent()
                assert axes.bbox.x0 - 1 <= box.x0
                assert box.x1 <= axes.bbox.x1 + 1
                assert not [place for place in places if box.contains(*place)], text
                at = dots[text.get_text()]
                gap = np.hypot(*(at - np.clip(at, box.min, box.max)))
                for other in lines(axes, "lead"):
                    whole = np.linspace(*axes.transData.transform(np.transpose(other.get_data())))
                    inside = [point for point in whole if box.padded(-1.5).contains(*point)]
                    assert not inside, text  # no line to another name runs through this one
                led = any(np.allclose(end, at, atol=0.5) for end in ends)
                assert led == (gap > 10 * page.dpi / 72), text


def test_measured_ops_are_crosses(recorded: Study) -> None:
    page = drawn("roofline", recorded)
    assert offsets(page.axes[0], "measured") == [[9e14 / 3e12, 9e14], [4e14 / 1e12, 4e14]]
    assert "measured" in legend(page)


@pytest.mark.parametrize(
    ("device", "quant", "names"),
    [
        ("rtx-4090", "fp16", {"fp16, bf16 165 T", "tf32, vector 82.6 T"}),
        ("rtx-4090", "fp32", {"tf32, fp32, vector 82.6 T"}),
        ("xeon-8480", "fp32", {"fp32, vector 7.17 T"}),
    ],
)
def test_roofs_in_use_have_names(device: str, quant: str, names: set[str]) -> None:
    found = study(
        model=["llava-1.5-7b"], hardware=[bare(device)], quant=[quant], visual_tokens=[40]
    )
    page = drawn("roofline", found, SINGLE_IN)
    assert names <= {text.get_text() for text in page.axes[0].texts}
