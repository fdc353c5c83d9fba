"""`roofline hardware`."""

from __future__ import annotations

import click

from roofline.cli.completion import offered
from roofline.cli.options import one_of


@click.command()
@click.argument("name", required=False, shell_complete=offered("hardware"))
@click.option("--detect", is_flag=True, help="Show the devices of this machine, by their names.")
@click.option("--new", is_flag=True, help="A commented file to fill in.")
@click.option("-o", "--output", metavar="FILE", help="Write there, not to the terminal.")
@click.option("--force", is_flag=True, help="Replace a file that exists.")
def hardware(name: str | None, detect: bool, new: bool, output: str | None, force: bool) -> None:
    """List all devices, show one with the source of every figure, or begin one."""
    from roofline.cli.output import check, write

    one_of({"NAME": name, "--detect": detect or None, "--new": new or None})
    if output is not None:
        check(output, force=force)
    write(_text(name, detect=detect, new=new), output, force=force)


def _text(name: str | None, *, detect: bool, new: bool) -> str:
    if new:
        from roofline.specs.templates import hardware_template

        return hardware_template()

    from roofline.report.text.specs import devices_of_machine, hardware_list, hardware_sheet
    from roofline.specs.catalog import all_hardware, load_hardware

    if detect:
        from roofline.specs.this_machine import devices_here

        return devices_of_machine(devices_here())
    return hardware_list(all_hardware()) if name is None else hardware_sheet(load_hardware(name))
