"""How long an answer takes, step by step and with its prompt, and how a reducer's gain fades."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from roofline.explore.study import Deployment, Study
from roofline.report.plots.device_panels import Lineup, lineup
from roofline.report.plots.naming import ends, listed, prompt_name, setting_name
from roofline.report.plots.sheet import Sheet
from roofline.report.plots.style import (
    BOUND_ALPHA,
    DOUBLE_IN,
    LINE,
    REDUCED_DASH,
    THIN,
    WHOLE_DASH,
    Look,
    counted,
    dress,
    key,
    logarithmic,
    prefixed,
)
from roofline.units import si

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Page

_HEIGHT_IN = 1.9
_LEAST_RATIO = 3.0
"""Between the ends of the axis of a step's time: what hardly changes shall look so."""
_MARKED: dict[str, Any] = {"markevery": 8, "markersize": 3.2, "clip_on": False}


def applies(study: Study) -> bool:
    """Whether any of the models can answer, and is to say more than a word: a line has two ends."""
    return bool(_known(study))


def alt(study: Study) -> str:
    """Time of the longest answer in every deployment, before and after."""
    said = []
    for deployment in _known(study):
        times = [
            f"{si(one.generation_time_s[-1], 's')} with {prompt_name(one)}"
            for one in ends(deployment)
        ]
        said.append(f"{setting_name(deployment)}: {', '.join(times)}")
    length = int(_known(study)[0].prompts[0].output_tokens[-1])
    return (
        "Time of a decode step, time of prompt and answer, and how many times as fast the fewest "
        "visual tokens make it, over output tokens. Prompt and "
        f"{length} output tokens: {listed(said)}."
    )


def draw(study: Study, width_in: float = DOUBLE_IN) -> Page:
    """A row of panels for each model and precision; dashes tell prompts apart."""
    shown = lineup(_known(study))
    columns = 3 if any(deployment.reduced for deployment in shown.deployments) else 2
    panels = columns * len(shown.rows)
    sheet = Sheet(width_in, panels, columns, _HEIGHT_IN, _handles(shown), shown.note)
    for i, (title, deployments) in enumerate(shown.rows):
        row = sheet.panels[columns * i : columns * (i + 1)]
        for axes in row[:2]:
            logarithmic(axes)
        for deployment in deployments:
            _draw_deployment(row, deployment, shown.looks[deployment.hardware])
        _widen(row[0])
        dress(row[0], "output tokens", "time of a decode step", title)
        dress(row[1], "output tokens", "prompt and answer")
        for axes in row[:2]:
            prefixed(axes, "y", "s")
        if columns == 3:
            dress(row[2], "output tokens", "times as fast")
            row[2].set_ylim(bottom=min(1.0, row[2].get_ylim()[0]))
        for axes in row:
            counted(axes, deployments[0].prompts[0].output_tokens[-1])
    return sheet.finished()


def _known(study: Study) -> list[Deployment]:
    return [s for s in study.deployments if max(s.prompts[0].output_tokens, default=0) > 1]


def _draw_deployment(row: Sequence[Axes], deployment: Deployment, look: Look) -> None:
    """What is predicted; the bound of prompt and answer as a faint line where it is another."""
    marker, colour = look
    for one in ends(deployment):
        name = f"{deployment.hardware} {prompt_name(one)}"
        lengths, times = one.output_tokens, one.generation_time_s
        line: dict[str, Any] = {"color": colour, "ls": REDUCED_DASH if one.whole else WHOLE_DASH}
        full = line | {"lw": LINE, "marker": marker} | _MARKED
        middles = (lengths[:-1] + 1 + lengths[1:]) / 2  # of the steps that a time is the mean of
        row[0].plot(middles, one.decode_time_s, gid=f"step {name}", **full)
        row[1].plot(lengths[1:], times[1:], gid=f"answer {name}", **full)
        if one.has_laws and one.generation is not None:
            faint = line | {"lw": THIN, "alpha": BOUND_ALPHA}
            bound_s = one.generation.end_to_end.time_s
            row[1].plot(lengths[1:], bound_s[1:], gid=f"bound {name}", **faint)
        if one.whole is not None:
            gain = one.whole.generation_time_s / times
            row[2].plot(lengths[1:], gain[1:], gid=f"gain {name}", **full)


def _widen(axes: Axes) -> None:
    """Move the ends of a logarithmic axis apart, to the same sides."""
    low, high = axes.get_ylim()
    more = max(1.0, (_LEAST_RATIO * low / high) ** 0.5)
    axes.set_ylim(low / more, high * more)


def _handles(shown: Lineup) -> list[Artist]:
    marks = shown.handles
    if any(deployment.reduced for deployment in shown.deployments):
        marks.append(key(linestyle=REDUCED_DASH, lw=LINE, label="fewest visual tokens"))
    marks.append(key(linestyle=WHOLE_DASH, lw=LINE, label="all visual tokens"))
    if any(deployment.prompts[0].has_laws for deployment in shown.deployments):
        marks.append(key(linestyle="-", lw=THIN, alpha=BOUND_ALPHA, label="roofline bound"))
    return marks
