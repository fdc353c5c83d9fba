"""`roofline tokens`."""

from __future__ import annotations

from pathlib import Path

import click

from roofline.cli.options import plugin_option, scenario_options
from roofline.engine.axes import AXES

NEEDS = ("torch", "transformers", "PIL", "matplotlib")
SUFFIXES = (".png", ".svg", ".pdf")


@click.command()
@click.argument("photo", metavar="PHOTO")
@click.option(
    "--checkpoint",
    metavar="DIR_OR_ID",
    help="Weights of the model: a folder or a Hugging Face id. Needed by all reducers but "
    "sequential and spatial.",
)
@scenario_options(
    several=("reducer",),
    omit=[axis.name for axis in AXES if axis.name not in ("model", "reducer", "visual_tokens")],
    helps={
        "model": "LMM by name or YAML file; see `roofline models`. Default: llava-1.5-7b.",
        "reducer": "Token reducer that acts before the LLM, such as prumerge or tome. Default: "
        "prumerge and prumerge+.",
        "visual_tokens": "Tokens to come out. Default: the method's own rule, or else its default "
        "in `roofline analyze`; none keeps all.",
    },
)
@plugin_option
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    required=True,
    help="Write the figure there, as PNG, SVG or PDF by its ending.",
)
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
def tokens(
    photo: str,
    checkpoint: str | None,
    model: str | None,
    reducer: tuple[str, ...],
    visual_tokens: int | None,
    output: str,
    force: bool,
) -> None:
    """Draw the visual tokens that reducers keep of a picture.

    Reducers stand side by side: kept patches bright and outlined, what is merged, and the class
    token's attention with the fence that outliers are above. Counts go to the terminal.
    """
    from roofline.cli.measuring import require
    from roofline.cli.output import check, write_bytes
    from roofline.errors import OutputError

    suffix = Path(output).suffix.lower()
    if suffix not in SUFFIXES:
        raise OutputError(f"{output}: a figure's file ends in {', '.join(SUFFIXES)}")
    check(output, force=force)
    require(*NEEDS)

    from roofline.report.charts.kept_tokens import kept_tokens_chart
    from roofline.report.plots import draw, render
    from roofline.torch_side.reduce.kept_patches import inspect_tokens

    inspection = inspect_tokens(
        photo,
        reducer or ("prumerge", "prumerge+"),
        model=model or "llava-1.5-7b",
        checkpoint=checkpoint,
        count=visual_tokens,
    )
    write_bytes(render(draw(kept_tokens_chart(inspection)), suffix[1:]), output, force=force)
    width = max(len(one.reducer) for one in inspection.kept)
    for one in inspection.kept:
        note = f"  ({one.note})" if one.note else ""
        click.echo(f"{one.reducer:<{width}}  {one.parts} = {one.total}{note}")
