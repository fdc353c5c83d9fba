"""Vision towers taken apart: what a family says of one, and how a block of it is run in pieces.

Linear and LayerNorm modules are always called as modules, so that hooks, adapters and quantized
weights work. Shapes: B images, T tokens, C channels, H heads of e = C / H channels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class WholeBlock(ABC):
    """A pre-norm ViT block that is run by its own `forward`, and watched.

    Its parts are looked up when they are asked for: an adapter may have replaced them since.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    @abstractmethod
    def __call__(self, hidden: Tensor, mask: Tensor | None = None) -> Tensor:
        """The block's own `forward`: [B, T, C] → [B, T, C].

        mask: added to the logits, [B, 1, 1, T].
        """

    @abstractmethod
    def norm1(self, hidden: Tensor) -> Tensor:
        """The norm before the attention."""

    @property
    @abstractmethod
    def watched(self) -> tuple[nn.Module, nn.Module]:
        """What yields the queries and keys that attention multiplies: [B, T, C]."""

    @abstractmethod
    def query(self, normed: Tensor) -> Tensor:
        """Queries of what `norm1` has normed: [B, T, C]."""

    @abstractmethod
    def key(self, normed: Tensor) -> Tensor:
        """Likewise keys."""


class TowerBlock(WholeBlock):
    """One that can be run in pieces: x + out(attention(norm1(x))), then x + mlp(norm2(x))."""

    @property
    @abstractmethod
    def projections(self) -> tuple[nn.Module, nn.Module, nn.Module]:
        """Of queries, keys and values: [B, T, C] → [B, T, C] each, biases included."""

    @property
    def watched(self) -> tuple[nn.Module, nn.Module]:
        query, key, _ = self.projections
        return query, key

    def query(self, normed: Tensor) -> Tensor:
        queries: Tensor = self.projections[0](normed)
        return queries

    def key(self, normed: Tensor) -> Tensor:
        keys: Tensor = self.projections[1](normed)
        return keys

    @property
    @abstractmethod
    def out(self) -> nn.Module:
        """The projection behind the attention."""

    @abstractmethod
    def norm2(self, hidden: Tensor) -> Tensor:
        """The LayerNorm before the MLP."""

    @abstractmethod
    def mlp(self, hidden: Tensor) -> Tensor:
        """Both matrices and what is between them."""

    @property
    @abstractmethod
    def head_size(self) -> int:
        """Channels of a head: e."""

    @property
    @abstractmethod
    def scale(self) -> float:
        """What the logits are multiplied by."""

    @property
    @abstractmethod
    def eager(self) -> bool:
        """Whether the model's configuration asks for attention as two matmuls."""


class Tower(ABC):
    """A ViT whose hidden states become visual features."""

    module: nn.Module

    @property
    @abstractmethod
    def class_token(self) -> bool:
        """Whether token 0 is one."""

    @property
    @abstractmethod
    def tokens(self) -> int:
        """Tokens of one image in the blocks: T."""

    @property
    @abstractmethod
    def config(self) -> Any:
        """Of transformers."""

    @property
    def width(self) -> int:
        """C."""
        return int(self.config.hidden_size)

    @property
    def heads(self) -> int:
        """H."""
        return int(self.config.num_attention_heads)

    @property
    @abstractmethod
    def image_size(self) -> int:
        """Pixels of an image's side."""

    @property
    @abstractmethod
    def blocks(self) -> int:
        """How many there are."""

    @abstractmethod
    def block(self, index: int) -> WholeBlock:
        """One of them, counted from 0."""

    @property
    @abstractmethod
    def embeddings(self) -> nn.Module:
        """What makes tokens of pixels."""

    @abstractmethod
    def embed(self, pixels: Tensor) -> Tensor:
        """What the first block sees of [B, 3, height, width]: [B, T, C]."""

    @property
    def patches(self) -> int:
        """Patches of one image."""
        return self.tokens - self.class_token


