"""Predicted against measured times: on the diagonal, and by how much beside it.

The left or upper panel has the roofline bound's points as faint open markers; the other one the
noise as bars.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from roofline.report.charts.chart import LegendEntry, Panel, PanelChart, Series
from roofline.report.charts.prediction import NAME, TOLERANCES, tolerance_name
from roofline.report.plots.drawing import draws
from roofline.report.plots.style import (
    DOUBLE_IN,
    INK,
    NORMAL,
    SINGLE_IN,
    SMALL,
    component_look,
    floats,
    say_why_empty,
)

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SHADES = dict(zip(map(tolerance_name, TOLERANCES), ("#EFEFEF", "#D9D9D9"), strict=True))
_SIZE = 4.5
"""Points."""
_OPEN: dict[str, Any] = {"markerfacecolor": "none", "alpha": 0.45}
_DODGE = 1.03
"""Ratio between neighbours' positions, so that components of one size stand side by side."""
_MOST_TICKS = 8
_LEFT, _RIGHT, _TOP, _BOTTOM = 0.60, 0.14, 0.08, 0.38
_LEGEND_LINE, _LEGEND_COLUMNS = 0.15, 3
"""Inches, as all lengths of the page."""


@draws(NAME)
def draw(chart: PanelChart, width_in: float = DOUBLE_IN) -> Figure:
    """Panels side by side, or one above the other in a single column."""
    from matplotlib.figure import Figure

    handles = [_handle(entry) for entry in chart.legend]
    beside = width_in > 1.5 * SINGLE_IN
    columns = len(handles) if beside else _LEGEND_COLUMNS
    legend_in = _LEGEND_LINE * -(-len(handles) // columns) + 0.06
    side = (width_in - 2 * (_LEFT + _RIGHT)) / 2 if beside else width_in - _LEFT - _RIGHT
    lower = side if beside else 0.6 * side
    height = legend_in + _BOTTOM + lower + _TOP + (0 if beside else _BOTTOM + side + _TOP)
    figure = Figure(figsize=(width_in, height), facecolor="white")

    def panel(left: float, bottom: float, panel_height: float) -> Axes:
        return figure.add_axes(
            (left / width_in, bottom / height, side / width_in, panel_height / height)
        )

    floor = legend_in + _BOTTOM
    over = panel(_LEFT, floor if beside else floor + lower + _TOP + _BOTTOM, side)
    errors = panel(2 * _LEFT + side + _RIGHT if beside else _LEFT, floor, lower)
    for axes, shown, draw_into in zip(
        (over, errors), chart.panels, (_draw_times, _draw_errors), strict=True
    ):
        if shown.empty_because:
            say_why_empty(axes, shown)
        else:
            draw_into(axes, shown)
    figure.legend(
        handles=handles,
        loc="lower center",
        bbox_to_anchor=(0.5, 0.03 / height),
        ncols=columns,
        fontsize=SMALL,
        labelcolor=INK,
        frameon=False,
        borderpad=0,
        borderaxespad=0,
        handletextpad=0.4,
        handlelength=1.2,
        columnspacing=1.0,
        labelspacing=0.35,
    )
    return figure


def _draw_times(axes: Axes, panel: Panel) -> None:
    """Predicted over measured, within bands around equality."""
    from matplotlib.ticker import EngFormatter, NullFormatter

    for series in panel.series:
        _draw_series(axes, series)
    x, y = panel.x, panel.y
    axes.set(xscale=x.scale, yscale=y.scale, xlim=x.limits, ylim=y.limits, aspect="equal")
    for axis, unit in ((axes.xaxis, x.unit), (axes.yaxis, y.unit)):
        axis.set_major_formatter(EngFormatter(unit=unit))
        axis.set_minor_formatter(NullFormatter())
    _label(axes, panel)


def _draw_series(axes: Axes, series: Series) -> None:
    """A band, the diagonal, or the points of a component, open where they are the bound's."""
    if series.role == "tolerance":
        shade = _SHADES[series.of]
        axes.fill_between(series.x, series.low, series.high, color=shade, lw=0)
    elif series.role == "equality":
        axes.plot(series.x, floats(series.y), color=INK, lw=0.7, gid="equality")
    else:
        style = _style(series.of) | (_OPEN if series.role == "roofline" else {})
        axes.plot(series.x, floats(series.y), gid=f"{series.role} {series.of}", **style)


def _draw_errors(axes: Axes, panel: Panel) -> None:
    """Signed error over tokens, with the noise as bars."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    for line in panel.lines:
        if line.to is None:
            axes.axhline(line.at, color=INK, lw=0.7)
        else:
            axes.axhspan(line.at, line.to, color=_SHADES[line.label], lw=0)
    for index, series in enumerate(panel.series):
        dodge = _DODGE ** (index - (len(panel.series) - 1) / 2)
        y, low, high = np.array(floats(series.y)), np.array(series.low), np.array(series.high)
        bars = axes.errorbar(
            [dodge * tokens for tokens in series.x],
            y,
            yerr=[y - low, high - y],
            elinewidth=0.8,
            **_style(series.of),
        )
        bars.lines[0].set_gid(f"error {series.of}")
    axes.set(xscale=panel.x.scale, ylim=panel.y.limits)
    counts = [tokens for series in panel.series for tokens in series.x]
    axes.xaxis.set_major_locator(FixedLocator(_apart(counts)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda tokens, _: f"{tokens:.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())
    _label(axes, panel)


def _apart(counts: Iterable[float]) -> list[float]:
    """Of the counts those that have room for their number on a logarithmic axis."""
    known = sorted(set(counts))
    room = (known[-1] / known[0]) ** (1 / _MOST_TICKS) if known else 1.0
    kept: list[float] = []
    for count in known:
        if not kept or count >= room * kept[-1]:
            kept.append(count)
    return kept


def _handle(entry: LegendEntry) -> Artist:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    match entry.role:
        case "component":
            return Line2D([], [], label=entry.label, **_style(entry.of))
        case "tolerance":
            return Patch(color=_SHADES[entry.of], label=entry.label)
        case _:
            style = _style("") | _OPEN | {"marker": "o"}
            return Line2D([], [], label=entry.label, **style)


def _style(name: str) -> dict[str, Any]:
    marker, colour = component_look(name)
    return {
        "linestyle": "none",
        "marker": marker,
        "color": colour,
        "markersize": _SIZE,
        "markeredgewidth": 0.7,
    }


def _label(axes: Axes, panel: Panel) -> None:
    axes.set_xlabel(panel.x.label, fontsize=NORMAL, color=INK, labelpad=2)
    axes.set_ylabel(panel.y.label, fontsize=NORMAL, color=INK, labelpad=2)
    axes.tick_params(labelsize=SMALL, colors=INK, length=2.5, pad=2)
    axes.tick_params(which="minor", length=1.5)
    axes.spines[["top", "right"]].set_visible(False)
