"""The figures of a report, by name; matplotlib is imported only when one is drawn."""

from roofline.report.figures.figure import FIGURES, Figure
from roofline.report.figures.style import FORMATS, render

__all__ = ["FIGURES", "FORMATS", "Figure", "render"]
