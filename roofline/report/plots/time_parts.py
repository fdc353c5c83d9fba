"""Where the time of a prefill goes: a bar for each prompt, by component and kind of op."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from roofline.explore.study import Deployment, PricedPrompt, Study
from roofline.report.plots.naming import listed, prompt_name, setting_name
from roofline.report.plots.sheet import Sheet
from roofline.report.plots.style import (
    BOUND_HATCH,
    DOUBLE_IN,
    INK,
    MARKERS,
    SMALL,
    component,
    dress,
    first,
    prefixed,
    spread,
    swatch,
    tint,
)
from roofline.units import percent, si

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Page

TINTS = {"linear": 1.0, "attention": 0.6, "other ops": 0.3}
"""Groups of op kinds, and how much each has of its component's colour."""
FRAMEWORK = ("framework", "")
"""What a CPU spends beside kernels: no ops, so all of its colour."""
_GROUPS = {"linear": "linear", "attention": "attention", "softmax": "attention"}
_MOST, _COLUMNS = 12, 2
_MOST_BARS = 16
_BAR, _BAR_IN, _AROUND_IN = 0.82, 0.15, 0.5
_ROOM = 1.22
"""Length of the axis over the longest bar, for the number beside it."""

Parts = dict[tuple[str, str], float]
"""Seconds by component and group, in the order in which they run."""


def alt(study: Study) -> str:
    """The largest part in each deployment, in words."""
    deployments, note = first(study.deployments, _MOST, "deployments")
    said = []
    for deployment in deployments:
        found = _bars(deployment, deployment.prompts[:1])[-1].parts
        name, group = max(found, key=lambda part: found[part])
        share = found[name, group] / sum(found.values())
        largest = f"{component(name)[2]} {group}".strip()
        said.append(f"{setting_name(deployment)}: {largest}, {percent(share)}")
    return (
        "Stacked bars of prefill time by component and kind of op. The largest part with most "
        f"visual tokens: {listed(said)}." + (f" {note}." if note else "")
    )


def draw(study: Study, width_in: float = DOUBLE_IN) -> Page:
    """A panel for each deployment, to a scale of its own."""
    deployments, note = first(study.deployments, _MOST, "deployments")
    shown = [spread(s.prompts, _MOST_BARS, "prompts") for s in deployments]
    note = "; ".join(dict.fromkeys(filter(None, (note, *(left for _, left in shown)))))
    bars = [
        _bars(deployment, ones) for deployment, (ones, _) in zip(deployments, shown, strict=True)
    ]
    rows = max(map(len, bars))
    handles = _handles(bar for some in bars for bar in some)
    height_in = _AROUND_IN + rows * _BAR_IN
    sheet = Sheet(width_in, len(deployments), _COLUMNS, height_in, handles, note)
    for axes, deployment, some in zip(sheet.panels, deployments, bars, strict=True):
        _draw_deployment(axes, deployment, some)
        axes.set_ylim(rows - 0.5, -0.5)
    return sheet.finished()


class _Bar(NamedTuple):
    prompt: PricedPrompt
    attainable: bool
    """Else the bound."""
    parts: Parts


def _bars(deployment: Deployment, ones: Sequence[PricedPrompt]) -> list[_Bar]:
    """Each prompt as a bound and, where its device has laws, as attainable."""
    kinds = (False, True) if deployment.prompts[0].has_laws else (False,)
    bars = []
    for one in ones:
        bars += [_Bar(one, attainable, _parts(one, attainable)) for attainable in kinds]
    return bars


def _parts(one: PricedPrompt, attainable: bool) -> Parts:
    """The bound, or the attainable time, by what takes it."""
    found: Parts = {}
    for op in one.ops:
        part = (op["component"], _GROUPS.get(op["kind"], "other ops"))
        time_s = op["attainable_time_s"] if attainable else op["time_s"]
        found[part] = found.get(part, 0.0) + float(time_s)
    whole_s = one.estimate.end_to_end.attainable_time_s
    if attainable and whole_s is not None:
        rest_s = float(whole_s) - sum(found.values())
        if rest_s > 1e-6 * float(whole_s):
            found[FRAMEWORK] = rest_s
    names = list(dict.fromkeys(name for name, _ in found))
    order = sorted(found, key=lambda part: (names.index(part[0]), -_depth(part[1])))
    return {part: found[part] for part in order}


