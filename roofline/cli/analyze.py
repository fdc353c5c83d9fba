"""`roofline analyze`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from roofline.cli.options import check_stage, plugin_option, scenario_options, specs

FORMATS = ("table", "json", "csv", "md")
# Restated, not imported, so that `--help` stays as quick as click; a test holds them together.


@click.command()
@scenario_options(
    required=("model",),
    helps={
        "hardware": "Name or YAML file; see `roofline hardware`. Left out: FLOPs, traffic and "
        "memory alone, on no device.",
        "visual_tokens": "Visual tokens that reach the LLM. Default: all of them, or as many "
        "as the reducer keeps by default.",
    },
)
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    help="Default: by the ending of -o, else table.",
)
@click.option("--per-op", is_flag=True, help="Add one row per distinct op.")
@click.option(
    "--explain",
    metavar="FIGURE",
    help="Instead of the table a figure's formula, its numbers and their sources: time, memory, "
    "energy, flops, kv, a component, or an op such as q_proj or vision.fc1.",
)
@plugin_option
@click.option("-o", "--output", metavar="FILE", help="Write there instead of to the terminal.")
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
def analyze(
    form: str | None,
    per_op: bool,
    explain: str | None,
    output: str | None,
    force: bool,
    **given: Any,
) -> None:
    """Say what a prompt costs on a device: the roofline bound, op by op, before any measurement.

    Several values of an option give one row for each combination with the others; those that
    cannot be, such as a precision that one of the devices does not have, are left out.
    """
    from roofline.cli.output import FORMATS_BY_SUFFIX, check, write
    from roofline.engine.axes import VARIED, combinations
    from roofline.engine.estimate import Counts, Estimate
    from roofline.engine.scenario import Scenario
    from roofline.errors import ScenarioError, UnsupportedModeError
    from roofline.plain_text import one_line
    from roofline.report.text.estimates import render
    from roofline.specs.catalog import distinct

    varied = {axis.name: given.pop(axis.name) for axis in VARIED}
    if output is not None:
        check(output, force=force, inputs=specs(varied))
    check_stage(given["stage"], varied["output_tokens"])
    scenarios = [Scenario.of(**axes, **given) for axes in combinations(varied)]
    for axis in ("model", "hardware", "quant"):
        distinct(spec for each in scenarios if (spec := getattr(each, axis)) is not None)
    price = Estimate.of if varied["hardware"] else Counts.of
    estimates: list[Counts] = []
    refused: list[ScenarioError | UnsupportedModeError] = []
    for scenario in scenarios:
        try:
            estimates.append(price(scenario))
        except (ScenarioError, UnsupportedModeError) as error:
            refused.append(error)
    if not estimates:
        raise refused[0]
    if explain is None:
        suffix = Path(output).suffix.lower() if output else ""
        text = render(estimates, form or FORMATS_BY_SUFFIX.get(suffix, "table"), per_op=per_op)
    elif form is not None or per_op:
        raise click.UsageError("--explain is text of its own: leave --format and --per-op out")
    elif len(estimates) > 1:
        raise ScenarioError("--explain takes one configuration: give one value to each option")
    else:
        text = str(estimates[0].explain(explain))
    write(text, output, force=force)
    for reason in dict.fromkeys(map(str, refused)):
        click.echo(f"roofline: left out: {one_line(reason)}", err=True)
