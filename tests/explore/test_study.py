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
from roofline.explore.study import (
    COSTS,
    Candidate,
    Front,
    MeasuredRun,
    Study,
    predicted_time_s,
    study,
)
from roofline.explore.study.deployment import floor_tokens
from roofline.records.measurement import Record
from roofline.records.published import Benchmark, Score
from roofline.specs.catalog import load_hardware, load_model
from roofline.specs.hardware import Hardware

HOST = {name: HostLaw(fixed_us=100, layer_us=10) for name in ("vision", "llm", "decode")}


def with_laws() -> Hardware:
    return lawful("h200", toy_laws("fp16", tile=64, vector_gb_per_s=2000.0, host=HOST))


@pytest.fixture(scope="module")
def grid() -> Study:
    return study(
        ["llava-1.5-7b", "video-llava-7b"],
        [bare("v100"), bare("h200")],
        ["fp16", "int4"],
        visual_tokens=[40, 144],
        reducers=["prumerge", "none"],
    )


def test_every_combination_is_priced_once(grid: Study) -> None:
    told = [(c.model, c.hardware, c.quant, c.visual_tokens, c.reducer) for c in grid.prompts]

    assert told == [
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

    assert row.time_s == alone.end_to_end.time_s
    assert row.estimate.to_dict() == alone.to_dict()
    assert row.speedup == full.end_to_end.time_s / alone.end_to_end.time_s
    assert grid.prompts[0].speedup is None


def test_names_and_aliases_of_one_thing_are_one() -> None:
    found = study(["llava-1.5-7b", "llava-1.5-7b-hf"], ["v100", "v100-pcie", "v100"], ["fp16"] * 2)

    assert len(found.deployments) == 1
    assert found.inputs["hardware"] == ["v100"]


def test_all_visual_tokens_need_no_reducer() -> None:
    found = study(["llava-1.5-7b"], ["h200"], visual_tokens=[576, 40])

    assert [(c.visual_tokens, c.reducer) for c in found.prompts] == [
        (576, None),
        (40, "prumerge"),
    ]
    assert found.prompts[1].whole is found.prompts[0]


def test_left_out_tokens_are_those_typical_of_the_reducer() -> None:
    found = study(["llava-1.5-7b"], ["h200"], reducers=["prumerge", "prumerge+", "none"])

    assert [(c.visual_tokens, c.reducer) for c in found.prompts] == [
        (576, None),
        (40, "prumerge"),
        (144, "prumerge+"),
    ]


def test_two_images_are_compared_with_all_tokens_of_two() -> None:
    found = study(["llava-1.5-7b"], ["h200"], visual_tokens=[700], reducers=["none"])

    assert found.prompts[-1].whole is not None
    assert found.prompts[-1].whole.visual_tokens == 2 * 576


def test_all_tokens_of_one_sample_stand_there_only_to_be_compared_with() -> None:
    def counts(*asked: int) -> list[tuple[int, int | None]]:
        found = study(["llava-1.5-7b"], ["h200"], visual_tokens=asked).prompts
        return [(c.visual_tokens, c.whole and c.whole.visual_tokens) for c in found]

    assert counts(1152) == [(1152, None)]
    assert counts(700) == [(1152, None), (700, 1152)]
    assert counts(1152, 40) == [(576, None), (1152, None), (40, 576)]


def test_prompts_are_those_of_the_records(record: Callable[..., Record]) -> None:
    def prompts(*runs: dict[str, Any], **asked: Any) -> list[tuple[int, str | None]]:
        records = [MeasuredRun(str(i), record(inputs=run)) for i, run in enumerate(runs)]
        found = study(["llava-1.5-7b"], ["h200"], records=records, **asked).prompts
        return [(c.visual_tokens, c.reducer) for c in found]

    reduced = {"visual_tokens": 40, "reducer": "prumerge"}
    assert prompts({"visual_tokens": 10, "reducer": None}) == [(576, None), (10, None)]
    assert prompts(reduced, {"visual_tokens": 576, "reducer": None}) == [
        (576, None),
        (40, "prumerge"),
    ]
    assert prompts(reduced, visual_tokens=[144]) == [(576, None), (144, "prumerge")]
    assert prompts(reduced, reducers=["tome"]) == [(576, None), (144, "tome")]


def test_models_without_images_are_priced_as_they_are() -> None:
    found = study(["llama-3-8b", "clip-vit-l-336", "vicuna-7b"], ["h200"])
    text, vision, llm = found.deployments

    assert text.curve is text.ridge_tokens is text.floor_tokens is None
    assert text.reduced == ()
    assert vision.prompts[0].generation is None
    assert vision.prompts[0].generation_time_s.size == 0
    assert [(one.visual_tokens, reduced) for one, reduced in llm.by_whole] == [(576, ())]


def test_the_curve_is_the_prefill_at_each_count(grid: Study) -> None:
    deployment = grid.deployments[0]

    assert deployment.curve is not None
    np.testing.assert_array_equal(deployment.visual_tokens, np.arange(1, 577))
    for count in (1, 89, 576):
        alone = roofline.analyze("llava-1.5-7b", bare("v100"), visual_tokens=count)
        assert deployment.curve.end_to_end.time_s[count - 1] == alone.end_to_end.time_s


@pytest.mark.parametrize("place", range(4))
def test_the_ridge_is_where_a_naive_search_finds_it(grid: Study, place: int) -> None:
    deployment = grid.deployments[place]
    device = bare(deployment.hardware)

    def bound(count: int) -> str:
        return str(
            roofline.analyze(deployment.model, device, deployment.quant, visual_tokens=count).bound
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

        def time_s(count: int, deployment: Any = deployment) -> float:
            device = bare(deployment.hardware)
            found = roofline.analyze(
                deployment.model, device, deployment.quant, visual_tokens=count
            )
            return float(found.end_to_end.time_s)

        assert deployment.floor_tokens is not None
        assert (
            time_s(deployment.floor_tokens)
            <= 1.05 * time_s(1)
            < time_s(deployment.floor_tokens + 1)
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
    found = study([model], [device], [quant], counts, [reducer] if reducer else [])
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
    row = study(["llava-1.5-13b"], ["v100"]).prompts[0]

    assert not row.fits  # 13 billion weights of 2 bytes, 16 GiB
    assert row.sequences_that_fit == 0


def test_an_answer_takes_the_prompt_and_its_steps() -> None:
    h200 = bare("h200")
    row = study(["llava-1.5-7b"], [h200], output_tokens=4).prompts[1]

    def step_s(cached: int) -> float:
        found = roofline.analyze(
            "vicuna-7b", h200, visual_tokens=40, text_tokens=40 + cached, stage="decode"
        )
        return float(found.time_s)

    naive = row.time_s + sum(step_s(k) for k in range(4))
    np.testing.assert_array_equal(row.output_tokens, [0, 1, 2, 3, 4])
    assert row.generation_time_s[0] == pytest.approx(row.time_s, rel=1e-12)
    # LLaVA's embedding has 32064 rows, Vicuna's 32000: the last matmul differs by 1/500
    assert row.generation_time_s[-1] == pytest.approx(naive, rel=1e-4)
    assert row.decode_time_s[0] == pytest.approx(step_s(0), rel=1e-4)


def test_the_reducer_takes_its_share_of_the_saving(grid: Study) -> None:
    row = grid.prompts[1]
    alone = roofline.analyze("llava-1.5-7b", bare("v100"), visual_tokens=40, reducer="prumerge")

    assert row.reducer_share == pytest.approx(alone.reducer_share)
    assert grid.prompts[2].reducer_share is None  # 40 tokens without anybody's work
    assert [op["name"] for op in row.ops] == [op["name"] for op in alone.op_table()]


def test_energy_is_the_power_limit_for_that_time(grid: Study) -> None:
    row = next(c for c in grid.prompts if c.hardware == "h200")

    assert row.energy_at_tdp_j == pytest.approx(700 * row.time_s)  # the data sheet's 700 W


def test_attainable_times_are_preferred_to_the_bound() -> None:
    row = study(["llava-1.5-7b"], [with_laws()]).prompts[0]
    whole = row.estimate.end_to_end

    assert whole.attainable_time_s is not None
    assert row.time_s == whole.attainable_time_s > whole.time_s
    assert predicted_time_s(whole) == whole.attainable_time_s
    assert row.generation_time_s[0] == pytest.approx(whole.attainable_time_s)


def test_a_precision_that_a_device_lacks_is_left_out_and_said_so() -> None:
    found = study(["llava-1.5-7b"], ["v100", "h200"], ["fp16", "fp8"])

    assert [(s.hardware, s.quant) for s in found.deployments] == [
        ("v100", "fp16"),
        ("h200", "fp16"),
        ("h200", "fp8"),
    ]
    assert len(found.skipped) == 1
    assert found.skipped[0].startswith("v100 has no fp8 peak")
    with pytest.raises(UnsupportedModeError, match="no fp8 peak"):
        study(["llava-1.5-7b"], ["v100"], ["fp8"])


@pytest.mark.parametrize(
    ("asked", "error", "said"),
    [
        ({"models": []}, InputError, "nothing to report on"),
        ({"hardware": []}, InputError, "nothing to report on"),
        ({"models": ["llava-1.6"]}, UnknownNameError, "did you mean llava-1.5"),
        ({"reducers": ["prumrge"]}, UnknownNameError, "did you mean prumerge"),
        ({"visual_tokens": [0]}, InputError, "visual tokens must be whole numbers ≥ 1, not 0"),
        ({"visual_tokens": [40, -5]}, InputError, "not -5"),
        ({"output_tokens": 0}, InputError, "output tokens"),
        ({"output_tokens": 10**7}, InputError, "output tokens must be a whole number from 1 to"),
        ({"models": ["vicuna-7b"], "reducers": ["tome"]}, ScenarioError, "needs an LMM"),
        ({"models": ["vicuna-7b"], "with_accuracy": True}, InputError, "no accuracy is published"),
    ],
)
def test_what_makes_no_sense_is_refused(
    asked: dict[str, Any], error: type[Exception], said: str
) -> None:
    given: dict[str, Any] = {"models": ["llava-1.5-7b"], "hardware": ["h200"]}

    with pytest.raises(error, match=said):
        study(**given | asked)


def test_specs_are_told_by_their_content() -> None:
    found = study(["llava-1.5-7b"], ["h200"]).specs
    other = study(["llava-1.5-7b"], [bare("h200")]).specs
    changed = replace(load_hardware("h200"), title="another")

    assert list(found) == ["llava-1.5-7b", "clip-vit-l-336", "llava-connector", "vicuna-7b", "h200"]
    assert found["llava-1.5-7b"] == other["llava-1.5-7b"]
    assert study([load_model("llava-1.5-7b")], [changed]).specs["h200"] != found["h200"]


@pytest.fixture(scope="module")
def fronts() -> tuple[Front, ...]:
    """All of it fits."""
    models = ["llava-1.5-7b", "llava-1.5-13b", "video-llava-7b"]
    return study(models, ["v100", "h200"], ["int4"], with_accuracy=True).fronts


def test_what_does_not_fit_is_no_choice() -> None:
    models = ["llava-1.5-7b", "llava-1.5-13b"]
    for front in study(models, ["v100"], ["fp16"], with_accuracy=True).fronts:
        assert {c.prompt.model for c in front.candidates} == set(models)
        best = front.best()
        assert best is not None
        for key in COSTS:
            for one in (best, front.choice(key), *front.pareto(key)):
                assert one is not None
                assert one.prompt.model == "llava-1.5-7b"  # 13B has 26 GB of weights
    (nothing, *_) = study(["llava-1.5-13b"], ["v100"], with_accuracy=True).fronts
    assert nothing.best() is None
    assert nothing.choice("prefill_time_s") is None


def test_there_is_a_front_for_each_device_and_benchmark(fronts: tuple[Front, ...]) -> None:
    assert len(fronts) == 2 * (6 + 6)
    assert sum(len(front.candidates) for front in fronts) == 2 * 108


def test_each_score_stands_beside_the_cost_of_its_own_tokens(fronts: tuple[Front, ...]) -> None:
    front = next(f for f in fronts if (f.name, f.hardware) == ("TextVQA", "h200"))
    spatial = next(c for c in front.candidates if c.score.method == "Spatial 8×5")
    alone = roofline.analyze("llava-1.5-7b", "h200", "int4", visual_tokens=40, reducer="spatial")

    assert spatial.cost("prefill_time_s") == float(predicted_time_s(alone.end_to_end))
    assert spatial.cost("peak_memory_bytes") == alone.end_to_end.peak_memory_bytes


@pytest.mark.parametrize("key", COSTS)
def test_fronts_are_those_that_nothing_dominates(fronts: tuple[Front, ...], key: str) -> None:
    for front in fronts:
        points = [(c.cost(key) or 0.0, c.score.value) for c in front.candidates]
        naive = {
            (cost, value)
            for cost, value in points
            if not any(c <= cost and v >= value and (c, v) != (cost, value) for c, v in points)
        }
        found = [(c.cost(key) or 0.0, c.score.value) for c in front.pareto(key)]
        assert set(found) == naive
        assert found == sorted(naive)


@pytest.mark.parametrize("key", COSTS)
def test_the_choice_is_the_cheapest_within_a_point(fronts: tuple[Front, ...], key: str) -> None:
    for front in fronts:
        point = {"MME": 20.0}.get(front.name, 0.05 if "score" in front.name else 1.0)
        best = max(c.score.value for c in front.candidates)
        near = [c for c in front.candidates if c.score.value > best - point - 1e-6]
        cheapest = min(c.cost(key) or 0.0 for c in near)
        choice = front.choice(key)

        assert front.best() in near
        assert max(c.score.value for c in near) == best
        assert choice is not None
        assert choice in near
        assert choice.cost(key) == cheapest
        assert choice in front.pareto(key)


def test_where_less_is_better_the_front_turns_round(fronts: tuple[Front, ...]) -> None:
    front = fronts[0]
    errors = Benchmark(metric="errors", unit="%", full_marks=100, higher_is_better=False)

    def scored(value: float, like: Candidate) -> Candidate:
        score: Score = replace(like.score, value=value)
        return Candidate(score, like.prompt)

    cheap, middle, dear = sorted(
        {c.prompt.time_s: c for c in front.candidates}.values(),
        key=lambda c: c.prompt.time_s,
    )[:3]
    turned = Front(
        "errors", errors, "h200", "int4", (scored(9, cheap), scored(3.5, middle), scored(3, dear))
    )

    assert [c.score.value for c in turned.pareto("prefill_time_s")] == [9, 3.5, 3]
    best = turned.best()
    assert best is not None
    assert best.score.value == 3
    choice = turned.choice("prefill_time_s")
    assert choice is not None
    assert choice.score.value == 3.5


def test_energy_is_not_known_without_a_power_limit() -> None:
    cool = replace(load_hardware("h200"), tdp_w=None)
    front = study(["llava-1.5-7b"], [cool], with_accuracy=True).fronts[0]

    assert front.pareto("energy_at_tdp_j") == ()
    assert front.choice("energy_at_tdp_j") is None
    assert front.choice("prefill_time_s") is not None