def _draw_deployment(axes: Axes, deployment: Deployment, bars: Sequence[_Bar]) -> None:
    times = [sum(bar.parts.values()) for bar in bars]
    ends = [_error(bar, time_s) for bar, time_s in zip(bars, times, strict=True)]
    for attainable in (False, True):
        _draw_parts(axes, [(i, bar) for i, bar in enumerate(bars) if bar.attainable == attainable])
    off = [row for row, (_, high) in enumerate(ends) if high > times[row]]
    if off:
        around = [
            [max(0.0, times[i] - ends[i][0]) for i in off],
            [ends[i][1] - times[i] for i in off],
        ]
        style: dict[str, Any] = {"ecolor": INK, "elinewidth": 0.8, "capsize": 1.5}
        axes.errorbar([times[i] for i in off], off, xerr=around, fmt="none", **style)
    for row, time_s in enumerate(times):
        words = f" {si(time_s, 's')}"
        axes.text(ends[row][1], row, words, fontsize=SMALL, color=INK, va="center")
    names = list(dict.fromkeys(prompt_name(bar.prompt) for bar in bars))
    each = len(bars) // len(names)
    axes.set_yticks([each * i + (each - 1) / 2 for i in range(len(names))], names)
    axes.set_xlim(0, _ROOM * max(high for _, high in ends) or 1.0)
    dress(axes, "prefill time, end to end", "", setting_name(deployment))
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.locator_params(axis="x", nbins=5)
    prefixed(axes, "x", "s")


def _draw_parts(axes: Axes, bars: Sequence[tuple[int, _Bar]]) -> None:
    """Rectangles from end to end, those of one part as one path: hatching each takes seconds."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    boxes: dict[tuple[str, str], list[Path]] = {}
    for row, bar in bars:
        left, top, bottom = 0.0, row - _BAR / 2, row + _BAR / 2
        for part, time_s in bar.parts.items():
            right = left + time_s
            corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
            boxes.setdefault(part, []).append(Path(corners, closed=True))
            left = right
    for (name, group), paths in boxes.items():
        patch = PathPatch(
            Path.make_compound_path(*paths),
            facecolor=tint(component(name)[1], _depth(group)),
            edgecolor="white",
            linewidth=0.4,
            hatch=None if bars[0][1].attainable else BOUND_HATCH,
            gid=f"{'attainable' if bars[0][1].attainable else 'bound'} {name} {group}",
        )
        axes.add_patch(patch)


def _depth(group: str) -> float:
    """Share of its component's colour."""
    return TINTS.get(group, 1.0)


def _error(bar: _Bar, time_s: float) -> tuple[float, float]:
    """Ends of what an attainable time may be off; the time itself where nobody tells."""
    whole = bar.prompt.estimate.end_to_end
    low, high = whole.attainable_time_low_s, whole.attainable_time_high_s
    if not bar.attainable or low is None or high is None:
        return time_s, time_s
    return float(low), float(high)


def _handles(bars: Iterable[_Bar]) -> list[Artist]:
    bars = list(bars)
    names = sorted({name for bar in bars for name, _ in bar.parts}, key=_place)
    marks = [swatch(color=component(name)[1], label=component(name)[2]) for name in names]
    marks += [swatch(color=tint(INK, share), label=group) for group, share in TINTS.items()]
    for label, hatch in (("roofline bound", BOUND_HATCH), ("attainable, with its error", None)):
        if any(bar.attainable == (hatch is None) for bar in bars):
            grey = tint(INK, TINTS["attention"])
            marks.append(swatch(label=label, hatch=hatch, facecolor=grey, edgecolor="white"))
    return marks


def _place(name: str) -> int:
    """Of a component, in the order in which it runs."""
    return list(MARKERS).index(name) if name in MARKERS else len(MARKERS)
