"""Ends of axes that are read against each other."""

from __future__ import annotations

from typing import Literal

import pytest

from roofline.report.charts.chart import Panel, PanelAxis, Series
from roofline.report.charts.scales import matched

Scale = Literal["linear", "log"]


def panel(
    scale: Scale,
    *y: float | None,
    limits: tuple[float | None, float | None] = (None, None),
    band: tuple[float, float] | None = None,
) -> Panel:
    low, high = ((band[0],), (band[1],)) if band else ((), ())
    line = Series(role="r", x=tuple(range(len(y))), y=y, low=low, high=high)
    axis = PanelAxis(label="y", scale=scale, limits=limits)
    return Panel(x=PanelAxis(label="x"), y=axis, series=(line,) if y else ())


def ends(*panels: Panel, columns: int) -> list[tuple[float, float]]:
    return [pytest.approx(one.y.limits) for one in matched(panels, columns)]


def around(middle: float, ratio: float) -> tuple[float, float]:
    """A logarithmic axis on which values of this ratio take all but a tenth."""
    return middle / ratio**0.55, middle * ratio**0.55


def test_logarithmic_columns_span_the_ratio_of_the_widest() -> None:
    found = ends(panel("log", 1.0, 100.0), panel("log", 3.0, 12.0), columns=2)
    assert found == [around(10.0, 100.0), around(6.0, 100.0)]


def test_panels_of_a_column_share_its_ends() -> None:
    found = ends(panel("log", 1.0, 10.0), panel("log", 1000.0), columns=1)
    assert found == [around(1000**0.5, 1000.0)] * 2


def test_a_linear_column_goes_from_its_least_to_its_most_with_room() -> None:
    found = ends(panel("log", 1.0, 100.0), panel("linear", 2.0, 4.0), columns=2)
    assert found[1] == (2.0 - 0.1, 4.0 + 0.1)
    assert ends(panel("linear", 2.0), columns=1) == [(2.0 - 0.05, 2.0 + 0.05)]


def test_given_limits_gaps_and_bands_are_within() -> None:
    found = ends(panel("linear", 2.0, None, 3.0, limits=(1.0, None), band=(1.5, 5.0)), columns=1)
    assert found == [(1.0 - 0.2, 5.0 + 0.2)]


def test_zero_has_no_place_on_a_logarithmic_axis() -> None:
    assert ends(panel("log", 0.0, 1.0, 10.0), columns=1) == [around(10**0.5, 10.0)]


def test_panels_without_anything_stay_as_they_are() -> None:
    empty = panel("linear")
    assert matched([panel("log", 1.0, 2.0), empty], 2)[1] is empty
    nothing = panel("log")
    assert matched([nothing, empty], 2) == (nothing, empty)
