"""What stays in memory during a prefill: bars before lines that are the devices' capacities."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill
from typing import TYPE_CHECKING

from roofline.report.charts.chart import PanelChart, ReferenceLine, StackedBar
from roofline.report.charts.memory import NAME
from roofline.report.plots.drawing import draws
from roofline.report.plots.sheet import Sheet
from roofline.report.plots.style import (
    DOUBLE_IN,
    INK,
    SERIES,
    SMALL,
    THIN,
    dress,
    prefixed,
    swatch,
)
from roofline.units import si

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Page

COLOURS = {"weights": SERIES[0], "KV cache": SERIES[4], "peak activations": SERIES[2]}
_BAR, _BAR_IN, _AROUND_IN, _LINE_IN, _NAME_IN = 0.75, 0.16, 0.9, 0.16, 0.12
_LETTERS_PER_IN = 13
"""Of a line below the axis."""
_NEAR = 0.02
"""Capacities closer than this share of the axis share a name."""


@draws(NAME)
def draw(chart: PanelChart, width_in: float = DOUBLE_IN) -> Page:
    """Devices are lines, or named where their capacity is beyond the axis."""
    (panel,) = chart.panels
    _, end = panel.x.limits
    assert end is not None
    within = [line for line in panel.lines if line.at <= end]
    labels = _labels(within, end)
    beyond = _beyond([line for line in panel.lines if line.at > end], width_in)
    extra_in = _LINE_IN * beyond.count("\n")
    height_in = _AROUND_IN + extra_in + len(panel.bars) * _BAR_IN + len(labels) * _NAME_IN
    handles = [swatch(color=COLOURS[entry.of], label=entry.label) for entry in chart.legend]
    sheet = Sheet(chart, width_in, height_in, handles)
    (axes,) = sheet.panels
    _draw_bars(axes, panel.bars)
    axes.set_yticks(range(len(panel.bars)), [bar.label for bar in panel.bars])
    axes.set(xlim=panel.x.limits, ylim=(len(panel.bars) - 0.5, -0.5))
    _draw_capacities(axes, within, labels)
    dress(axes, "", panel.y.label)
    axes.set_xlabel(f"{panel.x.label}\n{beyond}".rstrip(), loc="right")
    axes.tick_params(axis="y", length=0)
    axes.locator_params(axis="x", nbins=max(3, int(width_in)))
    prefixed(axes, "x", panel.x.unit)
    return sheet.finished()


def _beyond(capacities: Sequence[ReferenceLine], width_in: float) -> str:
    """Names and sizes in lines of the page's width, none of which ends within a size."""
    if not capacities:
        return ""
    sizes = [si(line.at, "B").replace(" ", "\N{NO-BREAK SPACE}") for line in capacities]
    names = [f"{line.label} {size}" for line, size in zip(capacities, sizes, strict=True)]
    return fill(f"beyond this axis: {'; '.join(names)}", int(_LETTERS_PER_IN * width_in))


def _labels(capacities: Sequence[ReferenceLine], end: float) -> list[tuple[float, str]]:
    """Names of devices, those of nearly the same capacity on one line."""
    found: list[tuple[float, str]] = []
    for line in capacities:
        words = f"{line.label} {si(line.at, 'B')}"
        if found and line.at - found[-1][0] < _NEAR * end:
            found[-1] = (line.at, f"{found[-1][1]}; {words}")
        else:
            found.append((line.at, words))
    return found


def _draw_capacities(
    axes: Axes, capacities: Sequence[ReferenceLine], labels: Sequence[tuple[float, str]]
) -> None:
    """Lines, and their names above the panel, one above the other."""
    for line in capacities:
        axes.axvline(line.at, color=INK, lw=THIN, ls=(0, (4, 2)), gid="capacity")
    for level, (size, words) in enumerate(reversed(labels)):
        axes.annotate(
            words,
            (size, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 2 + 72 * _NAME_IN * level),
            textcoords="offset points",
            ha="right",
            va="bottom",
            fontsize=SMALL,
            color=INK,
        )


def _draw_bars(axes: Axes, bars: Sequence[StackedBar]) -> None:
    """With their numbers in a column at the right, where they hide no line."""
    for row, bar in enumerate(bars):
        left = 0.0
        for part in bar.parts:
            colour = COLOURS[part.of]
            axes.barh(row, part.size, _BAR, left=left, color=colour, gid=part.of)
            left += part.size
        axes.annotate(
            si(bar.total, "B"),
            (1, row),
            xycoords=("axes fraction", "data"),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            fontsize=SMALL,
            color=INK,
        )
