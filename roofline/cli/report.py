"""`roofline report`."""

from __future__ import annotations

from collections.abc import Iterable

import click


@click.command()
@click.option("--model", "models", multiple=True, help="Name or YAML file. Repeatable.")
@click.option("--hw", "hardware", multiple=True, help="Name or YAML file. Repeatable.")
@click.option("--quant", "quants", multiple=True, help="Default: fp16. Repeatable.")
@click.option(
    "--visual-tokens",
    multiple=True,
    type=int,
    help="Visual tokens that reach the LLM; default: as many as is typical of each reducer. "
    "Repeatable.",
)
@click.option(
    "--reducer",
    "reducers",
    multiple=True,
    help="Who leaves so few, or `none`; default: prumerge, for an LMM. All visual tokens are "
    "priced without. Repeatable.",
)
@click.option("--text-tokens", type=int, help="Default: 40.")
@click.option("--batch", type=int, help="Sequences at once; default: 1.")
@click.option(
    "--output-tokens",
    type=int,
    default=256,
    show_default=True,
    help="The longest answer to look at.",
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
@click.option("-o", "--output", metavar="FOLDER", required=True, help="Made if need be.")
@click.option(
    "--force",
    is_flag=True,
    help="Write even if FOLDER holds other files; the figures of a report before go.",
)
def report(
    models: tuple[str, ...],
    hardware: tuple[str, ...],
    quants: tuple[str, ...],
    visual_tokens: tuple[int, ...],
    reducers: tuple[str, ...],
    text_tokens: int | None,
    batch: int | None,
    output_tokens: int,
    records: tuple[str, ...],
    accuracy: bool,
    figure_width: str,
    output: str,
    force: bool,
) -> None:
    """Write a study: report.md, one self-contained report.html, and figures as PNG and SVG.

    Every --model, --hw, --quant, --visual-tokens and --reducer is combined with every other; all
    visual tokens, unreduced, stand beside them. What is not named is as in the records.
    """
    from pathlib import Path

    from roofline import __version__
    from roofline.cli.measuring import require
    from roofline.cli.output import write_folder
    from roofline.engine.scenario import DEFAULT_TEXT_TOKENS
    from roofline.explore.study import MeasuredRun, study
    from roofline.records.measurement import load_record

    _check_free(output, force=force)
    require("matplotlib")
    found = [load_record(file) for file in records]
    runs = [record.inputs for record in found]
    stems = [Path(file).stem for file in records]
    names = stems if len(set(stems)) == len(stems) else records
    result = study(
        models or [run.model for run in runs],
        hardware or _devices(run.hardware for run in runs),
        quants or [run.quant for run in runs] or ["fp16"],
        visual_tokens,
        reducers,
        text_tokens=_given(
            "text-tokens", text_tokens, {run.text_tokens for run in runs}, DEFAULT_TEXT_TOKENS
        ),
        batch=_given("batch", batch, {run.batch for run in runs}, 1),
        output_tokens=output_tokens,
        records=[MeasuredRun(name, record) for name, record in zip(names, found, strict=True)],
        with_accuracy=accuracy,
    )
    for reason in result.skipped:
        click.echo(f"roofline: left out: {reason}", err=True)

    from roofline.report.plots import DOUBLE_IN, SINGLE_IN
    from roofline.report.study_report import drawn_files, render_study

    command = _command(click.get_current_context())
    width_in = SINGLE_IN if figure_width == "single" else DOUBLE_IN
    content = render_study(result, command, __version__, width_in=width_in)
    write_folder(output, content, force=force, instead_of=drawn_files())
    click.echo(f"{Path(output) / 'report.md'}\n{Path(output) / 'report.html'}")


def _check_free(folder: str, *, force: bool) -> None:
    """Raise OutputError, before long work, for a folder that holds something already."""
    from pathlib import Path

    from roofline.errors import OutputError

    if not folder:
        raise OutputError("the folder has no name: give one to -o")
    path = Path(folder)
    if path.exists() and not path.is_dir():
        raise OutputError(f"{folder} is a file: name a folder")
    if path.is_dir() and any(path.iterdir()) and not force:
        raise OutputError(
            f"{folder} holds other files: name a new folder, or --force to write among them"
        )


def _devices(names: Iterable[str | None]) -> list[str]:
    """Devices that records were held against. Raises InputError for one of a file's own."""
    from roofline.errors import InputError, UnknownNameError
    from roofline.specs.catalog import load_hardware

    found = [name for name in dict.fromkeys(names) if name is not None]
    for name in found:
        try:
            load_hardware(name)
        except UnknownNameError:
            raise InputError(
                f"a record was held against {name}, which is not in the catalog: give its file "
                "with --hw"
            ) from None
    return found


def _given(option: str, value: int | None, of_records: set[int], default: int) -> int:
    """What was typed, else what all records have. Raises InputError where they differ."""
    from roofline.errors import InputError

    if value is not None:
        return value
    if len(of_records) > 1:
        differing = " and ".join(map(str, sorted(of_records)))
        raise InputError(f"the records have {differing} as --{option}: name one")
    return next(iter(of_records), default)


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
        given = context.params[name]
        flag = option.opts[0]
        if given is True:
            words.append(flag)
        else:
            for value in given if isinstance(given, tuple) else (given,):
                words += [flag, str(value)]
    return f"{shlex.join(words)} -o FOLDER"
