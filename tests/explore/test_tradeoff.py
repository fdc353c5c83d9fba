"""Accuracy against cost: fronts and choices against a naive search."""

from __future__ import annotations

import pytest
from made_up import bare, device
from msgspec.structs import replace
from toy import lmm

import roofline
from roofline.explore.study import COSTS, Candidate, Front, study
from roofline.records.published import Benchmark, Score


@pytest.fixture(scope="module")
def fronts() -> tuple[Front, ...]:
    """All of it fits."""
    models = ["llava-1.5-7b", "llava-1.5-13b", "video-llava-7b"]
    return study(model=models, hardware=["v100", "h200"], quant=["int4"], with_accuracy=True).fronts


def test_what_does_not_fit_is_no_choice() -> None:
    models = ["llava-1.5-7b", "llava-1.5-13b"]
    for front in study(model=models, hardware=["v100"], quant=["fp16"], with_accuracy=True).fronts:
        assert {c.prompt.model for c in front.candidates} == set(models)
        best = front.best()
        assert best is not None
        for key in COSTS:
            for one in (best, front.choice(key), *front.pareto(key)):
                assert one is not None
                assert one.prompt.model == "llava-1.5-7b"  # 13B has 26 GB of weights
    (nothing, *_) = study(model=["llava-1.5-13b"], hardware=["v100"], with_accuracy=True).fronts
    assert nothing.best() is None
    assert nothing.choice("prefill_time_s") is None


def test_there_is_a_front_for_each_device_and_benchmark(fronts: tuple[Front, ...]) -> None:
    assert len(fronts) == 2 * (6 + 6)
    assert sum(len(front.candidates) for front in fronts) == 2 * 108


def test_fronts_are_of_prefills_whatever_the_answers_on_devices_that_serve_the_mode() -> None:
    found = study(
        model="llava-1.5-7b",
        hardware=[bare("v100"), bare("h200")],
        quant=["fp16", "fp8"],
        output_tokens=[1, 16],
        with_accuracy=True,
    )
    targets = [(front.hardware, front.quant) for front in found.fronts]

    assert len(found.deployments) == 3
    served = [("v100", "fp16"), ("h200", "fp16"), ("h200", "fp8")]
    assert targets == [target for target in served for _ in range(6)]  # benchmarks of images


def test_each_score_stands_beside_the_cost_of_its_own_tokens(fronts: tuple[Front, ...]) -> None:
    front = next(f for f in fronts if (f.name, f.hardware) == ("TextVQA", "h200"))
    spatial = next(c for c in front.candidates if c.score.method == "Spatial 8×5")
    alone = roofline.analyze("llava-1.5-7b", "h200", "int4", visual_tokens=40, reducer="spatial")

    assert spatial.cost("prefill_time_s") == float(alone.end_to_end.predicted_time_s)
    assert spatial.cost("kv_cache_bytes") == alone.end_to_end.kv_cache_bytes


@pytest.mark.parametrize("key", COSTS)
def test_fronts_are_those_that_nothing_dominates(fronts: tuple[Front, ...], key: str) -> None:
    for front in fronts:
        points = [(c.cost(key), c.score.value) for c in front.candidates]
        naive = {
            (cost, value)
            for cost, value in points
            if not any(c <= cost and v >= value and (c, v) != (cost, value) for c, v in points)
        }
        found = [(c.cost(key), c.score.value) for c in front.pareto(key)]
        assert set(found) == naive
        assert found == sorted(naive)


@pytest.mark.parametrize("key", COSTS)
def test_the_choice_is_the_cheapest_within_a_point(fronts: tuple[Front, ...], key: str) -> None:
    for front in fronts:
        point = {"MME": 20.0}.get(front.name, 0.05 if "score" in front.name else 1.0)
        best = max(c.score.value for c in front.candidates)
        near = [c for c in front.candidates if c.score.value > best - point - 1e-6]
        cheapest = min(c.cost(key) for c in near)
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
        {c.prompt.predicted_time_s: c for c in front.candidates}.values(),
        key=lambda c: c.prompt.predicted_time_s,
    )[:3]
    turned = Front(
        "errors",
        errors,
        "h200",
        "int4",
        {},
        (scored(9, cheap), scored(3.5, middle), scored(3, dear)),
    )

    assert [c.score.value for c in turned.pareto("prefill_time_s")] == [9, 3.5, 3]
    best = turned.best()
    assert best is not None
    assert best.score.value == 3
    choice = turned.choice("prefill_time_s")
    assert choice is not None
    assert choice.score.value == 3.5


def made_up(values: list[float]) -> Front:
    """Scores by rising cost: the toy model reads a token more for each."""
    counts = list(range(2, 2 + len(values)))
    priced = study(model=lmm(), hardware=device(), visual_tokens=counts, reducer="none").prompts
    of = Benchmark(metric="accuracy", unit="%", full_marks=100, higher_is_better=True)
    scores = [
        Score("made up", f"{n} tokens", "", "toy-lmm", None, n, "", value, str(value), ())
        for n, value in zip(counts, values, strict=True)
    ]
    pairs = zip(scores, priced[1:], strict=True)
    return Front("made up", of, "toy", "fp16", {}, tuple(Candidate(*pair) for pair in pairs))


@pytest.mark.parametrize(
    ("values", "front", "choice"),
    [
        ([50, 60, 55, 58, 61], [50, 60, 61], 60),  # one point below the best is near enough
        ([50, 59.9, 61], [50, 59.9, 61], 61),
        ([61, 61, 50], [61], 61),
        ([63.4, 64.4], [63.4, 64.4], 63.4),  # though floats make it 1.000000000000007
        ([50, 40, 30], [50], 50),
    ],
)
def test_fronts_and_choices_by_hand(values: list[float], front: list[float], choice: float) -> None:
    found = made_up(values)
    chosen, best = found.choice("prefill_time_s"), found.best()

    assert [c.score.value for c in found.pareto("prefill_time_s")] == front
    assert chosen is not None
    assert chosen.score.value == choice
    assert best is found.candidates[values.index(max(values))]  # of equals the first
