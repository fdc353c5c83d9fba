"""Which charts a report of a study has, and where in it they stand: open to charts of one's own."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from msgspec import Struct

from roofline.explore.study import Study
from roofline.registry import Registry
from roofline.report.charts.chart import Chart


class ReportSection(Enum):
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
    section: ReportSection = ReportSection.MORE
    order: int = 0
    """Among the charts of its section, from the first on."""
    applies: Callable[[Study], bool] = always
    """Whether the study has what it shows."""
    each_prompt: bool = True
    """Whether it shows prompts one by one, and not only what lies between the fewest visual tokens
    and the most."""
    of: Callable[[Study], Chart]
    """The chart, of a study to which it applies."""


CHARTS: Registry[ReportChart] = Registry("chart", "roofline.report.charts")


def register(chart: ReportChart) -> None:
    """Have a chart in every report from now on; an earlier one of its name gives way."""
    CHARTS.register(chart.name, chart)


def report_charts() -> dict[str, ReportChart]:
    """All that are registered, by name, in a report's order."""
    sections = list(ReportSection)
    ordered = sorted(CHARTS, key=lambda c: (sections.index(c.section), c.order, c.name))
    return {chart.name: chart for chart in ordered}
