"""What all reducers share: their result, their place in the model, and the registry's entry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from inspect import signature
from math import sqrt
from typing import Any, Protocol

import torch
from torch import Tensor

from roofline.errors import InputError
from roofline.reducers.costs import Site
from roofline.torch_side.families.tower import TowerBlock

MERGED = -1
"""Index of a token that is no patch of its own but made of several."""


class ReducerError(InputError):
    """Options or features that a reducer cannot work with."""


@dataclass(frozen=True)
class Reduction:
    """Visual tokens that are left, image by image: counts may differ.

    `tokens[i]` is [n_i, C] and `indices[i]` [n_i], the patch (0 to N − 1, raster order) that each
    token is or grew from, `MERGED` for one that belongs to no single patch.
    """

    tokens: list[Tensor]
    indices: list[Tensor]

    @property
    def counts(self) -> list[int]:
        return [len(tokens) for tokens in self.tokens]


FeatureFunction = Callable[..., Reduction]
"""A reducer of final features: (features, queries, keys, **options), tensors [B, 1 + N, C], class
token first; queries and keys may be None."""


class VisionBlocks(Protocol):
    """A reducer inside the ViT: runs blocks in place of their own `forward`."""

    def start(self, hidden: Tensor, blocks: int) -> Tensor:
        """Called with the embeddings [B, T, C] before the first of `blocks` blocks."""
        ...

    def block(self, layer: TowerBlock, hidden: Tensor, index: int) -> Tensor:
        """Run block `index` [B, T, C] → [B, T', C]."""
        ...

    def finish(self, hidden: Tensor) -> Reduction:
        """The visual tokens in the last block's output, class token (and helpers) dropped."""
        ...


class LanguageLayers(Protocol):
    """A reducer inside the LLM: hooks on a decoder, until they are removed."""

    def expect(self, visual: Tensor, mask: Tensor) -> None:
        """Called before each prompt: which tokens [B, n] are visual, and which are no padding."""
        ...

    def forget(self) -> None:
        """Called where a prompt that was expected has failed."""
        ...

    def remove(self) -> None:
        """Take the hooks off."""
        ...


@dataclass(frozen=True)
class Reducer:
    """An entry of the registry."""

    name: str
    title: str
    site: Site
    source: str
    """Paper that describes it."""
    reduce: FeatureFunction | None = None
    """For `features`: the function itself."""
    blocks: Callable[..., VisionBlocks] | None = None
    """For `vision`: options → a fresh driver for one forward pass."""
    llm: Callable[..., LanguageLayers] | None = None
    """For `llm`: (a family's `Decoder`, **options) → an installed driver."""
    needs_attention: bool = False
    """Whether queries and keys are needed."""
    attention_block: int = 0
    """Which block's queries and keys, counted from the feature layer: 0 is the first block that
    does not contribute to the features, −1 the last one that does."""
    after_connector: bool = False
    """Whether it ranks and keeps projected tokens."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Names and defaults."""


def class_attention(queries: Tensor, keys: Tensor, heads: int = 1) -> Tensor:
    """Attention of the class token to all patches, mean over heads: [B, N].

    queries, keys: [B, 1 + N, C]. Softmax over all 1 + N keys, in fp32; the class token's own share
    is dropped, not renormalised.
    """
    batch, tokens, width = keys.shape
    q = queries[:, :1].reshape(batch, 1, heads, width // heads).transpose(1, 2)
    k = keys.reshape(batch, tokens, heads, width // heads).transpose(1, 2)
    q, k = q.to(ranking_dtype(q)), k.to(ranking_dtype(k))
    scores = q @ k.mT / sqrt(width // heads)  # [B, H, 1, 1 + N]
    return scores.softmax(dim=-1)[:, :, 0, 1:].mean(dim=1)


def received_attention(queries: Tensor, keys: Tensor, heads: int = 1) -> Tensor:
    """Attention that each patch receives, mean over queries and heads: [B, N].

    For encoders without a class token. queries, keys: [B, N, C]; softmax in fp32.
    """
    batch, tokens, width = keys.shape
    q, k = (
        x.to(ranking_dtype(x)).reshape(batch, tokens, heads, width // heads).transpose(1, 2)
        for x in (queries, keys)
    )
    scores = q @ k.mT / sqrt(width // heads)  # [B, H, N, N]
    return scores.softmax(dim=-1).mean(dim=(1, 2))


def patch_attention(queries: Tensor, keys: Tensor, heads: int, class_token: bool) -> Tensor:
    """Importance of each patch [B, N]: attention of the class token or, without one, received."""
    if heads < 1 or keys.shape[-1] % heads:
        raise ReducerError(f"`heads` must divide the width of the keys: {heads}, {keys.shape[-1]}")
    return (class_attention if class_token else received_attention)(queries, keys, heads)


def ranking_dtype(tensor: Tensor) -> torch.dtype:
    """What ranks and weights are computed in: fp32, or fp64 where the input is."""
    return torch.promote_types(tensor.dtype, torch.float32)


def ranked(scores: Tensor) -> Tensor:
    """Indices along the last dimension, greatest first; ties by lower index, NaN last."""
    comparable = torch.where(scores.isnan(), -torch.inf, scores.detach())
    return torch.sort(comparable, dim=-1, descending=True, stable=True).indices


def strongest(scores: Tensor, count: int) -> Tensor:
    """The first `count` of `ranked(scores)`, without sorting the rest.

    fp32 numbers order as their bits do, read as integers of sign and magnitude. With the position
    appended no two are equal, and which of them are first no longer depends on the kernel.
    """
    if scores.dtype != torch.float32:
        return ranked(scores)[..., :count]
    comparable = torch.where(scores.isnan(), -torch.inf, scores.detach()) + 0.0  # no −0
    bits = comparable.view(torch.int32)
    ascending = bits ^ (bits >> 31 & 0x7FFFFFFF)
    position = torch.arange(scores.shape[-1], device=bits.device)
    return ((ascending.long() << 32) - position).topk(count).indices


def patches_of(tokens: Tensor, class_token: bool) -> Tensor:
    """[B, N, C] of [B, 1 + N, C], or all of them where there is no class token."""
    return tokens[:, 1:] if class_token else tokens


def rows(tokens: Tensor, indices: Tensor) -> Tensor:
    """Rows of [B, N, C] at `indices` [B, …]: [B, …, C]. One contiguous copy each."""
    flat = _in_batch(indices, tokens.shape[1]).flatten()
    return tokens.flatten(0, 1).index_select(0, flat).view(*indices.shape, tokens.shape[2])


def weighted_rows(tokens: Tensor, indices: Tensor, weights: Tensor) -> Tensor:
    """Σ_j weights_j·row_j of tokens [B, N, C], indices and weights [B, K, k]: [B, K, C].

    One matmul [K, N] @ [N, C] with a zero for every row that is not summed: gathering the k rows
    of each sum moves so much memory that it takes three times as long.
    """
    shares = weights.new_zeros(*indices.shape[:2], tokens.shape[1])
    return shares.scatter_add(2, indices, weights) @ tokens


def _in_batch(indices: Tensor, patches: int) -> Tensor:
    """Indices into each image's patches [B, …] → into those of the whole batch."""
    first = torch.arange(len(indices), device=indices.device) * patches
    return indices + first.view(-1, *[1] * (indices.ndim - 1))


def defaults(function: Callable[..., Any]) -> dict[str, Any]:
    """Names and defaults of a function's keyword-only parameters, None for a required one."""
    return {
        name: None if parameter.default is parameter.empty else parameter.default
        for name, parameter in signature(function).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }


def check_features(features: Tensor, *others: Tensor | None, class_token: bool = True) -> None:
    """Raise ReducerError unless all are [B, 1 + N, C] of one shape with N ≥ 1.

    [B, N, C] where there is no class token.
    """
    if features.ndim != 3 or features.shape[1] < 1 + class_token or not features.shape[0]:
        shape = "1 + patches, width], class token first" if class_token else "patches, width]"
        raise ReducerError(f"features must be [batch, {shape}; got {tuple(features.shape)}")
    for other in others:
        if other is None:
            raise ReducerError("this reducer ranks by attention: give `queries` and `keys`")
        if other.shape[:2] != features.shape[:2]:
            raise ReducerError(
                f"queries and keys must cover the same tokens as features: "
                f"{tuple(other.shape)} against {tuple(features.shape)}"
            )


def check_attention(
    features: Tensor, queries: Tensor | None, keys: Tensor | None, class_token: bool = True
) -> tuple[Tensor, Tensor]:
    """Queries and keys, or ReducerError unless they are there and fit to the features."""
    check_features(features, queries, keys, class_token=class_token)
    assert queries is not None
    assert keys is not None
    if queries.shape != keys.shape:
        raise ReducerError(
            f"queries and keys differ in width: {queries.shape[-1]} and {keys.shape[-1]}"
        )
    return queries, keys


def check_count(count: int | None, patches: int, least: int = 1) -> int:
    """The count, or ReducerError unless least ≤ count ≤ patches."""
    if count is None:
        raise ReducerError("give `count`, the number of tokens to come out")
    if not isinstance(count, int) or not least <= count <= patches:
        raise ReducerError(
            f"`count` must be between {least} and the image's {patches} patches, not {count}"
        )
    return count
