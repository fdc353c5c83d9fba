"""DivPrune against a loop over patches."""

from __future__ import annotations

import pytest
import torch
from naive.features import agree, divprune, flops, inputs

from roofline.torch_side.reduce.methods import reduce_tokens


@pytest.mark.parametrize(("patches", "count"), [(1, 1), (7, 3), (30, 1), (30, 12), (30, 30)])
def test_agrees_with_the_loop(patches: int, count: int) -> None:
    images = inputs(3, patches)
    agree(
        reduce_tokens("divprune", *images, count=count),
        images,
        lambda y, q, k: divprune(y, count),
    )


def test_equal_and_broken_patches_come_once_and_last() -> None:
    features = torch.ones(1, 9, 4)
    equal = reduce_tokens("divprune", features, count=5).indices[0]
    assert equal.tolist() == [0, 1, 2, 3, 4]
    features = inputs(1, 9)[0]
    alone = reduce_tokens("divprune", features[:, 1:], count=4).indices[0]
    features[0, 1] = torch.nan
    for count, expected in (4, (alone + 1).tolist()), (9, list(range(9))):
        assert reduce_tokens("divprune", features, count=count).indices[0].tolist() == expected


def test_opposites_are_as_diverse_as_it_gets() -> None:
    angles = torch.tensor([0.0, 0.1, 0.2, 3.1, 1.5, 1.6])
    features = torch.stack([angles.cos(), angles.sin()], dim=1)[None]
    kept = reduce_tokens("divprune", features, count=3, class_token=False).indices[0]
    # 3.1 is farthest from its nearest, 0 farthest from 3.1, then 1.5 (1.6 is nearer to 3.1)
    assert kept.tolist() == [0, 3, 4]


def test_flops_dtype_gradient_and_waiting() -> None:
    features = inputs(1, 30)[0]
    assert flops(lambda: reduce_tokens("divprune", features, count=5)) == 2 * 30**2 * 16
    half = features.half().requires_grad_()
    tokens = reduce_tokens("divprune", half, count=5).tokens[0]
    assert tokens.dtype == torch.float16
    tokens.sum().backward()
    assert half.grad is not None
    assert half.grad.any(dim=-1).sum() == 5
    meta = torch.empty(2, 577, 64, device="meta")
    assert reduce_tokens("divprune", meta, count=64).counts == [64, 64]
