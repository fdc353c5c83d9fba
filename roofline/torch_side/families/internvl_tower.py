"""InternViT in `transformers`, as InternVL has it."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from roofline.torch_side.families.tower import Tower, WholeBlock


class InternVlBlock(WholeBlock):
    """An `InternVLVisionLayer`: each branch is scaled before it is added, queries and keys may be
    normalised.
    """

    module: Any

    def __call__(self, hidden: Tensor, mask: Tensor | None = None) -> Tensor:
        output: Tensor = self.module(hidden)
        return output

    def norm1(self, hidden: Tensor) -> Tensor:
        normed: Tensor = self.module.layernorm_before(hidden)
        return normed

    @property
    def watched(self) -> tuple[nn.Module, nn.Module]:
        attention = self.module.attention
        return attention.q_norm, attention.k_norm

    def query(self, normed: Tensor) -> Tensor:
        attention = self.module.attention
        queries: Tensor = attention.q_norm(attention.q_proj(normed))
        return queries

    def key(self, normed: Tensor) -> Tensor:
        attention = self.module.attention
        keys: Tensor = attention.k_norm(attention.k_proj(normed))
        return keys


class InternVlTower(Tower):
    """An `InternVLVisionModel`: tiles of one size."""

    module: Any

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    @property
    def class_token(self) -> bool:
        return True

    @property
    def tokens(self) -> int:
        return int(self.module.embeddings.patch_embeddings.num_patches) + 1

    @property
    def config(self) -> Any:
        return self.module.config

    @property
    def image_size(self) -> int:
        return int(self.module.embeddings.image_size[0])

    @property
    def blocks(self) -> int:
        return len(self.module.encoder.layer)

    def block(self, index: int) -> InternVlBlock:
        return InternVlBlock(self.module.encoder.layer[index])

    @property
    def embeddings(self) -> nn.Module:
        embeddings: nn.Module = self.module.embeddings
        return embeddings

    def embed(self, pixels: Tensor) -> Tensor:
        found = self.module.embeddings(pixels)
        hidden: Tensor = found[0] if isinstance(found, tuple) else found
        return hidden
