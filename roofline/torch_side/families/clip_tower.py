"""CLIP's tower in `transformers`, and SigLIP's, whose parts have the same names."""

from __future__ import annotations

from typing import Any

from msgspec.structs import fields
from torch import Tensor, nn

from roofline.errors import SpecError
from roofline.specs.catalog import where
from roofline.specs.models import VisionEncoder
from roofline.torch_side.families.base import FamilyError
from roofline.torch_side.families.configs import tower_sizes
from roofline.torch_side.families.tower import Tower, TowerBlock


def tower_config(spec: VisionEncoder) -> Any:
    """CLIP's config, or SigLIP's where there is neither class token nor norm before the blocks.

    Raises SpecError for a tower that is laid out like neither.
    """
    import transformers

    sizes = tower_sizes(spec)
    _check_plain(spec)
    parts = (spec.class_token, spec.pre_norm, not spec.patch_bias)
    if all(parts):
        return transformers.CLIPVisionConfig(**sizes)
    if any(parts):
        fault = (
            "transformers has towers with class token, norm before the blocks and no bias of the "
            "patch embedding (CLIP), or the other way round (SigLIP)"
        )
        raise SpecError(where(spec), [("class_token, pre_norm, patch_bias", fault)])
    return transformers.SiglipVisionConfig(**sizes, vision_use_head=False)


def _check_plain(spec: VisionEncoder) -> None:
    """Raise SpecError for what neither CLIP's tower nor SigLIP's has."""
    fixed = (
        *("temporal_patch_size", "head_dim", "register_tokens", "mask_token", "positions"),
        *("position_rows", "norm", "pooling_head", "without_bias", "qk_norm", "layer_scale"),
        *("gated_mlp", "windows"),
    )
    defaults = {field.name: field.default for field in fields(spec)}
    other = [name for name in fixed if getattr(spec, name) != defaults[name]]
    if other:
        fault = "only towers laid out like CLIP's or SigLIP's are built: leave it out"
        raise SpecError(where(spec), [(name, fault) for name in other])


class ClipBlock(TowerBlock):
    """A `CLIPEncoderLayer` or a `SiglipEncoderLayer`."""

    module: Any

    def __call__(self, hidden: Tensor, mask: Tensor | None = None) -> Tensor:
        output: Tensor = self.module(hidden, mask)
        return output

    def norm1(self, hidden: Tensor) -> Tensor:
        normed: Tensor = self.module.layer_norm1(hidden)
        return normed

    @property
    def projections(self) -> tuple[nn.Module, nn.Module, nn.Module]:
        attention = self.module.self_attn
        return attention.q_proj, attention.k_proj, attention.v_proj

    @property
    def out(self) -> nn.Module:
        projection: nn.Module = self.module.self_attn.out_proj
        return projection

    def norm2(self, hidden: Tensor) -> Tensor:
        normed: Tensor = self.module.layer_norm2(hidden)
        return normed

    def mlp(self, hidden: Tensor) -> Tensor:
        output: Tensor = self.module.mlp(hidden)
        return output

    @property
    def head_size(self) -> int:
        return int(self.module.self_attn.head_dim)

    @property
    def scale(self) -> float:
        return float(self.module.self_attn.scale)

    @property
    def eager(self) -> bool:
        return bool(self.module.self_attn.config._attn_implementation == "eager")


class ClipTower(Tower):
    """A `CLIPVisionModel`, a `SiglipVisionModel`, or what holds one as its `vision_model`.

    Raises FamilyError for a module of another layout.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self._inner: Any = getattr(module, "vision_model", module)
        if not hasattr(getattr(self._inner, "embeddings", None), "num_positions"):
            raise FamilyError(
                f"{type(module).__name__} is not laid out like CLIP's or SigLIP's tower"
            )

    @property
    def class_token(self) -> bool:
        return hasattr(self._inner.embeddings, "class_embedding")

    @property
    def last_norm(self) -> nn.Module:
        """What normalises the output of the last block."""
        norm: nn.Module = self._inner.post_layernorm
        return norm

    @property
    def tokens(self) -> int:
        return int(self._inner.embeddings.num_positions)

    @property
    def config(self) -> Any:
        return self._inner.config

    @property
    def image_size(self) -> int:
        return int(self.config.image_size)

    @property
    def blocks(self) -> int:
        return int(self.config.num_hidden_layers)

    def block(self, index: int) -> ClipBlock:
        return ClipBlock(self._inner.encoder.layers[index])

    @property
    def embeddings(self) -> nn.Module:
        embeddings: nn.Module = self._inner.embeddings
        return embeddings

    def embed(self, pixels: Tensor) -> Tensor:
        hidden: Tensor = self._inner.embeddings(pixels)
        if hasattr(self._inner, "pre_layrnorm"):
            hidden = self._inner.pre_layrnorm(hidden)
        return hidden
