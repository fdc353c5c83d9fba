"""What stays in memory during a prefill, against what the devices have."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress

from roofline.explore.study import PricedPrompt, Study
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
from roofline.report.charts.selection import spread
from roofline.units import si

NAME, TITLE = "memory", "Memory against capacity"
PARTS = {
    "weights": "weight_bytes",
    "KV cache": "kv_cache_bytes",
    "peak activations": "peak_activation_bytes",
}
"""Name → attribute of the totals."""
_MOST = 40
_ROOM = 1.35
"""Length of the axis over the longest bar: capacities up to there are lines."""


def memory_chart(study: Study) -> PanelChart:
    """A bar for each model, precision and prompt; every device's capacity, beyond the axis too."""
    every = _distinct(study)
    prompts, no_bar = spread(every, _MOST, "prompts")
    labels, common = _labels(prompts)
    panel = Panel(
        x=PanelAxis(
            label=f"peak memory of the prefill: {common}".removesuffix(": "),
            unit="B",
            limits=(0, _ROOM * max(map(_peak_bytes, prompts))),
        ),
        y=PanelAxis(label=""),
        bars=tuple(
            StackedBar(label=label, role="memory", parts=_parts(prompt))
            for label, prompt in zip(labels, prompts, strict=True)
        ),
        lines=tuple(
            ReferenceLine(role="capacity", axis="x", at=size, label=", ".join(names))
            for size, names in sorted(_capacities(study).items())
        ),
    )
    return PanelChart(
        name=NAME,
        title=TITLE,
        alt=_alt(study, every),
        panels=(panel,),
        columns=1,
        legend=tuple(LegendEntry(role="part", label=name, of=name) for name in PARTS),
        left_out=spoken(no_bar),
    )


def _alt(study: Study, every: Sequence[PricedPrompt]) -> str:
    """Peak memory of every row, and who does not have it."""
    rows = [f"{_full_name(prompt)}: {si(_peak_bytes(prompt), 'B')}" for prompt in every]
    tight = dict.fromkeys(
        f"{prompt.hardware} ({', '.join(_names(prompt))})"
        for prompt in study.prompts
        if not prompt.fits
    )
    verdict = f"Too much for {listed(list(tight))}" if tight else "All of it fits everywhere"
    return f"Stacked bars of weights, KV cache and peak activations. {listed(rows)}. {verdict}."


def _distinct(study: Study) -> list[PricedPrompt]:
    """One of those that need the same, whatever the device."""
    found: dict[str, PricedPrompt] = {}
    for prompt in study.prompts:
        found.setdefault(_full_name(prompt), prompt)
    return list(found.values())


def _full_name(prompt: PricedPrompt) -> str:
    return ", ".join([*_names(prompt), prompt_name(prompt)])


def _names(prompt: PricedPrompt) -> list[str]:
    return [prompt.model, prompt.quant, *unusual_counts(prompt.estimate.inputs)]


def _labels(prompts: Sequence[PricedPrompt]) -> tuple[list[str], str]:
    """What tells each row from the others, its prompt at least, and what is the same in all."""
    words = [
        (p.model, p.quant, ", ".join(unusual_counts(p.estimate.inputs)), prompt_name(p))
        for p in prompts
    ]
    differs = [len({row[i] for row in words}) > 1 for i in range(3)] + [True]
    labels = [", ".join(filter(None, compress(row, differs))) for row in words]
    common = (word for word, own in zip(words[0], differs, strict=True) if word and not own)
    return labels, ", ".join(common)


def _capacities(study: Study) -> dict[float, list[str]]:
    """Bytes → the devices that have so many."""
    found: dict[float, list[str]] = {}
    for prompt in study.prompts:
        names = found.setdefault(prompt.estimate.device["memory_bytes"], [])
        if prompt.hardware not in names:
            names.append(prompt.hardware)
    return found


def _parts(prompt: PricedPrompt) -> tuple[BarPart, ...]:
    whole = prompt.estimate.end_to_end
    return tuple(
        BarPart(of=name, size=float(getattr(whole, attribute))) for name, attribute in PARTS.items()
    )


def _peak_bytes(prompt: PricedPrompt) -> float:
    return float(prompt.estimate.end_to_end.peak_memory_bytes)


register(ReportChart(name=NAME, title=TITLE, section=ReportSection.MEMORY, of=memory_chart))
