"""Where the time of a prefill goes: bars with a colour for each component, a tint for each group.

The bound is hatched, attainable times are solid.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from roofline.report.charts.chart import LegendEntry, Panel, PanelChart, StackedBar
from roofline.report.charts.time_parts import NAME
from roofline.report.plots.drawing import draws
from roofline.report.plots.sheet import rows_of_bars
from roofline.report.plots.style import (
    BOUND_HATCH,
    DOUBLE_IN,
    INK,
    SMALL,
    component_look,
    dress,
    prefixed,
    swatch,
    tint,
)
from roofline.units import si

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Page

TINTS = {"linear": 1.0, "attention": 0.6, "other ops": 0.3}
"""How much each group of ops has of its component's colour; all of it what is no op."""
_BAR, _BAR_IN, _AROUND_IN = 0.82, 0.14, 0.5
_ROOM = 1.22
"""Length of the axis over the longest bar, for the number beside it."""


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
    bars = panel.bars
    for role in ("bound", "attainable"):
        _draw_parts(axes, [(i, bar) for i, bar in enumerate(bars) if bar.role == role], role)
    _draw_errors(axes, bars)
    ends = [bar.total if bar.high is None else bar.high for bar in bars]
    for row, (bar, end) in enumerate(zip(bars, ends, strict=True)):
        axes.text(end, row, f" {si(bar.total, 's')}", fontsize=SMALL, color=INK, va="center")
    names = list(dict.fromkeys(bar.label for bar in bars))
    each = len(bars) // len(names)
    axes.set_yticks([each * i + (each - 1) / 2 for i in range(len(names))], names)
    _, longest = panel.x.limits
    axes.set_xlim(0, _ROOM * (longest or 1.0))
    dress(axes, panel.x.label, panel.y.label, panel.title)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.locator_params(axis="x", nbins=5)
    prefixed(axes, "x", panel.x.unit)


def _draw_parts(axes: Axes, bars: Sequence[tuple[int, StackedBar]], role: str) -> None:
    """Rectangles from end to end, those of one part as one path: hatching each takes seconds."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    boxes: dict[tuple[str, str], list[Path]] = {}
    for row, bar in bars:
        left, top, bottom = 0.0, row - _BAR / 2, row + _BAR / 2
        for part in bar.parts:
            right = left + part.size
            corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
            boxes.setdefault((part.of, part.group), []).append(Path(corners, closed=True))
            left = right
    for (name, group), paths in boxes.items():
        patch = PathPatch(
            Path.make_compound_path(*paths),
            facecolor=tint(component_look(name)[1], TINTS.get(group, 1.0)),
            edgecolor="white",
            linewidth=0.4,
            hatch=BOUND_HATCH if role == "bound" else None,
            gid=f"{role} {name} {group}",
        )
        axes.add_patch(patch)


def _draw_errors(axes: Axes, bars: Sequence[StackedBar]) -> None:
    """What attainable times may be off."""
    known = [
        (row, bar.total, bar.low, bar.high)
        for row, bar in enumerate(bars)
        if bar.low is not None and bar.high is not None and bar.high > bar.total
    ]
    if known:
        rows, times, lows, highs = zip(*known, strict=True)
        around = [
            [max(0.0, time_s - low) for time_s, low in zip(times, lows, strict=True)],
            [high - time_s for time_s, high in zip(times, highs, strict=True)],
        ]
        style: dict[str, Any] = {"ecolor": INK, "elinewidth": 0.8, "capsize": 1.5}
        axes.errorbar(times, rows, xerr=around, fmt="none", **style)


def _handle(entry: LegendEntry) -> Artist:
    if entry.role == "component":
        return swatch(color=component_look(entry.of)[1], label=entry.label)
    if entry.role == "group":
        return swatch(color=tint(INK, TINTS[entry.of]), label=entry.label)
    return swatch(
        label=entry.label,
        hatch=BOUND_HATCH if entry.role == "bound" else None,
        facecolor=tint(INK, TINTS["attention"]),
        edgecolor="white",
    )
