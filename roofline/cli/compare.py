"""`roofline compare`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("records", metavar="RECORD...", nargs=-1, required=True)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "md"]),
    default="table",
    show_default=True,
)
@click.option("-o", "--output", metavar="FILE", help="Write there instead of to the terminal.")
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
def compare(records: tuple[str, ...], form: str, output: str | None, force: bool) -> None:
    """Put records of `roofline profile` side by side, each against the first."""
    from roofline.cli.output import check, write
    from roofline.records.measurement import load_record
    from roofline.report.text.record_comparison import render_comparison

    if output is not None:
        check(output, force=force, inputs=records)
    names = [Path(file).stem for file in records]
    if len(set(names)) < len(names):
        names = list(records)
    text = render_comparison(names, [load_record(file) for file in records], form)
    write(text, output, force=force)
