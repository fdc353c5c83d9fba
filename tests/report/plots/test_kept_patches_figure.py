"""The kept patches alone as they are drawn: panels in rows as wide as a column of a paper."""

from __future__ import annotations

import numpy as np
import pytest
from artists import check_words, words
from contrast import contrast
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from roofline.records.kept_patches import Inspection, Kept
from roofline.report.charts.kept_tokens import Background, kept_patches_chart
from roofline.report.plots import draw, render
from roofline.report.plots.kept_tokens import GROUNDS
from roofline.report.plots.style import DOUBLE_IN, SINGLE_IN

SIDE = 8
PATCHES = SIDE**2
IMAGE = np.random.default_rng(0).integers(0, 256, (56, 56, 3), dtype=np.uint8)
PLUS = Kept(
    "prumerge+",
    PATCHES,
    {"outlier": np.arange(59, 64), "strongest": np.arange(40, 50), "sampled": np.arange(0, 40, 4)},
)
FASTER = Kept("fastervlm-long-name", 576, {"kept": np.arange(9)})


def drawn(*kept: Kept, photos: int = 1, width_in: float = DOUBLE_IN, **given: Background) -> Figure:
    names = [f"a photo with a long name {i}.jpeg" for i in range(photos)]
    found = [Inspection(name, "llava-1.5-7b", IMAGE, SIDE, kept) for name in names]
    return draw(kept_patches_chart(found, **given), width_in)


def corners(page: Figure) -> list[tuple[int, int]]:
    """Of every panel its column and its row, by where it is."""
    boxes = [axes.get_position() for axes in page.axes]
    lefts = sorted({round(box.x0, 3) for box in boxes})
    tops = sorted({round(box.y0, 3) for box in boxes}, reverse=True)
    return [(lefts.index(round(b.x0, 3)), tops.index(round(b.y0, 3))) for b in boxes]


def outlined(axes: Axes) -> list[tuple[str, int]]:
    return [(str(c.get_gid()), len(c.get_paths())) for c in axes.collections]


def test_a_picture_stands_before_what_is_kept_of_it() -> None:
    page = drawn(PLUS, FASTER, photos=2)
    assert corners(page) == [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1)]
    for whole, plus, faster in (page.axes[:3], page.axes[3:]):
        assert np.array_equal(whole.images[0].get_array(), IMAGE)
        assert outlined(plus) == [("outlier", 5), ("strongest", 10), ("sampled", 10)]
        assert outlined(faster) == [("kept", 9)]


@pytest.mark.parametrize(("width_in", "columns"), [(SINGLE_IN, 3), (DOUBLE_IN, 6)])
@pytest.mark.parametrize("photos", [1, 3])
@pytest.mark.parametrize("reducers", [1, 2, 7])
def test_pages_are_as_wide_as_asked_at_most_and_their_words_fit(
    width_in: float, columns: int, photos: int, reducers: int
) -> None:
    page = drawn(*[PLUS, FASTER, *[PLUS] * 5][:reducers], photos=photos, width_in=width_in)
    assert page.get_figwidth() <= width_in + 1e-9
    across = [column for column, _ in corners(page)]
    assert max(across) == min(columns, 1 + reducers) - 1
    assert across.count(0) == photos * -(-(1 + reducers) // columns)  # each begins a row
    check_words(page)
    assert min(text.get_fontsize() for text in words(page)) >= 6.0


@pytest.mark.parametrize("background", ["light", "dark"])
def test_outlines_stand_out_from_what_dropped_patches_fade_to(background: Background) -> None:
    """At 3 to 1, as graphics have to, from the paper; kinds differ from each other by hue."""
    ground = GROUNDS[background]
    paper = to_hex((ground.paper / 255,) * 3)
    for colour in ground.outlines.values():
        assert contrast(colour, paper) >= 3.0
    assert len(set(ground.outlines.values())) == 3  # outliers are the strongest


def test_a_dark_background_is_dark() -> None:
    light, dark = (
        np.asarray(drawn(FASTER, background=ground).axes[1].images[0].get_array())[-7:]
        for ground in ("light", "dark")
    )
    assert light.min() > 0.7 * 255
    assert dark.max() < 0.4 * 255


def test_a_file_is_always_the_same() -> None:
    for form in ("png", "svg", "pdf"):
        assert render(drawn(PLUS, photos=2), form) == render(drawn(PLUS, photos=2), form)
