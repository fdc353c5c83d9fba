"""`roofline reproduce`."""

from __future__ import annotations

import sys

import click


@click.command()
@click.argument("table", type=click.Choice(["prumerge-table2"]))
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "md"]),
    default="table",
    show_default=True,
)
@click.option("-o", "--output", metavar="FILE", help="Write there instead of to the terminal.")
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
def reproduce(table: str, form: str, output: str | None, force: bool) -> None:
    """Recompute a published table and hold it against what was printed.

    prumerge-table2: FLOPs, time, traffic and stored activations of LLaVA-PruMerge's table 2. Exits
    with 0 only if every cell matches or is a known slip.
    """
    from roofline.cli.output import check, write
    from roofline.explore.published_tables import prumerge_table2
    from roofline.report.text.reproduction import render_reproduction

    if output is not None:
        check(output, force=force)
    result = prumerge_table2()
    write(render_reproduction(result, form), output, force=force)
    if not result.explained:
        sys.exit(1)
