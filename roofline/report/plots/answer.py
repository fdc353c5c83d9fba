"""How long an answer takes, and how a reducer's gain fades: dashes tell prompts apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from roofline.report.charts.answer import NAME
from roofline.report.charts.chart import LegendEntry, Panel, PanelChart, Series
from roofline.report.plots.drawing import draws
from roofline.report.plots.sheet import Sheet
from roofline.report.plots.style import (
    BOUND_ALPHA,
    DOUBLE_IN,
    LINE,
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
)

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Page

_HEIGHT_IN = 1.9
_REDUCED_DASH, _WHOLE_DASH = "-", (0, (4, 1.5))
_MARKED: dict[str, Any] = {"markevery": 8, "markersize": 3.2, "clip_on": False}
_KEYS: dict[str, dict[str, Any]] = {
    "reduced": {"linestyle": _REDUCED_DASH, "lw": LINE},
    "whole": {"linestyle": _WHOLE_DASH, "lw": LINE},
    "bound": {"linestyle": "-", "lw": THIN, "alpha": BOUND_ALPHA},
    "tie": {"linestyle": (0, (1, 1.5)), "lw": THIN},
    "unfit": {"linestyle": (0, (3, 1, 1, 1)), "lw": LINE},
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
    if panel.y.scale == "log":
        logarithmic(axes)
    for series in panel.series:
        _draw_series(axes, series, looks[series.of])
    axes.set_ylim(*panel.y.limits)
    dress(axes, panel.x.label, panel.y.label, panel.title)
    if panel.y.unit:
        prefixed(axes, "y", panel.y.unit)
    counted(axes, panel.x)


def _draw_series(axes: Axes, series: Series, look: Look) -> None:
    """Full lines with markers; the bound is faint, and so is a gain that may be none."""
    marker, colour = look
    style: dict[str, Any] = {"lw": LINE, "marker": marker} | _MARKED
    style["linestyle"] = _REDUCED_DASH if series.reduced else _WHOLE_DASH
    if series.role == "bound":
        style = {"lw": THIN, "alpha": BOUND_ALPHA, "linestyle": style["linestyle"]}
    elif series.role in ("tie", "unfit"):
        style |= _KEYS[series.role]
    axes.plot(
        series.x,
        floats(series.y),
        color=colour,
        gid=f"{series.role} {series.of} {series.variant}",
        **style,
    )


def _handle(entry: LegendEntry, looks: Mapping[str, Look]) -> Artist:
    if entry.role == "device":
        return device_key(entry, looks)
    return key(label=entry.label, **_KEYS[entry.role])
