"""Published accuracy against cost: fronts in steps, and a ring around the one to take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from roofline.report.charts.accuracy import CHARTS
from roofline.report.charts.chart import LegendEntry, Panel, PanelChart, Series
from roofline.report.plots.drawing import draws
from roofline.report.plots.sheet import Sheet
from roofline.report.plots.style import (
    DOUBLE_IN,
    INK,
    LINE,
    PALE,
    Look,
    dress,
    floats,
    key,
    legend_looks,
    prefixed,
)

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Page

_HEIGHT_IN = 1.8
_FILLS = ("full", "none", "left", "bottom")
_SIZE = 4.2
_FAINT = 0.3
"""Of what the device has not the memory for."""
_RING: dict[str, Any] = {"marker": "o", "markerfacecolor": "none", "markeredgecolor": INK}


@draws(*(name for name, _ in CHARTS.values()))
def draw(chart: PanelChart, width_in: float = DOUBLE_IN) -> Page:
    """Methods have a colour and a marker each, models a fill."""
    looks = legend_looks(chart, "method")
    models = dict.fromkeys(
        series.variant for panel in chart.panels for series in panel.series if series.of
    )
    fills = {model: _FILLS[i % len(_FILLS)] for i, model in enumerate(models)}
    handles = [_handle(entry, looks, fills) for entry in chart.legend]
    sheet = Sheet(chart, width_in, _HEIGHT_IN, handles)
    for axes, panel in sheet.to_draw():
        _draw_panel(axes, panel, looks, fills)
    return sheet.finished()


def _draw_panel(
    axes: Axes, panel: Panel, looks: Mapping[str, Look], fills: Mapping[str, str]
) -> None:
    for series in panel.series:
        if series.role == "front":  # in steps: between two methods there is none
            style: dict[str, Any] = {"color": PALE, "lw": LINE, "drawstyle": "steps-post"}
            axes.plot(series.x, floats(series.y), zorder=1, gid="front", **style)
        elif series.role == "choice":
            style = _RING | {"markersize": 8.5, "markeredgewidth": 0.9}
            axes.plot(series.x, floats(series.y), ls="none", gid="choice", **style)
        else:
            _draw_method(axes, series, looks[series.of], fills[series.variant])
    axes.locator_params(axis="x", nbins=4)
    dress(axes, panel.x.label, panel.y.label, panel.title)
    axes.margins(0.12)
    axes.set_xlim(*panel.x.limits)
    prefixed(axes, "x", panel.x.unit)


def _draw_method(axes: Axes, series: Series, look: Look, fill: str) -> None:
    marker, colour = look
    axes.plot(
        series.x,
        floats(series.y),
        ls="none",
        marker=marker,
        color=colour,
        fillstyle=fill,
        markersize=_SIZE,
        markeredgewidth=0.8,
        alpha=_FAINT if series.role == "too large" else None,
        gid=f"{series.of} {series.variant}",
    )


def _handle(entry: LegendEntry, looks: Mapping[str, Look], fills: Mapping[str, str]) -> Artist:
    match entry.role:
        case "method":
            marker, colour = looks[entry.of]
            return key(marker=marker, color=colour, label=entry.label)
        case "model":
            return key(marker="o", fillstyle=fills[entry.of], label=entry.label)
        case "too large":
            return key(marker="o", alpha=_FAINT, label=entry.label)
        case "front":
            return key(linestyle="-", lw=LINE, label=entry.label)
        case _:
            return key(label=entry.label, **_RING, markersize=6.5)
