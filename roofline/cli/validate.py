"""`roofline validate`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from roofline.cli.measuring import (
    RESUME_HELP,
    RUN_MODES,
    TimeToSpend,
    check_resume,
    journal,
    progress_bar,
    require,
)
from roofline.cli.options import plugin_option

if TYPE_CHECKING:
    from roofline.records.validation import Validation
    from roofline.torch_side.calibrate.calibrate import Calibration


@click.command()
@click.option(
    "--model", help="LMM by name or YAML file. Default: llava-small on a CPU, else llava-1.5-7b."
)
@click.option(
    "--hw",
    "hardware",
    metavar="FILE",
    help="What `roofline calibrate` wrote on this machine. Default: calibrate first.",
)
@click.option(
    "--reducer",
    default="prumerge",
    show_default=True,
    help="Token reducer of the prompt that is reduced, with options behind colons.",
)
@click.option("--quant", help="fp32, fp16, bf16, w8a16, w8a8kv16, w4a16. Default: fp16; CPU: fp32.")
@click.option("--device", help="cpu, cuda, cuda:1, mps, xpu. Default: an accelerator if any.")
@click.option("--mode", type=click.Choice(RUN_MODES), default="eager", show_default=True)
@click.option(
    "--seconds",
    type=TimeToSpend(),
    default=170.0,
    show_default=True,
    help="Roughly what measuring may take, calibration included.",
)
@plugin_option
@click.option(
    "-o",
    "--output",
    metavar="FOLDER",
    help="Write validation.md, validation.json, validation.png and the calibrated spec there.",
)
@click.option("--resume", is_flag=True, help=RESUME_HELP)
@click.option("--force", is_flag=True, help="Replace files that exist.")
def validate(
    model: str | None,
    hardware: str | None,
    reducer: str,
    quant: str | None,
    device: str | None,
    mode: str,
    seconds: float,
    output: str | None,
    resume: bool,
    force: bool,
) -> None:
    """Hold the analysis against PyTorch's counts, and its predictions against this machine.

    FLOPs against FlopCounterMode, traffic and live tensors against a traced model, predicted
    against measured time on sizes that the calibration never saw. Each layer has a verdict. What a
    killed one has found lies in FOLDER/validation.json.partial, for --resume.
    """
    from pathlib import Path

    from roofline.cli.output import check_folder

    files = ("validation.md", "validation.json", "validation.png", "hardware.yaml")
    target = None if output is None else str(Path(output) / "validation.json")
    replaces = check_resume(target, resume=resume, force=force)
    made = output is not None and not Path(output).exists()
    if output is not None:
        check_folder(output, files, force=replaces, inputs=(model, hardware, quant))
    require("torch", "transformers", *(["matplotlib"] if output else []))

    from roofline.torch_side.measure.validate import calibrate_and_validate
    from roofline.torch_side.measure.validation_request import about_validation

    asked: dict[str, Any] = {
        "model": model,
        "hardware": hardware,
        "reducer": reducer,
        "quant": quant,
        "device": device,
        "mode": mode,
    }
    try:
        with journal(target, about_validation(**asked), resume=resume, force=force) as kept:
            with progress_bar("validate") as progress:
                found, calibration = calibrate_and_validate(
                    **asked, seconds=seconds, progress=progress, journal=kept
                )
            _write(found, calibration, output, force=replaces)
            if not found.complete:
                raise click.Abort
    finally:
        if made and output is not None and not any(Path(output).iterdir()):
            Path(output).rmdir()  # nothing was to be written there


def _write(
    found: Validation, calibration: Calibration | None, output: str | None, *, force: bool
) -> None:
    """Into the folder, if there is one, and in short to the terminal."""
    from roofline.cli.output import write_measured
    from roofline.report.text.validation import render_validation
    from roofline.specs.kernel_laws import UNTRUSTED

    content: dict[str, str | bytes] = {}
    if output is not None:
        from pathlib import Path

        from roofline.report.charts.prediction import validation_chart
        from roofline.report.plots import draw, render
        from roofline.specs.writing import hardware_yaml

        content = {
            "validation.md": render_validation(found, "md").encode(),
            "validation.json": found.to_json(),
            "validation.png": render(draw(validation_chart(found)), "png"),
        }
        if calibration is not None:
            text = hardware_yaml(calibration.hardware, comment=calibration.comment)
            content["hardware.yaml"] = text
        content = {str(Path(output) / name): data for name, data in content.items()}
    write_measured(render_validation(found, "table"), content, force=force)
    if found.untrusted:
        click.echo(f"roofline: warning: {UNTRUSTED}{found.untrusted}", err=True)
