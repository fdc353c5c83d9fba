"""What can be asked."""

from typing import Any

import numpy as np
import pytest

from roofline.engine.scenario import Scenario
from roofline.errors import ScenarioError


def test_defaults_are_the_papers_prompt_without_an_image() -> None:
    scenario = Scenario.of(visual_tokens=None)

    assert [float(axis) for axis in scenario.axes] == [0, 40, 1, 0]
    assert scenario.stage == "prefill"
    assert scenario.shape == ()


@pytest.mark.parametrize(
    ("stage", "steps"), [("prefill", 0), ("decode", 1), ("generate", 7)], ids=str
)
def test_steps_of_a_stage(stage: str, steps: int) -> None:
    scenario = Scenario.of(visual_tokens=1, output_tokens=7, stage=stage)

    assert float(scenario.steps) == steps


def test_axes_broadcast() -> None:
    scenario = Scenario.of(visual_tokens=[[1], [2], [3]], text_tokens=[5, 6], batch=2)

    assert scenario.shape == (3, 2)
    assert all(axis.dtype == np.float64 for axis in scenario.axes)


def test_output_tokens_are_an_axis_of_generate_only() -> None:
    outputs = [1, 2, 3]

    assert Scenario.of(visual_tokens=1, output_tokens=outputs, stage="generate").shape == (3,)
    assert Scenario.of(visual_tokens=1, output_tokens=outputs, stage="prefill").shape == ()


@pytest.mark.parametrize("name", ["visual_tokens", "text_tokens", "batch"])
@pytest.mark.parametrize(
    "value", [0, -3, 1.5, float("nan"), float("inf"), [4, 0], [[4], [2.5]]], ids=str
)
def test_counts_are_whole_and_positive(name: str, value: Any) -> None:
    with pytest.raises(ScenarioError, match=f"{name.replace('_', ' ')} must be whole numbers ≥ 1"):
        Scenario.of(**{"visual_tokens": 1, name: value})


def test_no_output_is_fine_but_less_is_not() -> None:
    assert float(Scenario.of(visual_tokens=1, output_tokens=0).output_tokens) == 0
    with pytest.raises(ScenarioError, match="output tokens must be whole numbers ≥ 0, not -1"):
        Scenario.of(visual_tokens=1, output_tokens=-1)


@pytest.mark.parametrize("value", ["many", [1, [2, 3]], object()], ids=["word", "ragged", "object"])
def test_what_is_no_number(value: Any) -> None:
    with pytest.raises(ScenarioError, match="visual tokens must be whole numbers"):
        Scenario.of(visual_tokens=value)


def test_the_message_names_the_culprit() -> None:
    with pytest.raises(ScenarioError, match="not -7"):
        Scenario.of(visual_tokens=[1, 2, -7])


def test_axes_that_do_not_broadcast() -> None:
    with pytest.raises(ScenarioError, match=r"do not broadcast.*\(2,\), \(3,\)"):
        Scenario.of(visual_tokens=[1, 2], text_tokens=[1, 2, 3])


def test_an_unknown_stage_offers_the_known_ones() -> None:
    with pytest.raises(ScenarioError, match="choose one of prefill, decode, generate"):
        Scenario.of(visual_tokens=1, stage="training")
