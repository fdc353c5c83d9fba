"""Language models: decoder-only transformers."""

from __future__ import annotations

from typing import NamedTuple

from roofline.specs.models.kinds import register_kind
from roofline.specs.sourced import Epsilon, Name, Positive, PositiveInt, SmallInt, Spec, Width


class LinearShape(NamedTuple):
    """A weight matrix: `name` is that of the Hugging Face module."""

    name: str
    in_features: int
    out_features: int


class LanguageModel(Spec, frozen=True, tag_field="kind", tag="language-model"):
    """A decoder-only transformer: RMSNorm, rotary positions, gated MLP (the Llama family)."""

    name: Name
    title: str
    source: str
    hidden_size: Width
    num_hidden_layers: SmallInt
    num_attention_heads: SmallInt
    intermediate_size: Width
    vocab_size: PositiveInt
    num_key_value_heads: SmallInt | None = None
    """Left out: as many as there are attention heads."""
    head_dim: Width | None = None
    """Left out: hidden_size / num_attention_heads."""
    attention_bias: bool = False
    """Whether q_proj, k_proj and v_proj have biases."""
    attention_output_bias: bool | None = None
    """Whether o_proj has one. Left out: as `attention_bias` says, whose one flag covers all four in
    Llama's config."""
    mlp_bias: bool = False
    tie_word_embeddings: bool = False
    rope_theta: Positive = 10000.0
    rms_norm_eps: Epsilon = 1e-5
    max_position_embeddings: PositiveInt | None = None
    aliases: tuple[str, ...] = ()
    used_in: str | PositiveInt | None = None
    """The LMM whose visual tokens this model is fed with, or how many those are of one sample: it
    tells what an unreduced prompt is."""

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
        """Whether the weight matrix of that name in `layer_linears` has a bias."""
        if linear in ("gate_proj", "up_proj", "down_proj"):
            return self.mlp_bias
        if linear == "o_proj" and self.attention_output_bias is not None:
            return self.attention_output_bias
        return self.attention_bias


register_kind(LanguageModel)
