"""PruMerge and PruMerge+ against a loop over patches, and what follows from their definitions."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from naive.features import agree, flops, inputs, prumerge, with_attention

from roofline.errors import InputError
from roofline.torch_side.reduce.methods import MERGED, ReducerError, reduce_tokens

METHODS = ["prumerge", "prumerge+"]
OPTIONS: list[dict[str, Any]] = [
    {},
    {"variant": "paper"},
    {"ratio": 0.125},
    {"ratio": 0.3, "k": 3},
    {"ratio": 0},
    {"ratio": 1},
    {"ratio": 1.01},
    {"ratio": 7.5},
    {"ratio": 1e-300},
    {"ratio": 0, "variant": "paper"},
    {"ratio": 2, "variant": "paper"},
    {"ratio": 0.25, "variant": "paper"},
    {"ratio": 0.9, "variant": "paper"},
    {"k": 0},
    {"k": 10_000},
]


def check(method: str, images: tuple[torch.Tensor, ...], **options: Any) -> None:
    plain = partial(prumerge, plus=method == "prumerge+", **options)
    agree(reduce_tokens(method, *images, **options), images, plain)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("patches", [1, 2, 7, 30])
def test_agrees_with_the_loop(method: str, patches: int, options: dict[str, Any]) -> None:
    for seed in range(3):
        check(method, inputs(3, patches, seed=seed), **options)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("patches", [256, 576])
@pytest.mark.parametrize("options", [{}, {"variant": "paper"}, {"ratio": 0.125}, {"count": 144}])
def test_agrees_with_the_loop_on_whole_images(
    method: str, options: dict[str, Any], patches: int
) -> None:
    check(method, inputs(1, patches), **options)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("variant", ["released", "paper"])
@pytest.mark.parametrize("count", [2, 3, 9, 15, 29, 30])
def test_a_count_comes_out_exactly(method: str, variant: str, count: int) -> None:
    images = inputs(2, 30)
    check(method, images, variant=variant, count=count)
    reduction = reduce_tokens(method, *images, variant=variant, count=count)
    assert reduction.counts == [count, count]
    for indices in reduction.indices:
        assert len(set(indices.tolist())) == count


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("options", [{}, {"ratio": 0.25}, {"count": 9}, {"variant": "paper"}])
def test_without_class_token_attention_received_decides(
    method: str, options: dict[str, Any]
) -> None:
    check(method, inputs(2, 30, class_token=False), class_token=False, **options)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("variant", ["released", "paper"])
class TestAdversarial:
    def test_equal_attention_keeps_the_first_patch(self, method: str, variant: str) -> None:
        images = with_attention(torch.ones(1, 30))
        check(method, images, variant=variant)
        assert reduce_tokens(method, *images, variant=variant).indices[0][0] == 0

    def test_without_outliers_the_strongest_patch_stays(self, method: str, variant: str) -> None:
        weights = torch.linspace(1, 2, 30)[torch.randperm(30)][None]
        images = with_attention(weights)
        check(method, images, variant=variant)
        indices = reduce_tokens(method, *images, variant=variant).indices[0]
        assert indices[0] == weights.argmax()
        if method == "prumerge":
            assert len(indices) == (2 if variant == "released" else 1)

    def test_one_spike(self, method: str, variant: str) -> None:
        weights = torch.ones(1, 30)
        weights[0, 17] = 1e4
        images = with_attention(weights)
        check(method, images, variant=variant)
        assert reduce_tokens(method, *images, variant=variant).indices[0][0] == 17

    def test_a_batch_may_be_ragged(self, method: str, variant: str) -> None:
        weights = torch.linspace(1, 1.1, 64).repeat(3, 1)
        weights[1, 40:42] = weights[2, 5:14] = 30
        images = with_attention(weights)
        check(method, images, variant=variant)
        counts = reduce_tokens(method, *images, variant=variant).counts
        if method == "prumerge":
            extra = variant == "released"
            assert counts == [1 + extra, 2 + extra, 9 + extra]
        elif variant == "paper":
            assert counts == [2, 4, 18]

    def test_nan_in_one_image_leaves_the_others_alone(self, method: str, variant: str) -> None:
        images = inputs(2, 30)
        healthy = reduce_tokens(method, *(x[1:] for x in images), variant=variant)
        images[2][0, 11] = torch.nan
        first = reduce_tokens(method, *images, variant=variant)
        assert first.indices[0][0] == 0  # all alike, hence by index
        assert first.indices[1].equal(healthy.indices[0])
        torch.testing.assert_close(first.tokens[1], healthy.tokens[0])
        again = reduce_tokens(method, *images, variant=variant)
        assert again.indices[0].equal(first.indices[0])

    def test_equal_keys_prefer_the_lower_index(self, method: str, variant: str) -> None:
        features, queries, _ = inputs(2, 30)
        keys = torch.eye(16)[torch.arange(31) % 4].repeat(2, 1, 1)  # cosines of exactly 0 and 1
        check(method, (features, queries, keys), variant=variant, k=5)

    def test_each_image_is_reduced_as_if_alone(self, method: str, variant: str) -> None:
        images = inputs(3, 64)
        together = reduce_tokens(method, *images, variant=variant)
        for i in range(3):
            alone = reduce_tokens(method, *(x[i : i + 1] for x in images), variant=variant)
            assert alone.indices[0].equal(together.indices[i])
            torch.testing.assert_close(alone.tokens[0], together.tokens[i])


def test_without_neighbours_the_released_variant_keeps_features_as_they_are() -> None:
    features, queries, keys = inputs(2, 64)
    for method in METHODS:
        reduction = reduce_tokens(method, features, queries, keys, k=0)
        for image, tokens, indices in zip(
            features, reduction.tokens, reduction.indices, strict=True
        ):
            assert indices[-1] == MERGED
            assert tokens[:-1].equal(image[1:][indices[:-1]])


def test_everything_kept_leaves_nothing_for_the_extra_token() -> None:
    reduction = reduce_tokens("prumerge", *inputs(1, 30), ratio=1.0)
    assert reduction.counts == [31]
    assert not reduction.tokens[0][-1].any()


@pytest.mark.parametrize(("outliers", "tokens"), [(16, 64), (32, 124), (35, 144), (40, 175)])
def test_adaptive_plus_yields_about_four_times_the_outliers(outliers: int, tokens: int) -> None:
    torch.manual_seed(0)
    weights = 1 + torch.rand(40, 576) / 10
    weights.scatter_(1, torch.rand(40, 576).topk(outliers).indices, 30.0)
    images = with_attention(weights)
    assert set(reduce_tokens("prumerge", *images).counts) == {outliers + 1}
    assert set(reduce_tokens("prumerge", *images, variant="paper").counts) == {outliers}
    assert set(reduce_tokens("prumerge+", *images, variant="paper").counts) == {2 * outliers}
    counts = reduce_tokens("prumerge+", *images).counts
    assert sum(counts) / len(counts) == pytest.approx(tokens, abs=1)


@pytest.mark.parametrize(("ratio", "tokens"), [(1 / 8, 72 + 72 + 1), (1 / 4, 144 + 144 + 1)])
def test_plus_with_a_ratio_keeps_duplicates(ratio: float, tokens: int) -> None:
    reduction = reduce_tokens("prumerge+", *inputs(1, 576), ratio=ratio)
    assert reduction.counts == [tokens]
    assert len(set(reduction.indices[0].tolist())) < tokens


def test_a_duplicate_is_its_own_nearest_neighbour() -> None:
    weights = torch.ones(1, 16)
    weights[0, 2] = 9
    features, queries, keys = with_attention(weights)
    reduction = reduce_tokens("prumerge+", features, queries, keys, ratio=1 / 4, k=1)
    found = (reduction.indices[0] == 2).nonzero().flatten()
    assert len(found) == 2
    attention = (queries[0, 0] @ keys[0].T / 4).softmax(0)[3]
    expected = (1 + attention) * features[0, 3]
    for index in found:
        torch.testing.assert_close(reduction.tokens[0][index], expected)


@settings(deadline=None)
@given(data=st.data(), patches=st.integers(1, 40), batch=st.integers(1, 3))
def test_any_options_on_any_patches(data: st.DataObject, patches: int, batch: int) -> None:
    method = data.draw(st.sampled_from(METHODS))
    variant = data.draw(st.sampled_from(["released", "paper"]))
    options: dict[str, Any] = {"variant": variant, "k": data.draw(st.integers(1, 50))}
    if data.draw(st.booleans()):
        options["ratio"] = data.draw(st.floats(0.001, 1))
    elif patches > 1 and data.draw(st.booleans()):
        options["count"] = data.draw(st.integers(2, patches))
    check(method, inputs(batch, patches, seed=data.draw(st.integers(0, 99))), **options)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("method", METHODS)
def test_half_precision_in_half_precision_out(method: str, dtype: torch.dtype) -> None:
    images = [x.to(dtype) for x in inputs(2, 64)]
    reduction = reduce_tokens(method, *images)
    exact = reduce_tokens(method, *(x.float() for x in images))
    for tokens, indices, i in zip(reduction.tokens, reduction.indices, range(2), strict=True):
        assert tokens.dtype == dtype
        assert indices.equal(exact.indices[i])  # ranked in fp32
        assert tokens.equal(exact.tokens[i].to(dtype))  # rounded once


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("variant", ["released", "paper"])
def test_gradients_flow_through_tokens_and_weights(method: str, variant: str) -> None:
    images = [x.double().requires_grad_() for x in inputs(1, 12, 4)]

    def tokens(*tensors: torch.Tensor) -> torch.Tensor:
        return reduce_tokens(method, *tensors, variant=variant, k=3).tokens[0]

    assert torch.autograd.gradcheck(tokens, images)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("patches", "options"),
    [
        (1, {}),
        (1, {"ratio": 0.25}),
        (1, {"variant": "paper"}),
        (30, {}),
        (30, {"count": 9}),
        (30, {"ratio": 0.25}),
        (30, {"k": 0}),
        (30, {"k": 99}),
        (30, {"variant": "paper"}),
    ],
    ids=str,
)
@pytest.mark.parametrize("class_token", [True, False])
def test_flops_are_the_documented_ones(
    method: str, patches: int, options: dict[str, Any], class_token: bool
) -> None:
    width, attention_width, n = 24, 16, patches
    features = inputs(1, n, width, class_token=class_token)[0]
    _, queries, keys = inputs(1, n, attention_width, class_token=class_token)
    run = partial(reduce_tokens, method, features, queries, keys, class_token=class_token)
    released = options.get("variant") != "paper"
    selected = run(**options).counts[0] - released
    copies = 2 if method == "prumerge+" and "ratio" in options else 1
    neighbours = min(options.get("k", 32), copies * n - 1)
    expected = 2 * ((1 + n) if class_token else n * n) * attention_width
    expected += 2 * selected * n * attention_width * (neighbours > 0)
    expected += 2 * selected * n * width * (neighbours > 0)
    expected += 2 * n * width * released
    assert flops(partial(run, **options)) == expected


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("options", [{"ratio": 0.25}, {"count": 144}])
@pytest.mark.parametrize("variant", ["released", "paper"])
def test_fixed_counts_never_wait_for_the_device(
    method: str, options: dict[str, Any], variant: str
) -> None:
    images = [torch.empty(2, 577, 64, device="meta") for _ in range(3)]  # holds no value to read
    reduction = reduce_tokens(method, *images, variant=variant, **options)
    assert reduction.counts[0] == reduction.counts[1] == len(reduction.indices[0])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("variant", ["released", "paper"])
def test_adaptive_counts_are_read_once(
    method: str, variant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = []

    def tolist(tensor: torch.Tensor) -> list[int]:
        reads.append(tuple(tensor.shape))
        return [5, 9]

    monkeypatch.setattr(torch.Tensor, "tolist", tolist)
    images = [torch.empty(2, 577, 64, device="meta") for _ in range(3)]
    reduction = reduce_tokens(method, *images, variant=variant)
    assert reads == [(2,)]
    assert reduction.counts == [5 + (variant == "released"), 9 + (variant == "released")]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ratio": -0.5}, "ratio"),
        ({"ratio": float("inf")}, "ratio"),
        ({"ratio": float("nan")}, "ratio"),
        ({"ratio": 0.5, "count": 3}, "not both"),
        ({"count": 1}, "between 2 and"),
        ({"count": 0, "variant": "paper"}, "between 1 and"),
        ({"count": 31}, "30 patches"),
        ({"count": 2.5}, "count"),
        ({"variant": "release"}, "paper or released"),
        ({"k": -1}, "`k`"),
        ({"k": 0, "variant": "paper"}, "`k`"),
    ],
    ids=str,
)
@pytest.mark.parametrize("method", METHODS)
def test_options_that_make_no_sense(method: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        reduce_tokens(method, *inputs(1, 30), **options)


def test_inputs_that_do_not_fit() -> None:
    features, queries, keys = inputs(1, 30)
    with pytest.raises(ReducerError, match="give `queries` and `keys`"):
        reduce_tokens("prumerge", features)
    with pytest.raises(ReducerError, match="same tokens"):
        reduce_tokens("prumerge", features, queries[:, 1:], keys[:, 1:])
    with pytest.raises(ReducerError, match="differ in width"):
        reduce_tokens("prumerge", features, queries, keys[..., :8])
    with pytest.raises(ReducerError, match="class token first"):
        reduce_tokens("prumerge", features[0], queries[0], keys[0])
