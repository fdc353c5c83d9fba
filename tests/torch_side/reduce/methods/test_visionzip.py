"""VisionZip against a loop over patches."""

from __future__ import annotations

import pytest
import torch
from naive.features import agree, flops, inputs, visionzip

from roofline.errors import InputError
from roofline.torch_side.reduce.methods import MERGED, reduce_tokens
from roofline.torch_side.reduce.methods.visionzip import spread


@pytest.mark.parametrize(
    ("patches", "count", "contextual"),
    [(1, 1, 0), (7, 7, 3), (7, 2, 1), (30, 12, 5), (30, 30, 15), (30, 28, 25), (90, 64, 10)],
)
@pytest.mark.parametrize("heads", [1, 4])
@pytest.mark.parametrize("class_token", [True, False])
def test_agrees_with_the_loop(
    patches: int, count: int, contextual: int, heads: int, class_token: bool
) -> None:
    images = inputs(2, patches, class_token=class_token)
    reduction = reduce_tokens(
        "visionzip",
        *images,
        count=count,
        contextual=contextual,
        heads=heads,
        class_token=class_token,
    )
    assert reduction.counts == [count, count]
    agree(
        reduction,
        images,
        lambda y, q, k: visionzip(y, q, k, count, contextual, heads, class_token),
    )


@pytest.mark.parametrize(("count", "contextual"), [(64, 10), (128, 20), (192, 30), (1, 0)])
def test_ten_of_sixty_four_are_contextual_unless_said(count: int, contextual: int) -> None:
    features, queries, keys = inputs(1, 256)
    reduction = reduce_tokens("visionzip", features, queries, keys, count=count)
    explicit = reduce_tokens(
        "visionzip", features, queries, keys, count=count, contextual=contextual
    )
    assert reduction.indices[0].equal(explicit.indices[0])
    assert reduction.indices[0][0] == MERGED
    assert reduction.tokens[0][0].equal(features[0, 0])


@pytest.mark.parametrize(("length", "count"), [(1, 1), (5, 1), (7, 3), (7, 4), (7, 7), (512, 10)])
def test_targets_and_others_are_all_places_once(length: int, count: int) -> None:
    targets, others = spread(length, count, torch.device("cpu"))
    step = length // count
    assert targets.tolist() == list(range(0, length, step))[:count]
    assert others.tolist() == [p for p in range(length) if p not in targets.tolist()]


@pytest.mark.parametrize("class_token", [True, False])
def test_flops_are_the_documented_ones(class_token: bool) -> None:
    n, count, contextual, heads, width, attention_width = 30, 12, 5, 4, 24, 16
    features = inputs(1, n, width, class_token=class_token)[0]
    _, queries, keys = inputs(1, n, attention_width, class_token=class_token)
    others = n - (count - contextual) + class_token - contextual
    expected = 2 * ((1 + n) if class_token else n * n) * attention_width
    expected += 2 * others * contextual * attention_width // heads
    expected += 2 * contextual * others * width
    options = {"count": count, "contextual": contextual, "heads": heads}
    assert expected == flops(
        lambda: reduce_tokens(
            "visionzip", features, queries, keys, class_token=class_token, **options
        )
    )


def test_dtype_and_gradient() -> None:
    images = [x.bfloat16() for x in inputs(2, 30)]
    reduction = reduce_tokens("visionzip", *images, count=12, contextual=3, heads=4)
    assert {tokens.dtype for tokens in reduction.tokens} == {torch.bfloat16}
    wide = [x.double() for x in inputs(1, 12, 4)]
    features = wide[0].requires_grad_()
    assert torch.autograd.gradcheck(
        lambda y: reduce_tokens("visionzip", y, *wide[1:], count=6, contextual=2, heads=2).tokens[
            0
        ],
        features,
    )


def test_a_broken_image_leaves_the_others_alone() -> None:
    images = inputs(2, 30)
    images[2][0, 4] = torch.nan
    reduction = reduce_tokens("visionzip", *images, count=12, contextual=3, heads=4)
    alone = reduce_tokens("visionzip", *(x[1:] for x in images), count=12, contextual=3, heads=4)
    assert reduction.indices[1].equal(alone.indices[0])
    assert reduction.indices[0][:9].tolist() == [MERGED, *range(8)]


@pytest.mark.parametrize("contextual", [-1, 12, 13])
def test_contextual_tokens_that_leave_no_dominant_one(contextual: int) -> None:
    with pytest.raises(InputError, match="contextual"):
        reduce_tokens("visionzip", *inputs(1, 30), count=12, contextual=contextual)


def test_never_waits_for_the_device() -> None:
    images = [torch.empty(2, 577, 64, device="meta") for _ in range(3)]
    assert reduce_tokens("visionzip", *images, count=64).counts == [64, 64]
