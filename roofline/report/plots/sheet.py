"""A page of panels, row by row, with what is what below them, as wide as a paper asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING

import numpy as np

from roofline.report.charts.chart import LegendEntry, Panel, PanelChart
from roofline.report.charts.selection import more
from roofline.report.plots.style import INK, PALE, SMALL, say_why_empty

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Page

_LEAST_IN = 2.2
"""Width of a panel, below which there is one fewer in a row."""
_LINE_IN, _PAD_IN, _NOTE_IN = 0.145, 0.12, 0.15
"""Heights of a line of the legend, around it, and of a note above everything."""
_LETTER_IN, _ENTRY_IN = 0.054, 0.42
"""Widths in the legend: a letter on average, and what an entry has besides."""
PAGE_IN = 8.8
"""Height of the text on a paper's page: what does not fit is left out, and said to be."""


class Sheet:
    """Room for a number of panels of one size; words and legend take theirs from the page."""

    def __init__(
        self,
        chart: PanelChart,
        width_in: float,
        height_in: float,
        handles: Sequence[Artist],
    ) -> None:
        """Each panel is `height_in` high; `handles` are the legend.

        Of more panels than a page holds those that it does are there; panels without a title belong
        to the one before them, and go with it.
        """
        from matplotlib.figure import Figure

        count = len(chart.panels)
        self.columns = min(chart.columns, count, max(1, int(width_in / _LEAST_IN)))
        self._handles = handles
        self._legend_columns = legend_columns([str(h.get_label()) for h in handles], width_in)
        lines = -(-len(handles) // self._legend_columns)
        below = lines * _LINE_IN + _PAD_IN
        notes = [chart.subtitle, *chart.left_out]
        room = PAGE_IN - below - _NOTE_IN * (1 + len(_wrapped(notes, width_in)))
        fit = max(1, int(room / height_in)) * self.columns
        if count > fit:
            fit = next((n for n in range(fit, 0, -1) if chart.panels[n].title), fit)
            notes.append(more(count - fit, "panel"))
        self._shown = chart.panels[:fit]
        rows = -(-len(self._shown) // self.columns)
        note = _wrapped(notes, width_in)
        height_in = rows * height_in + below + _NOTE_IN * len(note)
        self.drawing: Page = Figure(figsize=(width_in, height_in), facecolor="white")
        if note:
            words = "\n".join(note)
            self.drawing.suptitle(words, fontsize=SMALL, color=PALE, x=0.99, ha="right")
        self.panels: list[Axes] = [
            self.drawing.add_subplot(rows, self.columns, i + 1) for i in range(len(self._shown))
        ]

    def to_draw(self) -> Iterator[tuple[Axes, Panel]]:
        """Axes to draw into and what; a panel without content says why instead."""
        for axes, panel in zip(self.panels, self._shown, strict=True):
            if panel.empty_because:
                say_why_empty(axes, panel)
            else:
                yield axes, panel

    @property
    def inner_panels(self) -> list[Axes]:
        """Those with another one to their left."""
        return [axes for i, axes in enumerate(self.panels) if i % self.columns]

    def finished(self) -> Page:
        """Say what is what below all panels, and settle the layout.

        Once: a figure that has a layout engine of its own is laid out and drawn anew for each file.
        """
        from matplotlib.layout_engine import ConstrainedLayoutEngine

        below = self._shown[self.columns :]
        for axes, panel in zip(self.panels, below, strict=False):
            if not panel.empty_because:  # it says the same
                axes.set_xlabel("")
        self.drawing.legend(
            handles=self._handles,
            loc="outside lower center",
            ncols=self._legend_columns,
            fontsize=SMALL,
            labelcolor=INK,
            frameon=False,
            borderpad=0.2,
            borderaxespad=0,
            handletextpad=0.5,
            handlelength=1.8,
            columnspacing=1.2,
            labelspacing=0.4,
        )
        engine = ConstrainedLayoutEngine(w_pad=0.05, h_pad=0.05, wspace=0.02, hspace=0.02)
        engine.execute(self.drawing)
        return self.drawing


def rows_of_bars(
    chart: PanelChart,
    width_in: float,
    *,
    bar_in: float,
    around_in: float,
    handle: Callable[[LegendEntry], Artist],
    draw_panel: Callable[[Axes, Panel], None],
) -> Page:
    """Panels of bars, the first on top, each with room for as many rows as any has."""
    rows = max(len(panel.bars) for panel in chart.panels)
    sheet = Sheet(chart, width_in, around_in + rows * bar_in, list(map(handle, chart.legend)))
    for axes, panel in sheet.to_draw():
        draw_panel(axes, panel)
        axes.set_ylim(rows - 0.5, -0.5)
    return sheet.finished()


def _wrapped(notes: Sequence[str], width_in: float) -> list[str]:
    """Lines of a page's width."""
    return wrap("; ".join(filter(None, notes)), int(width_in / _LETTER_IN))


def legend_columns(labels: Sequence[str], width_in: float) -> int:
    """The fewest with which the legend has as few lines as fit; it is filled column by column."""
    lengths = np.array([len(label) for label in labels])
    for columns in range(len(labels), 1, -1):
        parts = np.array_split(lengths, columns)
        if columns * _ENTRY_IN + _LETTER_IN * sum(part.max() for part in parts) <= width_in:
            lines = -(-len(labels) // columns)
            return -(-len(labels) // lines)
    return 1
