"""Which charts a report of a study has, and where in it they stand: open to charts of one's own."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from msgspec import Struct

from roofline.explore.study import Study
from roofline.report.charts.chart import Chart


class Section(Enum):
    """Of a report, in its order, by their titles."""

    ANSWER = "Answer"
    COSTS = "What it costs"
    BOUNDS = "What bounds it"
    MEMORY = "Memory"
    ANSWERS = "Answers"
    MEASURED = "Measured"
    ACCURACY = "Accuracy against cost"
    MORE = "More figures"
    INPUTS = "Inputs, sources and versions"


def always(study: Study) -> bool:
    """For what every study has."""
    return True


class ReportChart(Struct, frozen=True, kw_only=True):
    """A chart that a report shows of every study that has what it needs."""

    name: str
    """Of its drawing and its files, without their endings."""
    title: str
    section: Section = Section.MORE
    place: int = 0
    """Among the charts of its section, from the first on."""
    applies: Callable[[Study], bool] = always
    """Whether the study has what it shows."""
    of: Callable[[Study], Chart]
    """The chart, of a study to which it applies."""


_REGISTERED: dict[str, ReportChart] = {}


def register(chart: ReportChart) -> None:
    """Have a chart in every report from now on. Raises ValueError for a name that is taken."""
    if chart.name in _REGISTERED:
        raise ValueError(f"there is a chart called {chart.name} already: choose another name")
    _REGISTERED[chart.name] = chart


def report_charts() -> dict[str, ReportChart]:
    """All that are registered, by name, in a report's order."""
    sections = list(Section)
    ordered = sorted(
        _REGISTERED.values(), key=lambda c: (sections.index(c.section), c.place, c.name)
    )
    return {chart.name: chart for chart in ordered}
