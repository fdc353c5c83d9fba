"""A figure of what reducers keep of one picture: a column for each reducer.

Rows: the picture with kept patches bright, what is merged, and the distribution of the attention
that ranks. The first column holds the picture itself and says how to read each row. All lengths
here are inches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from roofline.records.kept_patches import Inspection, Kept, Kind
from roofline.report.plots.style import INK, PALE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS: dict[Kind, str] = {
    "outlier": "#E69F00",
    "strongest": "#E69F00",
    "sampled": "#56B4E9",
    "kept": "#F5F5F5",
}
"""Orange and sky blue of Okabe and Ito's set, told apart whatever the eye's kind of vision."""
_MEANINGS: dict[Kind, str] = {
    "outlier": "kept: attention is an outlier",
    "strongest": "kept: most attention",
    "sampled": "kept: evenly sampled",
    "kept": "kept",
}
_BRIGHT, _DROPPED = "#B9C7D6", "#4A4A4A"
_BARS = "#9A9A9A"
_DIM = 0.38
_HEAT, _FAINT, _OPACITY = "inferno", 0.8, 0.78
_BINS = 40

_PANEL, _GAP, _MARGIN = 2.9, 0.18, 0.15
_TITLE, _LEGEND = 0.62, 0.34
_HISTOGRAM, _ABOVE, _BELOW, _TICKS = 1.35, 0.34, 0.42, 0.42
_OUTLINE = 0.9
"""Points."""


def draw(inspection: Inspection) -> Figure:
    """The figure itself. Rows that would be empty are left out."""
    from matplotlib.figure import Figure

    kept = inspection.kept
    merging = any(one.merging is not None for one in kept)
    ranking = any(one.attention is not None for one in kept)
    page = _page(len(kept), merging, ranking)
    figure = Figure(figsize=(page.width, page.height), facecolor="white")

    def panel(column: int, bottom: float, height: float, inset: float = 0) -> Axes:
        left = _MARGIN + column * (_PANEL + _GAP) + inset
        return figure.add_axes(
            (
                left / page.width,
                bottom / page.height,
                (_PANEL - inset) / page.width,
                height / page.height,
            )
        )

    picture = panel(0, page.pictures, _PANEL)
    picture.imshow(inspection.image)
    height, width = inspection.image.shape[:2]
    _bare(picture)
    _title(
        picture,
        _short(inspection.title),
        f"as the encoder of {_short(inspection.model, 24)} sees it:\n"
        f"{width}×{height} pixels, {inspection.side}×{inspection.side} patches",
    )
    for column, one in enumerate(kept, 1):
        axes = panel(column, page.pictures, _PANEL)
        _draw_kept(axes, inspection, one)
        _title(axes, _short(one.reducer), f"{one.parts}\n= {one.total} ({one.tokens / one.of:.1%})")
    if merging:
        _draw_merging(
            panel(0, page.heat, _PANEL),
            [panel(column, page.heat, _PANEL) for column in range(1, len(kept) + 1)],
            inspection,
        )
    if ranking:
        _draw_ranking(
            panel(0, page.histograms, _HISTOGRAM),
            [
                panel(column, page.histograms, _HISTOGRAM, _TICKS)
                for column in range(1, len(kept) + 1)
            ],
            kept,
        )
    _legend(figure, kept, page)
    return figure


class _Page(NamedTuple):
    """Size, and bottoms of the rows."""

    width: float
    height: float
    pictures: float
    heat: float
    histograms: float


def _page(columns: int, merging: bool, ranking: bool) -> _Page:
    """From the bottom up: legend, histograms, heat, pictures."""
    histograms = _LEGEND + _BELOW
    heat = histograms + _HISTOGRAM + _ABOVE if ranking else _LEGEND
    pictures = heat + _PANEL + _GAP if merging else heat
    width = 2 * _MARGIN + _PANEL + columns * (_PANEL + _GAP)
    return _Page(width, pictures + _PANEL + _TITLE, pictures, heat, histograms)


def _draw_kept(axes: Axes, inspection: Inspection, one: Kept) -> None:
    """Kept patches as they are and outlined, the others grey and dark."""
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    image, side = inspection.image, inspection.side
    bright = np.zeros(one.of, bool)
    bright[one.indices] = True
    mask = _pixels(bright, inspection)[..., None]
    axes.imshow(np.where(mask, image, _DIM * _grey(image)).round().astype(np.uint8))
    size = image.shape[1] / side
    inset = _OUTLINE / 72 / _PANEL * image.shape[1] / 2  # the line's outer edge is the patch's
    for kind, patches in one.patches.items():
        squares = [
            Rectangle(
                (index % side * size - 0.5 + inset, index // side * size - 0.5 + inset),
                size - 2 * inset,
                size - 2 * inset,
            )
            for index in patches.tolist()
        ]
        outlines = PatchCollection(
            squares, facecolor="none", edgecolor=COLOURS[kind], linewidth=_OUTLINE
        )
        outlines.set_gid(kind)
        axes.add_collection(outlines, autolim=False)
    _bare(axes)


def _draw_merging(caption: Axes, panels: Sequence[Axes], inspection: Inspection) -> None:
    """Each patch's share of what is merged, on one scale for all reducers."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import PowerNorm
    from matplotlib.ticker import MaxNLocator

    image = (_FAINT * _grey(inspection.image)).round().astype(np.uint8)
    shares = [one.merging for one in inspection.kept if one.merging is not None]
    norm = PowerNorm(0.5, 0, 100 * max(float(share.max()) for share in shares))
    fenced = any(one.fence is not None for one in inspection.kept)
    height, width = image.shape[:2]
    for axes, one in zip(panels, inspection.kept, strict=True):
        if one.merging is None:
            known = "merges inside the ViT:\nshares unknown" if one.merges else "nothing is merged"
            _say(axes, 0.5, 0.5, known, ha="center", va="center", color=PALE)
            continue
        axes.imshow(image)
        axes.imshow(
            100 * one.merging.reshape(inspection.side, -1),
            cmap=_HEAT,
            norm=norm,
            alpha=_OPACITY,
            extent=(-0.5, width - 0.5, height - 0.5, -0.5),
            interpolation="nearest",
        )
        _bare(axes)
    _say(
        caption,
        0,
        1,
        "Merging: how much each patch adds\nto tokens other than its own."
        + ("\n\nPruMerge: Σ of its attention over the\nclusters that it joins." if fenced else ""),
    )
    bar = caption.inset_axes((0, 0.14, 0.94, 0.055))
    assert caption.figure is not None
    caption.figure.colorbar(ScalarMappable(norm, _HEAT), cax=bar, orientation="horizontal")
    bar.xaxis.set_major_locator(MaxNLocator(4))
    bar.tick_params(labelsize=7, colors=INK)
    bar.set_xlabel("share of all that is merged, %", fontsize=8, color=INK)


