"""What each figure of a report shows, as data that any drawing can use: no matplotlib in here.

A module for each chart; what it registers is in every report. Its drawing is registered under the
same name in `roofline.report.plots`.
"""

from roofline.report.charts.chart import Chart, PanelChart, to_json
from roofline.report.charts.registry import ReportChart, ReportSection, register, report_charts

__all__ = [
    "Chart",
    "PanelChart",
    "ReportChart",
    "ReportSection",
    "register",
    "report_charts",
    "to_json",
]
