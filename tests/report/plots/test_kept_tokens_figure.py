"""The figure shows what it is given: its artists' data, its words, and that all words fit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from artists import check_words, words
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure

from roofline.records.kept_patches import Inspection, Kept
from roofline.report.charts.kept_tokens import Background, kept_tokens_chart
from roofline.report.plots import FORMATS, draw, render
from roofline.report.plots.kept_tokens import GROUNDS

SIDE = 8
PATCHES = SIDE**2
PIXELS = SIDE * 7
RANDOM = np.random.default_rng(0)
IMAGE = RANDOM.integers(40, 256, (PIXELS, PIXELS, 3), dtype=np.uint8)
ATTENTION = np.concatenate(
    [RANDOM.uniform(0.001, 0.004, PATCHES - 5), [0.02, 0.03, 0.03, 0.1, 0.2]]
)
FENCE = 0.0071
MERGING = ATTENTION / ATTENTION.sum()

PLUS = Kept(
    "prumerge+",
    PATCHES,
    {"outlier": np.arange(PATCHES - 5, PATCHES), "sampled": np.arange(0, 40, 4)},
    {"merged": 1},
    MERGING,
    merges=True,
    attention=ATTENTION,
    fence=FENCE,
)
STRONGEST = replace(PLUS, reducer="prumerge", patches={"strongest": np.array([63, 62])})
SPATIAL = Kept("spatial", PATCHES, {"sampled": np.arange(0, PATCHES, 7)})
FASTER = Kept("fastervlm", PATCHES, {"kept": np.arange(9)}, attention=ATTENTION)
CROSSGET = Kept("crossget", PATCHES, {"kept": np.arange(30)}, {"cross token": 1}, merges=True)


@pytest.fixture(scope="module")
def plus() -> Figure:
    return drawn_picture(inspection(PLUS))


def inspection(*kept: Kept, title: str = "photo.jpg") -> Inspection:
    return Inspection(title, "llava-1.5-7b", IMAGE, SIDE, kept)


def drawn_picture(found: Inspection, background: Background = "light") -> Figure:
    return draw(kept_tokens_chart(found, background))


def outlines(figure: Figure) -> list[PatchCollection]:
    return [
        c
        for axes in figure.axes
        for c in axes.collections
        if c.get_gid() in GROUNDS["light"].outlines
    ]


def histograms(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.axes if axes.get_ylabel() == "patches"]


def test_every_kept_patch_is_outlined_where_it_is() -> None:
    found = outlines(drawn_picture(inspection(PLUS, SPATIAL)))

    assert [(c.get_gid(), len(c.get_paths())) for c in found] == [
        ("outlier", 5),
        ("sampled", 10),
        ("sampled", 10),
    ]
    for collection, patches in zip(
        found, [*PLUS.patches.values(), *SPATIAL.patches.values()], strict=True
    ):
        for path, patch in zip(collection.get_paths(), patches, strict=True):
            x, y = path.get_extents().get_points().mean(axis=0)
            assert (x + 0.5) // 7 == patch % SIDE
            assert (y + 0.5) // 7 == patch // SIDE


@pytest.mark.parametrize("background", ["light", "dark"])
def test_kinds_differ_in_colour(background: Background) -> None:
    found = outlines(drawn_picture(inspection(PLUS, FASTER), background))

    colours = {c.get_gid(): tuple(np.atleast_2d(c.get_edgecolor())[0]) for c in found}
    assert len(set(colours.values())) == 3


@pytest.mark.parametrize("background", ["light", "dark"])
def test_kept_patches_are_as_they_are_and_others_grey_and_faded(background: Background) -> None:
    figure = drawn_picture(inspection(PLUS), background)
    axes = next(axes for axes in figure.axes if any(c.get_gid() for c in axes.collections))
    shown = np.asarray(axes.images[0].get_array())

    for patch in range(PATCHES):
        row, column = divmod(patch, SIDE)
        here = np.s_[row * 7 : row * 7 + 7, column * 7 : column * 7 + 7]
        if patch in PLUS.indices:
            assert np.array_equal(shown[here], IMAGE[here])
        else:
            if background == "dark":
                assert shown[here].max() < 0.4 * 255
            else:
                assert shown[here].min() > 0.7 * 255
            assert (np.ptp(shown[here], axis=2) == 0).all()


def test_the_picture_itself_comes_first(plus: Figure) -> None:
    assert np.array_equal(plus.axes[0].images[0].get_array(), IMAGE)


def test_the_histogram_counts_every_patch_on_a_log_scale_with_the_fence(plus: Figure) -> None:
    (axes,) = histograms(plus)
    everything, outliers = axes.containers

    assert axes.get_yscale() == "log"
    assert axes.get_xlabel() == "attention of the class token"
    assert sum(bar.get_height() for bar in everything) == PATCHES
    assert sum(bar.get_height() for bar in outliers) == 5
    assert min(bar.get_x() for bar in outliers if bar.get_height()) >= FENCE - 1e-12
    (fence,) = [line for line in axes.lines if line.get_gid() == "fence"]
    assert list(fence.get_xdata()) == [FENCE, FENCE]
    assert axes.get_title() == "fence at 0.0071"


def test_without_a_fence_there_is_none() -> None:
    figure = drawn_picture(inspection(FASTER))
    (axes,) = histograms(figure)

    assert not axes.lines
    assert "fence" not in " ".join(text.get_text() for text in words(figure))


def test_merging_is_shown_on_one_scale_with_its_unit() -> None:
    weaker = replace(PLUS, reducer="prumerge", merging=np.full(PATCHES, 1 / PATCHES))
    figure = drawn_picture(inspection(PLUS, weaker, SPATIAL, CROSSGET))
    heats = [image for axes in figure.axes for image in axes.images if image.get_alpha()]

    assert len(heats) == 2
    assert np.allclose(np.asarray(heats[0].get_array()).ravel(), 100 * MERGING)
    assert len({(h.norm.vmin, h.norm.vmax) for h in heats}) == 1
    assert heats[0].norm.vmax == pytest.approx(100 * MERGING.max())
    labels = [text.get_text() for text in words(figure)]
    assert "share of all that is merged, %" in labels
    assert "nothing is merged" in labels
    assert any("shares unknown" in text for text in labels)


def test_counts_and_names_stand_over_the_columns(plus: Figure) -> None:
    labels = [text.get_text() for text in words(plus)]

    assert "prumerge+" in labels
    assert "5 outliers + 10 sampled + 1 merged\n= 16 of 64 tokens (25.0%)" in labels
    assert "as the encoder of llava-1.5-7b sees it:\n56×56 pixels, 8×8 patches" in labels


def test_the_legend_names_the_kinds_that_occur() -> None:
    def legend(*kept: Kept) -> list[str]:
        return [text.get_text() for text in drawn_picture(inspection(*kept)).legends[0].get_texts()]

    assert legend(PLUS) == ["kept: attention is an outlier", "kept: evenly sampled", "dropped"]
    assert legend(STRONGEST, FASTER) == ["kept: most attention", "kept", "dropped"]


def test_rows_without_content_are_left_out() -> None:
    heights = [
        drawn_picture(inspection(kept)).get_size_inches()[1] for kept in (SPATIAL, FASTER, PLUS)
    ]

    assert heights[0] < heights[1] < heights[2]
    assert len(drawn_picture(inspection(SPATIAL)).axes) == 2


LAYOUTS = {
    "one, positions": (SPATIAL,),
    "one, all rows": (PLUS,),
    "one, attention alone": (FASTER,),
    "all kinds": (PLUS, STRONGEST, FASTER, SPATIAL, CROSSGET),
    "long counts": (
        replace(PLUS, of=576, patches={"outlier": np.arange(64), "sampled": np.arange(64)}),
    ),
}


@pytest.mark.parametrize("kept", LAYOUTS.values(), ids=LAYOUTS)
def test_words_fit_into_the_page_and_do_not_overlap(kept: tuple[Kept, ...]) -> None:
    kept = tuple(replace(one, of=PATCHES) for one in kept)
    figure = drawn_picture(
        inspection(*kept, title="a photo with quite a long name, twice as long.jpeg")
    )
    check_words(figure)


@pytest.mark.parametrize(
    ("form", "start"), [("png", b"\x89PNG\r\n"), ("svg", b"<?xml"), ("pdf", b"%PDF")]
)
def test_a_file_is_of_its_format_and_always_the_same(form: str, start: bytes) -> None:
    content = render(drawn_picture(inspection(PLUS)), form)

    assert form in FORMATS
    assert content.startswith(start)
    assert content == render(drawn_picture(inspection(PLUS)), form)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("title", ["$x.jpg", "$a^$.jpg", "写真.jpg", "a\nb\x01.jpg", "", "x" * 200])
def test_any_name_can_be_written(title: str) -> None:
    assert render(drawn_picture(inspection(SPATIAL, title=title)), "svg")


@pytest.mark.parametrize(
    ("attention", "fence"),
    [
        (np.full(PATCHES, 1 / 65), 1 / 65),
        (ATTENTION, 0.9),
        (ATTENTION, float(ATTENTION.min())),
        (np.zeros(PATCHES), 0.0),
        (ATTENTION * 1e-30, FENCE * 1e-30),
    ],
    ids=["all alike", "fence above all", "fence below all", "zero", "tiny"],
)
def test_any_attention_is_counted_whole(attention: Any, fence: float) -> None:
    (axes,) = histograms(drawn_picture(inspection(replace(PLUS, attention=attention, fence=fence))))

    assert sum(bar.get_height() for bar in axes.containers[0]) == PATCHES
