"""Roofline charts (Williams et al. 2009): each op a dot, moved by fewer visual tokens.

A dot stands at the op's matmul FLOPs, or vector FLOPs where it has no others, per byte of DRAM
traffic and per second: at the bound on the roof itself, attainable below it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from roofline.explore.study import Deployment, PricedPrompt, Study
from roofline.report.charts.chart import (
    LegendEntry,
    Panel,
    PanelAxis,
    PanelChart,
    Series,
    listed,
    spoken,
)
from roofline.report.charts.naming import component_name, deployment_name, prompt_name
from roofline.report.charts.registry import ReportChart, ReportSection, register
from roofline.report.charts.roofline_points import (
    Ceiling,
    Dot,
    RooflinePoint,
    ceilings,
    dots,
    measured,
    named,
)
from roofline.report.charts.selection import first, more
from roofline.units import GIGA, TERA, percent, significant

NAME, TITLE = "roofline", "Roofline chart"
_MOST, _COLUMNS = 6, 2
_MARGIN = 2.5
"""Ratio of an axis's end to the outermost dot."""
_LEAST = 0.01
"""Share of the time below which an op would only stretch the axes."""


def roofline_chart(study: Study) -> PanelChart:
    """A panel for each deployment."""
    deployments, no_panel = first(study.deployments, _MOST, "deployment")
    left = sum(len(one.prompts) - len(one.pair) for one in deployments)
    shown = [[dot for dot in dots(one) if dot.share >= _LEAST] for one in deployments]
    small = any(len(some) < len(dots(one)) for some, one in zip(shown, deployments, strict=True))
    ends = [_ends(study, one, some) for some, one in zip(shown, deployments, strict=True)]
    lefts, rights, bottoms, tops = zip(*ends, strict=True)
    x, y = (min(lefts), max(rights)), (min(bottoms), max(tops))
    panels = tuple(
        _panel(study, one, some, x, y) for some, one in zip(shown, deployments, strict=True)
    )
    return PanelChart(
        name=NAME,
        title=TITLE,
        alt=_alt(study),
        panels=panels,
        columns=_COLUMNS,
        legend=tuple(_legend([series for panel in panels for series in panel.series])),
        left_out=spoken(
            no_panel,
            more(left, "prompt"),
            f"ops below {percent(_LEAST)} of the time not shown" if small else "",
        ),
    )


def _alt(study: Study) -> str:
    """How much of the time goes to ops that are bound by memory, deployment by deployment."""
    phrases = []
    for deployment in study.deployments:
        shares = [
            f"{percent(_memory_share(prompt))} with {prompt_name(prompt)}"
            for prompt in deployment.pair
        ]
        phrases.append(f"{deployment_name(deployment)}: {', '.join(shares)}")
    moved = any(deployment.reduced for deployment in study.deployments)
    arrows = "; arrows lead from all visual tokens to fewer" if moved else ""
    return (
        "Roofline charts: each op a dot at its FLOP per byte and FLOP per second, under the "
        f"device's ceilings{arrows}. Share of time in ops that are bound by "
        f"memory: {listed(phrases)}."
    )


def _memory_share(prompt: PricedPrompt) -> float:
    whole = prompt.estimate.end_to_end
    return 1 - float(whole.bound_times_s["compute"] / whole.roofline_time_s)


def _ends(
    study: Study, deployment: Deployment, ops: Sequence[Dot]
) -> tuple[float, float, float, float]:
    """Left, right, bottom and top of axes that hold all points and the highest ridge."""
    points = [point for dot in ops for point in (dot.point, dot.before) if point]
    points += [point for _, point in measured(study, deployment)]
    bandwidth = deployment.prompts[0].device.memory_bytes_per_s
    top = ceilings(deployment)[0].flops_per_s
    left = min((x for x, _ in points), default=1.0) / _MARGIN
    right = max([top / bandwidth, *(x for x, _ in points)]) * _MARGIN
    bottom = min([left * bandwidth, *(y for _, y in points)]) / _MARGIN
    return left, right, bottom, _MARGIN * top


