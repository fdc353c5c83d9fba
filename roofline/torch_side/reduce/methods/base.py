"""What all methods share: their result, their place in the model, and the registry's entry."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from inspect import signature
from math import sqrt
from typing import Any, Protocol

import torch
from torch import Tensor

from roofline.errors import InputError
from roofline.reducers import Reducer
from roofline.torch_side.families.base import Decoder
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
    taps: list[Tensor] = field(default_factory=list)
    """What each token is added to behind the LLM's first layers (DeepStack), [layers, n_i, d]; of a
    token that is no single patch nothing. Empty where there is no such thing."""

    @property
    def counts(self) -> list[int]:
        return [len(tokens) for tokens in self.tokens]

    @classmethod
    def joined(cls, parts: Iterable[Reduction]) -> Reduction:
        """One after the other."""
        whole = cls([], [])
        for part in parts:
            whole.tokens.extend(part.tokens)
            whole.indices.extend(part.indices)
            whole.taps.extend(part.taps)
        return whole

    @classmethod
    def empty(cls, features: Tensor) -> Reduction:
        """Nothing of views [B, T, C]."""
        nothing = torch.zeros(0, dtype=torch.long, device=features.device)
        return cls(list(features[:, :0]), [nothing] * len(features))

    def first(self, count: int | None) -> Reduction:
        """So many of each at most."""
        return Reduction(
            [tokens[:count] for tokens in self.tokens],
            [indices[:count] for indices in self.indices],
            [taps[:, :count] for taps in self.taps],
        )

    def renumbered(self, patches: Tensor) -> Reduction:
        """Indices into `patches` [n] as those patches."""
        indices = [
            patches[own.clamp(min=0)].masked_fill(own == MERGED, MERGED) for own in self.indices
        ]
        return replace(self, indices=indices)

    def tapping(self, taps: tuple[Tensor, ...]) -> Reduction:
        """With what views [B, N, d] of each layer have for the tokens that are left."""
        if not taps:
            return self
        stacked = torch.stack(taps, dim=1)  # [B, layers, N, d]
        left = [
            view.index_select(1, own.clamp(min=0)) * (own != MERGED).unsqueeze(-1).to(view)
            for view, own in zip(stacked, self.indices, strict=True)
        ]
        return replace(self, taps=left)


FeatureFunction = Callable[..., Reduction | tuple[Tensor, Tensor]]
"""A reducer of final features: (reducer, features, queries, keys, *, count, …), tensors
[B, 1 + N, C], class token first; queries and keys may be None. Of `count`, `heads`, `class_token`,
`group` and `shape` it takes what it names. Where each image leaves as many, it may return tokens
[B, n, C] and indices [B, n].

