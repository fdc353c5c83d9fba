"""Roofline charts: dots whose areas go with their share of the time, under the device's roofs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from roofline.report.charts.chart import LegendEntry, Panel, PanelChart, Series
from roofline.report.charts.rooflines import NAME
from roofline.report.plots.dot_names import name_dots
from roofline.report.plots.drawing import draws
from roofline.report.plots.sheet import Sheet
from roofline.report.plots.style import (
    DOUBLE_IN,
    INK,
    LEAST,
    LINE,
    PALE,
    RULE,
    THIN,
    component_look,
    dress,
    floats,
    key,
    prefixed,
)

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Page

_HEIGHT_IN, _AROUND_IN, _WORD_IN = 2.3, 0.6, 0.105
"""Of a panel, of the words around it, and of a line of words in it."""
_LEAST, _MORE = 5.0, 90.0
"""Area of a dot in square points: of no time, and what all of the time adds."""
_SHAFT_IN = 0.007
_SLOPES: dict[str, dict[str, Any]] = {
    "DRAM": {"color": INK, "lw": LINE},
    "L2": {"color": PALE, "lw": THIN, "ls": (0, (4, 2))},
}
_KEYS: dict[str, dict[str, Any]] = {
    "moved": {
        "marker": "o",
        "markersize": 3.0,
        "markerfacecolor": "white",
        "markeredgewidth": 0.7,
    },
    "op": {"marker": "o"},
    "measured": {"marker": "x"},
    "ceiling": {"linestyle": "-", "color": INK, "lw": LINE},
    "other ceiling": {"linestyle": "-", "color": RULE, "lw": LINE},
    "slope": {"linestyle": _SLOPES["L2"]["ls"], "lw": THIN},
}


@draws(NAME)
def draw(chart: PanelChart, width_in: float = DOUBLE_IN) -> Page:
    """A panel for each deployment."""
    handles = [_handle(entry) for entry in chart.legend]
    sheet = Sheet(chart, width_in, _HEIGHT_IN, handles)
    for axes, panel in sheet.to_draw():
        _draw_panel(axes, panel)
    for axes in sheet.inner_panels:
        axes.set_ylabel("")
    page = sheet.finished()
    for axes, panel in sheet.to_draw():  # where there is room shows on the settled page
        name_dots(axes, panel.series)
    return page


def _draw_panel(axes: Axes, panel: Panel) -> None:
    axes.set(xscale="log", yscale="log", xlim=panel.x.limits, ylim=panel.y.limits)
    _draw_slopes(axes, [series for series in panel.series if series.role == "slope"])
    _draw_ceilings(axes, [series for series in panel.series if series.role.endswith("ceiling")])
    for series in panel.series:
        match series.role:
            case "moved":
                _draw_moved(axes, series)
            case "op":
                _draw_ops(axes, series)
            case "measured":
                colour = component_look(series.of)[1]
                cross: dict[str, Any] = {"s": 16, "marker": "x", "color": colour, "lw": 0.9}
                axes.scatter(series.x, floats(series.y), zorder=4, gid="measured", **cross)
    dress(axes, panel.x.label, panel.y.label, panel.title)
    axes.xaxis.set_major_formatter("{x:g}")
    prefixed(axes, "y", panel.y.unit)


def _draw_moved(axes: Axes, series: Series) -> None:
    """Open dots where ops were, and arrows to where they are."""
    marker, colour = component_look(series.of)
    before, after = np.array(series.origins).T, np.array([series.x, floats(series.y)])
    axes.quiver(
        *before,
        *(after - before),
        angles="xy",
        scale_units="xy",
        scale=1,
        units="inches",
        width=_SHAFT_IN,
        headwidth=6,
        headlength=6,
        headaxislength=6,
        minlength=0,
        color=colour,
        alpha=0.6,
        zorder=2,
        gid=f"arrows {series.of}",
    )
    axes.scatter(
        before[0],
        before[1],
        s=_LEAST,
        marker=marker,
        facecolor="white",
        edgecolor=colour,
        linewidth=0.5,
        zorder=2.5,
        gid=f"before {series.of}",
    )


def _draw_ops(axes: Axes, series: Series) -> None:
    marker, colour = component_look(series.of)
    axes.scatter(
        series.x,
        floats(series.y),
        s=[_LEAST + _MORE * share for share in series.shares],
        marker=marker,
        facecolor=colour,
        edgecolor="white",
        linewidth=0.15,
        zorder=3,
        gid=f"after {series.of}",
    )


def _draw_slopes(axes: Axes, slopes: Sequence[Series]) -> None:
    """Lines, and their names in the corner, the steepest above."""
    for series in slopes:
        style = _SLOPES[series.of]
        axes.plot(series.x, floats(series.y), gid=f"{series.of} roof", **style)
    words = "\n".join(series.label for series in reversed(slopes))
    axes.text(0.02, 1, words, fontsize=LEAST, color=INK, va="top", transform=axes.transAxes)


def _draw_ceilings(axes: Axes, ceilings: Sequence[Series]) -> None:
    """Names stand beside those in use, and beside others where there is room."""
    bottom, top = axes.get_ylim()
    room = (top / bottom) ** (_WORD_IN / (_HEIGHT_IN - _AROUND_IN))
    named = [top * room]
    for series in ceilings:
        used = series.role == "ceiling"
        rate, right = floats(series.y)[0], series.x[-1]
        axes.plot(
            series.x,
            floats(series.y),
            color=INK if used else RULE,
            lw=LINE if used else THIN,
            zorder=1.5,
            gid=f"ceiling {series.of}",
        )
        label_rate = min(rate, named[-1] / room) if used else rate
        if used or all(max(label_rate / other, other / label_rate) > room for other in named):
            named.append(label_rate)
            axes.annotate(
                series.label,
                (right, label_rate),
                xytext=(2, 0),
                textcoords="offset points",
                ha="left",
                va="center",
                fontsize=LEAST,
                color=INK if used else PALE,
            )


def _handle(entry: LegendEntry) -> Artist:
    if entry.role == "component":
        marker, colour = component_look(entry.of)
        return key(marker=marker, color=colour, label=entry.label)
    return key(label=entry.label, **_KEYS[entry.role])
