"""What a prefill keeps in memory: bars up to the line that is the device's capacity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from roofline.report.charts.chart import LegendEntry, Panel, PanelChart, StackedBar
from roofline.report.charts.memory import NAME
from roofline.report.plots.drawing import draws
from roofline.report.plots.sheet import rows_of_bars
from roofline.report.plots.style import (
    DOUBLE_IN,
    INK,
    SERIES,
    SMALL,
    THIN,
    dress,
    key,
    prefixed,
    swatch,
)
from roofline.units import si

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Page

COLOURS = {"weights": SERIES[0], "KV cache": SERIES[4], "peak activations": SERIES[2]}
_BAR, _BAR_IN, _AROUND_IN = 0.75, 0.21, 0.66
_LINE: dict[str, Any] = {"color": INK, "lw": THIN, "ls": (0, (4, 2))}


@draws(NAME)
def draw(chart: PanelChart, width_in: float = DOUBLE_IN) -> Page:
    """A row for each bar."""
    return rows_of_bars(
        chart,
        width_in,
        bar_in=_BAR_IN,
        around_in=_AROUND_IN,
        handle=_handle,
        draw_panel=_draw_panel,
    )


def _draw_panel(axes: Axes, panel: Panel) -> None:
    _draw_bars(axes, panel.bars)
    axes.set_yticks(range(len(panel.bars)), [bar.label for bar in panel.bars])
    axes.set_xlim(*panel.x.limits)
    for line in panel.lines:
        axes.axvline(line.at, gid=line.role, **_LINE)
    dress(axes, panel.x.label, panel.y.label, panel.title)
    axes.tick_params(axis="y", length=0)
    axes.locator_params(axis="x", nbins=4)
    prefixed(axes, "x", panel.x.unit)


def _draw_bars(axes: Axes, bars: Sequence[StackedBar]) -> None:
    """With their numbers in a column at the right, where they hide no line."""
    for row, bar in enumerate(bars):
        left = 0.0
        for part in bar.parts:
            colour = COLOURS[part.of]
            axes.barh(row, part.size, _BAR, left=left, color=colour, gid=part.of)
            left += part.size
        axes.annotate(
            f"{si(bar.total, 'B')}\n{bar.note}",
            (1, row),
            xycoords=("axes fraction", "data"),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            fontsize=SMALL,
            linespacing=1.05,
            color=INK,
        )


def _handle(entry: LegendEntry) -> Artist:
    if entry.role == "capacity":
        return key(label=entry.label, color=INK, linestyle=_LINE["ls"], lw=THIN)
    return swatch(color=COLOURS[entry.of], label=entry.label)
