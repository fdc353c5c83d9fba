"""`roofline profile`."""

from __future__ import annotations

import click

STAGES = ("prefill", "decode", "generate")
MODES = ("eager", "compile", "cuda-graph")
ATTENTIONS = ("sdpa", "flash", "eager")
# Restated, not imported, so that `--help` stays as quick as click; a test holds them together.


@click.command()
@click.option("--model", required=True, help="LMM by name or YAML file; see `roofline models`.")
@click.option("--reducer", help="Token reducer, such as prumerge; see `roofline tokens`.")
@click.option(
    "--visual-tokens",
    type=int,
    help="Visual tokens that reach the LLM. Default: all, or what the reducer makes of the image.",
)
@click.option("--text-tokens", type=int, default=40, show_default=True)
@click.option("--batch", type=int, default=1, show_default=True, help="Sequences at once.")
@click.option("--stage", type=click.Choice(STAGES), default="prefill", show_default=True)
@click.option(
    "--output-tokens",
    type=int,
    default=0,
    help="Decode steps of --stage generate.",
    show_default=True,
)
@click.option(
    "--quant", help="fp32, fp16, bf16, w8a16, w8a8kv16, w4a16. Default: fp16, on a CPU fp32."
)
@click.option("--checkpoint", metavar="DIR_OR_ID", help="Weights. Default: random ones.")
@click.option("--image", metavar="FILE", help="A picture. Default: noise.")
@click.option("--device", help="cpu, cuda, cuda:1, mps, xpu. Default: an accelerator if any.")
@click.option("--mode", type=click.Choice(MODES), default="eager", show_default=True)
@click.option("--attention", type=click.Choice(ATTENTIONS), default="sdpa", show_default=True)
@click.option(
    "--hw",
    "hardware",
    help="Spec to compare with: name or YAML file. Default: the one of this GPU's name.",
)
@click.option("--per-op", is_flag=True, help="Time single ops too, with torch.profiler.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=30.0,
    show_default=True,
    help="Longest time to spend on samples; it ends as soon as the median is known to 0.5 %.",
)
@click.option("-o", "--output", metavar="FILE", help="Write the record there, as JSON.")
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
def profile(
    output: str | None, force: bool, seconds: float, **asked: str | int | bool | None
) -> None:
    """Run a model on this machine and time its components, beside what the device could do.

    Weights are random unless --checkpoint names some: times do not depend on them, but an adaptive
    reducer's number of tokens does. Ctrl-C ends the measurement early and keeps what there is.
    """
    from roofline.cli.measuring import progress_bar, require
    from roofline.cli.output import check, write

    if output is not None:
        check(output, force=force)
    require("torch", "transformers")

    from roofline.report.text.record import render_record
    from roofline.torch_side.measure.profile import profile as measure
    from roofline.torch_side.measure.request import Request

    request = Request(**asked, cap_s=seconds)  # type: ignore[arg-type]  # click knows the types
    with progress_bar(f"profile {request.model}") as progress:
        record = measure(request, progress=progress)
    if output is not None:
        write(record.to_json().decode(), output, force=force)
    write(render_record(record, "table"), None)
    if not record.complete:
        raise click.Abort