def _draw_ranking(caption: Axes, panels: Sequence[Axes], kept: Sequence[Kept]) -> None:
    """Histograms of attention: all patches, and before them those kept for their attention."""
    fenced = any(one.fence is not None for one in kept)
    _say(
        caption,
        0,
        1,
        "Attention of the class token.\nGrey: all patches. In front of them\n"
        "those that are kept for it." + ("\nDashed: upper fence, Q3 + 1.5·IQR." if fenced else ""),
    )
    for axes, one in zip(panels, kept, strict=True):
        if one.attention is None:
            _say(axes, 0.43, 0.5, "not ranked by one row of attention", ha="center", color=PALE)
            continue
        edges = _edges(one.attention, one.fence).tolist()
        axes.hist(one.attention, edges, color=_BARS, log=True, label="all")
        for kind, patches in one.patches.items():
            if kind != "sampled":
                colour = COLOURS[kind] if kind != "kept" else INK
                axes.hist(one.attention[patches], edges, color=colour, log=True, label=kind)
        if one.fence is not None:
            axes.axvline(one.fence, color=INK, linestyle="--", linewidth=1, gid="fence")
            axes.set_title(f"fence at {one.fence:.3g}", fontsize=7.5, color=INK, pad=3)
        axes.set_ylim(0.7, 1.3 * one.of)
        axes.set_xlabel("attention of the class token", fontsize=8, color=INK, labelpad=2)
        axes.set_ylabel("patches", fontsize=8, color=INK, labelpad=2)
        axes.tick_params(labelsize=7, colors=INK)
        axes.locator_params(axis="x", nbins=4)
        axes.ticklabel_format(axis="x", style="plain")
        axes.spines[["top", "right"]].set_visible(False)


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


def _legend(figure: Figure, kept: Sequence[Kept], page: _Page) -> None:
    """Every kind of patch that occurs."""
    from matplotlib.patches import Patch
    from matplotlib.patheffects import Normal, Stroke

    rim = [Stroke(linewidth=2.8, foreground=_DROPPED), Normal()]  # pale outlines on white paper
    kinds = [kind for kind in COLOURS if any(kind in one.patches for one in kept)]
    handles = [
        Patch(
            facecolor=_BRIGHT,
            edgecolor=COLOURS[kind],
            linewidth=1.6,
            label=_MEANINGS[kind],
            path_effects=rim,
        )
        for kind in kinds
    ]
    handles.append(Patch(facecolor=_DROPPED, edgecolor=_DROPPED, label="dropped"))
    figure.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(_MARGIN / page.width, 0.05 / page.height),
        ncols=len(handles),
        fontsize=8,
        labelcolor=INK,
        frameon=False,
        borderpad=0,
        borderaxespad=0,
        handlelength=1.1,
        handleheight=1.1,
        columnspacing=1.4,
    )


def _title(axes: Axes, name: str, detail: str) -> None:
    line: dict[str, Any] = {"transform": axes.transAxes, "color": INK, "parse_math": False}
    axes.text(0, 1 + 0.38 / _PANEL, name, fontsize=10, fontweight="bold", **line)
    axes.text(0, 1 + 0.08 / _PANEL, detail, fontsize=7.5, linespacing=1.2, **line)


def _short(name: str, longest: int = 30) -> str:
    """Fits over a panel."""
    name = "".join(letter if letter.isprintable() else "?" for letter in name)
    return name if len(name) <= longest else f"{name[: longest - 9]}…{name[-8:]}"


def _say(axes: Axes, x: float, y: float, text: str, **style: Any) -> None:
    """Text where there is nothing to plot."""
    axes.axis("off")
    style = {"va": "top", "color": INK, "fontsize": 8.5, "linespacing": 1.35, **style}
    axes.text(x, y, text, transform=axes.transAxes, **style)


def _bare(axes: Axes) -> None:
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def _grey(image: NDArray[Any]) -> NDArray[np.float64]:
    """Luma in all three colours, as floats."""
    grey: NDArray[np.float64] = np.repeat(image @ np.array([[0.299], [0.587], [0.114]]), 3, axis=2)
    return grey


def _pixels(per_patch: NDArray[Any], inspection: Inspection) -> NDArray[Any]:
    """[N] → [height, width]."""
    height, width = inspection.image.shape[:2]
    side = inspection.side
    rows, columns = (np.arange(length) * side // length for length in (height, width))
    pixels: NDArray[Any] = per_patch.reshape(side, side)[rows[:, None], columns]
    return pixels
