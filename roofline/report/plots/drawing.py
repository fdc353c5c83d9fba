"""Which function draws which chart: open to drawings of one's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from roofline.report.charts.chart import Chart
from roofline.report.plots.style import DOUBLE_IN

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Page

Drawing: TypeAlias = "Callable[[Any, float], Page]"
"""A chart and a width in inches → a page."""
D = TypeVar("D", bound="Callable[[Any, float], Page]")

_REGISTERED: dict[str, Drawing] = {}


def draws(*names: str) -> Callable[[D], D]:
    """Have a function draw the charts of these names. Raises ValueError for one that is taken."""

    def registered(drawing: D) -> D:
        for name in names:
            if name in _REGISTERED:
                raise ValueError(f"there is a drawing of {name} already")
            _REGISTERED[name] = drawing
        return drawing

    return registered


def drawings() -> dict[str, Drawing]:
    """All that are registered, by the names of their charts."""
    return dict(_REGISTERED)


def draw(chart: Chart, width_in: float = DOUBLE_IN) -> Page:
    """A chart as a page `width_in` wide. Raises KeyError if nobody draws charts of its name."""
    return _REGISTERED[chart.name](chart, width_in)