@dataclass(frozen=True)
class Views:
    """Views of one shape, B of them, as a tower leaves them."""

    features: Tensor
    """Output of the last block that ran: [B, T, C], class token first where there is one."""
    queries: Tensor | None = None
    """Of the block that was watched: [B, T, C], or [B, 1, C], the class token's, for the first
    block not run."""
    keys: Tensor | None = None
    """Likewise: [B, T, C]."""
    taps: tuple[Tensor, ...] = ()
    """What earlier blocks add to tokens in the LLM's first layers (DeepStack): [B, N, d] each."""

    def view(self, number: int) -> Views:
        """One of them."""
        one = slice(number, number + 1)
        queries, keys = (rows if rows is None else rows[one] for rows in (self.queries, self.keys))
        return Views(self.features[one], queries, keys, tuple(tap[one] for tap in self.taps))

    def only(self, patches: Tensor, class_token: bool) -> Views:
        """As if there were no patches but these [n]."""
        rows = patches + class_token
        if class_token:
            rows = torch.cat([rows.new_zeros(1), rows])

        def of(given: Tensor | None) -> Tensor | None:
            whole = given is None or given.shape[1] == 1
            return given if given is None or whole else given.index_select(1, rows)

        features = self.features.index_select(1, rows)
        return Views(features, of(self.queries), of(self.keys), self.taps)


class NativeTower(ABC):
    """A ViT that takes pictures at their own shape, as patches one after the other."""

    module: nn.Module
    class_token = False

    @property
    @abstractmethod
    def heads(self) -> int:
        """H."""

    @property
    @abstractmethod
    def blocks(self) -> int:
        """How many there are."""

    @abstractmethod
    def encode(self, pixels: Tensor, grids: Tensor, *, attention: bool) -> list[Views]:
        """All blocks over the patches [patches, values] of pictures whose `grids` [pictures, 3] are
        frames, rows and columns of patches; one entry a picture, one view a frame.

        Features are patches that become one token, side by side: [frames, N, merged·C]. attention:
        whether queries and keys of the last block are wanted: rotated, in the order of the tokens
        that patches become part of, [frames, N·merged, C].
        """


def queries_and_keys(tower: Tower, hidden: Tensor, block: int) -> tuple[Tensor, Tensor]:
    """norm1 and the projections of a block that does not run, for its input [B, T, C].

    Queries of the class token alone, [B, 1, C], where there is one; keys [B, T, C].
    """
    layer = tower.block(block)
    normed = layer.norm1(hidden)
    return layer.query(normed[:, :1] if tower.class_token else normed), layer.key(normed)


def split_heads(layer: TowerBlock, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values of a block's input [B, T, C], after norm1: [B, H, T, e] each."""
    normed = layer.norm1(hidden)
    query, key, value = (
        projection(normed).unflatten(-1, (-1, layer.head_size)).transpose(1, 2)
        for projection in layer.projections
    )
    return query, key, value


def attend(
    layer: TowerBlock, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None
) -> Tensor:
    """Attention and the projection behind it: query [B, H, Q, e], key and value [B, H, T, e] →
    [B, Q, C].

    bias: [B, T], added to all logits of a key. Two matmuls where the model's configuration says
    "eager", torch's fused kernel otherwise: 4·Q·T·C FLOPs an image either way.
    """
    if layer.eager:
        mixed = probabilities(layer, query, key, bias).to(query.dtype) @ value
    else:
        mask = None if bias is None else bias[:, None, None].to(query.dtype)
        mixed = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, scale=layer.scale
        )
    return project_out(layer, mixed)


def probabilities(
    layer: TowerBlock, query: Tensor, key: Tensor, bias: Tensor | None = None
) -> Tensor:
    """Softmax of the logits: [B, H, Q, T], fp32 (or more precise, where the model is).

    2·Q·T·C FLOPs an image.
    """
    logits: Tensor = query @ key.transpose(-1, -2) * layer.scale
    if bias is not None:
        logits = logits + bias[:, None, None].to(logits.dtype)
    precise = torch.promote_types(logits.dtype, torch.float32)
    return functional.softmax(logits, dim=-1, dtype=precise)


def project_out(layer: TowerBlock, mixed: Tensor) -> Tensor:
    """The projection behind the attention, over all heads: [B, H, Q, e] → [B, Q, C]."""
    output: Tensor = layer.out(mixed.transpose(1, 2).flatten(2))
    return output


def feed_forward(layer: TowerBlock, hidden: Tensor) -> Tensor:
    """A block's second half, residual included: [B, T, C]."""
    return hidden + layer.mlp(layer.norm2(hidden))
