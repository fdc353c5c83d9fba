"""`roofline fit`."""

from __future__ import annotations

import click


@click.command()
@click.argument("measurements", nargs=-1, required=True, metavar="MEASUREMENTS…")
@click.option("--hw", "base", required=True, help="The device: name or YAML file to add laws to.")
@click.option("--hardware", help="Its name in the column `hardware`. Default: that of --hw.")
@click.option("--like", help="Device whose laws go for kernels without rows, such as a100.")
@click.option("--source", help="Who measured. Default: the names of the files.")
@click.option("--date", help="When it was measured. Default: today.")
@click.option("--measured-here", is_flag=True, help="The rows were measured on this very machine.")
@click.option("-o", "--output", metavar="FILE", required=True, help="The YAML file, for --hw.")
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
def fit(
    measurements: tuple[str, ...],
    base: str,
    hardware: str | None,
    like: str | None,
    source: str | None,
    date: str | None,
    measured_here: bool,
    output: str,
    force: bool,
) -> None:
    """Fit the laws of attainable time to measured kernels, and add them to a device's file.

    MEASUREMENTS are Parquet or CSV tables, one kernel a row, with time_ms or time_s: matmuls with
    dtype, m, n, k; attention with batch_size, tokens, num_heads, num_key_value_heads, head_dim;
    vector ops with function and bytes. `roofline calibrate --measurements` writes such a table.
    Tables with a column `model` hold whole models (batch, tokens or image_size, precision, mode,
    stage) with time_ms, time_s, images_per_s or tokens_per_s, and correct the device's laws.
    """
    from datetime import UTC, datetime
    from pathlib import Path

    from roofline.cli.output import check, write

    check(output, force=force, inputs=(base, *measurements))
    from roofline.fitting.fit_files import fitted
    from roofline.report.text.fit import render_fit
    from roofline.specs.catalog import load_hardware
    from roofline.specs.writing import hardware_yaml

    found = fitted(
        load_hardware(base),
        measurements,
        measured_as=hardware,
        laws_from=like,
        source=source or ", ".join(Path(file).name for file in measurements),
        date=date or datetime.now(UTC).date().isoformat(),
        origin="measured" if measured_here else "fitted",
    )
    comment = "With laws of attainable time from `roofline fit`."
    write(hardware_yaml(found.hardware, comment=comment), output, force=force)
    write(render_fit(found.hardware, left_out=found.left_out), None)
