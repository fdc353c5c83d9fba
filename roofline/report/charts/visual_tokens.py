"""Time, FLOPs and KV cache over the number of visual tokens, and where fewer stop paying."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from roofline.engine.result import Totals
from roofline.explore.study import Deployment, Study
from roofline.report.charts.chart import (
    LegendEntry,
    Panel,
    PanelAxis,
    PanelChart,
    ReferenceLine,
    Series,
    listed,
    numbers,
)
from roofline.report.charts.device_panels import DevicePanels, device_panels
from roofline.report.charts.naming import deployment_name
from roofline.report.charts.registry import ReportChart, ReportSection, register
from roofline.report.charts.scales import matched

NAME, TITLE = "visual-tokens", "Time, FLOPs and KV cache over visual tokens"
_MOST_MARKED = 12
_COLUMNS = 3


def applies(study: Study) -> bool:
    """Whether any prompt has visual tokens."""
    return bool(_with_curve(study))


def visual_tokens_chart(study: Study) -> PanelChart:
    """A row of panels for each model and precision; a line for each device."""
    shown = device_panels(_with_curve(study))
    panels = matched([p for title, row in shown.rows for p in _row(title, row)], _COLUMNS)
    return PanelChart(
        name=NAME,
        title=TITLE,
        alt=_alt(study),
        panels=panels,
        columns=_COLUMNS,
        legend=tuple(_legend(shown, panels)),
        left_out=shown.left_out,
    )


def _with_curve(study: Study) -> list[Deployment]:
    return [deployment for deployment in study.deployments if deployment.curve is not None]


def _alt(study: Study) -> str:
    """The two counts of every deployment."""
    phrases = [
        f"{deployment_name(deployment)}: {deployment.floor_tokens} ({_bound(deployment)})"
        for deployment in _with_curve(study)
    ]
    return (
        "Prefill time, FLOPs and KV cache over visual tokens. Visual tokens below which fewer "
        f"no longer help: {listed(phrases)}."
    )


def _bound(deployment: Deployment) -> str:
    ridge = deployment.ridge_tokens
    return f"LLM bound by memory up to {ridge}" if ridge else "LLM bound by compute throughout"


def _row(title: str, deployments: Sequence[Deployment]) -> tuple[Panel, Panel, Panel]:
    """Times on every device; FLOPs and KV cache, which do not depend on the device."""
    most = max(float(deployment.visual_tokens[-1]) for deployment in deployments)
    tokens = PanelAxis(label="visual tokens", scale="log", limits=(1, most))
    requested = tuple(
        ReferenceLine(role="requested", axis="x", at=float(count)) for count in _marked(deployments)
    )
    some = deployments[0]
    times = Panel(
        title=title,
        x=tokens,
        y=PanelAxis(label="prefill time", unit="s", scale="log"),
        series=tuple(series for deployment in deployments for series in _times(deployment)),
        lines=requested,
    )
    x = numbers(some.visual_tokens)
    flops, cache = (
        Panel(
            x=tokens,
            y=PanelAxis(label=label, unit=unit, scale="log"),
            series=(Series(role=role, x=x, y=numbers(amounts)),),
            lines=requested,
        )
        for role, label, unit, amounts in (
            ("flops", "FLOPs", "FLOP", _curve(some).flops),
            ("KV cache", "KV cache", "B", _curve(some).kv_cache_bytes),
        )
    )
    return times, flops, cache


def _marked(deployments: Sequence[Deployment]) -> list[int]:
    """Counts of the report, unless they are so many that their lines would be a grey area."""
    counts = sorted({prompt.visual_tokens for one in deployments for prompt in one.prompts})
    return counts if len(counts) <= _MOST_MARKED else []


def _curve(deployment: Deployment) -> Totals:
    """End to end, over the visual tokens."""
    assert deployment.curve is not None
    return deployment.curve.end_to_end


def _times(deployment: Deployment) -> Iterator[Series]:
    """What is predicted, with the bound where that is something else, and two marks on it."""
    whole, tokens = _curve(deployment), deployment.visual_tokens
    predicted = np.asarray(whole.predicted_time_s)
    fits = np.broadcast_to(whole.fits, tokens.shape)
    x, of, variant = numbers(tokens), deployment.hardware, deployment.quant
    for role, where in (("time", fits), ("too large", ~fits)):
        if where.any():
            y = tuple(
                predicted_time_s if here else None
                for predicted_time_s, here in zip(predicted.tolist(), where.tolist(), strict=True)
            )
            yield Series(role=role, of=of, variant=variant, x=x, y=y)
    if deployment.prompts[0].has_laws:
        yield Series(role="bound", of=of, variant=variant, x=x, y=numbers(whole.roofline_time_s))
        low, high = whole.predicted_time_low_s, whole.predicted_time_high_s
        if low is not None and high is not None:
            yield Series(
                role="error",
                of=of,
                variant=variant,
                x=x,
                y=numbers(predicted),
                low=numbers(low),
                high=numbers(high),
            )
    for role, count in (("ridge", deployment.ridge_tokens), ("floor", deployment.floor_tokens)):
        if count:
            y = (float(np.interp(count, tokens, predicted)),)
            yield Series(role=role, of=of, variant=variant, x=(float(count),), y=y)


def _legend(shown: DevicePanels, panels: Sequence[Panel]) -> Iterator[LegendEntry]:
    yield from shown.legend
    roles = {series.role for panel in panels for series in panel.series}
    if "ridge" in roles:
        yield LegendEntry(role="ridge", label="LLM bound by memory up to here")
    if "floor" in roles:
        yield LegendEntry(role="floor", label="within 5 % of the least: fewer no longer help")
    if any(panel.lines for panel in panels):
        yield LegendEntry(role="requested", label="counts of this report")
    if "bound" in roles:
        yield LegendEntry(role="bound", label="roofline bound")
        yield LegendEntry(role="error", label="error of predicted time")
    if "too large" in roles:
        yield LegendEntry(role="too large", label="does not fit")


register(
    ReportChart(
        name=NAME,
        title=TITLE,
        section=ReportSection.BOUNDS,
        order=1,
        applies=applies,
        each_prompt=False,
        of=visual_tokens_chart,
    )
)
