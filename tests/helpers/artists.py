"""What tests of figures share: how to find artists, and charts of studies."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
from made_up import bare
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Page
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from roofline.explore.study import MeasuredRun, Study, study
from roofline.records.measurement import Record
from roofline.report.charts import PanelChart, report_charts
from roofline.report.charts.chart import Panel, Series
from roofline.report.plots import DOUBLE_IN, draw
from roofline.report.plots.style import AS_IT_IS


def charted(name: str, found: Study) -> PanelChart:
    """The chart of this name that a report of the study shows."""
    kind = report_charts()[name]
    assert kind.applies(found)
    chart = kind.of(found)
    assert isinstance(chart, PanelChart)
    return chart


def drawn(name: str, found: Study, width_in: float = DOUBLE_IN) -> Page:
    return draw(charted(name, found), width_in)


def the_series(panel: Panel, role: str, of: str = "", variant: str = "") -> Series:
    (series,) = (
        one for one in panel.series if (one.role, one.of, one.variant) == (role, of, variant)
    )
    return series


def labels(chart: PanelChart) -> list[str]:
    """Of the legend."""
    return [entry.label for entry in chart.legend]


def lines(page: Page | Axes, gid: str) -> list[Line2D]:
    return [line for line in page.findobj(Line2D) if line.get_gid() == gid]


def the_line(page: Page | Axes, gid: str) -> tuple[Any, Any]:
    (line,) = lines(page, gid)
    return np.asarray(line.get_xdata()), np.asarray(line.get_ydata())


def bars(axes: Axes) -> list[Rectangle]:
    return [patch for patch in axes.patches if isinstance(patch, Rectangle)]


def legend(page: Page) -> list[str]:
    return [text.get_text() for found in page.legends for text in found.get_texts()]


def words(page: Page) -> list[Text]:
    """All texts that are seen; ticks beyond an axis's ends are not."""
    beyond = {
        tick.label1
        for axes in page.findobj(Axes)
        for axis in (axes.xaxis, axes.yaxis)
        for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks())
        if not min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
    }
    texts = page.findobj(Text)
    return [t for t in texts if t.get_visible() and t.get_text().strip() and t not in beyond]


def check_words(page: Page) -> None:
    """All words of a drawn page are within it, and none covers another."""
    with rc_context(AS_IT_IS):  # as `render` does
        page.draw_without_rendering()
    whole = page.bbox
    boxes = [(text, text.get_window_extent()) for text in words(page)]
    for text, box in boxes:
        assert whole.x0 <= box.x0, text
        assert box.x1 <= whole.x1, text
        assert whole.y0 <= box.y0, text
        assert box.y1 <= whole.y1, text
    for (one, a), (other, b) in combinations(boxes, 2):
        apart = a.x1 <= b.x0 or b.x1 <= a.x0 or a.y1 <= b.y0 or b.y1 <= a.y0
        assert apart, (one, other)


def offsets(axes: Axes, gid: str) -> list[list[float]]:
    found = [c.get_offsets().tolist() for c in axes.collections if c.get_gid() == gid]
    return [offset for group in found for offset in group]


def compared(made: Record, **options: Any) -> Study:
    """A study with this record, of the device that it names."""
    records = [MeasuredRun("r.json", made)]
    given: dict[str, Any] = {"visual_tokens": [40], "records": records} | options
    return study(model=["llava-1.5-7b"], hardware=[bare("h200")], **given)
