"""Which function draws which chart: open to drawings of one's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from roofline.registry import Registry
from roofline.report.charts.chart import Chart
from roofline.report.plots.style import AS_IT_IS, DOUBLE_IN

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Page

Drawing: TypeAlias = "Callable[[Any, float], Page]"
"""A chart and a width in inches → a page."""
D = TypeVar("D", bound="Callable[[Any, float], Page]")

DRAWINGS: Registry[Drawing] = Registry("drawing", "roofline.report.plots")
"""By the names of their charts."""


def draws(*names: str) -> Callable[[D], D]:
    """Have a function draw the charts of these names."""

    def registered(drawing: D) -> D:
        for name in names:
            DRAWINGS.register(name, drawing)
        return drawing

    return registered


def draw(chart: Chart, width_in: float = DOUBLE_IN) -> Page:
    """A chart as a page `width_in` wide. Raises UnknownNameError if nobody draws such charts."""
    drawing = DRAWINGS.find(chart.name)
    from matplotlib import rc_context

    with rc_context(AS_IT_IS):
        return drawing(chart, width_in)
