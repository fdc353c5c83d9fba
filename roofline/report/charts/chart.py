"""What a figure shows, as plain data: who draws it decides on sizes, type and colours alone.

Numbers are in SI units and in the order in which they are drawn. JSON: `to_json`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import ArrayLike


class LegendEntry(Struct, frozen=True, kw_only=True):
    """What a colour, marker, dash or hatch stands for."""

    role: str
    """Of the series or bars that look so; `device`, `component`, `method` for a colour."""
    label: str
    of: str = ""
    """Whose colour or shade it is, as in `Series` and `BarPart`; the label's where it is empty."""


class PanelAxis(Struct, frozen=True, kw_only=True):
    """What stands along one side of a panel."""

    label: str
    unit: str = ""
    """Behind the number at each tick, with an SI prefix; none where the label names it."""
    scale: Literal["linear", "log"] = "linear"
    limits: tuple[float | None, float | None] = (None, None)
    """Ends; None where they are as the data ask."""


class Series(Struct, frozen=True, kw_only=True):
    """Points that belong together: a line, dots or a mark, as the role says."""

    role: str
    """What it tells: a time, its bound, its error. What has one role looks alike."""
    of: str = ""
    """Whose it is: a device, a component, a method. Each has a colour."""
    variant: str = ""
    """What tells it from others of the same: a precision, a prompt, a model."""
    x: tuple[float, ...]
    y: tuple[float | None, ...]
    """None where a line has a gap."""
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    """Between which `y` may lie; empty where nobody tells."""
    shares: tuple[float, ...] = ()
    """Of all time, that points take; empty where their areas mean nothing."""
    names: tuple[str, ...] = ()
    """Words that lead to points; empty for those, or where all, that have none."""
    origins: tuple[tuple[float, float], ...] = ()
    """Where points were, with all visual tokens: arrows lead from there."""
    reduced: bool = False
    """Whether it is of a prompt with fewer than all visual tokens."""
    label: str = ""
    """Words beside it."""


class BarPart(Struct, frozen=True, kw_only=True):
    """A piece of a bar."""

    of: str
    """A component of the model, or a part of memory. Each has a colour."""
    group: str = ""
    """Of ops; a shade of that colour."""
    size: float


class StackedBar(Struct, frozen=True, kw_only=True):
    """Parts from end to end, from 0 on."""

    label: str
    """Before its row. Neighbours of one label share it."""
    role: str
    parts: tuple[BarPart, ...]
    low: float | None = None
    high: float | None = None
    """Between which the total may lie; None where nobody tells."""
    note: str = ""
    """Words behind its size."""

    @property
    def total(self) -> float:
        """Sum of the parts."""
        return sum(part.size for part in self.parts)

    @property
    def error(self) -> float:
        """What the total may be off at most, as a share of it; 0 where nobody tells."""
        return 0.0 if self.high is None else self.high / self.total - 1


class ReferenceLine(Struct, frozen=True, kw_only=True):
    """A line from one end of a panel to the other, or a band between two."""

    role: str
    axis: Literal["x", "y"]
    """On which `at` is a place."""
    at: float
    to: float | None = None
    """The other side of a band."""
    label: str = ""


class Panel(Struct, frozen=True, kw_only=True):
    """Two axes and what is between them."""

    title: str = ""
    x: PanelAxis
    y: PanelAxis
    series: tuple[Series, ...] = ()
    bars: tuple[StackedBar, ...] = ()
    """From the top down, one in each row."""
    lines: tuple[ReferenceLine, ...] = ()
    empty_because: str = ""
    """Stands in place of the axes where there is nothing between them."""


class Chart(Struct, frozen=True, kw_only=True):
    """What all charts have."""

    name: str
    """Of the drawing that fits, and of a report's files."""
    title: str
    alt: str
    """The same in words, with its main numbers, for those who cannot see it."""
    legend: tuple[LegendEntry, ...] = ()


class PanelChart(Chart, frozen=True, kw_only=True):
    """Panels, row by row."""

    panels: tuple[Panel, ...]
    columns: int
    """Panels in a row, where the page is wide enough."""
    subtitle: str = ""
    """What all panels share."""
    left_out: tuple[str, ...] = ()
    """What a page does not hold, in words."""


def numbers(values: ArrayLike) -> tuple[float, ...]:
    """Python's floats of an array of one dimension."""
    return tuple(np.asarray(values, dtype=float).tolist())


def spoken(*reasons: str) -> tuple[str, ...]:
    """Reasons that are any, each once."""
    return tuple(dict.fromkeys(filter(None, reasons)))


def listed(items: Sequence[str], most: int = 6) -> str:
    """A list in words, cut short where it would be tiring."""
    left = len(items) - most
    return "; ".join(items[:most]) + (f"; and {left} more" if left > 0 else "")


def to_json(chart: Chart) -> bytes:
    """A chart as JSON; arrays become lists."""
    return msgspec.json.encode(chart, enc_hook=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise NotImplementedError(f"a chart holds no {type(value).__name__}")
