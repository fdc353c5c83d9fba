"""How each chart of `roofline.report.charts` is drawn; matplotlib is imported only for that.

A module for each drawing, registered under the name of its chart.
"""

from roofline.report.plots.drawing import DRAWINGS, draw, draws
from roofline.report.plots.style import DOUBLE_IN, FORMATS, SINGLE_IN, render

__all__ = ["DOUBLE_IN", "DRAWINGS", "FORMATS", "SINGLE_IN", "draw", "draws", "render"]
