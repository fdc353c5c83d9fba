"""The picture of `reports/accuracy.md`: predicted against measured times of everything."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from roofline.model.polynomial import Array
from roofline.report.plots.style import INK, NORMAL, SMALL
from roofline.units import MILLI

COLUMNS, WIDE_IN, PANEL_IN = 3, 7.0, 2.25
CELLS = 60
"""Hexagons along an axis."""
TEN_PERCENT = 1.1


class Points(NamedTuple):
    """What one panel shows, in s, or in J of an unit of its own."""

    predicted: Array
    measured: Array
    unit: str = "ms"


def draw(panels: Mapping[str, Points], file: Path) -> None:
    """One panel for each, cells shaded by the logarithm of how many points they hold; between the
    thin lines predictions are within 10 %.
    """
    rows = -(-len(panels) // COLUMNS)
    figure = Figure(figsize=(WIDE_IN, PANEL_IN * rows), facecolor="white", layout="constrained")
    axes = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for one, (title, points) in zip(axes, panels.items(), strict=False):
        _panel(one, title, points)
    for spare in axes[len(panels) :]:
        spare.set_axis_off()
    figure.savefig(file, dpi=144, metadata={"Software": ""})


def _panel(axes: Axes, title: str, points: Points) -> None:
    scale = MILLI if points.unit == "ms" else 1.0
    measured, predicted = points.measured / scale, points.predicted / scale
    low, high = (f(np.concatenate([measured, predicted])) for f in (np.min, np.max))
    ends = np.array([low / 1.3, high * 1.3])
    span = [np.log10(value) for value in ends]
    axes.hexbin(
        measured,
        predicted,
        gridsize=CELLS if measured.size > 500 else CELLS // 2,
        xscale="log",
        yscale="log",
        bins="log",
        mincnt=1,
        cmap="viridis_r",
        linewidths=0.1,
        extent=(*span, *span),
    )
    axes.plot(ends, ends, color=INK, linewidth=0.6)
    for factor in (TEN_PERCENT, 1 / TEN_PERCENT):
        axes.plot(ends, factor * ends, color=INK, linewidth=0.4, alpha=0.6)
    axes.set(xlim=ends, ylim=ends, aspect="equal")
    off = 100 * float(np.median(np.abs(predicted / measured - 1)))
    axes.set_title(f"{title}\n{measured.size:,} points, median {off:.1f} % off", fontsize=NORMAL)
    axes.set_xlabel(f"Measured, {points.unit}", fontsize=SMALL)
    axes.set_ylabel(f"Predicted, {points.unit}", fontsize=SMALL)
    axes.tick_params(labelsize=SMALL, length=2)
