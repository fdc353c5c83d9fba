"""Published accuracy against cost: all methods at their own token counts, and which to take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from roofline.explore.study import COSTS, Candidate, Front, Study
from roofline.report.plots.naming import listed
from roofline.report.plots.sheet import Sheet
from roofline.report.plots.style import (
    DOUBLE_IN,
    INK,
    LINE,
    PALE,
    Look,
    dress,
    key,
    looks,
    prefixed,
)
from roofline.report.text.study_answers import method
from roofline.units import si

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Page

_COLUMNS, _HEIGHT_IN = 3, 1.8
_FILLS = ("full", "none", "left", "bottom")
_SIZE, _RING = 4.2, 8.5
_FAINT = 0.3
"""Of what the device has not the memory for."""


def applies(study: Study, cost: str) -> bool:
    """Whether there are scores, and the first device's spec tells the cost."""
    return any(front.pareto(cost) for front in _fronts(study))


def alt(study: Study, cost: str) -> str:
    """The choice on every benchmark."""
    said = []
    for front in _fronts(study):
        choice = front.choice(cost)
        if choice is not None:
            spent = si(choice.cost(cost) or 0.0, COSTS[cost].unit)
            said.append(f"{front.name}: {method(choice)}, {spent}")
    return (
        f"Accuracy against {_title(cost)} on {_place(study.fronts[0])}, with the Pareto front. The "
        f"cheapest within one point of the best: {listed(said, 12)}."
    )


def draw(study: Study, width_in: float = DOUBLE_IN, *, cost: str) -> Page:
    """A panel for each benchmark, on the first device and precision that was asked for."""
    fronts = [front for front in _fronts(study) if front.pareto(cost)]
    every = [candidate for front in fronts for candidate in front.candidates]
    families = looks(map(_family, every))
    models = dict.fromkeys(candidate.score.model for candidate in every)
    fills = {model: _FILLS[i % len(_FILLS)] for i, model in enumerate(models)}
    crowded = not all(candidate.prompt.fits for candidate in every)
    handles = _handles(families, fills, crowded)
    sheet = Sheet(width_in, len(fronts), _COLUMNS, _HEIGHT_IN, handles, _note(study))
    for axes, front in zip(sheet.panels, fronts, strict=True):
        _draw_front(axes, front, cost, families, fills)
    return sheet.finished()


def _draw_front(
    axes: Axes,
    front: Front,
    cost: str,
    families: Mapping[str, Look],
    fills: Mapping[str, str],
) -> None:
    best = _places(front.pareto(cost), cost)  # in steps: between two methods there is none
    axes.plot(*best, color=PALE, lw=LINE, drawstyle="steps-post", zorder=1, gid="front")
    for candidate in front.candidates:
        marker, colour = families[_family(candidate)]
        axes.plot(
            *_places([candidate], cost),
            ls="none",
            marker=marker,
            color=colour,
            fillstyle=fills[candidate.score.model],
            markersize=_SIZE,
            markeredgewidth=0.8,
            alpha=None if candidate.prompt.fits else _FAINT,
            gid=f"{_family(candidate)} {candidate.score.model}",
        )
    choice = front.choice(cost)
    if choice is not None:
        axes.plot(
            *_places([choice], cost),
            ls="none",
            marker="o",
            markersize=_RING,
            markerfacecolor="none",
            markeredgecolor=INK,
            markeredgewidth=0.9,
            gid="choice",
        )
    axes.locator_params(axis="x", nbins=4)
    measure = f"{front.benchmark.metric}, {front.benchmark.unit}"
    dress(axes, _title(cost), measure, front.name)
    axes.margins(0.12)
    if cost != "peak_memory_bytes":  # nearly all of that are weights, the same for all
        axes.set_xlim(left=0)
    prefixed(axes, "x", COSTS[cost].unit)


def _fronts(study: Study) -> list[Front]:
    """Those of the first device and precision."""
    return [front for front in study.fronts if _place(front) == _place(study.fronts[0])]


def _place(front: Front) -> str:
    return f"{front.hardware}, {front.quant}"


def _note(study: Study) -> str:
    """Where this is, and how many places there are besides."""
    places = list(dict.fromkeys(map(_place, study.fronts)))
    more = f"; {len(places) - 1} more in the tables" if len(places) > 1 else ""
    return f"{places[0]}{more}"


def _title(cost: str) -> str:
    title = COSTS[cost].title
    return title[0].lower() + title[1:]


def _family(candidate: Candidate) -> str:
    """The method, sampling patterns of one kind together."""
    name = candidate.score.method
    return name.partition(" ")[0] if candidate.score.reducer else name


def _places(candidates: Sequence[Candidate], cost: str) -> tuple[list[float], list[float]]:
    """Costs and scores of those whose cost is known."""
    known = [(value, c.score.value) for c in candidates if (value := c.cost(cost)) is not None]
    return [x for x, _ in known], [y for _, y in known]


def _handles(families: Mapping[str, Look], fills: Mapping[str, str], crowded: bool) -> list[Artist]:
    marks: list[Any] = [
        key(marker=marker, color=colour, label=name) for name, (marker, colour) in families.items()
    ]
    if len(fills) > 1:
        marks += [key(marker="o", fillstyle=fill, label=model) for model, fill in fills.items()]
    if crowded:
        marks.append(key(marker="o", alpha=_FAINT, label="does not fit"))
    marks.append(key(linestyle="-", lw=LINE, label="Pareto front"))
    ring = {"markerfacecolor": "none", "markeredgecolor": INK, "markersize": 6.5}
    marks.append(key(marker="o", label="cheapest within 1 point of the best", **ring))
    return marks
