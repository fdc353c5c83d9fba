"""What reducers keep of a picture, as data: counts, shares of what is merged, histograms."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from roofline.records.kept_patches import Inspection, Kept
from roofline.report.charts.chart import to_json
from roofline.report.charts.kept_tokens import KeptTokensChart, kept_tokens_chart

SIDE = 4
PATCHES = SIDE**2
PICTURE = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
ATTENTION = np.array([0.01] * 12 + [0.02, 0.03, 0.2, 0.6])
FENCE = 0.1
PLUS = Kept(
    "prumerge+",
    PATCHES,
    {"outlier": np.array([15, 14]), "sampled": np.array([0, 5, 10])},
    {"merged": 1},
    np.full(PATCHES, 1 / PATCHES),
    merges=True,
    attention=ATTENTION,
    fence=FENCE,
)
SPATIAL = Kept("spatial", PATCHES, {"sampled": np.array([0, 5])})
CROSSGET = Kept("crossget", PATCHES, {"kept": np.arange(9)}, merges=True)
FASTER = Kept("fastervlm", PATCHES, {"kept": np.array([12, 15])}, attention=ATTENTION)


def charted(*kept: Kept, title: str = "photo.jpg") -> KeptTokensChart:
    return kept_tokens_chart(Inspection(title, "llava-1.5-7b", PICTURE, SIDE, kept))


def test_patches_are_those_that_were_kept() -> None:
    (column,) = charted(PLUS).columns
    assert [(patches.kind, patches.indices) for patches in column.patches] == [
        ("outlier", (15, 14)),
        ("sampled", (0, 5, 10)),
    ]
    assert column.detail == "2 outliers + 3 sampled + 1 merged\n= 6 of 16 tokens (37.5%)"
    assert column.merged_percent == (6.25,) * PATCHES


def test_the_histogram_has_every_patch_and_no_bin_on_both_sides_of_the_fence() -> None:
    (column,) = charted(PLUS).columns
    histogram = column.histogram
    assert histogram is not None
    outliers, sampled = column.patches

    assert sum(histogram.counts) == PATCHES
    assert len(histogram.edges) == len(histogram.counts) + 1
    above = [c for c, low in zip(histogram.counts, histogram.edges, strict=False) if low >= FENCE]
    assert sum(above) == np.count_nonzero(ATTENTION > FENCE) == 2
    assert sum(outliers.counts) == 2
    assert all(a <= b for a, b in zip(outliers.counts, histogram.counts, strict=True))
    assert sampled.counts == ()  # not kept for their attention
    assert histogram.fence == FENCE


@pytest.mark.parametrize(
    ("kept", "merging", "ranking"),
    [
        (PLUS, "", ""),
        (SPATIAL, "nothing is merged", "not ranked by one row of attention"),
        (CROSSGET, "merges inside the ViT:\nshares unknown", "not ranked by one row of attention"),
        (FASTER, "nothing is merged", ""),
    ],
    ids=lambda value: getattr(value, "reducer", None),
)
def test_an_empty_panel_says_why(kept: Kept, merging: str, ranking: str) -> None:
    (column,) = charted(kept).columns
    assert (column.no_merging_because, column.no_histogram_because) == (merging, ranking)
    assert bool(column.merged_percent) is not bool(merging)
    assert (column.histogram is None) is bool(ranking)


def test_rows_are_explained_where_there_are_any() -> None:
    def explained(*kept: Kept) -> tuple[str, str]:
        chart = charted(*kept)
        return chart.merging_explained, chart.attention_explained

    merging, attention = explained(SPATIAL, PLUS)
    assert "PruMerge: Σ of its attention" in merging
    assert "Dashed: upper fence, Q3 + 1.5·IQR." in attention
    assert explained(SPATIAL, CROSSGET) == ("", "")
    merging, attention = explained(FASTER)
    assert merging == ""
    assert attention
    assert "fence" not in attention
    unfenced = replace(PLUS, fence=None)
    assert "PruMerge" not in explained(unfenced)[0]


def test_the_legend_names_the_kinds_that_occur() -> None:
    def legend(*kept: Kept) -> list[tuple[str, str]]:
        return [(entry.of, entry.label) for entry in charted(*kept).legend]

    assert legend(SPATIAL, PLUS) == [
        ("outlier", "kept: attention is an outlier"),
        ("sampled", "kept: evenly sampled"),
        ("", "dropped"),
    ]
    assert legend(FASTER) == [("kept", "kept"), ("", "dropped")]


def test_the_alt_text_has_every_reducers_counts() -> None:
    assert charted(PLUS, SPATIAL).alt == (
        "photo.jpg as the encoder of llava-1.5-7b sees it, and for each reducer the patches that "
        "it keeps: prumerge+: 2 outliers + 3 sampled + 1 merged = 6 of 16 tokens (38 %); spatial: "
        "2 sampled = 2 of 16 tokens (12 %)."
    )


@pytest.mark.parametrize(
    ("title", "shown"),
    [
        ("photo.jpg", "photo.jpg"),
        ("a\nb\x01.jpg", "a?b?.jpg"),
        ("x" * 30, "x" * 30),
        ("x" * 27 + ".jpg", "x" * 21 + "…xxxx.jpg"),
    ],
)
def test_names_fit_over_a_column(title: str, shown: str) -> None:
    assert charted(SPATIAL, title=title).picture_name == shown


def test_as_json_arrays_are_lists() -> None:
    data = json.loads(to_json(charted(PLUS)))
    assert data["picture"] == PICTURE.tolist()
    assert data["columns"][0]["patches"][0]["indices"] == [15, 14]


def edges_of(attention: list[float], fence: float | None) -> tuple[list[float], list[float]]:
    """Edges and counts of the histogram of one reducer."""
    row = np.array(attention)
    indices = np.arange(len(row))
    kept = Kept("r", len(row), {"kept": indices}, attention=row, fence=fence)
    (column,) = charted(kept).columns
    assert column.histogram is not None
    assert column.patches[0].counts == column.histogram.counts  # all are kept
    return list(column.histogram.edges), list(column.histogram.counts)


def test_without_a_fence_forty_even_bins_hold_everything() -> None:
    edges, counts = edges_of([0.0, 1.0, 4.0, 0.05], None)
    assert edges == pytest.approx([i / 10 for i in range(42)])
    assert [(i, n) for i, n in enumerate(counts) if n] == [(0, 2), (10, 1), (40, 1)]


def test_bins_start_at_the_fence_to_either_side() -> None:
    """Each a tenth wide: 2.05 is an edge, and the ends are beyond 0 and 4."""
    edges, counts = edges_of([0.0, 4.0, 2.0, 2.1], 2.05)
    assert edges == pytest.approx([-0.05 + i / 10 for i in range(42)])
    assert 2.05 in edges
    assert sum(n for n, low in zip(counts, edges, strict=False) if low >= 2.05) == 2
    assert sum(counts) == 4


def test_a_fence_beyond_all_attention_is_the_last_edge_but_one() -> None:
    """As wide as from the least to the fence: from 0 to 8 in forties."""
    edges, counts = edges_of([0.0, 4.0], 8.0)
    assert edges == pytest.approx([i / 5 for i in range(42)])
    assert sum(counts) == 2


@pytest.mark.parametrize(("value", "width"), [(0.5, 1 / 40), (8.0, 8 / 40), (-8.0, 8 / 40)])
def test_one_value_alone_is_in_the_first_bin(value: float, width: float) -> None:
    edges, counts = edges_of([value, value], None)
    assert edges == pytest.approx([value, value + width])
    assert counts == [2]


def test_merged_shares_are_percent_of_each_patch() -> None:
    merging = np.linspace(0.0, 0.125, PATCHES)
    one = replace(PLUS, merging=merging)
    (column,) = charted(one).columns
    assert column.merged_percent == pytest.approx(list(100 * merging))


def test_a_picture_is_named_with_its_size_and_patches() -> None:
    wide = np.zeros((8, 12, 3), dtype=np.uint8)
    chart = kept_tokens_chart(Inspection("p", "m" * 25, wide, SIDE, (SPATIAL,)))
    name = "m" * 15 + "…" + "m" * 8
    assert chart.picture_detail == f"as the encoder of {name} sees it:\n12×8 pixels, 4×4 patches"
    assert chart.columns[0].detail == "2 sampled\n= 2 of 16 tokens (12.5%)"


def test_rows_are_explained_where_any_column_has_one() -> None:
    """A fence is one of any reducer's."""
    unfenced = replace(PLUS, fence=None)
    chart = charted(unfenced, PLUS)
    assert "upper fence" in chart.attention_explained
    assert "PruMerge" in chart.merging_explained
    assert "tokens other than its own" in charted(unfenced).merging_explained
