"""CrossGET against the paper done one token at a time."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from naive.vision import (
    Token,
    crossget,
    crossget_importance,
    crossget_merge,
    crossget_pairs,
)
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

from roofline.errors import InputError
from roofline.reducers.token_schedules import crossget_schedule
from roofline.torch_side.families.clip_tower import ClipTower
from roofline.torch_side.reduce.encode import encode
from roofline.torch_side.reduce.methods.base import MERGED
from roofline.torch_side.reduce.methods.crossget import (
    importance_of,
    match,
    weights_of,
)
from roofline.torch_side.reduce.methods.tome import merge


def merges(schedule: list[tuple[int, int]]) -> list[int]:
    return [before - after for before, after in schedule]


def check_matching(metric: torch.Tensor, importance: torch.Tensor, r: int) -> None:
    matching = match(metric, importance, r)
    for i in range(len(metric)):
        kept, pairs = crossget_pairs(list(metric[i]), importance[i].tolist(), r)
        assert matching.kept[i].tolist() == kept
        found = zip(matching.sources[i].tolist(), matching.destinations[i].tolist(), strict=True)
        assert dict(found) == pairs


@settings(deadline=None)
@given(
    kinds=st.lists(st.lists(st.integers(0, 3), min_size=9, max_size=9), min_size=1, max_size=3),
    weights=st.lists(st.integers(0, 3), min_size=27, max_size=27),
    length=st.integers(3, 9),
    data=st.data(),
)
def test_matching_with_ties(
    kinds: list[list[int]], weights: list[int], length: int, data: st.DataObject
) -> None:
    r = data.draw(st.integers(0, (length - 2) // 2))
    metric = torch.eye(4, dtype=torch.float64)[torch.tensor(kinds)][:, :length]
    importance = torch.tensor(weights, dtype=torch.float64).reshape(3, 9)[: len(kinds), :length] / 4

    check_matching(metric, importance, r)


@pytest.mark.parametrize("r", [0, 1, 4, 9])
def test_matching_of_random_metrics(r: int) -> None:
    generator = torch.Generator().manual_seed(r)
    metric = torch.randn(3, 20, 8, dtype=torch.float64, generator=generator)
    importance = torch.rand(3, 20, dtype=torch.float64, generator=generator)

    check_matching(metric, importance, r)


@pytest.mark.parametrize("metric", [torch.zeros(1, 6, 3), torch.full((1, 6, 3), torch.nan)])
def test_degenerate_metrics_keep_class_and_cross_token(metric: torch.Tensor) -> None:
    matching = match(metric, torch.ones(1, 6), 2)

    assert {0, 5} <= set(matching.kept[0].tolist())
    assert sorted([*matching.kept[0].tolist(), *matching.sources[0].tolist()]) == list(range(6))
    assert not set(matching.sources[0].tolist()) & set(matching.destinations[0].tolist())


def test_importance_token_by_token() -> None:
    attention = torch.rand(2, 7, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for row, image in zip(importance_of(attention), attention, strict=True):
        assert row.tolist() == pytest.approx(crossget_importance(image.tolist()))


def test_merging_token_by_token() -> None:
    generator = torch.Generator().manual_seed(3)
    tokens = torch.randn(12, 6, generator=generator, dtype=torch.float64)
    sizes = torch.randint(1, 9, (12,), generator=generator).double()
    metric = torch.randn(12, 3, generator=generator, dtype=torch.float64)
    importance = torch.rand(12, generator=generator, dtype=torch.float64)
    kept, pairs = crossget_pairs(list(metric), importance.tolist(), 5)
    assert len(set(pairs.values())) < 5, "some destination should have two sources"
    naive = crossget_merge(
        [Token(x, [], size=float(s)) for x, s in zip(tokens, sizes, strict=True)],
        importance.tolist(),
        kept,
        pairs,
    )

    matching = match(metric[None], importance[None], 5)
    weights = weights_of(importance[None], matching)
    merged, merged_sizes = merge(tokens[None], sizes[None], matching, weights)

    torch.testing.assert_close(merged[0], torch.stack([t.vector for t in naive]))
    assert merged_sizes[0].tolist() == [t.size for t in naive]


def test_of_equal_importance_it_is_a_size_weighted_mean() -> None:
    generator = torch.Generator().manual_seed(4)
    matching = match(torch.randn(2, 9, 3, generator=generator), torch.ones(2, 9), 3)
    torch.testing.assert_close(weights_of(torch.ones(2, 9), matching), torch.ones(2, 9))


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("options", [{"count": 5}, {"r": 3}, {"r": 0}, {"r": 99}])
@pytest.mark.parametrize("learned", [False, True], ids=["no checkpoint", "vectors"])
@torch.no_grad()
def test_the_tower_token_by_token(
    implementation: str, options: dict[str, int], learned: bool
) -> None:
    tower = small_tower(implementation=implementation)
    pixels = pixels_for(tower, images=2)
    generator = torch.Generator().manual_seed(5)
    vectors = torch.randn(4, 16, generator=generator, dtype=torch.float64) if learned else None
    driver = driver_of("crossget", **options, vectors=vectors)

    reduction = run(tower, driver, 3, pixels).reduction

    for i, image in enumerate(pixels):
        expected = crossget(tower, image, merges(crossget_schedule(17, 3, **options)), vectors)
        assert_same_tokens(reduction.tokens[i], expected)
        assert reduction.indices[i].tolist() == [t.own for t in expected]
        assert driver.sizes[i, 1:].tolist() == [t.size for t in expected]


def test_llava_sized_towers_give_278_tokens() -> None:
    tower = small_tower(side=24, layers=24, hidden=8, dtype=torch.float32, implementation="sdpa")
    driver = driver_of("crossget")

    reduction = run(tower, driver, 23, pixels_for(tower, images=1)).reduction

    assert reduction.counts == [278]
    assert driver.token_counts == crossget_schedule(577, 23)
    *patches, cross = reduction.indices[0].tolist()
    assert cross == MERGED
    assert patches == sorted(set(patches))


def test_vectors_of_a_wrong_shape() -> None:
    tower = small_tower()
    with pytest.raises(InputError, match="vectors"):
        run(tower, driver_of("crossget", vectors=torch.zeros(2, 16)), 3, pixels_for(tower))


def test_dtype_is_kept() -> None:
    tower = small_tower(dtype=torch.bfloat16, implementation="sdpa")
    encoded = run(tower, driver_of("crossget", r=3), 3, pixels_for(tower))
    assert encoded.reduction.tokens[0].dtype == encoded.features.dtype == torch.bfloat16


@pytest.mark.parametrize("options", [{"count": 5}, {"r": 0}, {"r": 3}])
@pytest.mark.parametrize("on", ["cpu", "meta"])
def test_flops(options: dict[str, int], on: str) -> None:
    implementation = "eager" if on == "cpu" else "sdpa"
    tower = small_tower(layers=6, hidden=64, heads=4, implementation=implementation).to(on)
    pixels = torch.zeros(2, 3, 8, 8, dtype=torch.float64, device=on)
    expected = stem_flops(tower) + sum(
        block_flops(tower, t, left) + (2 * t**2 * 16 if left < t else 0)
        for t, left in crossget_schedule(17, 5, **options)
    )

    measured = measured_flops(
        lambda: encode(ClipTower(tower), pixels, 5, reducer=driver_of("crossget", **options))
    )

    assert measured == 2 * expected


def test_gradients_flow() -> None:
    tower = small_tower()
    pixels = pixels_for(tower).requires_grad_()

    tokens = encode(
        ClipTower(tower), pixels, 3, reducer=driver_of("crossget", count=4)
    ).reduction.tokens
    sum(t.square().sum() for t in tokens).backward()

    assert torch.isfinite(pixels.grad).all()
    assert (pixels.grad != 0).all()
