"""FasterVLM against a loop over patches."""

from __future__ import annotations

import pytest
import torch
from naive.features import agree, fastervlm, flops, inputs, with_attention

from roofline.torch_side.reduce.methods import ReducerError, reduce_tokens


@pytest.mark.parametrize("patches", [1, 7, 30, 256])
@pytest.mark.parametrize("class_token", [True, False])
@pytest.mark.parametrize("heads", [1, 4])
def test_agrees_with_the_loop(patches: int, class_token: bool, heads: int) -> None:
    images = inputs(2, min(patches, 64) if not class_token else patches, class_token=class_token)
    for count in {1, (images[0].shape[1] - class_token) // 2 or 1}:
        reduction = reduce_tokens(
            "fastervlm", *images, count=count, heads=heads, class_token=class_token
        )
        agree(
            reduction,
            images,
            lambda y, q, k, count=count: fastervlm(y, q, k, count, heads, class_token),
        )


def test_ties_and_nan_go_to_the_lower_index() -> None:
    equal = reduce_tokens("fastervlm", *with_attention(torch.ones(1, 30)), count=5, heads=1)
    assert equal.indices[0].tolist() == [0, 1, 2, 3, 4]
    features, queries, keys = inputs(2, 30)
    keys[0, 3] = torch.nan
    broken = reduce_tokens("fastervlm", features, queries, keys, count=5, heads=1)
    assert broken.indices[0].tolist() == [0, 1, 2, 3, 4]


def test_heads_count_alike_however_peaked_they_are() -> None:
    """Mean over heads after softmax, not before it."""
    features, queries, keys = (torch.zeros(1, 4, 4) for _ in range(3))
    queries[0, 0] = 1
    keys[0, 1, :2] = 50  # all of the first head
    keys[0, 2, 2:] = 3  # most of the second one
    reduction = reduce_tokens("fastervlm", features, queries, keys, count=2, heads=2)
    assert reduction.indices[0].tolist() == [0, 1]


def test_flops_dtype_and_gradient() -> None:
    features, queries, keys = inputs(1, 30)
    assert (
        flops(lambda: reduce_tokens("fastervlm", features, queries, keys, count=5)) == 2 * 31 * 16
    )
    bare = inputs(1, 30, class_token=False)
    assert (
        flops(lambda: reduce_tokens("fastervlm", *bare, count=5, class_token=False))
        == 2 * 30**2 * 16
    )
    half = features.half().requires_grad_()
    tokens = reduce_tokens("fastervlm", half, queries, keys, count=5).tokens[0]
    assert tokens.dtype == torch.float16
    tokens.sum().backward()
    assert half.grad is not None
    assert half.grad.any(dim=-1).sum() == 5


def test_options_that_make_no_sense() -> None:
    images = inputs(1, 30)
    with pytest.raises(ReducerError, match="divide"):
        reduce_tokens("fastervlm", *images, count=5, heads=3)
    with pytest.raises(ReducerError, match="between 1 and"):
        reduce_tokens("fastervlm", *images, count=31)


def test_never_waits_for_the_device() -> None:
    images = [torch.empty(2, 577, 64, device="meta") for _ in range(3)]
    assert reduce_tokens("fastervlm", *images, count=144).counts == [144, 144]
