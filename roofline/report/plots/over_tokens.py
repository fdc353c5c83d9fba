"""Time, FLOPs and memory over the number of visual tokens, and where fewer stop paying."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from roofline.explore.study import Deployment, Study, predicted_time_s
from roofline.report.plots.device_panels import Lineup, lineup
from roofline.report.plots.naming import listed, setting_name
from roofline.report.plots.sheet import Sheet
from roofline.report.plots.style import (
    BAND_ALPHA,
    BOUND_ALPHA,
    DOUBLE_IN,
    INK,
    LINE,
    PALE,
    RULE,
    THIN,
    Look,
    band,
    counted,
    dress,
    key,
    logarithmic,
    prefixed,
    swatch,
)

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Page

_HEIGHT_IN = 1.9
_MOST_MARKED = 12
_TOO_LARGE = (0, (0.9, 1.2))
"""Dots for what the device has not the memory for."""
_OPEN: dict[str, Any] = {"markersize": 5.6, "markerfacecolor": "white", "markeredgewidth": 0.9}
_FILLED: dict[str, Any] = {"markersize": 3.8, "markeredgewidth": 0.9}
"""Markers where the LLM stops being bound by memory, and where fewer tokens no longer help."""


def applies(study: Study) -> bool:
    """Whether any prompt has visual tokens."""
    return any(deployment.curve is not None for deployment in study.deployments)


def alt(study: Study) -> str:
    """The two counts of every deployment."""
    said = [
        f"{setting_name(deployment)}: {deployment.floor_tokens} ({_bound(deployment)})"
        for deployment in study.deployments
        if deployment.curve is not None
    ]
    return (
        "Prefill time, FLOPs and peak memory over visual tokens. Visual tokens below which fewer "
        f"no longer help: {listed(said)}."
    )


def _bound(deployment: Deployment) -> str:
    ridge = deployment.ridge_tokens
    return f"LLM bound by memory up to {ridge}" if ridge else "LLM bound by compute throughout"


def draw(study: Study, width_in: float = DOUBLE_IN) -> Page:
    """A row of panels for each model and precision; a line for each device."""
    shown = lineup([deployment for deployment in study.deployments if deployment.curve is not None])
    marked = [_marked(deployments) for _, deployments in shown.rows]
    handles = _handles(shown, any(marked))
    sheet = Sheet(width_in, 3 * len(shown.rows), 3, _HEIGHT_IN, handles, shown.note)
    for i, (title, deployments) in enumerate(shown.rows):
        times, flops, memory = sheet.panels[3 * i : 3 * i + 3]
        most = max(float(deployment.visual_tokens[-1]) for deployment in deployments)
        for axes in (times, flops, memory):
            counted(axes, most)
            for count in marked[i]:
                axes.axvline(count, color=RULE, lw=THIN, zorder=0.5, gid="asked")
        _draw_times(times, deployments, shown.looks)
        _draw_amounts(flops, memory, deployments[0])
        dress(times, "visual tokens", "prefill time", title)
        dress(flops, "visual tokens", "FLOPs")
        dress(memory, "visual tokens", "peak memory")
        prefixed(times, "y", "s")
        prefixed(flops, "y", "FLOP")
        prefixed(memory, "y", "B")
    return sheet.finished()


def _marked(deployments: Sequence[Deployment]) -> list[int]:
    """Counts of the report, unless they are so many that their lines would be a grey area."""
    counts = sorted({one.visual_tokens for s in deployments for one in s.prompts})
    return counts if len(counts) <= _MOST_MARKED else []


def _draw_times(axes: Axes, deployments: Sequence[Deployment], looks: Mapping[str, Look]) -> None:
    """What is predicted, with the bound as a faint line where that is something else."""
    logarithmic(axes)
    for deployment in deployments:
        assert deployment.curve is not None
        tokens, whole = deployment.visual_tokens, deployment.curve.end_to_end
        predicted = np.asarray(predicted_time_s(whole))
        marker, shade = looks[deployment.hardware]
        name = f"{deployment.hardware} {deployment.quant}"
        fits = np.broadcast_to(whole.fits, tokens.shape)
        for kind, where, dash in (("time", fits, "-"), ("too large", ~fits, _TOO_LARGE)):
            if where.any():
                part = np.where(where, predicted, np.nan)
                axes.plot(tokens, part, color=shade, lw=LINE, ls=dash, gid=f"{kind} {name}")
        if deployment.prompts[0].has_laws:
            faint: dict[str, Any] = {"lw": THIN, "alpha": BOUND_ALPHA}
            axes.plot(tokens, whole.time_s, color=shade, gid=f"bound {name}", **faint)
            band(axes, tokens, whole, shade)
        for count, kind, style in (
            (deployment.ridge_tokens, "ridge", _OPEN),
            (deployment.floor_tokens, "floor", _FILLED),
        ):
            if count:
                axes.plot(
                    [count],
                    [_at(tokens, predicted, count)],
                    marker=marker,
                    color=shade,
                    clip_on=False,
                    zorder=3,
                    gid=f"{kind} {name}",
                    **style,
                )


def _draw_amounts(flops: Axes, memory: Axes, deployment: Deployment) -> None:
    """What does not depend on the device."""
    assert deployment.curve is not None
    whole = deployment.curve.end_to_end
    flops.plot(deployment.visual_tokens, whole.flops, color=INK, lw=LINE, gid="flops")
    flops.set_ylim(0, 1.05 * np.max(whole.flops))
    memory.plot(
        deployment.visual_tokens, whole.peak_memory_bytes, color=INK, lw=LINE, gid="peak memory"
    )
    memory.set_ylim(0, 1.15 * np.max(whole.peak_memory_bytes))


def _at(tokens: NDArray[np.float64], values: NDArray[np.float64], count: int) -> float:
    return float(np.interp(count, tokens, values))


def _handles(shown: Lineup, marked: bool) -> list[Artist]:
    marks = shown.handles
    if any(deployment.ridge_tokens for deployment in shown.deployments):
        marks.append(key(marker="o", label="LLM bound by memory up to here", **_OPEN))
    if any(deployment.floor_tokens for deployment in shown.deployments):
        marks.append(key(marker="o", label="within 5 % of the least: fewer no longer help"))
    if marked:
        marks.append(key(linestyle="-", color=RULE, lw=LINE, label="counts of this report"))
    if any(deployment.prompts[0].has_laws for deployment in shown.deployments):
        marks.append(key(linestyle="-", lw=THIN, alpha=BOUND_ALPHA, label="roofline bound"))
        marks.append(swatch(color=PALE, alpha=BAND_ALPHA, lw=0, label="error of attainable time"))
    if any(s.curve is not None and not np.all(s.curve.end_to_end.fits) for s in shown.deployments):
        marks.append(key(linestyle=_TOO_LARGE, lw=LINE, label="does not fit"))
    return marks
