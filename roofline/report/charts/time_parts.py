"""Where the time of a prefill goes: a bar for each prompt, by component and kind of op."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from msgspec.structs import replace

from roofline.explore.study import Deployment, PricedPrompt, Study
from roofline.records.validation import CELLS
from roofline.report.charts.chart import (
    BarPart,
    LegendEntry,
    Panel,
    PanelAxis,
    PanelChart,
    StackedBar,
    listed,
    spoken,
)
from roofline.report.charts.naming import component_name, deployment_name, prompt_name
from roofline.report.charts.registry import ReportChart, ReportSection, register
from roofline.report.charts.selection import first, pair_first
from roofline.units import share

NAME, TITLE = "time", "Where the time goes"
GROUPS = ("linear", "attention", "other ops")
"""Of op kinds, in the order in which a component has them."""
HOST = "host"
"""What a CPU spends on issuing kernels: a component without ops."""
_GROUP_OF = {"linear": "linear", "attention": "attention", "softmax": "attention"}
_MOST_PANELS, _MOST_BARS, _COLUMNS = 12, 16, 2
_MOST_TIMES = 8.0
"""As long the longest bar of one panel may be as that of another, if they are to share a scale."""

BarRole = Literal["bound", "attainable"]


def time_chart(study: Study) -> PanelChart:
    """A panel for each deployment."""
    deployments, no_panel = first(study.deployments, _MOST_PANELS, "deployment")
    shown = [pair_first(deployment, _MOST_BARS) for deployment in deployments]
    panels, comparable = _scaled(
        [
            _panel(deployment, prompts)
            for deployment, (prompts, _) in zip(deployments, shown, strict=True)
        ]
    )
    return PanelChart(
        name=NAME,
        title=TITLE,
        alt=_alt(panels, no_panel),
        panels=panels,
        columns=_COLUMNS,
        legend=tuple(_legend([bar for panel in panels for bar in panel.bars])),
        subtitle="" if comparable else "each panel to a scale of its own",
        left_out=spoken(no_panel, *(no_bar for _, no_bar in shown)),
    )


def _scaled(panels: Sequence[Panel]) -> tuple[tuple[Panel, ...], bool]:
    """On one scale, and whether they are: not where a panel's longest bar would be too short."""
    ends = [max(bar.total if bar.high is None else bar.high for bar in p.bars) for p in panels]
    comparable = max(ends) <= _MOST_TIMES * min(ends)
    return tuple(
        replace(panel, x=replace(panel.x, limits=(0, max(ends) if comparable else end)))
        for panel, end in zip(panels, ends, strict=True)
    ), comparable


def _alt(panels: Iterable[Panel], no_panel: str) -> str:
    """The largest part of the first prompt in each deployment."""
    phrases = []
    for panel in panels:
        bar = [bar for bar in panel.bars if bar.label == panel.bars[0].label][-1]
        part = max(bar.parts, key=lambda part: part.size)
        largest = f"{component_name(part.of)} {part.group}".strip()
        phrases.append(f"{panel.title}: {largest}, {share(part.size / bar.total, bar.error)}")
    return (
        "Stacked bars of prefill time by component and kind of op. The largest part with most "
        f"visual tokens: {listed(phrases)}." + (f" {no_panel}." if no_panel else "")
    )


def _panel(deployment: Deployment, prompts: Sequence[PricedPrompt]) -> Panel:
    """Each prompt as a bound and, where its device has laws, as attainable."""
    roles: tuple[BarRole, ...] = ("bound",)
    if deployment.prompts[0].has_laws:
        roles = ("bound", "attainable")
    return Panel(
        title=deployment_name(deployment),
        x=PanelAxis(label="prefill time, end to end", unit="s"),
        y=PanelAxis(label=""),
        bars=tuple(_bar(prompt, role) for prompt in prompts for role in roles),
    )


def _bar(prompt: PricedPrompt, role: BarRole) -> StackedBar:
    """Components in the order in which they run, and what an attainable time may be off."""
    whole = prompt.estimate.end_to_end
    low, high = whole.predicted_time_low_s, whole.predicted_time_high_s
    has_band = role == "attainable" and low is not None and high is not None
    return StackedBar(
        label=prompt_name(prompt),
        role=role,
        parts=_parts(prompt, role),
        low=float(low) if has_band and low is not None else None,
        high=float(high) if has_band and high is not None else None,
    )


def _parts(prompt: PricedPrompt, role: BarRole) -> tuple[BarPart, ...]:
    """Seconds by component and group of ops; what is left of a predicted time is the host's."""
    found: dict[tuple[str, str], float] = {}
    for op in prompt.ops:
        part = (op.component, _GROUP_OF.get(op.kind, "other ops"))
        known = op.attainable_time_s if role == "attainable" else None
        time_s = op.roofline_time_s if known is None else known
        found[part] = found.get(part, 0.0) + float(time_s)
    whole_s = prompt.estimate.end_to_end.predicted_time_s
    if role == "attainable":
        rest_s = float(whole_s) - sum(found.values())
        if rest_s > 1e-6 * float(whole_s):
            found[HOST, ""] = rest_s
    names = list(dict.fromkeys(name for name, _ in found))
    order = sorted(found, key=lambda part: (names.index(part[0]), _group_rank(part[1])))
    return tuple(BarPart(of=name, group=group, size=found[name, group]) for name, group in order)


def _group_rank(group: str) -> int:
    return GROUPS.index(group) if group in GROUPS else 0


def _legend(bars: Sequence[StackedBar]) -> Iterable[LegendEntry]:
    names = {part.of for bar in bars for part in bar.parts}
    for name in sorted(names, key=_component_rank):
        yield LegendEntry(role="component", label=component_name(name), of=name)
    for group in GROUPS:
        yield LegendEntry(role="group", label=group, of=group)
    roles = {bar.role for bar in bars}
    if "bound" in roles:
        yield LegendEntry(role="bound", label="roofline bound")
    if "attainable" in roles:
        yield LegendEntry(role="attainable", label="predicted, with its error")


def _component_rank(name: str) -> int:
    """In the order in which components run."""
    return CELLS.index(name) if name in CELLS else len(CELLS)


register(ReportChart(name=NAME, title=TITLE, section=ReportSection.COSTS, of=time_chart))
