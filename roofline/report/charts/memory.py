"""Memory of a prefill at a batch that fills the device, and what fewer visual tokens free of it."""

from __future__ import annotations

from collections.abc import Sequence

from roofline.explore.study import Deployment, PricedPrompt, Study
from roofline.report.charts.chart import (
    BarPart,
    LegendEntry,
    Panel,
    PanelAxis,
    PanelChart,
    ReferenceLine,
    StackedBar,
    listed,
    spoken,
)
from roofline.report.charts.naming import prompt_name, unusual_counts
from roofline.report.charts.registry import ReportChart, ReportSection, register
from roofline.report.charts.selection import first, pair_first
from roofline.units import si

NAME, TITLE = "memory", "Memory at the largest batch that fits without reduction"
PARTS = {
    "weights": "weight_bytes",
    "KV cache": "kv_cache_bytes",
    "peak activations": "peak_activation_bytes",
}
"""Name → attribute of the totals."""
_MOST_PANELS, _MOST_BARS, _COLUMNS = 12, 16, 2
_ROOM = 1.05
"""Length of an axis over the capacity, or over the longest bar where that is beyond it."""


def memory_chart(study: Study) -> PanelChart:
    """A panel for each model, device and precision, a bar for each prompt, up to the capacity."""
    every = _places(study)
    places, no_panel = first(every, _MOST_PANELS, "deployment")
    panels, left_out = [], [no_panel]
    for place in places:
        prompts, no_bar = pair_first(place[0], _MOST_BARS)
        panels.append(_panel(place, prompts))
        left_out.append(no_bar)
    return PanelChart(
        name=NAME,
        title=TITLE,
        alt=_alt(study, panels, no_panel),
        panels=tuple(panels),
        columns=_COLUMNS,
        legend=(
            *(LegendEntry(role="part", label=name, of=name) for name in PARTS),
            LegendEntry(role="capacity", label="what the device has"),
        ),
        left_out=spoken(*left_out),
    )


def _places(study: Study) -> list[list[Deployment]]:
    """Deployments that differ in their batch alone, together."""
    found: dict[tuple[object, ...], list[Deployment]] = {}
    for deployment in study.deployments:
        key = tuple(value for name, value in deployment.inputs.items() if name != "batch")
        found.setdefault(key, []).append(deployment)
    return list(found.values())


def batch_shown(place: Sequence[Deployment]) -> int:
    """The most unreduced prompts that fit, or as many as were asked for, if those do not."""
    asked = [int(deployment.inputs["batch"]) for deployment in place]
    return max(place[0].pair[0].sequences_that_fit, *asked)


def _panel(place: Sequence[Deployment], prompts: Sequence[PricedPrompt]) -> Panel:
    """Its axis ends a little behind the capacity, so that this stands in one place in all."""
    deployment, batch = place[0], batch_shown(place)
    bars = tuple(
        StackedBar(
            label=prompt_name(prompt),
            role="memory",
            parts=_parts(prompt, batch),
            note=_note(prompt.sequences_that_fit),
        )
        for prompt in prompts
    )
    capacity = float(deployment.prompts[0].estimate.device["memory_bytes"])
    usual = unusual_counts({n: v for n, v in deployment.inputs.items() if n != "batch"})
    names = [deployment.model, deployment.hardware, deployment.quant, *usual]
    end = _ROOM * max(capacity, *(bar.total for bar in bars))
    return Panel(
        title=f"{', '.join(names)}\nbatch {batch}; the device has {si(capacity, 'B')}",
        x=PanelAxis(label="peak memory of the prefill", unit="B", limits=(0, end)),
        y=PanelAxis(label=""),
        bars=bars,
        lines=(ReferenceLine(role="capacity", axis="x", at=capacity),),
    )


def _note(fitting: int) -> str:
    return f"up to {fitting} fit" if fitting else "does not fit"


def _parts(prompt: PricedPrompt, batch: int) -> tuple[BarPart, ...]:
    needed = prompt.in_batch(batch)
    return tuple(
        BarPart(of=name, size=float(getattr(needed, attribute)))
        for name, attribute in PARTS.items()
    )


def _alt(study: Study, panels: Sequence[Panel], no_panel: str) -> str:
    """The pair of every panel, and who does not have the memory for what was asked."""
    phrases = []
    for panel in panels:
        bars = [f"{bar.label}: {si(bar.total, 'B')} ({bar.note})" for bar in panel.bars[:2]]
        phrases.append(f"{panel.title.replace(chr(10), ', ')}: {', '.join(bars)}")
    tight = dict.fromkeys(
        f"{prompt.model} on {prompt.hardware}, {prompt.quant}"
        for prompt in study.prompts
        if not prompt.fits
    )
    verdict = f"As asked, it is too much: {listed(list(tight))}" if tight else "As asked, all fits"
    return (
        "Stacked bars of weights, KV cache and peak activations, at the largest batch that fits "
        f"without reduction. {listed(phrases)}. {verdict}." + (f" {no_panel}." if no_panel else "")
    )


register(ReportChart(name=NAME, title=TITLE, section=ReportSection.MEMORY, of=memory_chart))
