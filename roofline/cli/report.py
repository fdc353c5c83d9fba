"""`roofline report`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from roofline.cli.options import PLUGINS, plugin_option, scenario_options
from roofline.engine.axes import ANSWER_TOKENS, AXES, Axis


@click.command()
@scenario_options(
    omit=("stage", "accounting"),
    helps={
        "visual_tokens": "Visual tokens that reach the LLM. Default: each reducer's own default.",
        "reducer": "Who leaves so few, or none. Default: prumerge, for an LMM. All visual tokens "
        "are priced without.",
        "output_tokens": f"Lengths of the answers to look at. Default: {ANSWER_TOKENS}.",
    },
)
@click.option(
    "--record",
    "records",
    multiple=True,
    metavar="FILE",
    help="What `roofline profile -o` wrote, to stand beside. Repeatable.",
)
@click.option(
    "--accuracy",
    is_flag=True,
    help="Hold published accuracies of token reducers against their costs.",
)
@click.option(
    "--figure-width",
    type=click.Choice(["single", "double"]),
    default="double",
    show_default=True,
    help="One column of a paper, 3.4 in, or two, 7 in.",
)
@plugin_option
@click.option("-o", "--output", metavar="FOLDER", required=True, help="Made if need be.")
@click.option(
    "--force",
    is_flag=True,
    help="Write even if FOLDER holds other files; the figures of a report before go.",
)
def report(
    records: tuple[str, ...],
    accuracy: bool,
    figure_width: str,
    output: str,
    force: bool,
    **given: Any,
) -> None:
    """Write a study: report.md, one self-contained report.html, and figures as PNG and SVG.

    Every value of every axis is combined with every other; all visual tokens, unreduced, stand
    beside them. What is not named is as in the records.
    """
    from pathlib import Path

    from roofline import __version__
    from roofline.cli.measuring import require
    from roofline.cli.output import check_folder, write, write_folder
    from roofline.explore.study import MeasuredRun, study
    from roofline.plain_text import one_line
    from roofline.records.measurement import load_record

    check_folder(output, force=force, empty=True)
    require("matplotlib")
    found = [load_record(file) for file in records]
    runs = [record.axes for record in found]
    stems = [Path(file).stem for file in records]
    names = stems if len(set(stems)) == len(stems) else records
    if runs:
        prompts, ways = ("visual_tokens", "reducer", "output_tokens"), ("runtime", "kernels")
        own = {*prompts, *ways, "library", "pictures"}
        for axis in AXES:
            if axis.name in given and axis.name not in own:
                given[axis.name] = given[axis.name] or _of_all(
                    axis, {f: r[axis.name] for f, r in zip(records, runs, strict=True)}
                )
    result = study(
        **given,
        records=[MeasuredRun(name, record) for name, record in zip(names, found, strict=True)],
        with_accuracy=accuracy,
    )
    for reason in result.skipped:
        click.echo(f"roofline: left out: {one_line(reason)}", err=True)

    from roofline.report.plots import DOUBLE_IN, SINGLE_IN
    from roofline.report.study_report import drawn_files, render_study

    command = _command(click.get_current_context())
    width_in = SINGLE_IN if figure_width == "single" else DOUBLE_IN
    content = render_study(result, command, __version__, width_in=width_in)
    write_folder(output, content, force=force, instead_of=drawn_files())
    write(f"{Path(output) / 'report.md'}\n{Path(output) / 'report.html'}\n", None)


def _of_all(axis: Axis, by_file: Mapping[str, Any]) -> Any:
    """What all records have, by their files.

    Raises InputError where they differ in what a study has one of, or were held against a device
    that is known by its file alone.
    """
    from roofline.errors import InputError, UnknownNameError, shortened
    from roofline.specs.catalog import load_hardware, load_model, load_quantization

    files = {value: file for file, value in by_file.items() if value is not None}
    distinct = list(files)
    loads: dict[str, Any] = {
        "hardware": load_hardware,
        "model": load_model,
        "quant": load_quantization,
    }
    for name in distinct if axis.name in loads else ():
        try:
            loads[axis.name](name)
        except UnknownNameError:
            raise InputError(
                f"{files[name]}: inputs.{axis.name}: {shortened(name)} is not in the catalog: give "
                f"its file with {axis.option}"
            ) from None
    if len(distinct) > 1 and (axis.is_count or not axis.varied):
        differing = " and ".join(map(str, sorted(distinct)))
        raise InputError(f"the records have {differing} as {axis.option}: name one")
    if axis.varied:
        return distinct
    return distinct[0] if distinct else None


def _command(context: click.Context) -> str:
    """What was typed, in the order of the help, but for where the result goes."""
    import shlex

    from click.core import ParameterSource

    words = ["roofline", "report"]
    for option in context.command.params:
        name = option.name or ""
        typed = context.get_parameter_source(name) is not ParameterSource.DEFAULT
        if name in ("output", "force") or not typed:
            continue
        given = context.params.get(name, context.meta.get(PLUGINS))
        flag = option.opts[0]
        if given is True:
            words.append(flag)
        else:
            for value in given if isinstance(given, tuple) else (given,):
                words += [flag, str(value)]
    return f"{shlex.join(words)} -o FOLDER"
