"""ATS against the paper done one token at a time; ragged batches against single images."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from naive.vision import ats, ats_sample, ats_scores
from towers import (
    assert_same_tokens,
    block_flops,
    driver_of,
    measured_flops,
    pixels_for,
    run,
    small_tower,
    stem_flops,
)

from roofline.reducers.token_schedules import ats_schedule
from roofline.torch_side.families.clip_tower import ClipTower
from roofline.torch_side.reduce.encode import encode
from roofline.torch_side.reduce.methods.ats import packed, sample, significance


@given(
    raw=st.lists(st.integers(0, 4), min_size=1, max_size=12).filter(any),
    count=st.integers(1, 12),
)
def test_sampling_with_ties(raw: list[int], count: int) -> None:
    # a power of two as the total keeps all cumulated scores exact
    raw[raw.index(max(raw))] += 64 - sum(raw)
    scores = [value / 64 for value in raw]

    selected = sample(torch.tensor([scores], dtype=torch.float64), count)

    assert selected[0].nonzero()[:, 0].tolist() == ats_sample(scores, count)
    assert 1 <= selected.sum() <= count


def test_even_scores_take_every_patch_and_a_peak_only_itself() -> None:
    scores = torch.tensor([[0.25] * 4, [0.0, 1.0, 0.0, 0.0]])
    # points 1/8, 3/8, 5/8, 7/8 lie half-way between cumulated scores: the lower one is taken
    assert sample(scores, 4).tolist() == [[True, True, True, False], [True, True, False, False]]
    assert sample(scores[:, :1].expand(-1, 1), 3).tolist() == [[True], [True]]


def test_padding_is_never_sampled() -> None:
    scores = torch.tensor([[0.5, 0.5, 0.0, 0.0]])
    valid = torch.tensor([[True, True, False, False]])
    assert sample(scores, 50, valid).tolist() == [[True, True, False, False]]


def test_significance_token_by_token() -> None:
    generator = torch.Generator().manual_seed(0)
    attention = torch.rand(2, 3, 9, generator=generator, dtype=torch.float64)
    values = torch.randn(2, 3, 9, 4, generator=generator, dtype=torch.float64)

    scores = significance(attention, values)

    for i in range(2):
        norms = values[i].norm(dim=-1).tolist()
        expected = ats_scores(attention[i].tolist(), norms)
        assert scores[i].tolist() == pytest.approx(expected)


def test_without_any_significance_all_are_alike() -> None:
    valid = torch.tensor([[True, True, False]])
    scores = significance(torch.ones(1, 2, 4), torch.zeros(1, 2, 4, 3), valid)
    assert scores.tolist() == [[0.5, 0.5, 0.0]]


def test_packing_a_ragged_selection() -> None:
    order, real = packed(torch.tensor([[True, False, True, True], [False, True, False, False]]))
    assert order.tolist() == [[0, 2, 3], [1, 0, 2]]
    assert real.tolist() == [[True, True, True], [True, False, False]]


OPTIONS = [{"count": 5}, {"rate": 0.8}, {"stages": (0, 2), "count": 9}, {"stages": ()}]


def sample_points(options: dict[str, Any], blocks: int) -> dict[int, int]:
    schedule = ats_schedule(17, blocks, **options)
    stages = options.get("stages", (1, 2, 3))
    return {stage: schedule[stage][1] - 1 for stage in stages}


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("options", OPTIONS)
@torch.no_grad()
def test_the_tower_token_by_token(implementation: str, options: dict[str, Any]) -> None:
    tower = small_tower(layers=5, implementation=implementation)
    pixels = pixels_for(tower, images=3)
    driver = driver_of("ats", **options)

    reduction = run(tower, driver, 4, pixels).reduction

    for i, image in enumerate(pixels):
        expected = ats(tower, image, 4, sample_points(options, 4))
        assert reduction.indices[i].tolist() == [t.own for t in expected]
        assert_same_tokens(reduction.tokens[i], expected)
    if driver.counts:
        assert driver.counts[-1] == reduction.counts
        ragged = any(len(set(images)) > 1 for images in driver.counts)
        assert ragged, "the images should differ for this test to tell"


def test_a_batch_is_its_images() -> None:
    tower = small_tower(side=8, layers=8, hidden=32, implementation="sdpa")
    pixels = pixels_for(tower, images=4)
    together = run(tower, driver_of("ats"), 7, pixels).reduction

    for i in range(4):
        alone = run(tower, driver_of("ats"), 7, pixels[i : i + 1]).reduction
        assert torch.equal(together.indices[i], alone.indices[0])
        torch.testing.assert_close(together.tokens[i], alone.tokens[0])


def test_llava_sized_towers_stay_within_the_budget() -> None:
    tower = small_tower(side=24, layers=24, hidden=8, dtype=torch.float32, implementation="sdpa")
    driver = driver_of("ats")

    reduction = run(tower, driver, 23, pixels_for(tower, images=2)).reduction

    assert all(count <= 144 for count in reduction.counts)
    counts = [max(images) for images in driver.counts]
    assert all(k <= most for k, most in zip(counts, (362, 228, 144), strict=True))
    assert driver.token_counts == ats_schedule(577, 23, counts=counts)
    for indices in reduction.indices:
        assert indices.tolist() == sorted(set(indices.tolist()))


def test_without_stages_it_is_bit_equal_to_the_plain_tower() -> None:
    tower = small_tower(implementation="sdpa")
    pixels = pixels_for(tower)
    plain = encode(ClipTower(tower), pixels, 4).features
    assert torch.equal(run(tower, driver_of("ats", stages=()), 4, pixels).features, plain)


def test_dtype_is_kept() -> None:
    tower = small_tower(dtype=torch.bfloat16, implementation="sdpa")
    encoded = run(tower, driver_of("ats", count=4), 4, pixels_for(tower))
    assert encoded.reduction.tokens[0].dtype == encoded.features.dtype == torch.bfloat16


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("images", [1, 3])
def test_flops(options: dict[str, Any], images: int) -> None:
    tower = small_tower(layers=5, hidden=64, heads=4)
    pixels = pixels_for(tower, images)
    driver = driver_of("ats", **options)
    measured = measured_flops(lambda: encode(ClipTower(tower), pixels, 4, reducer=driver))

    c, expected = 64, stem_flops(tower)
    stages = sample_points(options, 4)
    for index, (t, k) in enumerate(driver.token_counts):
        if index in stages:
            expected += 6 * t * c**2 + 2 * t * c + 4 * k * t * c + 2 * k * c**2 + 8 * k * c**2
        else:
            expected += block_flops(tower, t)
    assert tower.config.intermediate_size == 2 * c
    assert measured == images * expected


def test_gradients_flow() -> None:
    tower = small_tower(layers=5)
    pixels = pixels_for(tower).requires_grad_()

    tokens = encode(ClipTower(tower), pixels, 4, reducer=driver_of("ats", count=4)).reduction.tokens
    sum(t.square().sum() for t in tokens).backward()

    assert torch.isfinite(pixels.grad).all()
    assert (pixels.grad != 0).all()
