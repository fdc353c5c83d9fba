"""What can be asked: one value, or an array, on every axis; and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from made_up import device
from toy import llm, lmm, toy

from roofline import analyze
from roofline.engine.scenario import Scenario, plain
from roofline.errors import ScenarioError, UnknownNameError


def scenario_of(**options: Any) -> Scenario:
    return Scenario.of(**{"model": llm(), "hardware": device(), **options})


def test_defaults_are_the_papers_prompt() -> None:
    scenario = scenario_of()

    assert {name: float(array) for name, array in scenario.counts.items()} == {
        "text_tokens": 40,
        "batch": 1,
        "output_tokens": 0,
    }
    assert (scenario.stage, scenario.accounting, scenario.attention) == ("prefill", "exact", None)
    assert (scenario.quant.name, scenario.reducer, scenario.shape) == ("fp16", None, ())


@pytest.mark.parametrize(
    ("model", "visual"), [("llava-1.5-7b", 576), ("vicuna-7b", 576), ("llama-3-8b", 0)]
)
def test_visual_tokens_are_by_default_what_the_models_images_give(model: str, visual: int) -> None:
    assert analyze(model, "v100").inputs["visual_tokens"] == visual


def test_defaults_are_filled_in() -> None:
    assert analyze("llava-1.5-7b", "v100").inputs == {
        "model": "llava-1.5-7b",
        "hardware": "v100",
        "quant": "fp16",
        "reducer": None,
        "visual_tokens": 576,
        "pictures": None,
        "text_tokens": 40,
        "batch": 1,
        "output_tokens": 0,
        "stage": "prefill",
        "attention": "flash",
        "runtime": None,
        "kernels": "unfused",
        "library": None,
        "accounting": "exact",
    }
    viewer = analyze("vicuna-7b", "v100", accounting="llm-viewer")
    assert viewer.inputs["attention"] == "eager"


def test_axes_broadcast() -> None:
    scenario = scenario_of(visual_tokens=[[1], [2], [3]], text_tokens=[5, 6], batch=2)

    assert scenario.shape == (3, 2)
    assert all(array.dtype == np.float64 for array in scenario.counts.values())


def test_other_counts_are_checked_as_well() -> None:
    scenario = scenario_of(visual_tokens=1)

    assert scenario.with_counts(batch=[1, 2]).shape == (2,)
    assert scenario.shape == ()
    with pytest.raises(ScenarioError, match="batch must be a whole number ≥ 1, not 0"):
        scenario.with_counts(batch=0)


@pytest.mark.parametrize(
    ("name", "unit", "least"),
    [
        ("visual_tokens", "visual tokens", 0),
        ("text_tokens", "text tokens", 0),
        ("batch", "batch", 1),
        ("output_tokens", "output tokens", 0),
    ],
)
@pytest.mark.parametrize(
    "value", [-1, -3, 1.5, float("nan"), float("inf"), [4, -1], [[4], [2.5]]], ids=str
)
def test_counts_are_whole_and_not_too_small(name: str, unit: str, least: int, value: Any) -> None:
    with pytest.raises(ScenarioError, match=f"{unit} must be a whole number ≥ {least}, not"):
        scenario_of(**{"visual_tokens": 1, name: value})
    assert float(scenario_of(**{"visual_tokens": 1, name: least}).counts[name]) == least
    if least:
        with pytest.raises(ScenarioError, match=f"{unit} must be a whole number ≥ 1, not 0"):
            scenario_of(**{"visual_tokens": 1, name: least - 1})


def test_counts_are_exact_up_to_where_sums_are() -> None:
    assert float(scenario_of(batch=10_000_000).counts["batch"]) == 1e7
    with pytest.raises(ScenarioError, match="batch must be at most 10,000,000, not 1e"):
        scenario_of(batch=10_000_001)
    with pytest.raises(ScenarioError, match="at most 10,000,000"):  # the first that is wrong
        scenario_of(batch=[3, 10_000_001, 0])
    with pytest.raises(ScenarioError, match="≥ 1, not 0"):
        scenario_of(batch=[3, 0, 10_000_001])


@pytest.mark.parametrize(
    "value", ["many", "5", True, [True], [1, [2, 3]], [3, None], 10**400, object()], ids=range(8)
)
def test_what_is_no_number(value: Any) -> None:
    with pytest.raises(ScenarioError, match="visual tokens must be a whole number"):
        scenario_of(visual_tokens=value)


def test_the_message_names_the_culprit() -> None:
    with pytest.raises(ScenarioError, match="not -7"):
        scenario_of(visual_tokens=[1, 2, -7])


def test_axes_that_do_not_broadcast() -> None:
    with pytest.raises(ScenarioError, match=r"do not broadcast.*\(2,\).*\(3,\)"):
        scenario_of(visual_tokens=[1, 2], text_tokens=[1, 2, 3])


def test_an_axis_that_is_not_there() -> None:
    with pytest.raises(TypeError, match="no axis 'visual': model, hardware"):
        scenario_of(visual=3)


@pytest.mark.parametrize(
    ("option", "value", "known"),
    [
        ("attention", "linear", "flash, eager"),
        ("stage", "training", "prefill, decode, generate"),
    ],
)
def test_an_unknown_option_offers_the_known_ones(option: str, value: str, known: str) -> None:
    with pytest.raises(ScenarioError, match=f"unknown {option} '{value}': choose one of {known}"):
        toy(**{option: value})


def test_an_unknown_accounting_offers_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="unknown accounting 'creative': known: exact, llm"):
        toy(accounting="creative")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"attention": "flash"}, "eager"),
        ({"llm_layers": [(1, 2), (1, 1)]}, "same tokens in every layer"),
    ],
)
def test_what_llm_viewer_has_no_formula_for(options: dict[str, Any], why: str) -> None:
    with pytest.raises(ScenarioError, match=why):
        toy(accounting="llm-viewer", **options)


def test_a_model_without_llm_under_llm_viewer() -> None:
    with pytest.raises(ScenarioError, match="LLMs only"):
        analyze("clip-vit-l-336", "v100", accounting="llm-viewer")


def test_a_reducer_under_llm_viewer() -> None:
    with pytest.raises(ScenarioError, match="llm-viewer accounting knows no reducers"):
        analyze("llava-1.5-7b", "v100", reducer="prumerge", accounting="llm-viewer")


def test_visual_tokens_of_a_model_without_llm() -> None:
    with pytest.raises(ScenarioError, match="leave them out"):
        analyze("clip-vit-l-336", "v100", visual_tokens=576)


@pytest.mark.parametrize("batch", [1, [1, 3]], ids=str)
def test_a_prompt_of_text_alone_runs_no_image(batch: Any) -> None:
    alone = toy(lmm(), visual_tokens=0, text_tokens=5, batch=batch)
    language = toy(visual_tokens=0, text_tokens=5, batch=batch)

    for part in ("vision", "connector"):
        idle = alone.components[part]
        for name in ("flops", "vector_flops", "memory_access_bytes", "roofline_time_s"):
            assert not np.any(getattr(idle, name)), (part, name)
        assert not np.any(idle.attainable_time_s)
        assert not np.any(idle.peak_activation_bytes)
        assert np.all(idle.weight_bytes > 0)  # still resident
    assert alone.llm.to_dict() == language.llm.to_dict()
    np.testing.assert_array_equal(
        alone.end_to_end.attainable_time_s, language.end_to_end.attainable_time_s
    )
    assert not [op for op in alone.ops if op.component != "llm"]


def test_an_image_without_text_is_a_prompt() -> None:
    # [2, 8] @ [8, 8] in two layers; the embedding's table is not touched
    estimate = toy(lmm(), visual_tokens=2, text_tokens=0)
    rows = {op.name: op for op in estimate.ops if op.component == "llm"}

    assert rows["q_proj"].flops == 2 * (2 * 2 * 64)
    assert rows["embed_tokens"].memory_access_bytes == 0
    assert np.isfinite(estimate.end_to_end.attainable_time_s)


@pytest.mark.parametrize("model", [llm(), lmm()], ids=["llm", "lmm"])
@pytest.mark.parametrize(
    ("visual", "text"), [(0, 0), ([0, 1], 0), ([[0], [1]], [3, 0])], ids=["none", "some", "grid"]
)
def test_a_prompt_of_nothing_is_none(model: Any, visual: Any, text: Any) -> None:
    with pytest.raises(ScenarioError, match="a prompt needs a token"):
        toy(model, visual_tokens=visual, text_tokens=text)


def test_each_prompt_needs_a_token_of_one_kind_only() -> None:
    crossed = toy(lmm(), visual_tokens=[0, 1], text_tokens=[1, 0], batch=[[1], [2]])

    assert crossed.shape == (2, 2)
    assert np.all(crossed.llm.flops > 0)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float64(3.0), 3),
        (np.asarray(2.5), 2.5),
        (np.asarray([[1.0], [np.inf]]), [[1], [None]]),
        (np.float64("nan"), None),
        (np.str_("memory"), "memory"),
        (np.bool_(True), True),
        (None, None),
        (7, 7),
    ],
)
def test_plain_values_for_json(value: Any, expected: Any) -> None:
    found = plain(value)

    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize("several", [["a", "b"], ("a",), {"a"}, np.array(["a"]), [], iter("ab")])
@pytest.mark.parametrize("axis", ["model", "hardware", "quant", "reducer"])
def test_a_list_where_a_name_is_expected_points_to_the_grid(axis: str, several: Any) -> None:
    with pytest.raises(ScenarioError) as caught:
        scenario_of(**{"visual_tokens": 1, axis: several})

    told = str(caught.value)
    assert told.startswith(f"{axis} takes one name here, not ")
    assert told.endswith(f": `roofline.grid({axis}=[…], …)` prices every combination as one frame")
    assert "\n" not in told


@pytest.mark.parametrize("axis", ["stage", "attention", "accounting"])
def test_a_list_of_what_a_grid_has_one_of_is_refused_as_well(axis: str) -> None:
    with pytest.raises(ScenarioError, match=f"^{axis} takes one name here, not .*once for each$"):
        scenario_of(visual_tokens=1, **{axis: ["prefill", "eager"]})
