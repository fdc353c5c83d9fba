"""Vision encoders: ViTs that turn patches of an image into visual features."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from roofline.specs.models.kinds import register_kind
from roofline.specs.models.language import HiddenAct, LinearShape
from roofline.specs.sourced import Epsilon, Name, SmallInt, Spec, Width

Pixels = Annotated[int, Meta(ge=1, le=100_000)]
"""Of the side of a square."""


class VisionEncoder(Spec, frozen=True, tag_field="kind", tag="vision-encoder"):
    """A pre-norm ViT whose hidden states after one of its blocks are the visual features.

    As it stands that of CLIP. SigLIP's has neither `class_token` nor `pre_norm`, a `patch_bias`,
    and `gelu_tanh`.
    """

    name: Name
    title: str
    source: str
    hidden_size: Width
    num_hidden_layers: SmallInt
    num_attention_heads: SmallInt
    intermediate_size: Width
    image_size_px: Pixels
    """Side of the square image. What is left at its edges, where this is no multiple of
    `patch_size_px`, is in no patch."""
    patch_size_px: Pixels
    num_channels: SmallInt = 3
    class_token: bool = True
    layer_norm_eps: Epsilon = 1e-5
    pre_norm: bool = True
    """A LayerNorm between the embeddings and the first block, as in CLIP."""
    patch_bias: bool = False
    """Whether the patch embedding has a bias, as in SigLIP."""
    hidden_act: HiddenAct = "quick_gelu"
    """Between the two matrices of the MLP."""
    aliases: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.image_size_px < self.patch_size_px:
            raise ValueError("`image_size_px` must hold at least one patch of `patch_size_px`")
        if self.hidden_size % self.num_attention_heads:
            raise ValueError("`hidden_size` must be a multiple of `num_attention_heads`")

    @property
    def patches(self) -> int:
        """Whole patches of one image: (image // patch)²."""
        return (self.image_size_px // self.patch_size_px) ** 2

    @property
    def tokens(self) -> int:
        """Sequence length in the blocks: patches and, where there is one, the class token."""
        return self.patches + self.class_token

    @property
    def patch_width(self) -> int:
        """Pixel values in one patch, all channels."""
        return self.num_channels * self.patch_size_px**2

    @property
    def layer_linears(self) -> tuple[LinearShape, ...]:
        """The weight matrices of one block, in execution order; all have biases."""
        d, f = self.hidden_size, self.intermediate_size
        return (
            LinearShape("q_proj", d, d),
            LinearShape("k_proj", d, d),
            LinearShape("v_proj", d, d),
            LinearShape("out_proj", d, d),
            LinearShape("fc1", d, f),
            LinearShape("fc2", f, d),
        )


register_kind(VisionEncoder)
