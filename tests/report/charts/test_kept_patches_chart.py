"""The kept patches alone, as data: a row for each picture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from roofline.records.kept_patches import Inspection, Kept
from roofline.report.charts.kept_tokens import KeptPatchesChart, kept_patches_chart

SIDE = 4
WIDE = np.zeros((8, 12, 3), dtype=np.uint8)
PLUS = Kept(
    "prumerge+",
    SIDE**2,
    {"outlier": np.array([15, 14]), "sampled": np.array([0, 5, 10])},
    {"merged": 1},
    attention=np.linspace(0, 1, SIDE**2),
    fence=0.5,
)
SPATIAL = Kept("spatial", SIDE**2, {"sampled": np.array([0, 5])})


def charted(*titles: str, kept: tuple[Kept, ...] = (PLUS, SPATIAL)) -> KeptPatchesChart:
    return kept_patches_chart([Inspection(t, "llava-1.5-7b", WIDE, SIDE, kept) for t in titles])


def test_every_picture_is_a_row_with_every_reducer() -> None:
    chart = charted("a.jpg", "b.jpg")
    assert [(row.name, row.detail, row.side) for row in chart.rows] == [
        ("a.jpg", "12×8 pixels", SIDE),
        ("b.jpg", "12×8 pixels", SIDE),
    ]
    for row in chart.rows:
        assert row.picture is WIDE
        assert [(c.reducer, c.detail) for c in row.columns] == [
            ("prumerge+", "6 of 16 (38 %)"),
            ("spatial", "2 of 16 (12 %)"),
        ]
        (plus, _) = row.columns
        assert [(p.kind, p.indices) for p in plus.patches] == [
            ("outlier", (15, 14)),
            ("sampled", (0, 5, 10)),
        ]
    assert chart.title == "What reducers keep of a.jpg, b.jpg"


def test_merging_and_attention_are_left_out() -> None:
    (row,) = charted("a.jpg").rows
    for column in row.columns:
        assert column.histogram is None
        assert column.merged_percent == ()
        assert all(patches.counts == () for patches in column.patches)


def test_the_alt_text_has_every_picture_and_every_reducers_counts() -> None:
    counts = (
        "prumerge+: 2 outliers + 3 sampled + 1 merged = 6 of 16 tokens (38 %); spatial: 2 sampled "
        "= 2 of 16 tokens (12 %)."
    )
    seen = "as the encoder of llava-1.5-7b sees it, and for each reducer the patches that it keeps"
    assert charted("a.jpg", "b.jpg").alt == f"a.jpg {seen}: {counts} b.jpg {seen}: {counts}"


def test_the_legend_has_kinds_that_occur_in_any_picture() -> None:
    faster = replace(SPATIAL, reducer="fastervlm", patches={"kept": np.array([3])})
    inspections = [Inspection("a", "m", WIDE, SIDE, (one,)) for one in (faster, SPATIAL)]
    legend = kept_patches_chart(inspections).legend
    assert [(entry.of, entry.label) for entry in legend] == [
        ("sampled", "kept: evenly sampled"),
        ("kept", "kept"),
        ("", "dropped"),
    ]


def test_names_fit_over_a_small_panel() -> None:
    long = replace(SPATIAL, reducer="r" * 18)
    (row,) = charted("x" * 20 + ".jpg", kept=(long,)).rows
    assert row.name == "x" * 8 + "…xxxx.jpg"
    assert row.columns[0].reducer == "r" * 8 + "…" + "r" * 8


def test_a_background_is_light_unless_it_is_to_be_dark() -> None:
    found = [Inspection("a", "m", WIDE, SIDE, (SPATIAL,))]
    assert kept_patches_chart(found).background == "light"
    assert kept_patches_chart(found, "dark").background == "dark"
