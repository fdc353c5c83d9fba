"""`roofline reducers`."""

from __future__ import annotations

import click

from roofline.cli.completion import offered
from roofline.cli.options import plugin_option


@click.command()
@click.argument("name", required=False, shell_complete=offered("reducer"))
@plugin_option
def reducers(name: str | None) -> None:
    """List all token reducers, or show one with its options and sources."""
    from roofline.cli.output import write
    from roofline.reducers import find, names
    from roofline.report.text.methods import reducer_list, reducer_sheet

    text = reducer_list([find(n) for n in names()]) if name is None else reducer_sheet(find(name))
    write(text, None)
