"""EViT against the paper done one token at a time."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from naive.vision import Token, evit, evit_stage
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

from roofline.reducers.token_schedules import evit_schedule
from roofline.torch_side.families.clip_tower import ClipTower
from roofline.torch_side.reduce.encode import encode
from roofline.torch_side.reduce.methods.base import MERGED
from roofline.torch_side.reduce.methods.evit import reorganize


@given(
    strengths=st.lists(st.integers(0, 3), min_size=1, max_size=8).map(
        lambda values: [v / 8 for v in values]
    ),
    data=st.data(),
)
def test_reorganizing_with_ties(strengths: list[float], data: st.DataObject) -> None:
    keep = data.draw(st.integers(0, len(strengths)))
    hidden = torch.arange(2.0 * (len(strengths) + 1), dtype=torch.float64).reshape(-1, 2)
    tokens = [Token(row, [i - 1], i - 1) for i, row in enumerate(hidden)]
    expected = evit_stage(tokens, strengths, keep)

    result, kept = reorganize(hidden[None], torch.tensor([strengths], dtype=torch.float64), keep)

    torch.testing.assert_close(result[0], torch.stack([t.vector for t in expected]))
    assert kept[0].tolist() == [t.own for t in expected[1:-1]]


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@pytest.mark.parametrize(
    ("options", "keeps"),
    [
        ({"count": 5}, {1: 9, 2: 6, 3: 4}),  # 16·(5/16)^(1/3) = 10.9, 16·(5/16)^(2/3) = 7.4
        ({"rate": 0.5, "rule": "paper"}, {1: 8, 2: 5, 3: 3}),  # of 16, 9, 6
        ({"stages": (0, 2), "count": 1}, {0: 3, 2: 0}),
        ({"stages": ()}, {}),
    ],
)
@torch.no_grad()
def test_the_tower_token_by_token(
    implementation: str, options: dict[str, Any], keeps: dict[int, int]
) -> None:
    tower = small_tower(layers=5, implementation=implementation)
    pixels = pixels_for(tower, images=2)

    reduction = run(tower, driver_of("evit", **options), 4, pixels).reduction

    for i, image in enumerate(pixels):
        expected = evit(tower, image, 4, keeps)
        assert_same_tokens(reduction.tokens[i], expected)
        assert reduction.indices[i].tolist() == [t.own for t in expected]


def test_llava_sized_towers_give_144_tokens() -> None:
    tower = small_tower(side=24, layers=24, hidden=8, dtype=torch.float32, implementation="sdpa")
    driver = driver_of("evit")

    reduction = run(tower, driver, 23, pixels_for(tower, images=1)).reduction

    assert reduction.counts == [144]
    assert driver.token_counts == evit_schedule(577, 23)
    assert reduction.indices[0][-1] == MERGED


def test_without_stages_it_is_bit_equal_to_the_plain_tower() -> None:
    tower = small_tower(implementation="sdpa")
    pixels = pixels_for(tower)
    plain = encode(ClipTower(tower), pixels, 4).features
    assert torch.equal(run(tower, driver_of("evit", stages=()), 4, pixels).features, plain)


def test_dtype_is_kept() -> None:
    tower = small_tower(dtype=torch.bfloat16, implementation="sdpa")
    encoded = run(tower, driver_of("evit", count=4), 4, pixels_for(tower))
    assert encoded.reduction.tokens[0].dtype == encoded.features.dtype == torch.bfloat16


@pytest.mark.parametrize("options", [{"count": 5}, {"rate": 0.4, "rule": "paper"}, {"rate": 1.0}])
@pytest.mark.parametrize("on", ["cpu", "meta"])
def test_flops(options: dict[str, Any], on: str) -> None:
    implementation = "eager" if on == "cpu" else "sdpa"
    tower = small_tower(layers=6, hidden=64, heads=4, implementation=implementation).to(on)
    pixels = torch.zeros(2, 3, 8, 8, dtype=torch.float64, device=on)
    expected = stem_flops(tower) + sum(
        block_flops(tower, t, left) + (2 * t * 64 if left < t else 0)
        for t, left in evit_schedule(17, 5, **options)
    )

    measured = measured_flops(
        lambda: encode(ClipTower(tower), pixels, 5, reducer=driver_of("evit", **options))
    )

    assert measured == 2 * expected


def test_gradients_flow() -> None:
    tower = small_tower()
    pixels = pixels_for(tower).requires_grad_()

    tokens = encode(
        ClipTower(tower), pixels, 4, reducer=driver_of("evit", count=4)
    ).reduction.tokens
    sum(t.square().sum() for t in tokens).backward()

    assert torch.isfinite(pixels.grad).all()
    assert (pixels.grad != 0).all()
