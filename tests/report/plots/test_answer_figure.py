"""Decode steps and whole answers over their length."""

from __future__ import annotations

import numpy as np
import pytest
from artists import the_line
from made_up import bare

import roofline
from roofline.explore.study import Study, study
from roofline.report.plots import FIGURES


def test_answers_take_what_an_analysis_of_the_generation_says(one: Study) -> None:
    page = FIGURES["answer"].draw(one)
    device = one.prompts[0].estimate.hardware
    found = {}
    for name, tokens, reducer in (("576", 576, None), ("40 prumerge", 40, "prumerge")):
        lengths, times = the_line(page, f"answer v100 {name}")
        assert lengths[0] == 1
        generation = roofline.analyze(
            "llava-1.5-7b",
            device,
            visual_tokens=tokens,
            reducer=reducer,
            stage="generate",
            output_tokens=256,
        )
        assert lengths[-1] == 256
        assert times[-1] == pytest.approx(generation.end_to_end.time_s)
        _, steps = the_line(page, f"step v100 {name}")
        mean_s = np.average(steps[1:], weights=np.diff(lengths))
        assert mean_s == pytest.approx((times[-1] - times[0]) / 255)
        found[name] = times
    _, gain = the_line(page, "gain v100 40 prumerge")
    assert gain == pytest.approx(found["576"] / found["40 prumerge"])
    assert [axes.get_xlabel() for axes in page.axes] == ["output tokens"] * 3


def test_times_of_steps_grow_evenly_up_to_the_last(one: Study) -> None:
    middles, steps = the_line(FIGURES["answer"].draw(one), "step v100 576")
    growth = np.diff(steps) / np.diff(middles)  # of a cache that is read whole: affine

    assert (middles[0], middles[-1]) == (1, 256)
    assert np.allclose(growth, growth.mean(), rtol=1e-3)


def test_steps_that_hardly_differ_look_so(one: Study) -> None:
    axes = FIGURES["answer"].draw(one).axes[0]
    low, high = axes.get_ylim()
    _, steps = the_line(axes, "step v100 576")

    assert max(steps) / min(steps) < 1.1
    assert high / low >= 2.999


@pytest.mark.parametrize(("length", "applies"), [(1, False), (2, True)])
def test_an_answer_of_one_word_is_no_line(length: int, applies: bool) -> None:
    found = study(["llava-1.5-7b"], [bare("h200")], visual_tokens=[40], output_tokens=length)
    assert FIGURES["answer"].applies(found) is applies
