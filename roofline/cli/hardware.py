"""`roofline hardware`."""

from __future__ import annotations

import click

from roofline.cli.completion import offered


@click.command()
@click.argument("name", required=False, shell_complete=offered("hardware"))
def hardware(name: str | None) -> None:
    """List all devices, or show one with the source of every figure."""
    from roofline.cli.output import write
    from roofline.report.text.specs import hardware_list, hardware_sheet
    from roofline.specs.catalog import all_hardware, load_hardware

    text = hardware_list(all_hardware()) if name is None else hardware_sheet(load_hardware(name))
    write(text, None)
