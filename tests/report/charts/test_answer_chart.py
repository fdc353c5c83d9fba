"""Decode steps and whole answers over their length, and panels that would be empty."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from artists import charted, labels, the_series
from made_up import bare

import roofline
from roofline.explore.study import Study, study
from roofline.report.charts import report_charts
from roofline.units import si

NAME, MODEL = "answer", "llava-1.5-7b"
PROMPTS: dict[str, dict[str, Any]] = {
    "576": {"visual_tokens": 576},
    "40 prumerge": {"visual_tokens": 40, "reducer": "prumerge"},
}


def generated(device: Any, prompt: str) -> Any:
    """End to end, of a prompt and 256 output tokens."""
    given = PROMPTS[prompt]
    return roofline.analyze(MODEL, device, stage="generate", output_tokens=256, **given).end_to_end


def test_answers_take_what_an_analysis_of_the_generation_says(one: Study) -> None:
    steps, answers, gains = charted(NAME, one).panels
    found = {}
    for name in PROMPTS:
        series = the_series(answers, "answer", "v100", name)
        assert (series.x[0], series.x[-1]) == (1, 256)
        assert series.y[-1] == pytest.approx(float(generated(bare("v100"), name).roofline_time_s))
        assert series.reduced == (name != "576")
        times = np.array(series.y, float)
        step = np.array(the_series(steps, "step", "v100", name).y, float)
        mean_s = np.average(step[1:], weights=np.diff(series.x))
        assert mean_s == pytest.approx((times[-1] - times[0]) / 255)
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

    assert (step.x[0], step.x[-1]) == (1, 256)
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
        "Time of a decode step, time of prompt and answer, and how many times as fast the fewest "
        "visual tokens make it, over output tokens. Prompt and 256 output tokens: "
        f"{MODEL}, v100, fp16: {whole} with 576, {kept} with 40 prumerge."
    )


def test_without_reduced_prompts_there_is_no_gain() -> None:
    chart = charted(NAME, study(model=["llama-3-8b"], hardware=[bare("h200")]))
    assert chart.columns == 2
    assert [panel.y.label for panel in chart.panels] == [
        *("time of a decode step", "prompt and answer")
    ]
    assert "fewest visual tokens" not in labels(chart)


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
