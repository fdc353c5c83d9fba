"""`roofline models`."""

from __future__ import annotations

import click

from roofline.cli.completion import offered
from roofline.cli.options import one_of


@click.command()
@click.argument("name", required=False, shell_complete=offered("model"))
@click.option(
    "--from-hf",
    "config",
    metavar="CONFIG",
    help="Make a spec of a Hugging Face model: a config.json, a folder with one, or the id of a "
    "model on the hub.",
)
@click.option("--new", "kind", metavar="KIND", help="A commented file to fill in, of a kind.")
@click.option("-o", "--output", metavar="FILE", help="Write there, not to the terminal.")
@click.option("--force", is_flag=True, help="Replace a file that exists.")
def models(
    name: str | None, config: str | None, kind: str | None, output: str | None, force: bool
) -> None:
    """List all models and their parts, show one with its source, or begin one."""
    from roofline.cli.output import check, write

    one_of({"NAME": name, "--from-hf": config, "--new": kind})
    if output is not None:
        check(output, force=force)
    write(_text(name, config, kind, output), output, force=force)


def _text(name: str | None, config: str | None, kind: str | None, output: str | None) -> str:
    if config is not None:
        from roofline.specs.hub.files import imported
        from roofline.specs.writing import model_yaml

        return model_yaml(imported(config, name=None if output is None else _stem(output)))
    if kind is not None:
        from roofline.specs.templates import model_template

        return model_template(kind)

    from roofline.report.text.specs import model_list, model_sheet
    from roofline.specs.catalog import all_models, load_model

    return model_list(all_models()) if name is None else model_sheet(load_model(name))


def _stem(output: str) -> str | None:
    from pathlib import Path

    return None if output == "-" else Path(output).stem
