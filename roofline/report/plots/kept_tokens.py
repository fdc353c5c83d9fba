"""What reducers keep of one picture: a column for each reducer.

Rows: the picture with kept patches bright, what is merged, and the distribution of the attention
that ranks. The first column holds the picture itself and says how to read each row. All lengths
here are inches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from roofline.report.charts.chart import LegendEntry
from roofline.report.charts.kept_tokens import (
    NAME,
    AttentionHistogram,
    KeptColumn,
    KeptTokensChart,
)
from roofline.report.plots.drawing import draws
from roofline.report.plots.style import DOUBLE_IN, INK, PALE, plainly_logarithmic

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Ground(NamedTuple):
    """What goes with a background."""

    outlines: dict[str, str]
    """Of kept patches, by kind: of Okabe and Ito's set, told apart by any kind of vision."""
    kept: str
    dropped: str
    """Faces of the legend's patches."""
    paper: float
    """What dropped patches fade to, and how much of their grey is left."""
    left: float
    heat: str
    """Colour map of what is merged."""


GROUNDS = {
    "light": Ground(
        {"outlier": "#D55E00", "strongest": "#D55E00", "sampled": "#0072B2", "kept": INK},
        kept="#8FA6BD",
        dropped="#E4E4E4",
        paper=255.0,
        left=0.25,
        heat="YlOrRd",
    ),
    "dark": Ground(
        {"outlier": "#E69F00", "strongest": "#E69F00", "sampled": "#56B4E9", "kept": "#F5F5F5"},
        kept="#B9C7D6",
        dropped="#4A4A4A",
        paper=0.0,
        left=0.38,
        heat="inferno",
    ),
}
_RIM = "#4A4A4A"
"""Around outlines in the legend: some are pale, and its paper is white."""
_BARS = "#9A9A9A"
_FAINT, _OPACITY = 0.8, 0.78

_PANEL, _GAP, _MARGIN = 2.9, 0.18, 0.15
_TITLE, _LEGEND = 0.62, 0.34
_HISTOGRAM, _ABOVE, _BELOW, _TICKS = 1.35, 0.34, 0.42, 0.42
_OUTLINE = 0.9
"""Points."""


@draws(NAME)
def draw(chart: KeptTokensChart, width_in: float = DOUBLE_IN) -> Figure:
    """As wide as its columns, of which each has its width: `width_in` is what others are.

    Rows that would be empty are left out.
    """
    from matplotlib.figure import Figure

    merging, ranking = bool(chart.merging_explained), bool(chart.attention_explained)
    page = _page(len(chart.columns), merging, ranking)
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
    picture.imshow(chart.picture)
    bare(picture)
    _title(picture, chart.picture_name, chart.picture_detail)
    column_indices = range(1, len(chart.columns) + 1)
    for column_index, column in zip(column_indices, chart.columns, strict=True):
        axes = panel(column_index, page.pictures, _PANEL)
        draw_kept(axes, chart.picture, chart.side, column, GROUNDS[chart.background])
        _title(axes, column.reducer, column.detail)
    if merging:
        _draw_merging(
            panel(0, page.heat, _PANEL),
            [panel(column_index, page.heat, _PANEL) for column_index in column_indices],
            chart,
        )
    if ranking:
        _draw_ranking(
            panel(0, page.histograms, _HISTOGRAM),
            [
                panel(column_index, page.histograms, _HISTOGRAM, _TICKS)
                for column_index in column_indices
            ],
            chart,
        )
    _legend(figure, chart.legend, page, GROUNDS[chart.background])
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


