"""What stays in memory during a prefill, against what the devices have."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress
from textwrap import fill
from typing import TYPE_CHECKING

from roofline.explore.study import PricedPrompt, Study
from roofline.report.plots.naming import listed, prompt_name
from roofline.report.plots.sheet import Sheet
from roofline.report.plots.style import (
    DOUBLE_IN,
    INK,
    SERIES,
    SMALL,
    THIN,
    dress,
    prefixed,
    spread,
    swatch,
)
from roofline.units import si

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Page

PARTS = {
    "weights": ("weight_bytes", SERIES[0]),
    "KV cache": ("kv_cache_bytes", SERIES[4]),
    "peak activations": ("peak_activation_bytes", SERIES[2]),
}
"""Name → attribute of the totals, and colour."""
_MOST = 40
_BAR, _BAR_IN, _AROUND_IN, _NAME_IN = 0.75, 0.16, 0.9, 0.12
_ROOM = 1.35
"""Length of the axis over the longest bar."""
_LETTERS_PER_IN = 13
"""Of a line below the axis."""
_NEAR = 0.02
"""Capacities closer than this share of the axis share a name."""


def alt(study: Study) -> str:
    """Peak memory of every row, and who does not have it."""
    rows = [f"{_name(one)}: {si(_peak(one), 'B')}" for one in _rows(study)]
    tight = dict.fromkeys(
        f"{one.hardware} ({one.model}, {one.quant})" for one in study.prompts if not one.fits
    )
    verdict = f"Too much for {listed(list(tight))}" if tight else "All of it fits everywhere"
    return f"Stacked bars of weights, KV cache and peak activations. {listed(rows)}. {verdict}."


def draw(study: Study, width_in: float = DOUBLE_IN) -> Page:
    """A bar for each model, precision and prompt; devices are lines, or named where beyond."""
    rows, note = spread(_rows(study), _MOST, "prompts")
    end = _ROOM * max(_peak(one) for one in rows)
    capacities: dict[float, list[str]] = {}
    for one in study.prompts:
        names = capacities.setdefault(one.estimate.hardware.memory_bytes, [])
        if one.hardware not in names:
            names.append(one.hardware)
    within = {size: names for size, names in sorted(capacities.items()) if size <= end}
    beyond = {size: names for size, names in sorted(capacities.items()) if size > end}
    handles = [swatch(color=colour, label=name) for name, (_, colour) in PARTS.items()]
    labels = _labels(within, end)
    sizes = {size: si(size, "B").replace(" ", "\N{NO-BREAK SPACE}") for size in beyond}
    more = "; ".join(f"{', '.join(names)} {sizes[size]}" for size, names in beyond.items())
    more = fill(f"beyond this axis: {more}", int(_LETTERS_PER_IN * width_in)) if more else ""
    height = _AROUND_IN + 0.16 * more.count("\n") + len(rows) * _BAR_IN + len(labels) * _NAME_IN
    sheet = Sheet(width_in, 1, 1, height, handles, note)
    (axes,) = sheet.panels
    names, all_of = _names(rows)
    _draw_bars(axes, rows)
    axes.set_yticks(range(len(rows)), names)
    axes.set(xlim=(0, end), ylim=(len(rows) - 0.5, -0.5))
    for size in within:
        axes.axvline(size, color=INK, lw=THIN, ls=(0, (4, 2)), gid="capacity")
    for level, (size, words) in enumerate(reversed(labels)):
        axes.annotate(
            words,
            (size, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 2 + 72 * _NAME_IN * level),
            textcoords="offset points",
            ha="right",
            va="bottom",
            fontsize=SMALL,
            color=INK,
        )
    dress(axes, "", "")
    words = f"peak memory of the prefill: {all_of}".removesuffix(": ")
    axes.set_xlabel(f"{words}\n{more}".rstrip(), loc="right")
    axes.tick_params(axis="y", length=0)
    axes.locator_params(axis="x", nbins=max(3, int(width_in)))
    prefixed(axes, "x", "B")
    return sheet.finished()


def _rows(study: Study) -> list[PricedPrompt]:
    """One of those that need the same, whatever the device."""
    found: dict[str, PricedPrompt] = {}
    for one in study.prompts:
        found.setdefault(_name(one), one)
    return list(found.values())


def _name(one: PricedPrompt) -> str:
    return f"{one.model}, {one.quant}, {prompt_name(one)}"


def _names(rows: Sequence[PricedPrompt]) -> tuple[list[str], str]:
    """What tells each row from the others, its prompt at least, and what is the same in all."""
    parts = [(one.model, one.quant, prompt_name(one)) for one in rows]
    differs = [len({part[i] for part in parts}) > 1 for i in range(2)] + [True]
    names = [", ".join(compress(part, differs)) for part in parts]
    return names, ", ".join(word for word, own in zip(parts[0], differs, strict=True) if not own)


def _peak(one: PricedPrompt) -> float:
    return float(one.estimate.end_to_end.peak_memory_bytes)


def _labels(capacities: dict[float, list[str]], end: float) -> list[tuple[float, str]]:
    """Names of devices, those of nearly the same capacity on one line."""
    found: list[tuple[float, str]] = []
    for size, names in capacities.items():
        words = f"{', '.join(names)} {si(size, 'B')}"
        if found and size - found[-1][0] < _NEAR * end:
            found[-1] = (size, f"{found[-1][1]}; {words}")
        else:
            found.append((size, words))
    return found


def _draw_bars(axes: Axes, rows: Sequence[PricedPrompt]) -> None:
    """With their numbers in a column at the right, where they hide no line."""
    for row, one in enumerate(rows):
        left = 0.0
        for name, (attribute, colour) in PARTS.items():
            size = float(getattr(one.estimate.end_to_end, attribute))
            axes.barh(row, size, _BAR, left=left, color=colour, gid=name)
            left += size
        axes.annotate(
            si(left, "B"),
            (1, row),
            xycoords=("axes fraction", "data"),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            fontsize=SMALL,
            color=INK,
        )
