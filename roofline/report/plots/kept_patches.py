"""The patches that reducers keep of pictures: each picture, and behind it one panel a reducer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from roofline.report.charts.kept_tokens import PATCHES_NAME, KeptPatchesChart
from roofline.report.plots.drawing import draws
from roofline.report.plots.kept_tokens import GROUNDS, bare, draw_kept, handle
from roofline.report.plots.sheet import legend_columns
from roofline.report.plots.style import DOUBLE_IN, INK, NORMAL, SMALL

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LEAST, _MOST = 1.0, 1.75
"""Widths of a panel: below the first there is one fewer in a row."""
_GAP, _MARGIN, _WORDS, _LINE = 0.08, 0.06, 0.3, 0.15
"""Between panels, at the sides, over a panel, and of a line of the legend; inches, as all here."""


@draws(PATCHES_NAME)
def draw(chart: KeptPatchesChart, width_in: float = DOUBLE_IN) -> Figure:
    """As wide as a page's column at most; every picture begins a row, which may go on below."""
    from matplotlib.figure import Figure

    ground = GROUNDS[chart.background]
    room = width_in - 2 * _MARGIN + _GAP
    most = max(1 + len(row.columns) for row in chart.rows)
    columns = min(most, max(1, int(room / (_LEAST + _GAP))))
    panel = min(_MOST, room / columns - _GAP)
    lines = sum(-(-(1 + len(row.columns)) // columns) for row in chart.rows)
    entries = legend_columns([entry.label for entry in chart.legend], width_in)
    below = _LINE * -(-len(chart.legend) // entries) + _MARGIN
    width = 2 * _MARGIN + columns * (panel + _GAP) - _GAP
    width = max(width, min(width_in, _least_width(chart, entries)))
    height = below + lines * (panel + _WORDS) + _MARGIN
    figure = Figure(figsize=(width, height), facecolor="white")

    line = 0
    for row in chart.rows:
        for place in range(1 + len(row.columns)):
            down, across = divmod(place, columns)
            left = _MARGIN + across * (panel + _GAP)
            bottom = height - _MARGIN - (line + down + 1) * (panel + _WORDS)
            axes = figure.add_axes((left / width, bottom / height, panel / width, panel / height))
            if place == 0:
                axes.imshow(row.picture)
                bare(axes)
                _title(axes, row.name, row.detail, panel)
            else:
                column = row.columns[place - 1]
                draw_kept(axes, row.picture, row.side, column, ground, panel)
                _title(axes, column.reducer, column.detail, panel)
        line += -(-(1 + len(row.columns)) // columns)
    figure.legend(
        handles=[handle(entry, ground) for entry in chart.legend],
        loc="lower left",
        bbox_to_anchor=(_MARGIN / width, 0.02 / height),
        ncols=entries,
        fontsize=SMALL,
        labelcolor=INK,
        frameon=False,
        borderpad=0,
        borderaxespad=0,
        handlelength=1.1,
        handleheight=1.1,
        columnspacing=1.2,
        labelspacing=0.35,
    )
    return figure


def _least_width(chart: KeptPatchesChart, entries: int) -> float:
    """What the legend takes."""
    labels = [entry.label for entry in chart.legend]
    return 2 * _MARGIN + sum(0.4 + 0.06 * len(label) for label in labels[:entries])


def _title(axes: Axes, name: str, detail: str, panel: float) -> None:
    line: dict[str, Any] = {"transform": axes.transAxes, "color": INK, "parse_math": False}
    axes.text(0, 1 + 0.15 / panel, name, fontsize=NORMAL, fontweight="bold", **line)
    axes.text(0, 1 + 0.04 / panel, detail, fontsize=SMALL, **line)