def draw_kept(
    axes: Axes,
    image: NDArray[np.uint8],
    side: int,
    column: KeptColumn,
    ground: Ground,
    panel_in: float = _PANEL,
) -> None:
    """Kept patches as they are and outlined, the others grey and faded, `panel_in` wide."""
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    bright = np.zeros(side**2, bool)
    for patches in column.patches:
        bright[list(patches.indices)] = True
    mask = _pixels(bright, image, side)[..., None]
    faded = ground.left * _grey(image) + (1 - ground.left) * ground.paper
    axes.imshow(np.where(mask, image, faded).round().astype(np.uint8))
    size = image.shape[1] / side
    outline = _OUTLINE * min(1.0, panel_in / _PANEL)
    inset = outline / 72 / panel_in * image.shape[1] / 2  # the line's outer edge is the patch's
    for patches in column.patches:
        squares = [
            Rectangle(
                (index % side * size - 0.5 + inset, index // side * size - 0.5 + inset),
                size - 2 * inset,
                size - 2 * inset,
            )
            for index in patches.indices
        ]
        outlines = PatchCollection(
            squares, facecolor="none", edgecolor=ground.outlines[patches.kind], linewidth=outline
        )
        outlines.set_gid(patches.kind)
        axes.add_collection(outlines, autolim=False)
    bare(axes)


def _draw_merging(caption: Axes, panels: Sequence[Axes], chart: KeptTokensChart) -> None:
    """Each patch's share of what is merged, on one scale for all reducers."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import PowerNorm
    from matplotlib.ticker import MaxNLocator

    heat = GROUNDS[chart.background].heat
    image = (_FAINT * _grey(chart.picture)).round().astype(np.uint8)
    norm = PowerNorm(0.5, 0, max(max(c.merged_percent, default=0.0) for c in chart.columns))
    height, width = image.shape[:2]
    for axes, column in zip(panels, chart.columns, strict=True):
        if not column.merged_percent:
            because = column.no_merging_because
            _say(axes, 0.5, 0.5, because, ha="center", va="center", color=PALE)
            continue
        axes.imshow(image)
        axes.imshow(
            np.array(column.merged_percent).reshape(chart.side, -1),
            cmap=heat,
            norm=norm,
            alpha=_OPACITY,
            extent=(-0.5, width - 0.5, height - 0.5, -0.5),
            interpolation="nearest",
        )
        bare(axes)
    _say(caption, 0, 1, chart.merging_explained)
    bar = caption.inset_axes((0, 0.14, 0.94, 0.055))
    assert caption.figure is not None
    caption.figure.colorbar(ScalarMappable(norm, heat), cax=bar, orientation="horizontal")
    bar.xaxis.set_major_locator(MaxNLocator(4))
    bar.tick_params(labelsize=7, colors=INK)
    bar.set_xlabel("share of all that is merged, %", fontsize=8, color=INK)


def _draw_ranking(caption: Axes, panels: Sequence[Axes], chart: KeptTokensChart) -> None:
    """Histograms of attention: all patches, and before them those kept for their attention."""
    _say(caption, 0, 1, chart.attention_explained)
    for axes, column in zip(panels, chart.columns, strict=True):
        if column.histogram is None:
            _say(axes, 0.43, 0.5, column.no_histogram_because, ha="center", color=PALE)
        else:
            outlines = GROUNDS[chart.background].outlines
            _draw_histogram(axes, column, column.histogram, chart.side**2, outlines)


def _draw_histogram(
    axes: Axes,
    column: KeptColumn,
    histogram: AttentionHistogram,
    patches: int,
    outlines: Mapping[str, str],
) -> None:
    edges = histogram.edges
    bins: dict[str, Any] = {"x": edges[:-1], "bins": edges, "log": True}
    axes.hist(weights=histogram.counts, color=_BARS, label="all", **bins)
    for kept in column.patches:
        if kept.counts:
            colour = outlines[kept.kind] if kept.kind != "kept" else INK
            axes.hist(weights=kept.counts, color=colour, label=kept.kind, **bins)
    if histogram.fence is not None:
        fence = histogram.fence
        axes.axvline(fence, color=INK, linestyle="--", linewidth=1, gid="fence")
        axes.set_title(f"fence at {fence:.3g}", fontsize=7.5, color=INK, pad=3)
    axes.set_ylim(0.7, 1.3 * patches)
    plainly_logarithmic(axes.yaxis)
    axes.set_xlabel("attention of the class token", fontsize=8, color=INK, labelpad=2)
    axes.set_ylabel("patches", fontsize=8, color=INK, labelpad=2)
    axes.tick_params(labelsize=7, colors=INK)
    axes.locator_params(axis="x", nbins=4)
    axes.ticklabel_format(axis="x", style="plain")
    axes.spines[["top", "right"]].set_visible(False)


def _legend(figure: Figure, entries: Sequence[LegendEntry], page: _Page, ground: Ground) -> None:
    """In one line at the left."""
    handles = [handle(entry, ground) for entry in entries]
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


def handle(entry: LegendEntry, ground: Ground) -> Artist:
    """A patch as it is drawn."""
    from matplotlib.patches import Patch
    from matplotlib.patheffects import Normal, Stroke

    if entry.role == "dropped":
        return Patch(facecolor=ground.dropped, edgecolor=ground.dropped, label=entry.label)
    return Patch(
        facecolor=ground.kept,
        edgecolor=ground.outlines[entry.of],
        linewidth=1.6,
        label=entry.label,
        path_effects=[Stroke(linewidth=2.8, foreground=_RIM), Normal()],
    )


def _title(axes: Axes, name: str, detail: str) -> None:
    line: dict[str, Any] = {"transform": axes.transAxes, "color": INK, "parse_math": False}
    axes.text(0, 1 + 0.38 / _PANEL, name, fontsize=10, fontweight="bold", **line)
    axes.text(0, 1 + 0.08 / _PANEL, detail, fontsize=7.5, linespacing=1.2, **line)


def _say(axes: Axes, x: float, y: float, text: str, **style: Any) -> None:
    """Text where there is nothing to plot."""
    axes.axis("off")
    style = {"va": "top", "color": INK, "fontsize": 8.5, "linespacing": 1.35, **style}
    axes.text(x, y, text, transform=axes.transAxes, **style)


def bare(axes: Axes) -> None:
    """A picture without ticks and frame."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def _grey(image: NDArray[Any]) -> NDArray[np.float64]:
    """Luma in all three colours, as floats."""
    grey: NDArray[np.float64] = np.repeat(image @ np.array([[0.299], [0.587], [0.114]]), 3, axis=2)
    return grey


def _pixels(per_patch: NDArray[Any], image: NDArray[Any], side: int) -> NDArray[Any]:
    """[N] → [height, width]."""
    height, width = image.shape[:2]
    rows, columns = (np.arange(length) * side // length for length in (height, width))
    pixels: NDArray[Any] = per_patch.reshape(side, side)[rows[:, None], columns]
    return pixels
