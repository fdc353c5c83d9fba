"""Roofline charts (Williams et al. 2009): each op a dot, moved by fewer visual tokens.

A dot stands at the op's matmul FLOPs, or vector FLOPs where it has no others, per byte of DRAM
traffic and per second: at the bound on the roof itself, attainable below it. Its area goes with its
share of the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from roofline.explore.study import Deployment, PricedPrompt, Study
from roofline.report.plots.naming import ends, listed, prompt_name, setting_name
from roofline.report.plots.roofline_points import Ceiling, Dot, Place, ceilings, dots, measured
from roofline.report.plots.sheet import Sheet
from roofline.report.plots.style import (
    DOUBLE_IN,
    INK,
    LINE,
    PALE,
    RULE,
    SMALL,
    THIN,
    component,
    dress,
    first,
    key,
    prefixed,
)
from roofline.units import GIGA, TERA, percent, significant

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Page

_MOST, _COLUMNS = 6, 2
_HEIGHT_IN, _AROUND_IN, _WORD_IN = 2.3, 0.6, 0.085
"""Of a panel, of the words around it, and of a line of words in it."""
_LEAST, _MORE = 5.0, 90.0
"""Area of a dot in square points: of no time, and what all of the time adds."""
_SHAFT_IN = 0.007
_CACHE_DASH = (0, (4, 2))
_TINY = SMALL - 1
_MARGIN = 2.5
"""Ratio of an axis's end to the outermost dot."""


def alt(study: Study) -> str:
    """How much of the time goes to ops that are bound by memory, deployment by deployment."""
    said = []
    for deployment in study.deployments:
        shares = [
            f"{percent(_memory_share(one))} with {prompt_name(one)}" for one in ends(deployment)
        ]
        said.append(f"{setting_name(deployment)}: {', '.join(shares)}")
    moved = any(deployment.reduced for deployment in study.deployments)
    arrows = "; arrows lead from all visual tokens to the fewest" if moved else ""
    return (
        "Roofline charts: each op a dot at its FLOP per byte and FLOP per second, under the "
        f"device's ceilings{arrows}. Share of time in ops that are bound by memory: {listed(said)}."
    )


def draw(study: Study, width_in: float = DOUBLE_IN) -> Page:
    """A panel for each deployment."""
    deployments, note = first(study.deployments, _MOST, "deployments")
    left = sum(len(deployment.prompts) - len(ends(deployment)) for deployment in deployments)
    note = "; ".join(filter(None, (note, f"{left} more prompts not shown" if left else "")))
    ops = [dots(deployment) for deployment in deployments]
    timed = [measured(study, deployment) for deployment in deployments]
    handles = _handles(deployments, [dot for some in ops for dot in some], any(timed))
    sheet = Sheet(width_in, len(deployments), _COLUMNS, _HEIGHT_IN, handles, note)
    for i, axes in enumerate(sheet.panels):
        _draw_deployment(axes, deployments[i], ops[i], timed[i])
    for axes in sheet.inner_panels:
        axes.set_ylabel("")
    return sheet.finished()


def _draw_deployment(
    axes: Axes, deployment: Deployment, ops: Sequence[Dot], timed: Sequence[tuple[str, Place]]
) -> None:
    places = [place for dot in ops for place in (dot.place, dot.before) if place]
    _draw_roofs(axes, deployment, places + [place for _, place in timed])
    for name in dict.fromkeys(dot.component for dot in ops):
        _draw_ops(axes, name, [dot for dot in ops if dot.component == name])
    for name, place in timed:
        axes.scatter(
            *place, s=16, marker="x", color=component(name)[1], lw=0.9, zorder=4, gid="measured"
        )
    dress(axes, "FLOP per byte of DRAM traffic", "FLOP/s", _title(deployment))
    axes.xaxis.set_major_formatter("{x:g}")
    prefixed(axes, "y")


def _draw_ops(axes: Axes, name: str, ops: Sequence[Dot]) -> None:
    """Filled dots, and arrows to them from the open ones where they were."""
    marker, colour, _ = component(name)
    moved = [(dot.before, dot.place) for dot in ops if dot.before]
    if moved:
        before, after = (np.array(places).T for places in zip(*moved, strict=True))
        axes.quiver(
            *before,
            *(after - before),
            angles="xy",
            scale_units="xy",
            scale=1,
            units="inches",
            width=_SHAFT_IN,
            headwidth=6,
            headlength=6,
            headaxislength=6,
            minlength=0,
            color=colour,
            alpha=0.6,
            zorder=2,
            gid=f"arrows {name}",
        )
        axes.scatter(
            before[0],
            before[1],
            s=_LEAST,
            marker=marker,
            facecolor="white",
            edgecolor=colour,
            linewidth=0.5,
            zorder=2.5,
            gid=f"before {name}",
        )
    axes.scatter(
        [dot.place[0] for dot in ops],
        [dot.place[1] for dot in ops],
        s=[_LEAST + _MORE * dot.share for dot in ops],
        marker=marker,
        facecolor=colour,
        edgecolor="white",
        linewidth=0.15,
        zorder=3,
        gid=f"after {name}",
    )


