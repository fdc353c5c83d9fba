"""Options of a scenario, derived from the table of axes: every command says them alike."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from roofline.cli.completion import offered
from roofline.engine.axes import AXES, Axis
from roofline.errors import ScenarioError, shortened

PLUGINS = "plugin files"
"""Where a context keeps the files that were run."""
_Command = TypeVar("_Command", bound=Callable[..., Any])


def scenario_options(
    *,
    several: bool | Collection[str] = True,
    required: Collection[str] = (),
    omit: Collection[str] = (),
    helps: Mapping[str, str] | None = None,
) -> Callable[[_Command], _Command]:
    """An option for each axis, under the axis's name.

    several: whether it repeats and takes commas, or the names of those axes that do; the command
        then gets a tuple, empty where nothing was typed. Without, a second value is an error.
    required, omit: names of axes. helps: what a command says of an axis instead, its default
        included.
    """

    def decorate(command: _Command) -> _Command:
        for axis in reversed(AXES):
            if axis.name not in omit:
                text = (helps or {}).get(axis.name) or _help(axis)
                many = several if isinstance(several, bool) else axis.name in several
                command = _option(axis, text, many, axis.name in required)(command)
        return command

    return decorate


def plugin_option(command: _Command) -> _Command:
    """`--plugin`, whose files are run before any other option is looked at."""
    return click.option(
        "--plugin",
        "plugins",
        multiple=True,
        is_eager=True,
        expose_value=False,
        callback=_load_plugins,
        metavar="FILE",
        help="Python file that registers reducers of your own; see docs/reducers.md. Repeatable.",
    )(command)


def one_of(given: Mapping[str, object]) -> None:
    """Raise UsageError for more than one of what goes alone; None is what was not given."""
    named = [name for name, value in given.items() if value is not None]
    if len(named) > 1:
        raise click.UsageError(f"{' and '.join(named)} do not go together: give one of them")


def check_stage(stage: str, output_tokens: Iterable[int | None]) -> None:
    """Raise ScenarioError for answers that the stage does not write: they would change nothing."""
    if stage != "generate" and any(length and length > 0 for length in output_tokens):
        raise ScenarioError(
            f"the stage {stage} writes no answer: --output-tokens needs --stage generate"
        )


def specs(given: Mapping[str, Any]) -> list[str]:
    """What was typed for specs, some of which may be files."""
    typed = (given.get(name) or () for name in ("model", "hardware", "quant"))
    return [name for each in typed for name in ([each] if isinstance(each, str) else each)]


def _help(axis: Axis) -> str:
    has_default = axis.varied and axis.default  # a count of 0 is no more than its absence
    return f"{axis.help} Default: {axis.default}." if has_default else axis.help


def _option(axis: Axis, text: str, several: bool, required: bool) -> Any:
    if not axis.varied:
        return click.option(
            axis.option,
            axis.name,
            multiple=True,  # so that a second one is seen
            type=click.Choice(axis.choices) if axis.choices else None,
            metavar=None if axis.choices else "WxH" if axis.joined else "NAME",
            shell_complete=None if axis.choices or axis.joined else offered(axis.name),
            default=None if axis.default is None else [axis.default],
            show_default=axis.default is not None,
            callback=_joined if axis.joined else _only,
            help=text,
        )
    return click.option(
        axis.option,
        axis.name,
        multiple=True,
        required=required,
        metavar="N" if axis.is_count else "NAME",
        shell_complete=None if axis.is_count else offered(axis.name),
        callback=_values if several else _single,
        help=f"{text} Repeatable, or with commas." if several else text,
    )


def _load_plugins(context: click.Context, option: click.Parameter, files: tuple[str, ...]) -> None:
    if files:
        from roofline.reducers.plugins import load_plugin

        for file in files:
            load_plugin(file)
        context.meta[PLUGINS] = files


def _values(context: click.Context, option: click.Parameter, given: tuple[str, ...]) -> Any:
    """All that was typed, each once, in order."""
    axis = next(axis for axis in AXES if axis.name == option.name)
    values = [value for text in given for value in _split(axis, text)]
    return tuple(dict.fromkeys(values))


def _single(context: click.Context, option: click.Parameter, given: tuple[str, ...]) -> Any:
    """The one value that was typed, or None."""
    values = _values(context, option, given)
    if len(values) > 1:
        raise click.BadParameter(f"takes one value here, and got {len(values)}", context, option)
    return values[0] if values else None


def _only(context: click.Context, option: click.Parameter, given: tuple[str, ...]) -> Any:
    """The one word that was typed, or the default, or None."""
    if len(given) > 1:
        raise click.BadParameter(f"takes one value, and got {len(given)}", context, option)
    return given[0] if given else None


def _joined(context: click.Context, option: click.Parameter, given: tuple[str, ...]) -> Any:
    """All that was typed as one, with commas, or None."""
    return ",".join(given) or None


def _split(axis: Axis, text: str) -> list[Any]:
    """At commas, but for the name of a file that is there."""
    if "," not in text or (not axis.is_count and _is_file(text)):
        return [_whole(text) if axis.is_count else text]
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise click.BadParameter(f"{shortened(text)!r} has an empty place beside a comma")
    return [_whole(part) for part in parts] if axis.is_count else _whole_names(parts)


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except OSError:  # no file has so long a name
        return False


def _whole_names(parts: list[str]) -> list[str]:
    """Names with options put together again: in `evit:stages=6,12` the comma is the option's."""
    names: list[str] = []
    for part in parts:
        if names and "=" in names[-1] and not part[0].isalpha():
            names[-1] += f",{part}"
        else:
            names.append(part)
    return names


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:  # also for thousands of digits
        raise click.BadParameter(f"{shortened(text)!r} is not a whole number") from None
