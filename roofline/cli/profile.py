"""`roofline profile`."""

from __future__ import annotations

from typing import Any

import click

from roofline.cli.measuring import (
    ATTENTION_KERNELS,
    RESUME_HELP,
    RUN_MODES,
    TimeToSpend,
    check_resume,
    journal,
    progress_bar,
    require,
)
from roofline.cli.options import check_stage, plugin_option, scenario_options, specs


@click.command()
@scenario_options(
    several=False,
    required=("model",),
    omit=("pictures", "attention", "runtime", "kernels", "accounting", "library"),
    helps={
        "model": "LMM by name or YAML file; see `roofline models`.",
        "hardware": "Spec to compare with: name or YAML file. Default: the one of this GPU's name.",
        "reducer": "Token reducer, such as prumerge or fastv:k=3, or none.",
        "visual_tokens": "Visual tokens that reach the LLM. Default: all, or what the reducer "
        "makes of the image.",
        "quant": "fp32, fp16, bf16, w8a16, w8a8kv16, w4a16. Default: fp16, on a CPU fp32.",
    },
)
@click.option("--checkpoint", metavar="DIR_OR_ID", help="Weights. Default: random ones.")
@click.option("--image", metavar="FILE", help="A picture. Default: noise.")
@click.option("--device", help="cpu, cuda, cuda:1, mps, xpu. Default: an accelerator if any.")
@click.option("--mode", type=click.Choice(RUN_MODES), default="eager", show_default=True)
@click.option(
    "--attention", type=click.Choice(ATTENTION_KERNELS), default="sdpa", show_default=True
)
@click.option("--per-op", is_flag=True, help="Time single ops too, with torch.profiler.")
@click.option(
    "--seconds",
    type=TimeToSpend(),
    default=30.0,
    show_default=True,
    help="Longest time to measure, all in all; it ends as soon as the median is known to 0.5 %.",
)
@plugin_option
@click.option("-o", "--output", metavar="FILE", help="Write the record there, as JSON.")
@click.option(
    "--trace",
    metavar="FILE",
    help="Write the timeline of one run there, as JSON for ui.perfetto.dev.",
)
@click.option("--resume", is_flag=True, help=RESUME_HELP)
@click.option("--force", is_flag=True, help="Replace files that exist.")
def profile(
    output: str | None,
    trace: str | None,
    resume: bool,
    force: bool,
    seconds: float,
    **options: Any,
) -> None:
    """Run a model on this machine and time its components, beside what the device could do.

    Weights are random unless --checkpoint names some: times do not depend on them, but an adaptive
    reducer's number of tokens does. Ctrl-C ends the measurement early and keeps what there is; what
    a killed one has measured lies beside FILE, as FILE.partial, for --resume.
    """
    from roofline.cli.output import check, check_apart, write, write_measured

    check_stage(options["stage"], [options["output_tokens"]])
    replaces = check_resume(output, resume=resume, force=force)
    if output is not None:
        check(output, force=replaces, inputs=[*specs(options), options["image"]])
    if trace is not None:
        check(trace, force=force, inputs=[*specs(options), options["image"]])
        if output is not None:
            check_apart(output, trace)
    require("torch", "transformers")

    from roofline.report.text.record import render_record
    from roofline.specs.kernel_laws import UNTRUSTED
    from roofline.torch_side.measure.profile import profile as measure
    from roofline.torch_side.measure.request import Request
    from roofline.torch_side.measure.stages import about_run

    request = Request.of(**options, cap_s=seconds)
    timelines: list[bytes] = []
    with journal(output, about_run(request), resume=resume, force=force) as kept:
        with progress_bar(f"profile {request.spec.name}") as progress:
            record = measure(
                request,
                progress=progress,
                journal=kept,
                trace=None if trace is None else timelines.append,
            )
        files = {} if output is None else {output: record.to_json().decode()}
        write_measured(render_record(record, "table"), files, force=replaces)
        for timeline in timelines:
            write(timeline.decode(), trace, force=force)
        for text in record.warnings:
            if text.startswith(UNTRUSTED):
                click.echo(f"roofline: warning: {text}", err=True)
        if not record.complete:
            raise click.Abort