group: patches that each feature is made of, where a connector has merged them: queries and keys are
those of patches, [B, N·group, C], or, for a method that does not name it, their means.
shape: rows and columns of the patches."""


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
class Method:
    """How the reducer of a name is done in torch.

    One of three is given, by where it acts. Each gets the reducer, which holds the options, and by
    keyword `count`, the tokens to come out, or None.
    """

    name: str
    reduce: FeatureFunction | None = None
    """For `features`: the function itself."""
    blocks: Callable[..., VisionBlocks] | None = None
    """For `vision`: (reducer, …) → a fresh driver for one forward pass."""
    llm: Callable[..., LanguageLayers] | None = None
    """For `llm`: (reducer, a family's `Decoder`, …) → an installed driver."""
    needs_attention: bool = False
    """Whether queries and keys are needed."""
    attention_block: int = 0
    """Which block's queries and keys, counted from the feature layer: 0 is the first block that
    does not contribute to the features, −1 the last one that does."""

    @property
    def arguments(self) -> list[str]:
        """What it takes by keyword: `count`, and what is no option of the reducer."""
        function = self.reduce or self.blocks or self.llm
        assert function is not None
        parameters = signature(function).parameters.values()
        return [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]


@dataclass(frozen=True)
class BoundMethod:
    """A reducer with options chosen, its method, and the keywords given to that."""

    method: Method
    reducer: Reducer
    given: Mapping[str, Any]

    def reduce(
        self, features: Tensor, queries: Tensor | None, keys: Tensor | None, **tower: Any
    ) -> Reduction:
        """Reduce final features; `tower` are `heads`, `class_token`, `group` and `shape`, where it
        takes them.

        Without a count the method's own rule decides, or else `default_kept`, as in the analysis.
        """
        if self.method.reduce is None:
            inside = "ViT" if self.reducer.site == "vision" else "LLM"
            raise ReducerError(
                f"{self.reducer.name} works inside the {inside}, not on its features: it needs "
                "the model"
            )
        known = {name: value for name, value in tower.items() if name in self.method.arguments}
        given = {**known, **self.given}
        if "group" not in self.method.arguments:
            queries, keys = (
                rows if rows is None else mean_of_groups(rows, tower.get("group", 1))
                for rows in (queries, keys)
            )
        if given.get("count") is None and self.reducer.needs_count:
            patches = features.shape[1] - given.get("class_token", True)
            given["count"] = self.reducer.default_kept(patches, 0)
        result = self.method.reduce(self.reducer, features, queries, keys, **given)
        return self._checked(result, given.get("count"), len(features))

    def _checked(self, result: Any, count: int | None, images: int) -> Reduction:
        """As a Reduction, or ReducerError for what is none or leaves another count."""
        name = self.reducer.name
        if isinstance(result, Reduction):
            reduction = result
        elif isinstance(result, tuple) and len(result) == 2:
            reduction = Reduction(*map(list, result))
        else:
            kind = type(result).__name__
            raise ReducerError(
                f"{name} must return tokens [B, n, C] and indices [B, n], not {kind}"
            )
        sizes = [*reduction.counts, *map(len, reduction.indices)]
        if len(sizes) != 2 * images:
            raise ReducerError(f"{name} must return tokens and indices of all {images} images")
        wrong = [n for n in sizes if count is not None and n != count]
        if wrong and not (self.reducer.by_picture and max(wrong) <= (count or 0)):
            raise ReducerError(f"{name} was to leave {count} tokens an image and left {wrong[0]}")
        return reduction

    def blocks(self) -> VisionBlocks:
        """A driver of the ViT's blocks for one forward pass."""
        assert self.method.blocks is not None
        return self.method.blocks(self.reducer, **self.given)

    def llm(self, decoder: Decoder) -> LanguageLayers:
        """A driver that is installed on the LLM's decoder."""
        assert self.method.llm is not None
        return self.method.llm(self.reducer, decoder, **self.given)


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


_MOST_LOGITS = 2**26
"""Of attention that is received, held at a time: a quarter of a gibibyte in fp32."""


def received_attention(queries: Tensor, keys: Tensor, heads: int = 1) -> Tensor:
    """Attention that each patch receives, mean over queries and heads: [B, N].

    For encoders without a class token. queries, keys: [B, N, C]; softmax in fp32, of as many
    queries at a time as memory is meant to hold.
    """
    batch, tokens, width = keys.shape
    q, k = (
        x.to(ranking_dtype(x)).reshape(batch, tokens, heads, width // heads).transpose(1, 2)
        for x in (queries, keys)
    )
    most = max(1, _MOST_LOGITS // (batch * heads * tokens))
    if tokens <= most:
        scores = q @ k.mT / sqrt(width // heads)  # [B, H, N, N]
        return scores.softmax(dim=-1).mean(dim=(1, 2))
    received = keys.new_zeros(batch, tokens, dtype=q.dtype)
    for some in torch.split(q, most, dim=2):
        scores = some @ k.mT / sqrt(width // heads)
        received += scores.softmax(dim=-1).sum(dim=(1, 2))
    return received / (heads * tokens)


def patch_attention(
    queries: Tensor, keys: Tensor, heads: int, class_token: bool, group: int = 1
) -> Tensor:
    """Importance of each patch [B, N]: attention of the class token or, without one, received.

    Of features that are made of `group` patches each, the mean of theirs: keys are [B, N·group, C].
    """
    if heads < 1 or keys.shape[-1] % heads:
        raise ReducerError(f"`heads` must divide the width of the keys: {heads}, {keys.shape[-1]}")
    attention = (class_attention if class_token else received_attention)(queries, keys, heads)
    return attention if group == 1 else attention.view(len(attention), -1, group).mean(dim=2)


def mean_of_groups(rows: Tensor, group: int) -> Tensor:
    """[B, N·group, C] → [B, N, C]."""
    return rows if group == 1 else rows.view(len(rows), -1, group, rows.shape[-1]).mean(dim=2)


def ranking_dtype(tensor: Tensor) -> torch.dtype:
    """What ranks and weights are computed in: fp32, or fp64 where the input is."""
    return torch.promote_types(tensor.dtype, torch.float32)


def ranked(scores: Tensor) -> Tensor:
    """Indices along the last dimension, greatest first; ties by lower index, NaN last."""
    return torch.sort(_comparable(scores), dim=-1, descending=True, stable=True).indices


def strongest(scores: Tensor, count: int) -> Tensor:
    """The first `count` of `ranked(scores)`, without sorting the rest.

    fp32 numbers order as their bits do, read as integers of sign and magnitude. With the position
    appended no two are equal, and which of them are first no longer depends on the kernel.
    """
    if scores.dtype != torch.float32:
        return ranked(scores)[..., :count]
    bits = (_comparable(scores) + 0.0).view(torch.int32)  # no −0
    ascending = bits ^ (bits >> 31 & 0x7FFFFFFF)
    position = torch.arange(scores.shape[-1], device=bits.device)
    return ((ascending.long() << 32) - position).topk(count).indices


def _comparable(scores: Tensor) -> Tensor:
    """NaN as the least of all."""
    limits = {"nan": -torch.inf, "posinf": torch.inf, "neginf": -torch.inf}
    return scores.detach().nan_to_num(**limits)


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
    first = torch.arange(0, len(indices) * patches, patches, device=indices.device)
    return indices + first.view(-1, *[1] * (indices.ndim - 1))


def check_features(
    features: Tensor, *others: Tensor | None, class_token: bool = True, group: int = 1
) -> None:
    """Raise ReducerError unless all are [B, 1 + N, C] of one shape with N ≥ 1.

    [B, N, C] where there is no class token; of others `group` times as many.
    """
    if features.ndim != 3 or features.shape[1] < 1 + class_token or not features.shape[0]:
        shape = "1 + patches, width], class token first" if class_token else "patches, width]"
        raise ReducerError(f"features must be [batch, {shape}; got {tuple(features.shape)}")
    for other in others:
        if other is None:
            raise ReducerError("this reducer ranks by attention: give `queries` and `keys`")
        if other.shape[:2] != (features.shape[0], features.shape[1] * group):
            raise ReducerError(
                f"queries and keys must cover the same tokens as features: "
                f"{tuple(other.shape)} against {tuple(features.shape)}"
            )


def check_attention(
    features: Tensor,
    queries: Tensor | None,
    keys: Tensor | None,
    class_token: bool = True,
    group: int = 1,
) -> tuple[Tensor, Tensor]:
    """Queries and keys, or ReducerError unless they are there and fit to the features."""
    check_features(features, queries, keys, class_token=class_token, group=group)
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
