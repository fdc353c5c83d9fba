"""`roofline analyze`."""

from __future__ import annotations

from pathlib import Path

import click

STAGES = ("prefill", "decode", "generate")
ATTENTIONS = ("flash", "eager")
ACCOUNTINGS = ("exact", "llm-viewer")
FORMATS = ("table", "json", "csv", "md")
# Restated, not imported, so that `--help` stays as quick as click; a test holds them together.


@click.command()
@click.option("--model", required=True, help="Name or YAML file; see `roofline models`.")
@click.option(
    "--hw",
    "hardware",
    required=True,
    multiple=True,
    help="Name or YAML file; see `roofline hardware`. Repeatable.",
)
@click.option(
    "--quant",
    multiple=True,
    default=("fp16",),
    show_default="fp16",
    help="fp32, fp16, bf16, fp8, int8, int4, w8a16, w4a16 or any wXaYkvZ. Repeatable.",
)
@click.option(
    "--visual-tokens",
    multiple=True,
    type=int,
    help="Visual tokens that reach the LLM; default: all of the model's. Repeatable.",
)
@click.option(
    "--reducer",
    help="Token reducer of an LMM, such as prumerge, priced with it. Leaves --visual-tokens, or "
    "as many as is typical of it.",
)
@click.option("--text-tokens", type=int, default=40, show_default=True)
@click.option("--batch", type=int, default=1, show_default=True, help="Sequences at once.")
@click.option("--stage", type=click.Choice(STAGES), default="prefill", show_default=True)
@click.option(
    "--output-tokens",
    type=int,
    default=0,
    show_default=True,
    help="Decode steps of --stage generate.",
)
@click.option(
    "--attention",
    type=click.Choice(ATTENTIONS),
    help="Default: flash; eager under llm-viewer accounting.",
)
@click.option(
    "--accounting",
    type=click.Choice(ACCOUNTINGS),
    default="exact",
    show_default=True,
    help="llm-viewer reproduces numbers published with that tool.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    help="Default: by the ending of -o, else table.",
)
@click.option("--per-op", is_flag=True, help="Add one row per distinct op.")
@click.option("-o", "--output", metavar="FILE", help="Write there instead of to the terminal.")
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
def analyze(
    model: str,
    hardware: tuple[str, ...],
    quant: tuple[str, ...],
    visual_tokens: tuple[int, ...],
    reducer: str | None,
    text_tokens: int,
    batch: int,
    stage: str,
    output_tokens: int,
    attention: str | None,
    accounting: str,
    form: str | None,
    per_op: bool,
    output: str | None,
    force: bool,
) -> None:
    """Say what a prompt costs on a device: the roofline bound, op by op, before any measurement.

    Several --hw, --quant or --visual-tokens give one row for each combination.
    """
    from roofline.cli.output import FORMATS_BY_SUFFIX, write
    from roofline.engine.analysis import analyze as estimate
    from roofline.report.text.estimates import render

    estimates = [
        estimate(
            model=model,
            hardware=device,
            quant=mode,
            visual_tokens=count,
            reducer=reducer,
            text_tokens=text_tokens,
            batch=batch,
            stage=stage,
            output_tokens=output_tokens,
            attention=attention,
            accounting=accounting,
        )
        for device in hardware
        for mode in quant
        for count in visual_tokens or (None,)
    ]
    suffix = Path(output).suffix.lower() if output else ""
    text = render(estimates, form or FORMATS_BY_SUFFIX.get(suffix, "table"), per_op=per_op)
    write(text, output, force=force)
