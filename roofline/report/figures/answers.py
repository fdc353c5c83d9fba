"""How long an answer takes, step by step and with its prompt, and how a reducer's gain fades."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from roofline.report.figures.naming import fewest, has_laws, listed, prompt_name, setting_name
from roofline.report.figures.sheet import Sheet
from roofline.report.figures.style import (
    BOUND_ALPHA,
    DOUBLE_IN,
    LINE,
    REDUCED_DASH,
    THIN,
    WHOLE_DASH,
    colours,
    counted,
    dress,
    first,
    key,
    logarithmic,
    prefixed,
)
from roofline.study import Configuration, Setting, Study
from roofline.units import si

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Page

_MOST, _HEIGHT_IN = 4, 1.9


def applies(study: Study) -> bool:
    """Whether any of the models can answer."""
    return bool(_known(study))


def alt(study: Study) -> str:
    """Time of the longest answer in every setting, before and after."""
    said = []
    for setting in _known(study):
        times = [
            f"{si(one.generation_time_s[-1], 's')} with {prompt_name(one)}"
            for one in _ends(setting)
        ]
        said.append(f"{setting_name(setting)}: {', '.join(times)}")
    length = int(_known(study)[0].configurations[0].output_tokens[-1])
    return (
        "Time of a decode step, time of prompt and answer, and how many times as fast the fewest "
        "visual tokens make it, over output tokens. Prompt and "
        f"{length} output tokens: {listed(said)}."
    )


def draw(study: Study, width_in: float = DOUBLE_IN) -> Page:
    """A row of panels for each model and precision; colour is the device, dashes the prompt."""
    known = _known(study)
    groups: dict[tuple[str, str], list[Setting]] = {}
    for setting in known:
        groups.setdefault((setting.model, setting.quant), []).append(setting)
    rows, note = first(list(groups.items()), _MOST, "models and precisions")
    colour = colours(setting.hardware for setting in known)
    handles = _handles(colour, known)
    columns = 3 if any(setting.reduced for setting in known) else 2
    sheet = Sheet(width_in, columns * len(rows), columns, _HEIGHT_IN, handles, note)
    for i, ((model, quant), settings) in enumerate(rows):
        row = sheet.panels[columns * i : columns * (i + 1)]
        for axes in row[:2]:
            logarithmic(axes)
        for setting in settings:
            _draw_setting(row, setting, colour[setting.hardware])
        dress(row[0], "output tokens", "time of a decode step", f"{model}, {quant}")
        dress(row[1], "output tokens", "prompt and answer")
        for axes in row[:2]:
            prefixed(axes, "y", "s")
        if columns == 3:
            dress(row[2], "output tokens", "times as fast")
            row[2].set_ylim(bottom=min(1.0, row[2].get_ylim()[0]))
        for axes in row:
            counted(axes, settings[0].configurations[0].output_tokens[-1])
    return sheet.finished()


def _known(study: Study) -> list[Setting]:
    return [s for s in study.settings if s.configurations[0].output_tokens.size > 1]


def _ends(setting: Setting) -> list[Configuration]:
    """All visual tokens, or whatever comes first, and the fewest."""
    return list(dict.fromkeys(filter(None, (setting.configurations[0], fewest(setting)))))


def _draw_setting(row: Sequence[Axes], setting: Setting, shade: Any) -> None:
    """What is predicted; the bound of prompt and answer as a faint line where it is another."""
    for one in _ends(setting):
        name = f"{setting.hardware} {prompt_name(one)}"
        lengths, times = one.output_tokens, one.generation_time_s
        line = {"color": shade, "ls": REDUCED_DASH if one.whole else WHOLE_DASH, "lw": LINE}
        row[0].plot(lengths[1:], one.decode_time_s, gid=f"step {name}", **line)
        row[1].plot(lengths, times, gid=f"answer {name}", **line)
        if has_laws(one) and one.generation is not None:
            faint = line | {"lw": THIN, "alpha": BOUND_ALPHA}
            whole = one.generation.end_to_end
            row[1].plot(lengths, whole.time_s, gid=f"bound {name}", **faint)
        if one.whole is not None:
            row[2].plot(lengths, one.whole.generation_time_s / times, gid=f"gain {name}", **line)


def _handles(colour: Mapping[str, Any], known: Sequence[Setting]) -> list[Artist]:
    marks = [key(linestyle="-", color=shade, lw=LINE, label=name) for name, shade in colour.items()]
    if any(setting.reduced for setting in known):
        marks.append(key(linestyle=REDUCED_DASH, lw=LINE, label="fewest visual tokens"))
    marks.append(key(linestyle=WHOLE_DASH, lw=LINE, label="all visual tokens"))
    if any(has_laws(setting.configurations[0]) for setting in known):
        marks.append(key(linestyle="-", lw=THIN, alpha=BOUND_ALPHA, label="roofline bound"))
    return marks
