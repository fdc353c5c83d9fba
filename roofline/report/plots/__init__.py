"""How each chart of `roofline.report.charts` is drawn; matplotlib is imported only for that.

A module for each drawing, registered under the name of its chart.
"""

from roofline.report.discovery import import_all
from roofline.report.plots.drawing import draw, drawings, draws
from roofline.report.plots.style import DOUBLE_IN, FORMATS, SINGLE_IN, render

__all__ = ["DOUBLE_IN", "FORMATS", "SINGLE_IN", "draw", "drawings", "draws", "render"]

import_all(__name__, __path__)
