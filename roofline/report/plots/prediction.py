"""A figure of predicted against measured times: on the diagonal, and by how much beside it.

The left or upper panel has all cells of a validation on logarithmic axes, the roofline bound's as
faint open markers; the other one the signed error over the number of tokens, with the noise.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from roofline.records.validation import TimedCell, Validation
from roofline.report.plots.style import DOUBLE_IN, INK, NORMAL, SINGLE_IN, SMALL, component
from roofline.units import MILLI

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BANDS = ((0.25, "#EFEFEF"), (0.10, "#D9D9D9"))
"""Relative error and shade, the wider one first."""
_FAINT = 0.45
_SIZE = 4.5
"""Points."""
_DODGE = 1.03
"""Ratio between neighbours' positions, so that components of one size stand side by side."""
_LEAST_PERCENT = 30
_MOST_TICKS = 8
_MARGIN, _LEAST_RANGE = 1.6, 20
"""Ratios of times: beyond the outermost points, and between the ends of an axis."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 0.60, 0.14, 0.08, 0.38
_LEGEND_LINE, _LEGEND_COLUMNS = 0.15, 3
"""Inches, as all lengths of the page."""


def draw(validation: Validation, width_in: float = DOUBLE_IN) -> Figure:
    """The figure itself: panels side by side, or one above the other in a single column."""
    from matplotlib.figure import Figure

    groups = validation.by_component
    handles = _handles(groups)
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
    _draw_diagonal(over, groups)
    errors = panel(2 * _LEFT + side + _RIGHT if beside else _LEFT, floor, lower)
    _draw_errors(errors, groups)
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


def _draw_diagonal(axes: Axes, groups: Mapping[str, Sequence[TimedCell]]) -> None:
    """Predicted over measured, within bands around equality."""
    from matplotlib.ticker import EngFormatter, NullFormatter

    cells = [cell for group in groups.values() for cell in group]
    times = [
        t for c in cells for t in (c.measured_s, c.attainable_time_s, c.roofline_time_s) if t > 0
    ]
    low, high = min(times, default=MILLI), max(times, default=MILLI)
    margin = max(_MARGIN, (_LEAST_RANGE * low / high) ** 0.5)
    line = np.array([low / margin, high * margin])
    for width, shade in _BANDS:
        axes.fill_between(line, (1 - width) * line, (1 + width) * line, color=shade, lw=0)
    axes.plot(line, line, color=INK, lw=0.7, gid="equality")
    for name, group in groups.items():
        measured = [cell.measured_s for cell in group]
        style = _style(name)
        bound = [cell.roofline_time_s for cell in group]
        open_style = style | {"markerfacecolor": "none", "alpha": _FAINT}
        axes.plot(measured, bound, gid=f"roofline {name}", **open_style)
        predicted = [cell.attainable_time_s for cell in group]
        axes.plot(measured, predicted, gid=f"predicted {name}", **style)
    axes.set(xscale="log", yscale="log", xlim=line, ylim=line, aspect="equal")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(EngFormatter(unit="s"))
        axis.set_minor_formatter(NullFormatter())
    _label(axes, "measured time", "predicted time")


def _draw_errors(axes: Axes, groups: Mapping[str, Sequence[TimedCell]]) -> None:
    """Signed error over tokens. Bars end where the error against the median sample would be."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    errors = [abs(100 * _against_median(cell)) for group in groups.values() for cell in group]
    errors += [abs(100 * cell.error) for group in groups.values() for cell in group]
    limit = max(_LEAST_PERCENT, 1.1 * max(errors, default=0.0))
    for width, shade in _BANDS:
        axes.axhspan(-100 * width, 100 * width, color=shade, lw=0)
    axes.axhline(0, color=INK, lw=0.7)
    for place, (name, group) in enumerate(groups.items()):
        dodge = _DODGE ** (place - (len(groups) - 1) / 2)
        bars = axes.errorbar(
            [dodge * cell.tokens * cell.batch for cell in group],
            [100 * cell.error for cell in group],
            yerr=[[100 * (c.error - _against_median(c)) for c in group], [0.0] * len(group)],
            elinewidth=0.8,
            **_style(name),
        )
        bars.lines[0].set_gid(f"error {name}")
    axes.set(xscale="log", ylim=(-limit, limit))
    counts = [cell.tokens * cell.batch for group in groups.values() for cell in group]
    axes.xaxis.set_major_locator(FixedLocator(_apart(counts)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda tokens, _: f"{tokens:.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())
    _label(axes, "tokens (prompt × batch)", "predicted / measured − 1, %")


def _apart(counts: Iterable[int]) -> list[int]:
    """Of the counts those that have room for their number on a logarithmic axis."""
    known = sorted(set(counts))
    room = (known[-1] / known[0]) ** (1 / _MOST_TICKS) if known else 1.0
    kept: list[int] = []
    for count in known:
        if not kept or count >= room * kept[-1]:
            kept.append(count)
    return kept


def _against_median(cell: TimedCell) -> float:
    """Error if the median counted as what was measured, and not the fastest sample."""
    return cell.attainable_time_s / cell.median_s - 1


def _handles(groups: Mapping[str, object]) -> list[Artist]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    points = [Line2D([], [], label=component(name)[2], **_style(name)) for name in groups]
    bound = Line2D(
        [],
        [],
        label="roofline bound",
        **_style("") | {"markerfacecolor": "none", "alpha": _FAINT, "marker": "o"},
    )
    bands = [Patch(color=shade, label=f"±{100 * width:.0f} %") for width, shade in _BANDS]
    return [*points, bound, *reversed(bands)]


def _style(name: str) -> dict[str, Any]:
    marker, colour, _ = component(name)
    return {
        "linestyle": "none",
        "marker": marker,
        "color": colour,
        "markersize": _SIZE,
        "markeredgewidth": 0.7,
    }


def _label(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x, fontsize=NORMAL, color=INK, labelpad=2)
    axes.set_ylabel(y, fontsize=NORMAL, color=INK, labelpad=2)
    axes.tick_params(labelsize=SMALL, colors=INK, length=2.5, pad=2)
    axes.tick_params(which="minor", length=1.5)
    axes.spines[["top", "right"]].set_visible(False)