def _draw_roofs(axes: Axes, deployment: Deployment, places: Sequence[Place]) -> None:
    """Slopes of DRAM and cache, and ceilings; the axes hold all places and the highest ridge."""
    device = deployment.prompts[0].estimate.hardware
    peaks = ceilings(deployment)
    bandwidth, top = device.memory_bytes_per_s, peaks[0].flops_per_s
    left = min((x for x, _ in places), default=1.0) / _MARGIN
    right = max([top / bandwidth, *(x for x, _ in places)]) * _MARGIN
    bottom = min([left * bandwidth, *(y for _, y in places)]) / _MARGIN
    axes.set(xscale="log", yscale="log", xlim=(left, right), ylim=(bottom, _MARGIN * top))
    axes.plot(
        [bottom / bandwidth, top / bandwidth], [bottom, top], color=INK, lw=LINE, gid="DRAM roof"
    )
    slopes = f"DRAM {bandwidth / GIGA:g} GB/s"
    if device.l2_bandwidth_gb_per_s is not None:
        cache = device.l2_bandwidth_gb_per_s.value * GIGA
        across = [bottom / cache, top / cache]
        axes.plot(across, [bottom, top], color=PALE, lw=THIN, ls=_CACHE_DASH, gid="L2 roof")
        slopes = f"L2 {cache / GIGA:g} GB/s\n{slopes}"
    axes.text(0.02, 1, slopes, fontsize=_TINY, color=INK, va="top", transform=axes.transAxes)
    _draw_ceilings(axes, peaks, bandwidth, right)


def _draw_ceilings(axes: Axes, peaks: Sequence[Ceiling], bandwidth: float, right: float) -> None:
    """Lines from the slope on; names beside those in use, and others where there is room."""
    bottom, top = axes.get_ylim()
    room = (top / bottom) ** (_WORD_IN / (_HEIGHT_IN - _AROUND_IN))
    named = [top * room]
    for one in sorted(peaks, key=lambda peak: (not peak.used, -peak.flops_per_s)):
        rate, colour = one.flops_per_s, INK if one.used else PALE
        axes.plot(
            [rate / bandwidth, right],
            [rate, rate],
            color=colour if one.used else RULE,
            lw=LINE if one.used else THIN,
            zorder=1.5,
            gid=f"ceiling {' '.join(one.names)}",
        )
        place = min(rate, named[-1] / room) if one.used else rate
        if one.used or all(max(place / other, other / place) > room for other in named):
            named.append(place)
            axes.annotate(
                f"{', '.join(one.names)} {significant(rate / TERA)} T",
                (right, place),
                xytext=(2, 0),
                textcoords="offset points",
                ha="left",
                va="center",
                fontsize=_TINY,
                color=colour,
            )


def _title(deployment: Deployment) -> str:
    """What the dots are: `llava-1.5-7b, v100, fp16` and `576 to 40 prumerge`."""
    return f"{setting_name(deployment)}\n{' to '.join(map(prompt_name, ends(deployment)))}"


def _memory_share(one: PricedPrompt) -> float:
    whole = one.estimate.end_to_end
    return 1 - float(whole.compute_bound_time_s / whole.time_s)


def _handles(deployments: Sequence[Deployment], ops: Sequence[Dot], timed: bool) -> list[Artist]:
    marks = []
    for name in dict.fromkeys(dot.component for dot in ops):
        marker, colour, title = component(name)
        marks.append(key(marker=marker, color=colour, label=title))
    if any(dot.before for dot in ops):
        small = {"markersize": 3.0, "markerfacecolor": "white", "markeredgewidth": 0.7}
        marks.append(key(marker="o", label="all visual tokens", **small))
        marks.append(key(marker="o", label="fewest; area: share of time"))
    else:
        marks.append(key(marker="o", label="area: share of time"))
    if timed:
        marks.append(key(marker="x", label="measured"))
    marks.append(key(linestyle="-", color=INK, lw=LINE, label="roofs in use"))
    if any(not ceiling.used for deployment in deployments for ceiling in ceilings(deployment)):
        marks.append(key(linestyle="-", color=RULE, lw=LINE, label="other types"))
    devices = [deployment.prompts[0].estimate.hardware for deployment in deployments]
    if any(device.l2_bandwidth_gb_per_s for device in devices):
        marks.append(key(linestyle=_CACHE_DASH, lw=THIN, label="L2 cache"))
    return marks
