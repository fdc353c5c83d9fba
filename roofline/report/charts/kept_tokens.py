"""What reducers keep of pictures.

Of one picture: a column for each reducer, beside the picture itself, with what is merged and the
attention that ranks. Of several, or where that is all that is asked for: the kept patches alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from roofline.records.kept_patches import Inspection, Kept, PatchKind
from roofline.report.charts.chart import Chart, LegendEntry, listed, numbers
from roofline.units import percent

NAME, PATCHES_NAME = "kept-tokens", "kept-patches"
Background = Literal["light", "dark"]
"""To what patches fade that are dropped: paper, or a screen in the dark."""
MEANINGS: dict[PatchKind, str] = {
    "outlier": "kept: attention is an outlier",
    "strongest": "kept: most attention",
    "sampled": "kept: evenly sampled",
    "kept": "kept",
}
_BINS = 40
_NARROW = 17
"""Letters over a picture of the smallest size."""


class KeptPatches(Struct, frozen=True, kw_only=True):
    """Patches that are kept for one reason."""

    kind: PatchKind
    indices: tuple[int, ...]
    """In raster order."""
    counts: tuple[float, ...]
    """Of these in each bin of the histogram; empty where attention is not why they are kept."""


class AttentionHistogram(Struct, frozen=True, kw_only=True):
    """How the attention is distributed that a reducer ranks patches by."""

    edges: tuple[float, ...]
    """Of the bins, one more than there are."""
    counts: tuple[float, ...]
    """Of all patches."""
    fence: float | None
    """Above which attention is an outlier."""


class KeptColumn(Struct, frozen=True, kw_only=True):
    """One reducer."""

    reducer: str
    detail: str
    """How many tokens it leaves, and which."""
    patches: tuple[KeptPatches, ...]
    merged_percent: tuple[float, ...] = ()
    """Of all that is merged, what each patch adds; empty where that is not known."""
    no_merging_because: str = ""
    histogram: AttentionHistogram | None = None
    no_histogram_because: str = ""


class KeptTokensChart(Chart, frozen=True, kw_only=True, eq=False):
    """A picture, and what is kept of it."""

    picture: NDArray[np.uint8]
    """[height, width, 3], as the encoder gets it."""
    side: int
    """Patches in each row, and rows."""
    picture_name: str
    picture_detail: str
    columns: tuple[KeptColumn, ...]
    merging_explained: str
    """How to read what is merged; empty where nothing is known to be."""
    attention_explained: str
    """How to read the histograms; empty where there are none."""
    background: Background = "light"


class KeptRow(Struct, frozen=True, kw_only=True, eq=False):
    """One picture, and what is kept of it."""

    picture: NDArray[np.uint8]
    """[height, width, 3], as the encoder gets it."""
    side: int
    """Patches in each row, and rows."""
    name: str
    detail: str
    columns: tuple[KeptColumn, ...]


class KeptPatchesChart(Chart, frozen=True, kw_only=True, eq=False):
    """Pictures, and the patches that are kept of each."""

    rows: tuple[KeptRow, ...]
    background: Background = "light"


def kept_patches_chart(
    inspections: Sequence[Inspection], background: Background = "light"
) -> KeptPatchesChart:
    """A row for each picture, and in it each reducer in the order in which they were asked for."""
    rows = tuple(_row(inspection) for inspection in inspections)
    return KeptPatchesChart(
        name=PATCHES_NAME,
        title=f"What reducers keep of {', '.join(row.name for row in rows)}",
        alt=" ".join(map(_alt, inspections)),
        rows=rows,
        legend=tuple(_legend([column for row in rows for column in row.columns])),
        background=background,
    )


def _row(inspection: Inspection) -> KeptRow:
    height, width = inspection.image.shape[:2]
    return KeptRow(
        picture=inspection.image,
        side=inspection.side,
        name=_shortened(inspection.title, _NARROW),
        detail=f"{width}×{height} pixels",
        columns=tuple(
            KeptColumn(
                reducer=_shortened(kept.reducer, _NARROW),
                detail=f"{kept.tokens} of {kept.of} ({percent(kept.tokens / kept.of)})",
                patches=_patches(kept, None),
            )
            for kept in inspection.kept
        ),
    )


def kept_tokens_chart(inspection: Inspection, background: Background = "light") -> KeptTokensChart:
    """A column for each reducer, in the order in which they were asked for."""
    columns = tuple(_column(kept) for kept in inspection.kept)
    fenced = any(kept.fence is not None for kept in inspection.kept)
    height, width = inspection.image.shape[:2]
    return KeptTokensChart(
        name=NAME,
        title=f"What reducers keep of {inspection.title}",
        alt=_alt(inspection),
        picture=inspection.image,
        side=inspection.side,
        picture_name=_shortened(inspection.title),
        picture_detail=f"as the encoder of {_shortened(inspection.model, 24)} sees it:\n"
        f"{width}×{height} pixels, {inspection.side}×{inspection.side} patches",
        columns=columns,
        merging_explained=_merging_explained(fenced)
        if any(column.merged_percent for column in columns)
        else "",
        attention_explained=_attention_explained(fenced)
        if any(column.histogram for column in columns)
        else "",
        legend=tuple(_legend(columns)),
        background=background,
    )


def _alt(inspection: Inspection) -> str:
    """Every reducer's counts."""
    phrases = [
        f"{kept.reducer}: {kept.parts} = {kept.total} ({percent(kept.tokens / kept.of)})"
        for kept in inspection.kept
    ]
    return (
        f"{inspection.title} as the encoder of {inspection.model} sees it, and for each reducer "
        f"the patches that it keeps: {listed(phrases)}."
    )


