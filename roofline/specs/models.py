"""Models as shapes. Field names are those of Hugging Face configs; all are counts of elements.

Figures of a file share one `source`: they come from one config.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from roofline.specs.sourced import Positive, PositiveInt, Spec


class LinearShape(NamedTuple):
    """A weight matrix: `name` is that of the Hugging Face module."""

    name: str
    in_features: int
    out_features: int


class LanguageModel(Spec, frozen=True, tag_field="kind", tag="language-model"):
    """A decoder-only transformer: RMSNorm, rotary positions, gated MLP (the Llama family)."""

    name: str
    title: str
    source: str
    hidden_size: PositiveInt
    num_hidden_layers: PositiveInt
    num_attention_heads: PositiveInt
    intermediate_size: PositiveInt
    vocab_size: PositiveInt
    num_key_value_heads: PositiveInt | None = None
    """Left out: as many as there are attention heads."""
    head_dim: PositiveInt | None = None
    """Left out: hidden_size / num_attention_heads."""
    attention_bias: bool = False
    mlp_bias: bool = False
    tie_word_embeddings: bool = False
    rope_theta: Positive = 10000.0
    rms_norm_eps: Positive = 1e-5
    max_position_embeddings: PositiveInt | None = None
    aliases: tuple[str, ...] = ()
    used_in: str | None = None
    """The LMM whose visual tokens this model is fed with; it tells what an unreduced prompt is."""

    def __post_init__(self) -> None:
        if self.head_dim is None and self.hidden_size % self.num_attention_heads:
            raise ValueError(
                "`hidden_size` is no multiple of `num_attention_heads`: give `head_dim`"
            )
        if self.num_attention_heads % self.kv_heads:
            raise ValueError("`num_attention_heads` must be a multiple of `num_key_value_heads`")

    @property
    def kv_heads(self) -> int:
        return self.num_key_value_heads or self.num_attention_heads

    @property
    def head_size(self) -> int:
        return self.head_dim or self.hidden_size // self.num_attention_heads

    @property
    def attention_width(self) -> int:
        """Width of the queries, all heads together."""
        return self.num_attention_heads * self.head_size

    @property
    def kv_width(self) -> int:
        """Width of the keys (and of the values), all KV heads together."""
        return self.kv_heads * self.head_size

    @property
    def layer_linears(self) -> tuple[LinearShape, ...]:
        """The weight matrices of one decoder layer, in execution order."""
        d, f = self.hidden_size, self.intermediate_size
        return (
            LinearShape("q_proj", d, self.attention_width),
            LinearShape("k_proj", d, self.kv_width),
            LinearShape("v_proj", d, self.kv_width),
            LinearShape("o_proj", self.attention_width, d),
            LinearShape("gate_proj", d, f),
            LinearShape("up_proj", d, f),
            LinearShape("down_proj", f, d),
        )

    def has_bias(self, linear: str) -> bool:
        mlp = linear in ("gate_proj", "up_proj", "down_proj")
        return self.mlp_bias if mlp else self.attention_bias


class VisionEncoder(Spec, frozen=True, tag_field="kind", tag="vision-encoder"):
    """A pre-norm ViT (CLIP) whose hidden states after one of its blocks are the visual features."""

    name: str
    title: str
    source: str
    hidden_size: PositiveInt
    num_hidden_layers: PositiveInt
    num_attention_heads: PositiveInt
    intermediate_size: PositiveInt
    image_size_px: PositiveInt
    patch_size_px: PositiveInt
    num_channels: PositiveInt = 3
    class_token: bool = True
    layer_norm_eps: Positive = 1e-5
    pre_norm: bool = True
    """A LayerNorm between the embeddings and the first block, as in CLIP."""
    aliases: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.image_size_px % self.patch_size_px:
            raise ValueError("`image_size_px` must be a multiple of `patch_size_px`")
        if self.hidden_size % self.num_attention_heads:
            raise ValueError("`hidden_size` must be a multiple of `num_attention_heads`")

    @property
    def patches(self) -> int:
        """Patches of one image."""
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


class MlpConnector(Spec, frozen=True, tag_field="kind", tag="connector"):
    """An MLP from the encoder's width to the LLM's; its sizes are those of its neighbours."""

    name: str
    title: str
    source: str
    num_linear_layers: PositiveInt = 2
    bias: bool = True
    aliases: tuple[str, ...] = ()


class Lmm(Spec, frozen=True, tag_field="kind", tag="lmm"):
    """Vision encoder → connector → LLM, each the name of a spec or written out in place."""

    name: str
    title: str
    source: str
    vision: str | VisionEncoder
    connector: str | MlpConnector
    llm: str | LanguageModel
    vision_feature_layer: int = -2
    """Index into the hidden states (0 is the embeddings' output) that become visual features."""
    vision_feature_select_strategy: Literal["default", "full"] = "default"
    """`default` drops the class token, `full` keeps it."""
    llm_vocab_size: PositiveInt | None = None
    """Rows of the LLM's embedding in this LMM, where its checkpoint pads or extends them."""
    vision_towers: PositiveInt = 1
    """Copies of the encoder that are loaded, for images and videos say; a prompt runs one."""
    images: PositiveInt = 1
    """Images or frames in one sample of the unreduced prompt."""
    architecture: Literal["llava", "video-llava"] = "llava"
    """Hugging Face class that builds it."""
    image_token_index: PositiveInt = 32000
    """Placeholder id of one visual token of an image."""
    video_token_index: PositiveInt = 32001
    """The same for videos, where the architecture has them."""
    pad_token_id: PositiveInt = 32001
    aliases: tuple[str, ...] = ()


Model = LanguageModel | VisionEncoder | MlpConnector | Lmm
