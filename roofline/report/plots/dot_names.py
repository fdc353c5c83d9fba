"""Names beside dots: each where it hides neither another nor a dot, and as near as can be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from roofline.report.charts.chart import Series
from roofline.report.plots.style import INK, LEAST, PALE, floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Text

_STEP_PT, _STEPS = 8.0, 12
"""Between places that are tried, downwards and to either side."""
_DOT_PT = 3.0
"""Around the middle of a dot, what a name must not hide."""
_FAR_PT = 10.0
"""From a dot, beyond which a line leads to it."""
_HIDES, _CROSSES_PT = 1e3, 40.0
"""What it costs to hide a dot, and to cross a line: as much as to be so many points farther off."""
_SAMPLES = np.linspace(0, 1, 80)
"""Of a line."""
Box = tuple[float, float, float, float]
"""Left, bottom, right and top in pixels."""


def name_dots(axes: Axes, shown: Sequence[Series]) -> None:
    """Name the dots that have a name in a panel that shows these, and whose page is settled."""
    from matplotlib.patheffects import withStroke

    assert axes.figure is not None
    point = axes.figure.dpi / 72
    named = [
        (x, y, name)
        for one in shown
        if one.names
        for x, y, name in zip(one.x, floats(one.y), one.names, strict=True)
        if name
    ]
    if not named:
        return
    room = _Room.of(axes, shown)
    halo: list[Any] = [withStroke(linewidth=1.5, foreground="white")]
    for x, y, name in named:
        style: dict[str, Any] = {"fontsize": LEAST, "color": INK, "gid": "name"}
        text = axes.text(0, 0, name, transform=None, va="center", path_effects=halo, **style)
        left, bottom, right, top = _box(text)
        size = right - left, top - bottom
        at = axes.transData.transform((x, y))
        box = min(_around(at, size, point), key=lambda box: room.cost(box, at))
        room.taken.append(box)
        room.leads.append(_between(at, np.clip(at, box[:2], box[2:])))
        middle = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        to_axes = axes.transAxes.inverted()
        text.set(transform=axes.transAxes, ha="center", position=to_axes.transform(middle))
        end = np.clip(at, box[:2], box[2:])
        if float(np.hypot(*(at - end))) > _FAR_PT * point:
            xs, ys = np.transpose([at, end])
            ends = axes.transData.inverted().transform(np.transpose([xs, ys]))
            line: dict[str, Any] = {"color": PALE, "lw": 0.5, "zorder": 2.8, "gid": "lead"}
            axes.plot(*ends.T, scalex=False, scaley=False, **line)


def _around(at: NDArray[np.float64], size: tuple[float, float], point: float) -> Iterator[Box]:
    """Places below the dot and beside it, then above."""
    width, height = size
    steps = [step * _STEP_PT * point for step in range(_STEPS)]
    for down, aside in product([*steps, *(-step for step in steps)], (0.0, -0.55, 0.55, -1.0, 1.0)):
        middle = at[0] + aside * (width / 2 + _STEP_PT * point)
        below = at[1] - down - (np.sign(down) or 0.0) * height / 2
        yield middle - width / 2, below - height / 2, middle + width / 2, below + height / 2


class _Room(NamedTuple):
    """What is on a panel already, in pixels."""

    point: float
    frame: Box
    taken: list[Box]
    """Words."""
    dots: NDArray[np.float64]
    """[2, n]"""
    lines: list[NDArray[np.float64]]
    """[2, samples] each: roofs and arrows."""
    leads: list[NDArray[np.float64]]
    """The same, from dots to their names."""

    @classmethod
    def of(cls, axes: Axes, shown: Sequence[Series]) -> _Room:
        assert axes.figure is not None
        dots, lines = [], []
        for one in shown:
            places = list(zip(one.x, floats(one.y), strict=True))
            if "slope" in one.role or "ceiling" in one.role:
                lines.append(_sampled(axes, *places))
            else:
                dots += [*places, *one.origins]
                arrows = zip(one.origins, places, strict=False)
                lines += [_sampled(axes, start, end) for start, end in arrows]
        return cls(
            axes.figure.dpi / 72,
            (axes.bbox.x0, axes.bbox.y0, axes.bbox.x1, axes.bbox.y1),
            [_box(text) for text in axes.texts],
            axes.transData.transform(dots).T,
            lines,
            [],
        )

    def cost(self, box: Box, at: NDArray[np.float64]) -> float:
        """How far from its dot a name is, and much more for all that it hides."""
        left, bottom, right, top = box
        pad = _DOT_PT * self.point
        x0, y0, x1, y1 = self.frame
        outside = left < x0 or right > x1 or bottom < y0 + pad or top > y1
        covers = sum(
            left < b[2] and b[0] < right and bottom < b[3] and b[1] < top for b in self.taken
        )
        crosses = sum(bool(_within(line, box, 0.0).any()) for line in self.lines)
        hides = int(_within(self.dots, box, pad).sum())
        end = np.clip(at, box[:2], box[2:])
        lead, gap = _between(at, end), float(np.hypot(*(at - end)))
        covers += sum(bool(_within(other, box, 0.0).any()) for other in self.leads)
        covers += sum(bool(_within(lead, words, 0.0).any()) for words in self.taken)
        return 1e6 * (outside + covers) + _HIDES * hides + _CROSSES_PT * self.point * crosses + gap


def _sampled(
    axes: Axes, start: tuple[float, float], end: tuple[float, float]
) -> NDArray[np.float64]:
    return _between(*axes.transData.transform([start, end]))


def _between(start: NDArray[np.float64], end: NDArray[np.float64]) -> NDArray[np.float64]:
    """[2, samples]"""
    return start[:, None] + (end - start)[:, None] * _SAMPLES


def _within(points: NDArray[np.float64], box: Box, pad: float) -> NDArray[np.bool_]:
    x, y = points
    left, bottom, right, top = box
    inside: NDArray[np.bool_] = (
        (x > left - pad) & (x < right + pad) & (y > bottom - pad) & (y < top + pad)
    )
    return inside


def _box(text: Text) -> Box:
    found = text.get_window_extent()
    return found.x0, found.y0, found.x1, found.y1
