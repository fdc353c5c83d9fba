"""What a figure is, and which there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from msgspec import Struct

from roofline.report.figures import (
    agreement,
    answers,
    memory,
    over_tokens,
    pareto,
    rooflines,
    time_parts,
)
from roofline.study import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Page


class Figure(Struct, frozen=True, kw_only=True):
    """A way to draw a study."""

    name: str
    """Of its files, without their endings."""
    title: str
    alt: Callable[[Study], str]
    """What it shows, for those who cannot see it; only where it applies, as `draw`."""
    draw: Callable[[Study], Page]
    applies: Callable[[Study], bool] = lambda study: True
    """Whether the study has what it shows."""


def _accuracy(cost: str, name: str, title: str) -> Figure:
    return Figure(
        name=name,
        title=title,
        alt=partial(pareto.alt, cost=cost),
        draw=partial(pareto.draw, cost=cost),
        applies=partial(pareto.applies, cost=cost),
    )


FIGURES: Mapping[str, Figure] = {
    figure.name: figure
    for figure in (
        Figure(
            name="time",
            title="Where the time goes",
            alt=time_parts.alt,
            draw=time_parts.draw,
        ),
        Figure(
            name="visual-tokens",
            title="Time, FLOPs and memory over visual tokens",
            alt=over_tokens.alt,
            draw=over_tokens.draw,
            applies=over_tokens.applies,
        ),
        Figure(
            name="roofline",
            title="Roofline chart",
            alt=rooflines.alt,
            draw=rooflines.draw,
        ),
        Figure(
            name="memory",
            title="Memory against capacity",
            alt=memory.alt,
            draw=memory.draw,
        ),
        Figure(
            name="answer",
            title="Decode steps and whole answers",
            alt=answers.alt,
            draw=answers.draw,
            applies=answers.applies,
        ),
        Figure(
            name="prediction",
            title="Predicted against measured",
            alt=agreement.alt,
            draw=agreement.draw,
            applies=agreement.applies,
        ),
        _accuracy("prefill_time_s", "accuracy-time", "Accuracy against prefill time"),
        _accuracy("energy_at_tdp_j", "accuracy-energy", "Accuracy against energy at TDP"),
        _accuracy("peak_memory_bytes", "accuracy-memory", "Accuracy against peak memory"),
    )
}
"""By name, in a report's order."""
