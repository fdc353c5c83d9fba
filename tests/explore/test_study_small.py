"""A study of a model small enough to price in no time: 9 patches, 3 ViT blocks, 2 LLM layers."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from made_up import device, figure
from msgspec.structs import replace
from toy import llm, lmm

from roofline import analyze
from roofline.errors import InputError, ScenarioError, UnknownNameError, UnsupportedModeError
from roofline.explore.study import PricedPrompt, Study, study
from roofline.specs.models import VisionEncoder


def small(**options: Any) -> Study:
    given: dict[str, Any] = {"model": lmm(), "hardware": device(), "output_tokens": 4}
    return study(**(given | options))


def rows(found: Study) -> list[tuple[int, str | None]]:
    return [(row.visual_tokens, row.reducer) for row in found.prompts]


@pytest.mark.parametrize(
    ("counts", "reducers", "expected"),
    [
        ([], [], [(9, None), (2, "prumerge")]),
        ([4], [], [(9, None), (4, "prumerge")]),
        ([8], [], [(9, None), (8, "prumerge")]),
        ([9], [], [(9, None)]),
        ([10], [], [(18, None), (10, None)]),  # of two images, that nobody reduced
        ([18], [], [(18, None)]),
        ([0], [], [(0, None)]),  # text alone is compared with nothing
        ([9, 4], [], [(9, None), (4, "prumerge")]),
        (
            [4],
            ["prumerge", "none", "sequential"],
            [(9, None), (4, "prumerge"), (4, None), (4, "sequential")],
        ),
        (
            [4, 6],
            ["tome", "spatial"],
            [(9, None), (4, "tome"), (4, "spatial"), (6, "tome"), (6, "spatial")],
        ),
        ([], ["none"], [(9, None)]),
        ([9], ["tome"], [(9, None), (9, "tome")]),  # as `analyze` prices them
        ([1], ["sequential"], [(9, None), (1, "sequential")]),
    ],
)
def test_prompts_and_what_they_are_compared_with(
    counts: list[int], reducers: list[str], expected: list[tuple[int, str | None]]
) -> None:
    found = small(visual_tokens=counts, reducer=reducers)
    wholes = {row.visual_tokens: row for row in found.prompts if row.unreduced is None}

    assert rows(found) == expected
    for row in found.prompts:
        if row.unreduced is not None:
            assert row.unreduced is wholes[-(-row.visual_tokens // 9) * 9]
    assert found.inputs["visual_tokens"] == counts
    assert found.inputs["reducer"] == reducers


def test_one_token_is_fewer_than_all_and_too_few_for_prumerge() -> None:
    with pytest.raises(ScenarioError, match="prumerge leaves 2 to 9 visual tokens"):
        small(visual_tokens=[1])


def test_a_reducer_that_is_not_there_is_refused_even_where_none_is_needed() -> None:
    with pytest.raises(UnknownNameError, match="did you mean prumerge"):
        small(visual_tokens=9, reducer="prumrge")


def test_an_image_of_one_patch_is_compared_with_itself() -> None:
    vision = lmm().vision
    assert isinstance(vision, VisionEncoder)
    found = small(model=replace(lmm(), vision=replace(vision, image_size_px=4)), reducer="tome")

    assert rows(found) == [(1, None), (1, "tome")]
    assert found.prompts[1].unreduced is found.prompts[0]


@pytest.mark.parametrize(("counts", "last"), [([4], 9), ([10], 18), ([9, 27], 27)])
def test_the_curve_goes_from_one_token_to_all(counts: list[int], last: int) -> None:
    (deployment,) = small(visual_tokens=counts).deployments

    assert list(deployment.visual_tokens) == list(range(1, last + 1))
    assert deployment.curve is not None
    assert deployment.curve.end_to_end.roofline_time_s.shape == (last,)


def test_text_alone_has_no_curve() -> None:
    (deployment,) = small(visual_tokens=0).deployments

    assert deployment.curve is None
    assert (deployment.ridge_tokens, deployment.floor_tokens) == (None, None)
    assert deployment.visual_tokens.size == 0


def test_a_tower_by_itself_has_neither_curve_nor_answer() -> None:
    (deployment,) = small(model=lmm().vision).deployments
    (row,) = deployment.prompts

    assert deployment.curve is None
    assert row.generation is None
    assert row.answer_saving is None
    assert row.unreduced is None
    assert row.output_tokens.size == row.generation_time_s.size == row.decode_time_s.size == 0
    assert row.answer() is None


def test_a_tower_takes_no_visual_tokens_but_leaves_other_models_theirs() -> None:
    with pytest.raises(ScenarioError, match="no LLM that visual tokens could reach"):
        small(model=lmm().vision, visual_tokens=20)

    found = small(model=[lmm().vision, lmm()], visual_tokens=9)
    assert [one.inputs["model"] for one in found.deployments] == [lmm().name]
    assert "no LLM that visual tokens could reach" in found.skipped[0]


def test_an_llm_of_no_lmm_is_priced_as_asked() -> None:
    found = small(model=llm(), visual_tokens=5)

    assert rows(found) == [(5, None)]
    assert found.prompts[0].unreduced is None


def test_what_a_device_lacks_is_said_once_however_long_the_prompts() -> None:
    found = small(quant=["fp16", "fp8"], text_tokens=[3, 4])

    assert [(d.quant, d.inputs["text_tokens"]) for d in found.deployments] == [
        ("fp16", 3),
        ("fp16", 4),
    ]
    assert len(found.skipped) == 1
    with pytest.raises(UnsupportedModeError, match=r"^one has no fp8 peak"):  # the first of both
        small(quant="fp8", hardware=[device(name="one"), device(name="other")])


def test_names_come_once_and_in_order() -> None:
    found = small(hardware=["v100", "h200", "v100-pcie"], visual_tokens=4)

    assert found.hardware == ("v100", "h200")
    assert found.models == ("toy-lmm",)
    assert [d.hardware for d in found.deployments] == ["v100", "h200"]


def test_answers_of_several_lengths_are_of_the_same_prompts() -> None:
    """Each as if it had been asked for alone, in whatever order."""
    found = small(visual_tokens=[4, 6], output_tokens=[9, 2])

    assert found.inputs["output_tokens"] == [2, 9]
    assert [c.visual_tokens for c in found.prompts] == [9, 4, 6]
    for i, length in itertools.product(range(3), (2, 9)):
        listed = found.prompts[i].answer(length)
        (alone,) = [small(visual_tokens=[4, 6], output_tokens=length).prompts[i].answer()]
        assert listed is not None
        assert alone is not None
        assert listed.output_tokens == length
        assert (listed.saving is None) == (i == 0)
        for name in ("predicted_time_s", "peak_memory_bytes", "fits"):
            assert getattr(listed, name) == getattr(alone, name)
        assert listed.last_step_s == pytest.approx(alone.last_step_s, rel=1e-9)
        if listed.saving is not None and alone.saving is not None:
            assert listed.saving.to_dict() == alone.saving.to_dict()


def test_answers_are_priced_in_half_octaves_and_one_step_before_their_end() -> None:
    # 1, √2, 2, … 2^16
    row = small(visual_tokens=4, output_tokens=2**16).prompts[1]
    lengths = set(row.output_tokens)

    powers = {round(2 ** (i / 2)) for i in range(33)}
    assert lengths == {0, 2**16 - 1} | powers
    assert list(row.output_tokens) == sorted(lengths)
    # so many steps of the average time between two lengths make the answer
    answer_s = sum(row.decode_time_s * np.diff(row.output_tokens))
    assert answer_s == pytest.approx(row.generation_time_s[-1] - row.generation_time_s[0])


@pytest.mark.parametrize("length", [1, 2, 100_000])
def test_answers_from_one_token_to_a_hundred_thousand(length: int) -> None:
    row = small(visual_tokens=4, output_tokens=length).prompts[1]

    assert row.output_tokens[[0, -1]].tolist() == [0, length]


@pytest.mark.parametrize("length", [0, -1, 100_001])
def test_answers_of_no_token_or_too_many(length: int) -> None:
    with pytest.raises(InputError, match=f"a whole number from 1 to 100000, not {length}"):
        small(visual_tokens=4, output_tokens=[5, length])


def priced(**capacity: Any) -> PricedPrompt:
    (row,) = small(
        model=llm(),
        hardware=device(**{name: figure(float(value)) for name, value in capacity.items()}),
        visual_tokens=5,
        output_tokens=8,
    ).prompts
    return row


def test_an_answer_fits_to_the_last_byte() -> None:
    with_answer = analyze(
        llm(), device(), visual_tokens=5, stage="generate", output_tokens=8
    ).end_to_end.peak_memory_bytes
    prompt = analyze(llm(), device(), visual_tokens=5).end_to_end.peak_memory_bytes
    room, less = (
        priced(memory_capacity_gib=held / 2**30) for held in (with_answer, with_answer - 1)
    )

    answers = room.answer(), less.answer()
    assert answers[0] is not None
    assert answers[1] is not None
    assert answers[0].peak_memory_bytes == with_answer > prompt
    assert (answers[0].fits, answers[1].fits) == (True, False)
    assert room.fits
    assert less.fits  # the prompt does


@pytest.mark.parametrize("batch", [1, 2, 3, 77, 1000, 10_000_000])
def test_the_largest_batch_that_fits_is_found_to_the_byte(batch: int) -> None:
    held = analyze(llm(), device(), visual_tokens=5, batch=batch).end_to_end.peak_memory_bytes

    assert priced(memory_capacity_gib=held / 2**30).sequences_that_fit == batch
    assert priced(memory_capacity_gib=(held - 1) / 2**30).sequences_that_fit == batch - 1


def test_no_batch_is_larger_than_what_can_be_asked() -> None:
    assert priced(memory_capacity_gib=1e6).sequences_that_fit == 10_000_000


def test_steps_take_what_the_answer_takes_longer() -> None:
    row = priced()
    lengths, times = row.output_tokens, row.generation_time_s

    assert list(lengths) == list(range(9))
    np.testing.assert_array_equal(row.decode_time_s, times[1:] - times[:-1])
    assert row.device.name == "toy"
    assert not row.tie
    assert row.speedup is None


def test_a_reducer_beside_an_llm_alone_is_left_out_and_said() -> None:
    found = small(model=[lmm(), llm()], reducer=["none", "sequential"], visual_tokens=4)

    assert [(d.model, [p.reducer for p in d.prompts]) for d in found.deployments] == [
        (lmm().name, [None, None, "sequential"]),
        (llm().name, [None]),
    ]
    assert len(found.skipped) == 1
    assert found.skipped[0].startswith("a reducer needs an LMM")
    with pytest.raises(ScenarioError, match="a reducer needs an LMM"):
        small(model=llm(), reducer="sequential", visual_tokens=4)
