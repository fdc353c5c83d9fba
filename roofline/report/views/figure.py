"""A chart of a report, drawn of one estimate."""

from __future__ import annotations

import reprlib
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from roofline.engine.estimate import Counts, Estimate
from roofline.engine.views import VIEWS
from roofline.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Page

_PER_INCH = 96
"""Pixels of a notebook."""


def figure(estimate: Counts, chart: str, width_in: float | None) -> Page:
    """Raises UnknownNameError, and InputError for what cannot be drawn."""
    from roofline.explore.study import study_of
    from roofline.report.charts.registry import CHARTS

    if not isinstance(chart, str):
        known = ", ".join(sorted(CHARTS.names()))
        raise InputError(f"a chart goes by its name, one of {known}, not {reprlib.repr(chart)}")
    kind = CHARTS.find(chart)
    if not isinstance(estimate, Estimate):
        raise InputError("counts on no device have no times to draw: name hardware")
    if find_spec("matplotlib") is None:
        raise InputError("plot() needs matplotlib: pip install matplotlib")
    study = study_of(estimate, each_prompt=kind.each_prompt)
    if not kind.applies(study):
        fitting = [one.name for one in CHARTS if one.applies(study)]
        raise InputError(
            f"the chart {chart} has nothing to show of this estimate: choose one of "
            f"{', '.join(sorted(fitting))}"
        )
    from roofline.report.plots import DOUBLE_IN, draw, render

    page = draw(kind.of(study), DOUBLE_IN if width_in is None else width_in)

    def png() -> tuple[bytes, dict[str, Any]]:
        width, height = page.get_size_inches() * _PER_INCH
        return render(page, "png"), {"width": round(width), "height": round(height)}

    # shown by a notebook that has not imported pyplot, too
    page._repr_png_ = png  # type: ignore[attr-defined]
    return page


VIEWS.register("figure", figure)
