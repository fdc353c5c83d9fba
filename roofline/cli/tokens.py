"""`roofline tokens`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from roofline.cli.options import plugin_option, scenario_options
from roofline.engine.axes import AXES

NEEDS = ("torch", "transformers", "PIL", "matplotlib")
SUFFIXES = (".png", ".svg", ".pdf")
_OPTIONS = ("model", "hardware", "reducer", "visual_tokens", "runtime")
"""Axes that have one."""


@click.command()
@click.argument("photos", metavar="PHOTO...", nargs=-1, required=True)
@click.option(
    "--checkpoint",
    metavar="DIR_OR_ID",
    help="Weights of the model: a folder or a Hugging Face id. Needed by all reducers that "
    "look at the picture.",
)
@scenario_options(
    several=("reducer",),
    omit=[axis.name for axis in AXES if axis.name not in _OPTIONS],
    helps={
        "hardware": "Say up to how many visual tokens a prefill on this device waits for its host; "
        "see `roofline hardware`.",
        "runtime": "What runs it on that device. Default: eager.",
        "model": "LMM by name or YAML file; see `roofline models`. Default: llava-1.5-7b.",
        "reducer": "Token reducer that acts before the LLM, such as prumerge or tome. Default: "
        "prumerge and prumerge+.",
        "visual_tokens": "Tokens to come out. Default: the method's own rule, or else its default "
        "in `roofline analyze`; none keeps all.",
    },
)
@plugin_option
@click.option(
    "--kept-only",
    is_flag=True,
    help="Draw the kept patches alone, without what is merged and the attention. So are several "
    "photos drawn.",
)
@click.option(
    "--background",
    type=click.Choice(["light", "dark"]),
    default="light",
    show_default=True,
    help="To what dropped patches fade: paper, or a dark screen.",
)
@click.option(
    "--figure-width",
    type=click.Choice(["single", "double"]),
    default="double",
    show_default=True,
    help="Of kept patches alone: one column of a paper, 3.4 in, or two, 7 in.",
)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    required=True,
    help="Write the figure there, as PNG, SVG or PDF by its ending.",
)
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
def tokens(
    photos: tuple[str, ...],
    checkpoint: str | None,
    model: str | None,
    reducer: tuple[str, ...],
    visual_tokens: int | None,
    hardware: str | None,
    runtime: str | None,
    kept_only: bool,
    background: Literal["light", "dark"],
    figure_width: str,
    output: str,
    force: bool,
) -> None:
    """Draw the visual tokens that reducers keep of pictures.

    Of one picture reducers stand side by side: kept patches in colour and outlined, what is merged,
    and the class token's attention with the fence that outliers are above. Of several, kept patches
    alone, a row for each picture. Counts go to the terminal, and with --hw the count up to which a
    prefill waits for the host.
    """
    from roofline.cli.measuring import require
    from roofline.cli.output import check, write, write_bytes
    from roofline.errors import InputError, OutputError

    suffix = Path(output).suffix.lower()
    if suffix not in SUFFIXES:
        raise OutputError(f"{output}: a figure's file ends in {', '.join(SUFFIXES)}")
    check(output, force=force, inputs=[*photos, model])
    if runtime is not None and hardware is None:
        raise InputError("--runtime says how --hw runs the model: add --hw")
    waits = hardware and _launch_bound(model or "llava-1.5-7b", hardware, runtime or "eager")
    require(*NEEDS)

    from roofline.report.charts.kept_tokens import kept_patches_chart, kept_tokens_chart
    from roofline.report.plots import DOUBLE_IN, SINGLE_IN, draw, render
    from roofline.torch_side.reduce.kept_patches import inspect_photos

    inspections = inspect_photos(
        photos,
        reducer or ("prumerge", "prumerge+"),
        model=model or "llava-1.5-7b",
        checkpoint=checkpoint,
        count=visual_tokens,
    )
    width_in = SINGLE_IN if figure_width == "single" else DOUBLE_IN
    if kept_only or len(inspections) > 1:
        figure = draw(kept_patches_chart(inspections, background), width_in)
    else:
        figure = draw(kept_tokens_chart(inspections[0], background))
    write_bytes(render(figure, suffix[1:]), output, force=force)
    width = max(len(one.reducer) for one in inspections[0].kept)
    lines = []
    for inspection in inspections:
        if len(inspections) > 1:
            lines.append(inspection.title)
        for one in inspection.kept:
            note = f"  ({one.note})" if one.note else ""
            lines.append(f"{one.reducer:<{width}}  {one.parts} = {one.total}{note}")
    if waits:
        lines += ["", waits]
    write("".join(f"{line}\n" for line in lines), None)


def _launch_bound(model: str, hardware: str, runtime: str) -> str:
    """From what count on fewer tokens make the prefill no faster."""
    from roofline.engine.analysis import launch_bound_tokens
    from roofline.report.text.estimate_words import launch_bound

    tokens = launch_bound_tokens(model, hardware, runtime=runtime)
    where = f"{model} on {hardware}, run by {runtime}"
    if tokens is None:
        return f"{where}: its host's time adds to the kernels', whatever the tokens"
    return f"{where}: {launch_bound(tokens)}"
