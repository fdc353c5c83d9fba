"""Accuracy against cost: fronts, choices, what does not fit, and what the alt text says."""

from __future__ import annotations

from typing import Any

import pytest
from artists import charted, labels, the_series
from made_up import bare
from made_up_prompts import GB, candidate, deployed, front_of, prompt, studied, totals
from msgspec.structs import replace

import roofline
from roofline.explore.study import COSTS, Candidate, Front, Study
from roofline.report.charts import report_charts
from roofline.report.charts.accuracy import CHARTS
from roofline.units import si

CASES = [
    ("accuracy-time", "prefill_time_s", "s"),
    ("accuracy-kv-cache", "kv_cache_bytes", "B"),
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
    expected = []
    for front in scored.fronts:
        points = [(c.cost(cost), -c.score.value, c.score) for c in front.candidates]
        top = max(score.value for *_, score in points)
        near = [p for p in points if p[2].value >= top - front.benchmark.full_marks / 100 - 1e-9]
        spent, _, score = min(near, key=lambda p: p[:2])
        expected.append((f"{front.name}: {score.method}", f", {si(spent, unit)}"))
    text = charted(name, scored).alt

    label = {"prefill_time_s": "prefill time", "kv_cache_bytes": "KV cache"}[cost]
    assert text.startswith(f"Accuracy against {label} on h200, fp16, with the Pareto front. The ")
    parts = text.partition("best: ")[2].removesuffix(".").split("; ")
    assert len(parts) == len(expected)
    for part, (start, end) in zip(parts, expected, strict=True):
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


def method(
    name: str, score: float, prefill_s: float, needs_gb: float = 13.0, **given: Any
) -> Candidate:
    """At 10 tokens for each 100 ms, on a device of 100 GB."""
    named = {n: given.pop(n) for n in ("model", "reducer") if n in given}
    cache = (needs_gb - 11) * GB
    one = prompt(int(100 * prefill_s), totals(prefill_s, kv_cache_bytes=cache), **named)
    return candidate(name, score, one, **given)


def made_up(*fronts: Front) -> Study:
    return studied(deployed(prompt(9, totals(0.1))), fronts=fronts)


def methods(**given: Any) -> Front:
    """The second beats the third; the first scores within a point of the best that fits."""
    return front_of(
        method("Kept even 40", 69.5, 0.2, reducer="r"),
        method("Few", 50.0, 0.1, 12.0, model="n"),
        method("Worse", 49.0, 0.3, 14.0, model="n"),
        method("All", 70.0, 0.4, 15.0),
        method("Large", 90.0, 0.5, 101.0),
        **given,
    )


COST_AXES = {
    "accuracy-time": ("prefill time", [0.2, 0.1, 0.3, 0.4, 0.5]),
    "accuracy-kv-cache": ("KV cache", [2 * GB, 1 * GB, 3 * GB, 4 * GB, 90 * GB]),
}


@pytest.mark.parametrize("name", COST_AXES)
def test_methods_stand_at_their_cost_and_score_between_front_and_choice(name: str) -> None:
    label, costs = COST_AXES[name]
    (panel,) = charted(name, made_up(methods())).panels
    kept, few, worse, whole, large = costs
    assert [(s.role, s.of, s.variant, s.x, s.y) for s in panel.series] == [
        ("front", "", "", (few, kept, whole), (50.0, 69.5, 70.0)),
        ("method", "Kept", "m", (kept,), (69.5,)),
        ("method", "Few", "n", (few,), (50.0,)),
        ("method", "Worse", "n", (worse,), (49.0,)),
        ("method", "All", "m", (whole,), (70.0,)),
        ("too large", "Large", "m", (large,), (90.0,)),
        ("choice", "", "", (kept,), (69.5,)),
    ]
    assert (panel.x.label, panel.x.limits) == (label, (0, 1.08 * large))
    assert (panel.title, panel.y.label, panel.y.limits) == ("B", "accuracy, %", (None, None))


def test_the_legend_has_every_family_and_models_where_there_are_several() -> None:
    chart = charted("accuracy-time", made_up(methods(), methods(name="C")))
    families = ("Kept", "Few", "Worse", "All", "Large")
    assert [(e.role, e.label, e.of) for e in chart.legend] == [
        *(("method", name, name) for name in families),
        ("model", "m", "m"),
        ("model", "n", "n"),
        ("too large", "does not fit", ""),
        ("front", "Pareto front", ""),
        ("choice", "cheapest within 1 point of the best", ""),
    ]
    alone = charted("accuracy-time", made_up(front_of(method("All of it", 70.0, 0.4))))
    assert [(e.role, e.label) for e in alone.legend] == [
        ("method", "All of it"),
        ("front", "Pareto front"),
        ("choice", "cheapest within 1 point of the best"),
    ]


def test_only_the_first_device_and_precision_is_drawn() -> None:
    crowded = front_of(method("Large", 90.0, 0.5, 101.0), name="C")
    others = (methods(hardware="e"), methods(quant="int8"), methods(hardware="e", name="C"))
    chart = charted("accuracy-time", made_up(methods(), crowded, *others))
    assert [panel.title for panel in chart.panels] == ["B"]
    assert chart.subtitle == "d, fp16"
    assert chart.left_out == ("nothing fits: C", "2 more in the tables")
    assert charted("accuracy-time", made_up(methods())).left_out == ()
    assert chart.columns == 3
    assert chart.alt == (
        "Accuracy against prefill time on d, fp16, with the Pareto front. The cheapest within one "
        "point of the best: B: Kept even 40 at 20 tokens, An-LLM, 200 ms."
    )


def test_the_alt_text_has_the_cost_in_its_unit() -> None:
    found = made_up(methods())
    assert charted("accuracy-time", found).alt.endswith(", An-LLM, 200 ms.")
    assert charted("accuracy-kv-cache", found).alt.endswith(", An-LLM, 2.00 GB.")


def test_panels_have_one_axis_of_costs() -> None:
    cheap = front_of(method("Kept", 70.0, 0.1, 12.0), name="C")
    panels = charted("accuracy-time", made_up(cheap, methods())).panels
    assert [panel.x.limits for panel in panels] == [(0, 1.08 * 0.5)] * 2


@pytest.mark.parametrize(("count", "more"), [(12, ""), (13, "; and 1 more")])
def test_the_alt_text_has_up_to_a_dozen_benchmarks(count: int, more: str) -> None:
    fronts = [methods(name=f"B{i}") for i in range(count)]
    text = charted("accuracy-time", made_up(*fronts)).alt
    assert text.count("An-LLM, 200 ms") == 12
    assert text.endswith(f"An-LLM, 200 ms{more}.")


def test_where_nothing_fits_there_is_no_chart() -> None:
    large = front_of(method("Large", 90.0, 0.5, 101.0))
    assert not report_charts()["accuracy-time"].applies(made_up(large))
    assert not report_charts()["accuracy-time"].applies(made_up())
    elsewhere = made_up(large, methods(hardware="e"))
    assert not report_charts()["accuracy-time"].applies(elsewhere)
