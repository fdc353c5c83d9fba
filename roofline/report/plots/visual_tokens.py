"""Time, FLOPs and KV cache over the number of visual tokens: a line for each device, and two marks.

Open where the LLM stops being bound by memory, filled where fewer tokens no longer help.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from roofline.report.charts.chart import LegendEntry, Panel, PanelChart, Series
from roofline.report.charts.visual_tokens import NAME
from roofline.report.plots.drawing import draws
from roofline.report.plots.sheet import Sheet
from roofline.report.plots.style import (
    BAND_ALPHA,
    BOUND_ALPHA,
    DOUBLE_IN,
    INK,
    LINE,
    PALE,
    RULE,
    THIN,
    Look,
    counted,
    device_key,
    dress,
    floats,
    key,
    legend_looks,
    logarithmic,
    prefixed,
    swatch,
)

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Page

_HEIGHT_IN = 1.9
_TOO_LARGE = (0, (0.9, 1.2))
"""Dots for what the device has not the memory for."""
_LINES: dict[str, dict[str, Any]] = {
    "time": {"lw": LINE, "ls": "-"},
    "too large": {"lw": LINE, "ls": _TOO_LARGE},
    "bound": {"lw": THIN, "alpha": BOUND_ALPHA},
    "flops": {"lw": LINE},
    "KV cache": {"lw": LINE},
}
_MARKS: dict[str, dict[str, Any]] = {
    "ridge": {"markersize": 5.6, "markerfacecolor": "white", "markeredgewidth": 0.9},
    "floor": {"markersize": 3.8, "markeredgewidth": 0.9},
}
_MARK_KEYS: dict[str, dict[str, Any]] = {"ridge": _MARKS["ridge"], "floor": {}}
_LINE_KEYS: dict[str, dict[str, Any]] = {
    "requested": {"linestyle": "-", "color": RULE, "lw": LINE},
    "bound": {"linestyle": "-", "lw": THIN, "alpha": BOUND_ALPHA},
    "too large": {"linestyle": _TOO_LARGE, "lw": LINE},
}


@draws(NAME)
def draw(chart: PanelChart, width_in: float = DOUBLE_IN) -> Page:
    """Panels of one model and precision beside each other."""
    looks = legend_looks(chart, "device")
    handles = [_handle(entry, looks) for entry in chart.legend]
    sheet = Sheet(chart, width_in, _HEIGHT_IN, handles)
    for axes, panel in sheet.to_draw():
        _draw_panel(axes, panel, looks)
    return sheet.finished()


def _draw_panel(axes: Axes, panel: Panel, looks: Mapping[str, Look]) -> None:
    counted(axes, panel.x)
    for line in panel.lines:
        axes.axvline(line.at, color=RULE, lw=THIN, zorder=0.5, gid=line.role)
    logarithmic(axes)
    for series in panel.series:
        _draw_series(axes, series, looks.get(series.of, ("", INK)))
    axes.set_ylim(*panel.y.limits)
    dress(axes, panel.x.label, panel.y.label, panel.title)
    prefixed(axes, "y", panel.y.unit)


def _draw_series(axes: Axes, series: Series, look: Look) -> None:
    marker, colour = look
    name = f"{series.role} {series.of} {series.variant}".strip()
    if series.role == "error":
        shade: dict[str, Any] = {"color": colour, "alpha": BAND_ALPHA, "lw": 0, "gid": "band"}
        axes.fill_between(series.x, series.low, series.high, **shade)
    elif series.role in _MARKS:
        style: dict[str, Any] = {"clip_on": False, "zorder": 3} | _MARKS[series.role]
        axes.plot(series.x, floats(series.y), marker=marker, color=colour, gid=name, **style)
    else:
        axes.plot(series.x, floats(series.y), color=colour, gid=name, **_LINES[series.role])


def _handle(entry: LegendEntry, looks: Mapping[str, Look]) -> Artist:
    if entry.role == "device":
        return device_key(entry, looks)
    if entry.role in _MARK_KEYS:
        return key(marker="o", label=entry.label, **_MARK_KEYS[entry.role])
    if entry.role == "error":
        return swatch(color=PALE, alpha=BAND_ALPHA, lw=0, label=entry.label)
    return key(label=entry.label, **_LINE_KEYS[entry.role])
