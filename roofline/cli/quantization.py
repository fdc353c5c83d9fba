"""`roofline quantization`."""

from __future__ import annotations

import click

from roofline.cli.completion import offered


@click.command()
@click.argument("name", required=False, shell_complete=offered("quant"))
def quantization(name: str | None) -> None:
    """List all quantization modes, or show one: widths, bytes, and where it runs."""
    from roofline.cli.output import write
    from roofline.report.text.methods import quantization_list, quantization_sheet
    from roofline.specs.catalog import (
        all_hardware,
        load_quantization,
        mode_outside_llm,
        quantization_modes,
    )

    devices = all_hardware()
    if name is None:
        text = quantization_list(list(quantization_modes().values()), devices)
    else:
        mode = load_quantization(name)
        text = quantization_sheet(mode, mode_outside_llm(mode), devices)
    write(text, None)
