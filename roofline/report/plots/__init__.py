"""The figures of a report, by name; matplotlib is imported only when one is drawn."""

from roofline.report.plots.figure import FIGURES, Figure
from roofline.report.plots.style import DOUBLE_IN, FORMATS, SINGLE_IN, render

__all__ = ["DOUBLE_IN", "FIGURES", "FORMATS", "SINGLE_IN", "Figure", "render"]