def _panel(
    study: Study,
    deployment: Deployment,
    ops: Sequence[Dot],
    x: tuple[float, float],
    y: tuple[float, float],
) -> Panel:
    """Between the same axes in all: `576 to 40 prumerge`, the title says."""
    device, peaks = deployment.prompts[0].device, ceilings(deployment)
    bandwidth, top, (bottom, _) = device.memory_bytes_per_s, peaks[0].flops_per_s, y
    slopes = {"DRAM": bandwidth}
    if device.l2_bandwidth_gb_per_s is not None:
        slopes["L2"] = device.l2_bandwidth_gb_per_s.value * GIGA
    return Panel(
        title=f"{deployment_name(deployment)}\n{' to '.join(map(prompt_name, deployment.pair))}",
        x=PanelAxis(label="FLOP per byte of DRAM traffic", scale="log", limits=x),
        y=PanelAxis(label="FLOP/s", scale="log", limits=y),
        series=(
            *(_slope(name, rate, bottom, top) for name, rate in slopes.items()),
            *_ceilings(peaks, bandwidth, x[1]),
            *_ops(ops),
            *_measured(measured(study, deployment)),
        ),
    )


def _slope(name: str, bytes_per_s: float, bottom: float, top: float) -> Series:
    """FLOP/s that a memory feeds, from the bottom of the panel to the highest ceiling."""
    return Series(
        role="slope",
        of=name,
        x=(bottom / bytes_per_s, top / bytes_per_s),
        y=(bottom, top),
        label=f"{name} {bytes_per_s / GIGA:g} GB/s",
    )


def _ceilings(peaks: Sequence[Ceiling], bandwidth: float, right: float) -> Iterator[Series]:
    """From DRAM's slope on; those in use first, of each the highest first."""
    for peak in sorted(peaks, key=lambda peak: (not peak.used, -peak.flops_per_s)):
        rate = peak.flops_per_s
        yield Series(
            role="ceiling" if peak.used else "other ceiling",
            of=" ".join(peak.names),
            x=(rate / bandwidth, right),
            y=(rate, rate),
            label=f"{', '.join(peak.names)} {significant(rate / TERA)} T",
        )


def _ops(ops: Sequence[Dot]) -> Iterator[Series]:
    """Of each component those that moved, and above them all, with names of those that matter."""
    names = named(ops)
    for name in dict.fromkeys(dot.component for dot in ops):
        mine = [dot for dot in ops if dot.component == name]
        moved = [(dot.point, dot.before) for dot in mine if dot.before is not None]
        if moved:
            yield Series(
                role="moved",
                of=name,
                x=tuple(x for (x, _), _ in moved),
                y=tuple(y for (_, y), _ in moved),
                origins=tuple(before for _, before in moved),
            )
        yield Series(
            role="op",
            of=name,
            x=tuple(dot.point[0] for dot in mine),
            y=tuple(dot.point[1] for dot in mine),
            shares=tuple(dot.share for dot in mine),
            names=tuple(names.get(dot, "") for dot in mine),
        )


def _measured(timed: Sequence[tuple[str, RooflinePoint]]) -> Iterator[Series]:
    for name in dict.fromkeys(name for name, _ in timed):
        mine = [point for other, point in timed if other == name]
        yield Series(
            role="measured", of=name, x=tuple(x for x, _ in mine), y=tuple(y for _, y in mine)
        )


def _legend(series: Sequence[Series]) -> Iterator[LegendEntry]:
    roles = {one.role for one in series}
    for name in dict.fromkeys(one.of for one in series if one.role == "op"):
        yield LegendEntry(role="component", label=component_name(name), of=name)
    if "moved" in roles:
        yield LegendEntry(role="moved", label="all visual tokens")
        yield LegendEntry(role="op", label="fewer; area: share of time")
    else:
        yield LegendEntry(role="op", label="area: share of time")
    if "measured" in roles:
        yield LegendEntry(role="measured", label="measured")
    yield LegendEntry(role="ceiling", label="roofs in use")
    if "other ceiling" in roles:
        yield LegendEntry(role="other ceiling", label="other types")
    if any(one.role == "slope" and one.of == "L2" for one in series):
        yield LegendEntry(role="slope", label="L2 cache", of="L2")


register(
    ReportChart(name=NAME, title=TITLE, section=ReportSection.BOUNDS, order=2, of=roofline_chart)
)
