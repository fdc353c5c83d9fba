"""A study: every combination priced once, and answers that a naive search finds as well."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from made_up import bare, lawful, toy_laws
from msgspec.structs import replace

import roofline
from roofline.device.laws.host import HostLaw
from roofline.errors import InputError, ScenarioError, UnknownNameError, UnsupportedModeError
from roofline.explore.study import MeasuredRun, Study, study
from roofline.explore.study.deployment import floor_tokens
from roofline.records.measurement import Record
from roofline.specs.catalog import load_hardware, load_model
from roofline.specs.hardware import Hardware

AXES_OF_A_DEPLOYMENT = ("text_tokens", "batch")
HOST = {name: HostLaw(fixed_us=100, layer_us=10) for name in ("vision", "llm", "decode")}


def with_laws() -> Hardware:
    return lawful("h200", toy_laws("fp16", tile=64, vector_gb_per_s=2000.0, host=HOST))


@pytest.fixture(scope="module")
def grid() -> Study:
    return study(
        model=["llava-1.5-7b", "video-llava-7b"],
        hardware=[bare("v100"), bare("h200")],
        quant=["fp16", "int4"],
        visual_tokens=[40, 144],
        reducer=["prumerge", "none"],
    )


def test_every_combination_is_priced_once(grid: Study) -> None:
    rows = [(c.model, c.hardware, c.quant, c.visual_tokens, c.reducer) for c in grid.prompts]

    assert rows == [
        (model, device, quant, count, reducer)
        for model, whole in (("llava-1.5-7b", 576), ("video-llava-7b", 8 * 257))
        for device in ("v100", "h200")
        for quant in ("fp16", "int4")
        for count, reducer in (
            (whole, None),
            (40, "prumerge"),
            (40, None),
            (144, "prumerge"),
            (144, None),
        )
    ]


def test_a_row_is_what_analyze_says(grid: Study) -> None:
    row = grid.prompts[1]
    alone = roofline.analyze("llava-1.5-7b", bare("v100"), visual_tokens=40, reducer="prumerge")
    full = roofline.analyze("llava-1.5-7b", bare("v100"))

    assert row.predicted_time_s == alone.end_to_end.roofline_time_s
    assert row.estimate.to_dict() == alone.to_dict()
    assert row.speedup == full.end_to_end.roofline_time_s / alone.end_to_end.roofline_time_s
    assert grid.prompts[0].speedup is None


def test_names_and_aliases_of_one_thing_are_one() -> None:
    found = study(
        model=["llava-1.5-7b", "llava-1.5-7b-hf"],
        hardware=["v100", "v100-pcie", "v100"],
        quant=["fp16"] * 2,
    )

    assert len(found.deployments) == 1
    assert found.inputs["hardware"] == ["v100"]


def test_all_visual_tokens_need_no_reducer() -> None:
    found = study(model=["llava-1.5-7b"], hardware=["h200"], visual_tokens=[576, 40])

    assert [(c.visual_tokens, c.reducer) for c in found.prompts] == [
        (576, None),
        (40, "prumerge"),
    ]
    assert found.prompts[1].unreduced is found.prompts[0]


def test_left_out_tokens_are_those_typical_of_the_reducer() -> None:
    found = study(
        model=["llava-1.5-7b"], hardware=["h200"], reducer=["prumerge", "prumerge+", "none"]
    )

    assert [(c.visual_tokens, c.reducer) for c in found.prompts] == [
        (576, None),
        (40, "prumerge"),
        (144, "prumerge+"),
    ]


def test_two_images_are_compared_with_all_tokens_of_two() -> None:
    found = study(model=["llava-1.5-7b"], hardware=["h200"], visual_tokens=[700], reducer=["none"])

    assert found.prompts[-1].unreduced is not None
    assert found.prompts[-1].unreduced.visual_tokens == 2 * 576


def test_all_tokens_of_one_sample_stand_there_only_to_be_compared_with() -> None:
    def counts(*requested: int) -> list[tuple[int, int | None]]:
        found = study(model=["llava-1.5-7b"], hardware=["h200"], visual_tokens=requested).prompts
        return [(c.visual_tokens, c.unreduced and c.unreduced.visual_tokens) for c in found]

    assert counts(1152) == [(1152, None)]
    assert counts(700) == [(1152, None), (700, 1152)]
    assert counts(1152, 40) == [(576, None), (1152, None), (40, 576)]


def test_prompts_are_those_of_the_records(record: Callable[..., Record]) -> None:
    def prompts(*runs: dict[str, Any], **requested: Any) -> list[tuple[int, str | None]]:
        records = [MeasuredRun(str(i), record(inputs=run)) for i, run in enumerate(runs)]
        found = study(
            model=["llava-1.5-7b"], hardware=["h200"], records=records, **requested
        ).prompts
        return [(c.visual_tokens, c.reducer) for c in found]

    reduced = {"visual_tokens": 40, "reducer": "prumerge"}
    assert prompts({"visual_tokens": 10, "reducer": None}) == [(576, None), (10, None)]
    assert prompts(reduced, {"visual_tokens": 576, "reducer": None}) == [
        (576, None),
        (40, "prumerge"),
    ]
    assert prompts(reduced, visual_tokens=[144]) == [(576, None), (144, "prumerge")]
    assert prompts(reduced, reducer=["tome"]) == [(576, None), (144, "tome")]


def test_models_without_images_are_priced_as_they_are() -> None:
    found = study(model=["llama-3-8b", "clip-vit-l-336", "vicuna-7b"], hardware=["h200"])
    text, vision, llm = found.deployments

    assert text.curve is text.ridge_tokens is text.floor_tokens is None
    assert text.reduced == ()
    assert vision.prompts[0].generation is None
    assert vision.prompts[0].generation_time_s.size == 0
    assert [(one.visual_tokens, reduced) for one, reduced in llm.by_unreduced] == [(576, ())]


def test_the_curve_is_the_prefill_at_each_count(grid: Study) -> None:
    deployment = grid.deployments[0]

    assert deployment.curve is not None
    np.testing.assert_array_equal(deployment.visual_tokens, np.arange(1, 577))
    for count in (1, 89, 576):
        alone = roofline.analyze("llava-1.5-7b", bare("v100"), visual_tokens=count)
        assert (
            deployment.curve.end_to_end.roofline_time_s[count - 1]
            == alone.end_to_end.roofline_time_s
        )


@pytest.mark.parametrize("index", range(4))
def test_the_ridge_is_where_a_naive_search_finds_it(grid: Study, index: int) -> None:
    deployment = grid.deployments[index]
    device = bare(deployment.hardware)

    def bound(count: int) -> str:
        return str(
            roofline.analyze(
                deployment.model, device, deployment.quant, visual_tokens=count
            ).llm.bound
        )

    naive = next((n for n in range(1, 577) if bound(n) == "compute"), 577) - 1
    assert deployment.ridge_tokens == naive


def test_the_ridge_of_an_h200_lies_where_its_weights_take_as_long_as_its_matmuls(
    grid: Study,
) -> None:
    """A linear layer of d × f reads 2·d·f bytes and computes 2·d·f·n FLOPs: n is the ridge point.

    989e12 / 4.8e12 = 206 tokens, 40 of them text. Other ops read activations, which takes long
    enough to move the sum's turn by some tokens.
    """
    deployment = next(s for s in grid.deployments if (s.hardware, s.quant) == ("h200", "fp16"))

    assert deployment.ridge_tokens == pytest.approx(206 - 40, abs=20)


def test_fewer_tokens_stop_paying_within_five_percent(grid: Study) -> None:
    for deployment in grid.deployments:

        def predicted_s(count: int, deployment: Any = deployment) -> float:
            device = bare(deployment.hardware)
            found = roofline.analyze(
                deployment.model, device, deployment.quant, visual_tokens=count
            )
            return float(found.end_to_end.roofline_time_s)

        assert deployment.floor_tokens is not None
        assert (
            predicted_s(deployment.floor_tokens)
            <= 1.05 * predicted_s(1)
            < predicted_s(deployment.floor_tokens + 1)
        )


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([100, 104, 105, 106, 104], 3),  # what comes after the first that is too long counts not
        ([100, 106, 107, 108, 109], 1),
        ([100, 100, 100, 100, 105], 5),
    ],
)
def test_the_floor_ends_at_the_first_that_is_longer(times: list[float], expected: int) -> None:
    assert floor_tokens(np.arange(1.0, 6.0), np.array(times, dtype=float)) == expected


@pytest.mark.parametrize(
    ("model", "device", "quant", "tokens", "reducer"),
    [
        ("llava-1.5-7b", "v100", "fp16", 40, "prumerge"),
        ("llava-1.5-7b", "h200", "fp16", 576, None),
        ("vicuna-7b", "b200", "int4", 40, None),
        ("llava-1.5-7b", "a100-80gb", "fp16", 144, "fastv"),
        ("video-llava-7b", "t4", "int8", 256, "prumerge"),
        ("clip-vit-l-336", "t4", "fp16", None, None),
    ],
)
def test_as_many_prompts_fit_as_analyze_lets_in(
    model: str, device: str, quant: str, tokens: int | None, reducer: str | None
) -> None:
    counts = [] if tokens is None else [tokens]
    found = study(model=model, hardware=device, quant=quant, visual_tokens=counts, reducer=reducer)
    for row in found.prompts:

        def fits(batch: int, row: Any = row) -> bool:
            return bool(
                roofline.analyze(
                    row.model,
                    row.hardware,
                    row.quant,
                    visual_tokens=tokens and row.visual_tokens,
                    reducer=row.reducer,
                    batch=batch,
                ).end_to_end.fits
            )

        assert fits(row.sequences_that_fit)
        assert not fits(row.sequences_that_fit + 1)


def test_a_model_that_does_not_fit_leaves_room_for_none() -> None:
    row = study(model=["llava-1.5-13b"], hardware=["v100"]).prompts[0]

    assert not row.fits  # 13 billion weights of 2 bytes, 16 GiB
    assert row.sequences_that_fit == 0


def test_an_answer_takes_the_prompt_and_its_steps() -> None:
    h200 = bare("h200")
    row = study(model=["llava-1.5-7b"], hardware=[h200], output_tokens=4).prompts[1]

    def step_s(cached: int) -> float:
        found = roofline.analyze(
            "vicuna-7b", h200, visual_tokens=40, text_tokens=40 + cached, stage="decode"
        )
        return float(found.llm.roofline_time_s)

    naive = row.predicted_time_s + sum(step_s(k) for k in range(4))
    np.testing.assert_array_equal(row.output_tokens, [0, 1, 2, 3, 4])
    assert row.generation_time_s[0] == pytest.approx(row.predicted_time_s, rel=1e-12)
    # LLaVA's embedding has 32064 rows, Vicuna's 32000: the last matmul differs by 1/500
    assert row.generation_time_s[-1] == pytest.approx(naive, rel=1e-4)
    assert row.decode_time_s[0] == pytest.approx(step_s(0), rel=1e-4)


def test_the_reducer_takes_its_share_of_the_saving(grid: Study) -> None:
    row = grid.prompts[1]
    alone = roofline.analyze("llava-1.5-7b", bare("v100"), visual_tokens=40, reducer="prumerge")

    assert alone.comparison is not None
    assert row.reducer_share == alone.comparison.reducer_share
    assert grid.prompts[2].reducer_share is None  # 40 tokens without anybody's work
    assert [op.name for op in row.ops] == [op.name for op in alone.ops]


def test_energy_is_bounded_by_the_power_limit_for_that_time(grid: Study) -> None:
    row = next(c for c in grid.prompts if c.hardware == "h200")

    # the data sheet's 700 W
    assert row.energy_bound_j == pytest.approx(700 * row.predicted_time_s)
    assert row.energy_j is None  # without laws


def test_energy_by_the_law_is_no_more() -> None:
    row = study(model=["llava-1.5-7b"], hardware=["h200"]).prompts[0]

    assert row.energy_bound_j is not None
    assert row.energy_j == row.estimate.end_to_end.energy_j
    assert row.energy_j < row.energy_bound_j


def test_attainable_times_are_preferred_to_the_bound() -> None:
    row = study(model=["llava-1.5-7b"], hardware=[with_laws()]).prompts[0]
    whole = row.estimate.end_to_end

    assert whole.attainable_time_s is not None
    assert row.predicted_time_s == whole.attainable_time_s > whole.roofline_time_s
    assert whole.predicted_time_s == whole.attainable_time_s
    assert row.generation_time_s[0] == pytest.approx(whole.attainable_time_s)


def test_a_precision_that_a_device_lacks_is_left_out_and_said_so() -> None:
    found = study(model=["llava-1.5-7b"], hardware=["v100", "h200"], quant=["fp16", "fp8"])

    assert [(s.hardware, s.quant) for s in found.deployments] == [
        ("v100", "fp16"),
        ("h200", "fp16"),
        ("h200", "fp8"),
    ]
    assert len(found.skipped) == 1
    assert found.skipped[0].startswith("v100 has no fp8 peak")
    with pytest.raises(UnsupportedModeError, match="no fp8 peak"):
        study(model=["llava-1.5-7b"], hardware=["v100"], quant=["fp8"])


@pytest.mark.parametrize(
    ("requested", "error", "message"),
    [
        ({"model": []}, InputError, "nothing to report on"),
        ({"hardware": []}, InputError, "nothing to report on"),
        ({"model": ["llava-1.6"]}, UnknownNameError, "did you mean llava-1.5"),
        ({"reducer": ["prumrge"]}, UnknownNameError, "did you mean prumerge"),
        ({"visual_tokens": [0], "text_tokens": 0}, ScenarioError, "a prompt needs a token"),
        ({"visual_tokens": 0, "reducer": "prumerge"}, InputError, "leaves 2 to 576 visual tokens"),
        ({"batch": [1, 0]}, ScenarioError, "batch must be a whole number ≥ 1, not 0"),
        ({"visual_tokens": [40, -5]}, InputError, "not -5"),
        ({"output_tokens": 0}, InputError, "output tokens"),
        ({"output_tokens": 10**7}, InputError, "output tokens must be a whole number from 1 to"),
        ({"model": ["vicuna-7b"], "reducer": ["tome"]}, ScenarioError, "needs an LMM"),
        ({"model": ["vicuna-7b"], "with_accuracy": True}, InputError, "no accuracy is published"),
    ],
)
def test_what_makes_no_sense_is_refused(
    requested: dict[str, Any], error: type[Exception], message: str
) -> None:
    given: dict[str, Any] = {"model": ["llava-1.5-7b"], "hardware": ["h200"]}

    with pytest.raises(error, match=message):
        study(**given | requested)


def test_an_axis_that_is_not_there() -> None:
    with pytest.raises(TypeError, match="no axis 'models': model, hardware"):
        study(models=["llava-1.5-7b"], hardware="h200")


def test_defaults_stand_among_the_inputs() -> None:
    found = study(model="llava-1.5-7b", hardware="h200")

    assert found.inputs == {
        "model": ["llava-1.5-7b"],
        "hardware": ["h200"],
        "quant": ["fp16"],
        "reducer": [],
        "visual_tokens": [],
        "text_tokens": [40],
        "batch": [1],
        "output_tokens": [128],
        "runtime": [],
        # one for all, or one for each runtime that implies it
        "attention": ["flash"],
        "kernels": ["unfused"],
        "library": [],
    }
    assert found.deployments[0].inputs == {
        "model": "llava-1.5-7b",
        "hardware": "h200",
        "quant": "fp16",
        "text_tokens": 40,
        "batch": 1,
        "runtime": None,
    }


def test_every_axis_may_have_several_values() -> None:
    found = study(
        model="llava-1.5-7b",
        hardware=bare("h200"),
        visual_tokens=144,
        reducer="tome",
        text_tokens=[40, 400],
        batch=(1, 8),
        output_tokens=[1, 16],
    )

    axes = [tuple(d.inputs[n] for n in AXES_OF_A_DEPLOYMENT) for d in found.deployments]
    assert axes == [(text, batch) for text in (40, 400) for batch in (1, 8)]
    for deployment, (text, batch) in zip(found.deployments, axes, strict=True):
        _, row = deployment.prompts
        alone = roofline.analyze(
            "llava-1.5-7b",
            bare("h200"),
            visual_tokens=144,
            reducer="tome",
            text_tokens=text,
            batch=batch,
        )
        assert row.estimate.to_dict() == alone.to_dict()
        assert {0, 1, 16} <= set(row.output_tokens)


def test_text_alone_is_compared_with_nothing() -> None:
    found = study(model="llava-1.5-7b", hardware="h200", visual_tokens=[0, 40])

    assert [(c.visual_tokens, c.reducer) for c in found.prompts] == [
        (576, None),
        (0, None),
        (40, "prumerge"),
    ]
    text = found.prompts[1]
    assert text.unreduced is text.saving is text.speedup is text.reducer_share is None
    assert text.estimate.components["vision"].flops == 0
    assert not text.tie


@pytest.mark.parametrize(("percent", "tie"), [(0.0, False), (99.0, True)])
def test_a_prompt_ties_where_laws_are_unsure(percent: float, tie: bool) -> None:
    laws = toy_laws("fp16", tile=64, vector_gb_per_s=2000.0, errors_percent=(percent, percent))
    found = study(model="llava-1.5-7b", hardware=lawful("h200", laws), output_tokens=3)
    whole, row = found.prompts

    assert (row.tie, whole.tie) == (tie, False)
    assert row.answer_saving is not None
    assert list(row.answer_saving.tie) == [tie] * len(row.output_tokens)
    expected = whole.generation_time_s / row.generation_time_s
    np.testing.assert_array_equal(row.answer_saving.speedup, expected)


def test_specs_are_told_by_their_content() -> None:
    found = study(model=["llava-1.5-7b"], hardware=["h200"]).specs
    other = study(model=["llava-1.5-7b"], hardware=[bare("h200")]).specs
    changed = replace(load_hardware("h200"), title="another")

    assert list(found) == ["llava-1.5-7b", "clip-vit-l-336", "llava-connector", "vicuna-7b", "h200"]
    assert found["llava-1.5-7b"] == other["llava-1.5-7b"]
    assert (
        study(model=[load_model("llava-1.5-7b")], hardware=[changed]).specs["h200"] != found["h200"]
    )
