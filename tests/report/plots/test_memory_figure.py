"""Memory against capacity: bars add up and stand beside the devices' lines."""

from __future__ import annotations

import pytest
from artists import bars, lines

from roofline.explore.study import Study
from roofline.report.plots import FIGURES
from roofline.report.plots.style import DOUBLE_IN, SINGLE_IN


def test_bars_of_memory_add_up_and_stand_against_capacity(studies: dict[str, Study]) -> None:
    study = studies["six"]
    page = FIGURES["memory"].draw(study)
    (axes,) = page.axes
    rows: dict[int, float] = {}
    for bar in bars(axes):
        row = round(bar.get_y() + bar.get_height() / 2)
        rows[row] = rows.get(row, 0.0) + bar.get_width()

    assert len(rows) == 6  # two models, three prompts; all devices need the same
    whole = study.prompts[0].estimate.end_to_end
    assert rows[0] == pytest.approx(whole.peak_memory_bytes)
    capacities = [line.get_xdata()[0] for line in lines(axes, "capacity")]
    assert capacities == [16 * 2**30]
    label = axes.get_xlabel()
    assert label.startswith("peak memory of the prefill")
    assert all(name in label for name in ("l40s", "a100-80gb", "h200", "b200"))
    assert "v100, t4 17.2 GB" in {text.get_text() for text in axes.texts}


@pytest.mark.parametrize("width_in", [SINGLE_IN, DOUBLE_IN])
def test_words_stand_beside_the_lines_of_capacities(
    width_in: float, studies: dict[str, Study]
) -> None:
    page = FIGURES["memory"].draw(studies["six"], width_in)
    page.draw_without_rendering()
    (axes,) = page.axes
    (line,) = lines(axes, "capacity")
    hidden = line.get_window_extent().padded(-1)  # points where its name ends

    assert len(axes.texts) == 7  # of the capacity, and of six bars
    for text in axes.texts:
        assert not text.get_window_extent().overlaps(hidden), text
