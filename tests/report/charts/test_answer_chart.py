"""Decode steps and whole answers over their length, and panels that would be empty."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from artists import charted, labels, the_series
from made_up import bare
from made_up_prompts import GB, deployed, prompt, studied, totals

import roofline
from roofline.explore.study import Deployment, PricedPrompt, Study, study
from roofline.report.charts import report_charts
from roofline.report.charts.chart import Panel
from roofline.units import si

NAME, MODEL = "answer", "llava-1.5-7b"
PROMPTS: dict[str, dict[str, Any]] = {
    "576": {"visual_tokens": 576},
    "40 prumerge": {"visual_tokens": 40, "reducer": "prumerge"},
}


def generated(device: Any, prompt: str) -> Any:
    """End to end, of a prompt and 128 output tokens."""
    given = PROMPTS[prompt]
    return roofline.analyze(MODEL, device, stage="generate", output_tokens=128, **given).end_to_end


def test_answers_take_what_an_analysis_of_the_generation_says(one: Study) -> None:
    steps, answers, gains = charted(NAME, one).panels
    found = {}
    for name in PROMPTS:
        series = the_series(answers, "answer", "v100", name)
        assert (series.x[0], series.x[-1]) == (1, 128)
        assert series.y[-1] == pytest.approx(float(generated(bare("v100"), name).roofline_time_s))
        assert series.reduced == (name != "576")
        times = np.array(series.y, float)
        step = np.array(the_series(steps, "step", "v100", name).y, float)
        mean_s = np.average(step[1:], weights=np.diff(series.x))
        assert mean_s == pytest.approx((times[-1] - times[0]) / 127)
        found[name] = times
    gain = the_series(gains, "gain", "v100", "40 prumerge")
    assert gain.y == pytest.approx(found["576"] / found["40 prumerge"])
    assert [panel.x.label for panel in (steps, answers, gains)] == ["output tokens"] * 3
    assert [panel.y.label for panel in (steps, answers, gains)] == [
        *("time of a decode step", "prompt and answer", "times as fast")
    ]


def test_times_of_steps_grow_evenly_up_to_the_last(one: Study) -> None:
    step = the_series(charted(NAME, one).panels[0], "step", "v100", "576")
    growth = np.diff(np.array(step.y, float)) / np.diff(step.x)  # of a cache read whole: affine

    assert (step.x[0], step.x[-1]) == (1, 128)
    assert np.allclose(growth, growth.mean(), rtol=1e-3)


def test_the_bound_stands_beside_what_is_attainable(one: Study, attainable: Study) -> None:
    device = attainable.prompts[0].device
    answers = charted(NAME, attainable).panels[1]
    for name in PROMPTS:
        whole = generated(device, name)
        bound = the_series(answers, "bound", device.name, name)
        assert bound.y[-1] == pytest.approx(float(whole.roofline_time_s))
        likely = the_series(answers, "answer", device.name, name)
        assert likely.y[-1] == pytest.approx(float(whole.attainable_time_s))
    assert "roofline bound" in labels(charted(NAME, attainable))
    assert "roofline bound" not in labels(charted(NAME, one))
    assert "bound" not in {series.role for series in charted(NAME, one).panels[1].series}


def test_the_alt_text_has_the_longest_answer_before_and_after(one: Study) -> None:
    whole, kept = (si(generated(bare("v100"), name).roofline_time_s, "s") for name in PROMPTS)

    assert whole != kept
    assert charted(NAME, one).alt == (
        "Time of a decode step, time of prompt and answer, and how many times as fast fewer visual "
        "tokens make it, over output tokens. Prompt and 128 output tokens: "
        f"{MODEL}, v100, fp16: {whole} with 576, {kept} with 40 prumerge."
    )


def test_without_reduced_prompts_there_is_no_gain() -> None:
    chart = charted(NAME, study(model=["llama-3-8b"], hardware=[bare("h200")]))
    assert chart.columns == 2
    assert [panel.y.label for panel in chart.panels] == [
        *("time of a decode step", "prompt and answer")
    ]
    assert not [entry for entry in chart.legend if entry.role == "reduced"]


def test_a_panel_without_a_gain_beside_others_says_why() -> None:
    chart = charted(NAME, study(model=[MODEL, "llama-3-8b"], hardware=[bare("h200")]))
    assert chart.columns == 3
    assert [panel.title for panel in chart.panels[::3]] == [f"{MODEL}, fp16", "llama-3-8b, fp16"]
    assert [panel.empty_because for panel in chart.panels] == [
        *[""] * 5,
        "no prompt has fewer visual tokens",
    ]
    assert [bool(panel.series) for panel in chart.panels] == [True] * 5 + [False]


@pytest.mark.parametrize(("length", "applies"), [(1, False), (2, True)])
def test_an_answer_of_one_word_is_no_line(length: int, applies: bool) -> None:
    found = study(model=[MODEL], hardware=[bare("h200")], visual_tokens=[40], output_tokens=length)
    assert report_charts()[NAME].applies(found) is applies


def made_up(laws: bool, **given: Any) -> Deployment:
    """Answers of 0, 1, 4 and 10 tokens: a step takes 1 s and then 2 s; reduced, half as long."""
    prompts: list[PricedPrompt] = []
    for visual, reducer, first_s in ((100, None, 4.0), (30, "s", 3.0), (20, "r", 2.0)):
        answers = {
            n: totals(s * first_s / 8, s * first_s / 4 if laws else None, error_s=0.01)
            for n, s in ((0, 4.0), (1, 5.0), (4, 8.0), (10, 20.0))
        }
        whole = prompts[0] if prompts else None
        prompts.append(
            prompt(visual, answers[0], reducer=reducer, unreduced=whole, answers=answers, **given)
        )
    return deployed(*prompts)


def lines_of(panel: Panel) -> list[tuple[Any, ...]]:
    return [(s.role, s.of, s.variant, s.reduced, s.x, s.y) for s in panel.series]


X, MIDDLES = (1.0, 4.0, 10.0), (1.0, 3.0, 7.5)


def test_of_each_device_all_tokens_and_the_fewest_are_lines() -> None:
    """Steps 2, 3, 4 took 3 s together: 1 s each, in the middle of them, at 3."""
    steps, answers, gains = charted(
        NAME, studied(made_up(False), made_up(True, hardware="e"))
    ).panels

    whole, fewest = ("d", "100", False), ("d", "20 r", True)
    assert lines_of(steps) == [
        ("step", *whole, MIDDLES, (0.5, 0.5, 1.0)),
        ("step", *fewest, MIDDLES, (0.25, 0.25, 0.5)),
        ("step", "e", "100", False, MIDDLES, (1.0, 1.0, 2.0)),
        ("step", "e", "20 r", True, MIDDLES, (0.5, 0.5, 1.0)),
    ]
    assert lines_of(answers) == [
        ("answer", *whole, X, (2.5, 4.0, 10.0)),
        ("answer", *fewest, X, (1.25, 2.0, 5.0)),
        ("answer", "e", "100", False, X, (5.0, 8.0, 20.0)),
        ("bound", "e", "100", False, X, (2.5, 4.0, 10.0)),
        ("answer", "e", "20 r", True, X, (2.5, 4.0, 10.0)),
        ("bound", "e", "20 r", True, X, (1.25, 2.0, 5.0)),
    ]
    assert lines_of(gains) == [
        ("gain", *fewest, X, (2.0, 2.0, 2.0)),
        ("gain", "e", "20 r", True, X, (2.0, 2.0, 2.0)),
    ]


def test_axes_end_at_the_longest_answer_and_times_are_logarithmic() -> None:
    panels = charted(NAME, studied(made_up(False))).panels
    assert [(panel.x.scale, panel.x.limits) for panel in panels] == [("log", (1, 10.0))] * 3
    assert [panel.y.scale for panel in panels] == ["log", "log", "linear"]
    assert [panel.y.unit for panel in panels] == ["s", "s", ""]


def test_the_legend_and_the_words_are_those_of_what_is_shown() -> None:
    text = deployed(
        prompt(0, totals(1.0), answers={0: totals(1.0), 1: totals(2.0), 10: totals(4.0)}, model="t")
    )
    chart = charted(NAME, studied(made_up(False), text))
    assert [(e.role, e.label) for e in chart.legend] == [
        ("device", "d"),
        ("reduced", "fewer visual tokens: 20 r"),
        ("whole", "all visual tokens"),
    ]
    assert chart.alt.endswith(
        " Prompt and 10 output tokens: m, d, fp16: 10.0 s with 100, 5.00 s with 20 r; t, d, fp16: "
        "4.00 s with text alone."
    )
    assert [bool(panel.empty_because) for panel in chart.panels] == [False] * 5 + [True]
    assert labels(charted(NAME, studied(made_up(True))))[-1] == "roofline bound"


def test_the_legend_has_the_bound_where_any_device_has_laws() -> None:
    both = studied(made_up(False), made_up(True, hardware="e"))
    assert labels(charted(NAME, both))[-1] == "roofline bound"
    assert labels(charted(NAME, both))[:2] == ["d", "e"]


def test_where_the_quickest_ways_differ_the_legend_names_none() -> None:
    whole = prompt(100, totals(4.0), answers={0: totals(4.0), 2: totals(6.0)}, hardware="e")
    answers = {0: totals(1.0), 2: totals(3.0)}
    kept = prompt(9, answers[0], reducer="q", unreduced=whole, answers=answers, hardware="e")
    chart = charted(NAME, studied(made_up(False), deployed(whole, kept)))
    assert "fewer visual tokens: the quickest way" in labels(chart)


def test_seconds_span_as_many_decades_for_a_step_as_for_an_answer() -> None:
    """Steps of 0.25 to 1 s, answers of 1.25 to 10 s: 8 to 1 is the wider, and 8^1.1 with room."""
    steps, answers, gains = charted(NAME, studied(made_up(False))).panels
    assert steps.y.limits == pytest.approx((0.5 / 8**0.55, 0.5 * 8**0.55))
    assert answers.y.limits == pytest.approx((12.5**0.5 / 8**0.55, 12.5**0.5 * 8**0.55))
    assert gains.y.limits == pytest.approx((1 - 0.05, 2 + 0.05))  # and no gain is within


def test_what_cannot_answer_has_no_panel() -> None:
    tower = deployed(prompt(9, totals(0.1), kind="vision", model="v"))
    short = deployed(prompt(9, totals(0.1), answers={0: totals(0.1), 1: totals(0.2)}, model="w"))
    chart = charted(NAME, studied(tower, made_up(False), short))
    assert [panel.title for panel in chart.panels] == ["m, fp16", "", ""]
    assert not report_charts()[NAME].applies(studied(tower, short))


def test_a_gain_is_a_tie_or_over_what_does_not_fit_where_it_is() -> None:
    """3 s against 1; 4 to 3 and 9 to 8, known to 1.5 s; 30 to 3, but 103 GB of 100."""
    full = [3.0, 3.0, 4.0, 9.0, 30.0]
    kept = [1.0, 1.0, 3.0, 8.0, 3.0]

    def answers(times_s: list[float], sizes_gb: list[float]) -> dict[int, Any]:
        return {
            length: totals(
                0.5, attainable_s, error_s=1.5, weight_bytes=size * GB, device_memory_bytes=100 * GB
            )
            for length, (attainable_s, size) in enumerate(zip(times_s, sizes_gb, strict=True))
        }

    whole = prompt(100, totals(0.5, 3.0), answers=answers(full, [10, 10, 10, 100, 100]))
    less = prompt(
        20, totals(0.5, 1.0), reducer="r", unreduced=whole, answers=answers(kept, [10] * 5)
    )
    chart = charted(NAME, studied(deployed(whole, less)))

    found = {series.role: series.y for series in chart.panels[2].series}
    assert found == {
        "gain": (3.0, 4 / 3, None, None),
        "tie": (None, 4 / 3, 9 / 8, 10.0),
        "unfit": (None, None, None, 10.0),
    }
    assert labels(chart)[-2:] == ["tie: inside the error band", "over a prompt that does not fit"]
