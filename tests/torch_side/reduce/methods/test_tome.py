"""ToMe against the paper done one token at a time, and the algebra of merging."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from naive.vision import Token, tome, tome_merge, tome_pairs
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
from unordered import UnorderedSums

from roofline.reducers.token_schedules import tome_schedule
from roofline.torch_side.families.clip_tower import ClipTower
from roofline.torch_side.reduce.encode import encode
from roofline.torch_side.reduce.methods import tome as tome_module
from roofline.torch_side.reduce.methods.base import MERGED
from roofline.torch_side.reduce.methods.tome import match, merge, sums_at


def merges(schedule: list[tuple[int, int]]) -> list[int]:
    return [before - after for before, after in schedule]


def one_hot(kinds: list[int], width: int = 4) -> torch.Tensor:
    return torch.eye(width, dtype=torch.float64)[kinds]


@settings(deadline=None)
@given(
    kinds=st.lists(st.lists(st.integers(0, 3), min_size=7, max_size=7), min_size=1, max_size=3),
    length=st.integers(2, 7),
    data=st.data(),
)
def test_matching_with_ties(kinds: list[list[int]], length: int, data: st.DataObject) -> None:
    r = data.draw(st.integers(0, (length - 1) // 2))
    metric = torch.stack([one_hot(row[:length]) for row in kinds])

    matching = match(metric, r)

    for i, image in enumerate(metric):
        kept, pairs = tome_pairs(list(image), r)
        assert matching.kept[i].tolist() == kept
        found = zip(matching.sources[i].tolist(), matching.destinations[i].tolist(), strict=True)
        assert dict(found) == pairs


def test_matching_of_random_metrics() -> None:
    metric = torch.randn(3, 20, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    matching = match(metric, 7)
    for i, image in enumerate(metric):
        kept, pairs = tome_pairs(list(image), 7)
        assert matching.kept[i].tolist() == kept
        found = zip(matching.sources[i].tolist(), matching.destinations[i].tolist(), strict=True)
        assert dict(found) == pairs


def test_equal_metrics_merge_the_first_of_a_into_the_first_of_b() -> None:
    matching = match(torch.ones(1, 7, 4), 2)

    assert matching.sources.tolist() == [[2, 4]]
    assert matching.destinations.tolist() == [[1, 1]]
    assert matching.kept.tolist() == [[0, 6, 1, 3, 5]]
    assert matching.positions.tolist() == [[0, 2, 2, 3, 2, 4, 1]]


@pytest.mark.parametrize("metric", [torch.zeros(1, 5, 3), torch.full((1, 5, 3), torch.nan)])
def test_degenerate_metrics_keep_the_class_token(metric: torch.Tensor) -> None:
    matching = match(metric, 2)

    assert 0 in matching.kept[0]
    assert sorted([*matching.kept[0].tolist(), *matching.sources[0].tolist()]) == list(range(5))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_merging_conserves_the_weighted_sum_and_the_sizes(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(2, 15, 6, generator=generator).to(dtype)
    sizes = torch.randint(1, 9, (2, 15), generator=generator).float()
    matching = match(torch.randn(2, 15, 4, generator=generator), 7)

    merged, merged_sizes = merge(tokens, sizes, matching)

    assert merged.dtype == dtype
    assert torch.equal(merged_sizes.sum(1), sizes.sum(1))
    before = (tokens.double() * sizes[..., None]).sum(1)
    after = (merged.double() * merged_sizes[..., None]).sum(1)
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-4, torch.bfloat16: 0.5}[dtype]
    torch.testing.assert_close(after, before, atol=tolerance, rtol=0)


def test_merging_token_by_token() -> None:
    generator = torch.Generator().manual_seed(3)
    tokens = torch.randn(9, 6, generator=generator, dtype=torch.float64)
    sizes = torch.randint(1, 9, (9,), generator=generator).double()
    metric = torch.randn(9, 4, generator=generator, dtype=torch.float64)
    naive = tome_merge(
        [Token(x, [], size=float(s)) for x, s in zip(tokens, sizes, strict=True)],
        *tome_pairs(list(metric), 4),
    )

    merged, merged_sizes = merge(tokens[None], sizes[None], match(metric[None], 4))

    torch.testing.assert_close(merged[0], torch.stack([t.vector for t in naive]))
    assert merged_sizes[0].tolist() == [t.size for t in naive]


@pytest.mark.parametrize("without_bags", [False, True])
def test_sums_at_positions_are_those_of_a_loop_to_the_last_bit(
    monkeypatch: pytest.MonkeyPatch, without_bags: bool
) -> None:
    """fp32 addends of many sizes, whose sum depends on their order; position 4 has none."""
    if without_bags:  # as on MPS in some releases; a CPU scatters in order
        monkeypatch.setattr(tome_module, "_WITHOUT_BAGS", {"cpu"}, raising=False)
        monkeypatch.setattr(torch.nn.functional, "embedding_bag", pytest.fail)
    generator = torch.Generator().manual_seed(5)
    scale = 10.0 ** torch.randint(-4, 5, (2, 40, 1), generator=generator)
    rows = torch.randn(2, 40, 3, generator=generator) * scale
    positions = torch.randint(0, 4, (2, 40), generator=generator)
    expected = torch.zeros(2, 5, 3)
    for image in range(2):
        for row, position in enumerate(positions[image].tolist()):
            expected[image, position] += rows[image, row]

    assert torch.equal(sums_at(positions, rows, 5), expected)
    backwards = sums_at(positions.flip(1), rows.flip(1), 5)
    assert not torch.equal(backwards, expected), "the order should matter"


@pytest.mark.parametrize("name", ["tome", "crossget"])
@torch.no_grad()
def test_a_gpu_adds_nothing_as_it_comes_but_whole_numbers(name: str) -> None:
    tower = small_tower(dtype=torch.bfloat16, implementation="sdpa")

    with UnorderedSums() as seen:
        run(tower, driver_of(name, r=6), 3, pixels_for(tower))

    assert seen.addends  # the sizes
    assert not seen.may_round


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("options", [{"count": 4}, {"r": 3}, {"count": 16}, {"r": 99}])
@torch.no_grad()
def test_the_tower_token_by_token(implementation: str, options: dict[str, int]) -> None:
    tower = small_tower(implementation=implementation)
    pixels = pixels_for(tower, images=2)
    driver = driver_of("tome", **options)

    reduction = run(tower, driver, 3, pixels).reduction

    for i, image in enumerate(pixels):
        expected = tome(tower, image, merges(tome_schedule(17, 3, **options)))
        assert_same_tokens(reduction.tokens[i], expected)
        assert reduction.indices[i].tolist() == [t.own for t in expected]
        assert driver.sizes[i, 1:].tolist() == [t.size for t in expected]
        for position, token in enumerate(expected):
            members = (driver.positions[i] == position).nonzero()[:, 0].tolist()
            assert members == sorted(token.patches)


def test_r_0_is_the_plain_tower() -> None:
    tower = small_tower(implementation="sdpa")
    pixels = pixels_for(tower)

    reduced = run(tower, driver_of("tome", r=0), 4, pixels)

    torch.testing.assert_close(reduced.features, encode(ClipTower(tower), pixels, 4).features)
    assert reduced.reduction.indices[0].tolist() == list(range(16))


def test_llava_sized_towers_give_144_tokens() -> None:
    tower = small_tower(side=24, layers=24, hidden=8, dtype=torch.float32, implementation="sdpa")
    driver = driver_of("tome")

    reduction = run(tower, driver, 23, pixels_for(tower, images=1)).reduction

    assert reduction.counts == [144]
    assert driver.token_counts == tome_schedule(577, 23, 144)
    assert MERGED not in reduction.indices[0]
    assert driver.sizes.sum() == 577
    assert driver.sizes[:, 0] == 1


def test_dtype_is_kept() -> None:
    tower = small_tower(dtype=torch.bfloat16, implementation="sdpa")
    encoded = run(tower, driver_of("tome", count=4), 3, pixels_for(tower))
    assert encoded.reduction.tokens[0].dtype == encoded.features.dtype == torch.bfloat16


def tome_flops(tower, schedule) -> int:
    width = tower.config.hidden_size // tower.config.num_attention_heads
    return stem_flops(tower) + sum(
        block_flops(tower, t, left) + (2 * ((t + 1) // 2) * (t // 2) * width if left < t else 0)
        for t, left in schedule
    )


@pytest.mark.parametrize("options", [{"count": 5}, {"count": 16}, {"r": 3}])
@pytest.mark.parametrize("images", [1, 3])
def test_flops(options: dict[str, int], images: int) -> None:
    tower = small_tower(layers=6, hidden=64, heads=4)
    pixels = pixels_for(tower, images)

    measured = measured_flops(
        lambda: encode(ClipTower(tower), pixels, 5, reducer=driver_of("tome", **options))
    )

    assert measured == images * tome_flops(tower, tome_schedule(17, 5, **options))


def test_flops_of_the_fused_kernel() -> None:
    tower = small_tower(layers=6, hidden=64, heads=4, implementation="sdpa").to("meta")
    pixels = torch.empty(2, 3, 8, 8, dtype=torch.float64, device="meta")

    measured = measured_flops(
        lambda: encode(ClipTower(tower), pixels, 5, reducer=driver_of("tome", count=5))
    )

    assert measured == 2 * tome_flops(tower, tome_schedule(17, 5, 5))


def test_gradients_flow() -> None:
    tower = small_tower()
    pixels = pixels_for(tower).requires_grad_()

    tokens = encode(
        ClipTower(tower), pixels, 3, reducer=driver_of("tome", count=4)
    ).reduction.tokens
    sum(t.square().sum() for t in tokens).backward()

    assert torch.isfinite(pixels.grad).all()
    assert (pixels.grad != 0).all()
