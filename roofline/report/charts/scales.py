"""Ends of axes that are read against each other: panels that are compared share their scale."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain

from msgspec.structs import replace

from roofline.report.charts.chart import Panel

_MARGIN = 0.05
"""Of an axis's length, beyond the outermost points at either end."""


def matched(panels: Sequence[Panel], columns: int) -> tuple[Panel, ...]:
    """Panels of a column have one y axis; logarithmic ones span as many decades in every column.

    So a line twice as steep grows with twice the power, whatever its unit. Limits that a panel has
    already are within.
    """
    ends = {i: _ends(panels[i::columns]) for i in range(columns)}
    log = [i for i in range(columns) if panels[i].y.scale == "log" and ends[i] is not None]
    ratio = max((high / low for low, high in (ends[i] or (1.0, 1.0) for i in log)), default=1.0)
    found = []
    for i, panel in enumerate(panels):
        limits = ends[i % columns]
        if limits is None or panel.empty_because:
            found.append(panel)
            continue
        low, high = limits
        if panel.y.scale == "log":
            middle, half = (low * high) ** 0.5, ratio ** (0.5 + _MARGIN)
            low, high = middle / half, middle * half
        else:
            room = _MARGIN * (high - low or 1.0)
            low, high = low - room, high + room
        found.append(replace(panel, y=replace(panel.y, limits=(low, high))))
    return tuple(found)


def _ends(panels: Iterable[Panel]) -> tuple[float, float] | None:
    """The least and the most of panels one above the other; None where they have nothing."""
    values = [
        value
        for panel in panels
        for value in chain(
            panel.y.limits if panel.series else (),
            *((*one.y, *one.low, *one.high) for one in panel.series),
        )
        if value is not None and (value > 0 or panel.y.scale == "linear")
    ]
    return (min(values), max(values)) if values else None
