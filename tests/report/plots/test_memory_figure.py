"""Memory as it is drawn: bars up to the line of what the device has, numbers beside them."""

from __future__ import annotations

import pytest
from artists import bars, charted, labels, legend, lines

from roofline.explore.study import Study
from roofline.report.plots import draw
from roofline.report.plots.style import DOUBLE_IN, SINGLE_IN
from roofline.units import si


def test_bars_and_capacities_are_those_of_the_chart(studies: dict[str, Study]) -> None:
    chart = charted("memory", studies["six"])
    page = draw(chart)
    assert len(page.axes) == len(chart.panels) == 12
    for axes, panel in zip(page.axes, chart.panels, strict=True):
        rows: dict[int, list[tuple[float, float]]] = {}
        for bar in bars(axes):
            row = round(bar.get_y() + bar.get_height() / 2)
            rows.setdefault(row, []).append((bar.get_x(), bar.get_width()))

        assert len(rows) == len(panel.bars) == 3
        for row, shown in enumerate(panel.bars):
            assert [width for _, width in rows[row]] == [part.size for part in shown.parts]
            assert [left for left, _ in rows[row]] == pytest.approx(
                [sum(part.size for part in shown.parts[:i]) for i in range(len(shown.parts))]
            )
        assert axes.get_xlim() == panel.x.limits
        (line,) = lines(axes, "capacity")
        assert line.get_xdata()[0] == panel.lines[0].at
        assert [text.get_text() for text in axes.texts] == [
            f"{si(bar.total, 'B')}\n{bar.note}" for bar in panel.bars
        ]
        assert [label.get_text() for label in axes.get_yticklabels()] == [
            bar.label for bar in panel.bars
        ]
        assert axes.get_title(loc="left") == panel.title
    assert legend(page) == labels(chart)


def test_the_line_looks_as_in_the_legend(one: Study) -> None:
    page = draw(charted("memory", one))
    (line,) = lines(page.axes[0], "capacity")
    (key,) = page.legends[0].get_lines()
    assert key.get_label() == "what the device has"
    assert key.get_color() == line.get_color()
    assert key._unscaled_dash_pattern == line._unscaled_dash_pattern


@pytest.mark.parametrize("width_in", [SINGLE_IN, DOUBLE_IN])
def test_words_stand_beside_the_lines_of_capacities(
    width_in: float, studies: dict[str, Study]
) -> None:
    page = draw(charted("memory", studies["six"]), width_in)
    page.draw_without_rendering()
    for axes in page.axes:
        (line,) = lines(axes, "capacity")
        hidden = line.get_window_extent().padded(-1)
        for text in axes.texts:
            assert not text.get_window_extent().overlaps(hidden), text
