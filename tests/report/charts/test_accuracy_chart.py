"""Accuracy against cost: fronts, choices, what does not fit, and what the alt text says."""

from __future__ import annotations

import numpy as np
import pytest
from artists import charted, labels, the_series
from made_up import bare
from msgspec.structs import replace

import roofline
from roofline.explore.study import COSTS, Study, study
from roofline.report.charts import report_charts
from roofline.report.charts.accuracy import CHARTS
from roofline.units import si

CASES = [
    ("accuracy-time", "prefill_time_s", "s"),
    ("accuracy-energy", "energy_at_tdp_j", "J"),
    ("accuracy-memory", "peak_memory_bytes", "B"),
]


def test_every_cost_has_a_chart() -> None:
    assert {cost: name for cost, (name, _) in CHARTS.items()} == {
        cost: name for name, cost, _ in CASES
    }
    assert set(CHARTS) == set(COSTS)


@pytest.mark.parametrize(("name", "cost", "unit"), CASES)
def test_fronts_and_choices_survive_a_search_through_all_pairs(
    name: str, cost: str, unit: str, priced: Study
) -> None:
    chart = charted(name, priced)

    assert [panel.title for panel in chart.panels] == [front.name for front in priced.fronts]
    for panel, front in zip(chart.panels, priced.fronts, strict=True):
        points = [(c.cost(cost), c.score.value) for c in front.candidates]
        methods = [series for series in panel.series if series.role in ("method", "too large")]
        assert [(series.x[0], series.y[0]) for series in methods] == points
        beaten = {
            p for p in points if any(q != p and q[0] <= p[0] and q[1] >= p[1] for q in points)
        }
        best = the_series(panel, "front")
        assert set(zip(best.x, best.y, strict=True)) == set(points) - beaten
        assert list(best.x) == sorted(best.x)
        top = max(score for _, score in points)
        near = [p for p in points if p[1] >= top - front.benchmark.full_marks / 100 - 1e-9]
        assert the_series(panel, "choice").x == (min(cost for cost, _ in near),)
        assert panel.x.label.lower() == COSTS[cost].title.lower()
        assert panel.x.unit == unit
        assert panel.y.label.endswith(f", {front.benchmark.unit}")
    assert "cheapest within 1 point of the best" in labels(chart)


@pytest.mark.parametrize(("name", "cost", "unit"), CASES)
def test_the_alt_text_has_every_choice_and_its_cost(
    name: str, cost: str, unit: str, scored: Study
) -> None:
    """Of a video model there are a few scores: all tokens, and two of PruMerge."""
    said = []
    for front in scored.fronts:
        points = [(c.cost(cost), -c.score.value, c.score) for c in front.candidates]
        top = max(score.value for *_, score in points)
        near = [p for p in points if p[2].value >= top - front.benchmark.full_marks / 100 - 1e-9]
        spent, _, score = min(near, key=lambda p: p[:2])
        said.append((f"{front.name}: {score.method}", f", {si(spent or 0.0, unit)}"))
    text = charted(name, scored).alt

    label = COSTS[cost].title[0].lower() + COSTS[cost].title[1:]
    assert text.startswith(f"Accuracy against {label} on h200, fp16, with the Pareto front. The ")
    parts = text.partition("best: ")[2].removesuffix(".").split("; ")
    assert len(parts) == len(said)
    for part, (start, end) in zip(parts, said, strict=True):
        assert part.startswith(start)
        assert part.endswith(end)


def test_costs_are_those_of_an_analysis(scored: Study) -> None:
    (front, *_) = scored.fronts
    costs = [
        roofline.analyze(
            c.score.model,
            bare("h200"),
            visual_tokens=c.score.visual_tokens,
            reducer=c.score.reducer,
        ).end_to_end.roofline_time_s
        for c in front.candidates
    ]
    methods = [s for s in charted("accuracy-time", scored).panels[0].series if s.of]
    assert [series.x[0] for series in methods] == pytest.approx(list(map(float, costs)))


def test_what_does_not_fit_is_told_apart(studies: dict[str, Study]) -> None:
    chart = charted("accuracy-time", studies["crowded"])
    roles = {
        size: {s.role for s in chart.panels[0].series if s.variant.endswith(size)}
        for size in ("7b", "13b")
    }

    assert roles == {"7b": {"method"}, "13b": {"too large"}}
    assert "does not fit" in labels(chart)
    assert "does not fit" not in labels(charted("accuracy-time", studies["accuracy"]))


def test_a_benchmark_for_which_nothing_fits_is_named(studies: dict[str, Study]) -> None:
    whole = studies["crowded"]
    front, other, *_ = whole.fronts
    large = tuple(c for c in front.candidates if c.score.model == "llava-1.5-13b")
    assert large
    found = replace(whole, fronts=(replace(front, candidates=large), other))
    chart = charted("accuracy-time", found)

    assert [panel.title for panel in chart.panels] == [other.name]
    assert chart.left_out == (f"nothing fits: {front.name}",)
    assert f"{other.name}: " in chart.alt
    assert f"{front.name}: " not in chart.alt
    nothing = replace(found, fronts=found.fronts[:1])
    assert not report_charts()["accuracy-time"].applies(nothing)


def test_accuracies_on_other_devices_are_in_the_tables(studies: dict[str, Study]) -> None:
    chart = charted("accuracy-time", studies["accuracy"])
    assert (chart.subtitle, chart.left_out) == ("h200, fp16", ())
    chart = charted("accuracy-time", studies["crowded"])
    assert (chart.subtitle, chart.left_out) == ("rtx-4090, fp16", ("1 more in the tables",))


def test_a_cost_that_the_spec_does_not_tell_has_no_chart() -> None:
    unknown = replace(bare("h200"), tdp_w=None)
    found = study(model=["video-llava-7b"], hardware=[unknown], with_accuracy=True)
    applying = {name for name, kind in report_charts().items() if kind.applies(found)}
    assert {name for name in applying if name.startswith("accuracy")} == {
        "accuracy-time",
        "accuracy-memory",
    }


def test_energy_is_time_at_the_devices_power(priced: Study) -> None:
    times, energies = (
        [x for panel in charted(name, priced).panels for s in panel.series if s.of for x in s.x]
        for name in ("accuracy-time", "accuracy-energy")
    )

    assert np.allclose(np.divide(energies, times), 700.0)  # W, of the H200's data sheet
