"""`roofline models`."""

from __future__ import annotations

import click

from roofline.cli.completion import offered


@click.command()
@click.argument("name", required=False, shell_complete=offered("model"))
def models(name: str | None) -> None:
    """List all models and their parts, or show one with its source."""
    from roofline.cli.output import write
    from roofline.report.text.specs import model_list, model_sheet
    from roofline.specs.catalog import all_models, load_model

    text = model_list(all_models()) if name is None else model_sheet(load_model(name))
    write(text, None)
