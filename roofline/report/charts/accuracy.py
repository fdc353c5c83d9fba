"""Published accuracy against cost: all methods at their own token counts, and which to take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from roofline.explore.study import COSTS, Candidate, Front, Study
from roofline.report.charts.chart import (
    LegendEntry,
    Panel,
    PanelAxis,
    PanelChart,
    Series,
    listed,
    spoken,
)
from roofline.report.charts.registry import ReportChart, ReportSection, register
from roofline.report.text.study_answers import method
from roofline.units import si

CHARTS = {
    "prefill_time_s": ("accuracy-time", "Accuracy against prefill time"),
    "kv_cache_bytes": ("accuracy-kv-cache", "Accuracy against KV cache"),
}
"""Key of a cost → name and title of its chart."""
_COLUMNS = 3
_ROOM = 1.08
"""Length of the axis of costs over the highest."""
_MOST_PHRASES = 12


def applies(study: Study, *, cost: str) -> bool:
    """Whether there are scores of models that fit into the first device."""
    return any(front.pareto(cost) for front in _fronts(study))


def accuracy_chart(study: Study, *, cost: str) -> PanelChart:
    """A panel for each benchmark, on the first device and precision that was asked for."""
    name, title = CHARTS[cost]
    fronts = [front for front in _fronts(study) if front.pareto(cost)]
    targets = list(dict.fromkeys(map(_target, study.fronts)))
    every = [candidate for front in fronts for candidate in front.candidates]
    return PanelChart(
        name=name,
        title=title,
        alt=_alt(study, cost),
        panels=tuple(
            _panel(front, cost, _ROOM * max(c.cost(cost) for c in every)) for front in fronts
        ),
        columns=_COLUMNS,
        legend=tuple(_legend(every)),
        subtitle=targets[0],
        left_out=spoken(
            _nothing_fits(study), f"{len(targets) - 1} more in the tables" if targets[1:] else ""
        ),
    )


def _fronts(study: Study) -> list[Front]:
    """Those of the first device and precision."""
    return [front for front in study.fronts if _target(front) == _target(study.fronts[0])]


def _target(front: Front) -> str:
    return f"{front.hardware}, {front.quant}"


def _nothing_fits(study: Study) -> str:
    """Benchmarks that have no panel, since the device has the memory for none of their methods."""
    names = [front.name for front in _fronts(study) if not front.fitting]
    return f"nothing fits: {', '.join(names)}" if names else ""


def _alt(study: Study, cost: str) -> str:
    """The choice on every benchmark."""
    phrases = []
    for front in _fronts(study):
        choice = front.choice(cost)
        if choice is not None:
            spent = si(choice.cost(cost), COSTS[cost].unit)
            phrases.append(f"{front.name}: {method(choice)}, {spent}")
    return (
        f"Accuracy against {_label(cost)} on {_target(study.fronts[0])}, with the Pareto front. "
        f"The cheapest within one point of the best: {listed(phrases, _MOST_PHRASES)}."
    )


def _panel(front: Front, cost: str, most: float) -> Panel:
    """The front, every method, and the one to take; costs up to the highest of all panels."""
    series = [_series("front", front.pareto(cost), cost)]
    for candidate in front.candidates:
        series.append(
            _series(
                "method" if candidate.prompt.fits else "too large",
                [candidate],
                cost,
                of=_family(candidate),
                variant=candidate.score.model,
            )
        )
    choice = front.choice(cost)
    if choice is not None:
        series.append(_series("choice", [choice], cost))
    return Panel(
        title=front.name,
        x=PanelAxis(label=_label(cost), unit=COSTS[cost].unit, limits=(0, most)),
        y=PanelAxis(label=f"{front.benchmark.metric}, {front.benchmark.unit}"),
        series=tuple(series),
    )


def _series(
    role: str, candidates: Sequence[Candidate], cost: str, of: str = "", variant: str = ""
) -> Series:
    return Series(
        role=role,
        of=of,
        variant=variant,
        x=tuple(c.cost(cost) for c in candidates),
        y=tuple(c.score.value for c in candidates),
    )


def _label(cost: str) -> str:
    title = COSTS[cost].title
    return title if title[:2].isupper() else title[0].lower() + title[1:]


def _family(candidate: Candidate) -> str:
    """The method, sampling patterns of one kind together."""
    name = candidate.score.method
    return name.partition(" ")[0] if candidate.score.reducer else name


def _legend(every: Sequence[Candidate]) -> Iterator[LegendEntry]:
    for family in dict.fromkeys(map(_family, every)):
        yield LegendEntry(role="method", label=family, of=family)
    models = list(dict.fromkeys(candidate.score.model for candidate in every))
    if len(models) > 1:
        yield from (LegendEntry(role="model", label=model, of=model) for model in models)
    if not all(candidate.prompt.fits for candidate in every):
        yield LegendEntry(role="too large", label="does not fit")
    yield LegendEntry(role="front", label="Pareto front")
    yield LegendEntry(role="choice", label="cheapest within 1 point of the best")


for _rank, (_cost, (_name, _title)) in enumerate(CHARTS.items()):
    register(
        ReportChart(
            name=_name,
            title=_title,
            section=ReportSection.ACCURACY,
            order=_rank,
            applies=partial(applies, cost=_cost),
            of=partial(accuracy_chart, cost=_cost),
        )
    )