def _column(kept: Kept) -> KeptColumn:
    edges = None if kept.attention is None else _edges(kept.attention, kept.fence)
    merged = kept.merging is not None
    unknown = "merges inside the ViT:\nshares unknown" if kept.merges else "nothing is merged"
    return KeptColumn(
        reducer=_shortened(kept.reducer),
        detail=f"{kept.parts}\n= {kept.total} ({kept.tokens / kept.of:.1%})",
        patches=_patches(kept, edges),
        merged_percent=() if kept.merging is None else numbers(100 * kept.merging),
        no_merging_because="" if merged else unknown,
        histogram=None
        if edges is None or kept.attention is None
        else AttentionHistogram(
            edges=numbers(edges), counts=_counts(kept.attention, edges), fence=kept.fence
        ),
        no_histogram_because="not ranked by one row of attention" if edges is None else "",
    )


def _patches(kept: Kept, edges: NDArray[np.float64] | None) -> tuple[KeptPatches, ...]:
    """By the reason, with counts in the bins of a histogram if there is one."""
    return tuple(
        KeptPatches(
            kind=kind,
            indices=tuple(indices.tolist()),
            counts=()
            if edges is None or kept.attention is None or kind == "sampled"
            else _counts(kept.attention[indices], edges),
        )
        for kind, indices in kept.patches.items()
    )


def _merging_explained(fenced: bool) -> str:
    text = "Merging: how much each patch adds\nto tokens other than its own."
    if fenced:
        text += "\n\nPruMerge: Σ of its attention over the\nclusters that it joins."
    return text


def _attention_explained(fenced: bool) -> str:
    text = (
        "Attention of the class token.\nGrey: all patches. In front of them\n"
        "those that are kept for it."
    )
    return text + ("\nDashed: upper fence, Q3 + 1.5·IQR." if fenced else "")


def _edges(attention: NDArray[np.float64], fence: float | None) -> NDArray[np.float64]:
    """Even bins, of which the fence is an edge, so that none holds patches from both sides."""
    low, high = float(attention.min()), float(attention.max())
    start = low if fence is None else fence
    high = max(high, start)
    width = (high - low) / _BINS or max(abs(high), 1.0) / _BINS
    below, above = np.ceil((start - low) / width), np.floor((high - start) / width) + 1
    edges: NDArray[np.float64] = start + width * np.arange(-below, above + 1)
    edges[0] = min(edges[0], low)  # against rounding
    return edges


def _counts(attention: NDArray[np.float64], edges: NDArray[np.float64]) -> tuple[float, ...]:
    return numbers(np.histogram(attention, edges)[0])


def _legend(columns: Sequence[KeptColumn]) -> Iterator[LegendEntry]:
    """Every kind of patch that occurs."""
    found = {patches.kind for column in columns for patches in column.patches}
    for kind, meaning in MEANINGS.items():
        if kind in found:
            yield LegendEntry(role="kept", label=meaning, of=kind)
    yield LegendEntry(role="dropped", label="dropped")


def _shortened(name: str, longest: int = 30) -> str:
    """Fits over a column, whatever it is."""
    name = "".join(letter if letter.isprintable() else "?" for letter in name)
    return name if len(name) <= longest else f"{name[: longest - 9]}…{name[-8:]}"
