"""What a figure is, and which there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING

from msgspec import Struct

from roofline.explore.study import Study
from roofline.report.plots import (
    agreement,
    answers,
    memory,
    over_tokens,
    pareto,
    rooflines,
    time_parts,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Page


class Figure(Struct, frozen=True, kw_only=True):
    """A way to draw a study."""

    name: str
    """Of its files, without their endings."""
    title: str
    alt: Callable[[Study], str]
    """What it shows, for those who cannot see it; only where it applies, as `draw`."""
    draw: Callable[..., Page]
    """A study and, if it is not to be two columns wide, the width in inches → a page."""
    applies: Callable[[Study], bool]
    """Whether the study has what it shows."""


def _figure(name: str, title: str, module: ModuleType, **options: str) -> Figure:
    """A figure by a module's `alt`, `draw` and, if it has any, `applies`."""
    return Figure(
        name=name,
        title=title,
        alt=partial(module.alt, **options),
        draw=partial(module.draw, **options),
        applies=partial(getattr(module, "applies", _always), **options),
    )


def _always(study: Study) -> bool:
    return True


FIGURES: Mapping[str, Figure] = {
    figure.name: figure
    for figure in (
        _figure("time", "Where the time goes", time_parts),
        _figure("visual-tokens", "Time, FLOPs and memory over visual tokens", over_tokens),
        _figure("roofline", "Roofline chart", rooflines),
        _figure("memory", "Memory against capacity", memory),
        _figure("answer", "Decode steps and whole answers", answers),
        _figure("prediction", "Predicted against measured", agreement),
        _figure("accuracy-time", "Accuracy against prefill time", pareto, cost="prefill_time_s"),
        _figure(
            "accuracy-energy", "Accuracy against energy at TDP", pareto, cost="energy_at_tdp_j"
        ),
        _figure(
            "accuracy-memory", "Accuracy against peak memory", pareto, cost="peak_memory_bytes"
        ),
    )
}
"""By name, in a report's order."""
