"""`roofline calibrate`."""

from __future__ import annotations

import click

from roofline.cli.measuring import (
    RESUME_HELP,
    TimeToSpend,
    check_resume,
    journal,
    progress_bar,
    require,
)


@click.command()
@click.option("--device", help="cpu, cuda, cuda:1, mps, xpu. Default: an accelerator if any.")
@click.option("--name", help="Of the spec. Default: made from the device's own.")
@click.option(
    "--quant",
    "modes",
    multiple=True,
    help="fp32, fp16, bf16, w8a16, w8a8kv16 or w4a16: whose kernels to measure. Default: fp32 and "
    "bf16 on a CPU, else fp16, bf16 and the low-bit ones. Repeatable.",
)
@click.option(
    "--seconds",
    type=TimeToSpend(),
    default=120.0,
    show_default=True,
    help="What it may take; refused if that is too little for all kernels.",
)
@click.option("--measurements", metavar="FILE", help="Write every measured kernel there, as CSV.")
@click.option("-o", "--output", metavar="FILE", required=True, help="The YAML file, for --hw.")
@click.option("--force", is_flag=True, help="Replace files that exist.")
@click.option("--resume", is_flag=True, help=RESUME_HELP)
def calibrate(
    device: str | None,
    name: str | None,
    modes: tuple[str, ...],
    seconds: float,
    measurements: str | None,
    output: str,
    force: bool,
    resume: bool,
) -> None:
    """Measure this device's ceilings and kernels, and write them as a spec for --hw.

    Bandwidth in the cache and beyond it, matmuls from a single row to square ones, attention,
    vector ops, launches, and what the host takes beside them. What is measured is kept beside FILE
    until all is, so that a run that was killed can go on.
    """
    from pathlib import Path

    from roofline.cli.output import check, check_apart, write_measured

    replaces = check_resume(output, resume=resume, force=force)
    check(output, force=replaces)
    if measurements is not None:
        check(measurements, force=replaces)
        check_apart(output, measurements)
    require("torch", "transformers")

    from roofline.report.text.calibration import render_ceilings
    from roofline.specs.kernel_laws import UNTRUSTED
    from roofline.specs.writing import hardware_yaml
    from roofline.torch_side.calibrate.calibrate import about
    from roofline.torch_side.calibrate.calibrate import calibrate as measure

    with journal(output, about(device, modes or None), resume=resume, force=force) as kept:
        with progress_bar("calibrate") as progress:
            found = measure(
                device,
                name=name or Path(output).stem,
                modes=modes or None,
                seconds=seconds,
                progress=progress,
                journal=kept,
            )
        files = {output: hardware_yaml(found.hardware, comment=found.comment)}
        if measurements is not None:
            files[measurements] = found.csv()
        verdict = [f"{UNTRUSTED}{found.untrusted}"] if found.untrusted else []
        shown = render_ceilings(found.hardware, [*verdict, *found.notes])
        write_measured(shown, files, force=replaces)
    if verdict:
        click.echo(f"roofline: warning: {verdict[0]}", err=True)
