"""Memory against capacity as it is drawn: bars, lines, and names that hide neither."""

from __future__ import annotations

import pytest
from artists import bars, charted, labels, legend, lines

from roofline.explore.study import Study
from roofline.report.plots import draw
from roofline.report.plots.style import DOUBLE_IN, SINGLE_IN


def test_bars_and_capacities_are_those_of_the_chart(studies: dict[str, Study]) -> None:
    chart = charted("memory", studies["six"])
    page = draw(chart)
    (axes,), (panel,) = page.axes, chart.panels
    rows: dict[int, list[tuple[float, float]]] = {}
    for bar in bars(axes):
        row = round(bar.get_y() + bar.get_height() / 2)
        rows.setdefault(row, []).append((bar.get_x(), bar.get_width()))

    assert len(rows) == len(panel.bars) == 6
    for row, shown in enumerate(panel.bars):
        assert [width for _, width in rows[row]] == [part.size for part in shown.parts]
        assert [left for left, _ in rows[row]] == pytest.approx(
            [sum(part.size for part in shown.parts[:i]) for i in range(len(shown.parts))]
        )
    _, end = axes.get_xlim()
    within = [line.at for line in panel.lines if line.at <= end]
    assert [line.get_xdata()[0] for line in lines(axes, "capacity")] == within == [16 * 2**30]
    assert "v100, t4 17.2 GB" in {text.get_text() for text in axes.texts}
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        bar.label for bar in panel.bars
    ]
    assert legend(page) == labels(chart)


@pytest.mark.parametrize("width_in", [SINGLE_IN, DOUBLE_IN])
def test_capacities_beyond_the_axis_are_named_below_it(
    width_in: float, studies: dict[str, Study]
) -> None:
    (axes,) = draw(charted("memory", studies["six"]), width_in).axes
    label = " ".join(axes.get_xlabel().split())  # lines, and spaces at which none may end

    assert label == (
        "peak memory of the prefill: fp16 beyond this axis: l40s 51.5 GB; a100-80gb 85.9 GB; "
        "h200 151 GB; b200 193 GB"
    )


@pytest.mark.parametrize("width_in", [SINGLE_IN, DOUBLE_IN])
def test_words_stand_beside_the_lines_of_capacities(
    width_in: float, studies: dict[str, Study]
) -> None:
    page = draw(charted("memory", studies["six"]), width_in)
    page.draw_without_rendering()
    (axes,) = page.axes
    (line,) = lines(axes, "capacity")
    hidden = line.get_window_extent().padded(-1)  # points where its name ends

    assert len(axes.texts) == 7  # of the capacity, and of six bars
    for text in axes.texts:
        assert not text.get_window_extent().overlaps(hidden), text
