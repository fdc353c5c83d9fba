"""Language models: decoder-only transformers."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Literal, NamedTuple, TypeAlias

from msgspec import Meta

from roofline.specs.models.kinds import register_kind
from roofline.specs.sourced import Epsilon, Name, Positive, PositiveInt, SmallInt, Spec, Width

HiddenAct = Literal["silu", "gelu", "gelu_tanh", "quick_gelu", "relu", "relu2"]
"""x·σ(x); x·Φ(x); the same with Φ by tanh (Hendrycks & Gimpel 2016); x·σ(1.702·x); max(0, x), and
its square."""
NormFunction = Literal["rms_norm", "layer_norm"]
LayerCount = Annotated[int, Meta(ge=0, le=10**4)]
_Share = Annotated[float, Meta(ge=0, le=1)]


class LinearShape(NamedTuple):
    """A weight matrix: `name` is that of the Hugging Face module."""

    name: str
    in_features: int
    out_features: int


class QueryKeyNorm(Spec, frozen=True):
    """Norms of queries and keys before they are rotated."""

    over: Literal["head", "width"] = "head"
    """Whether each head is normalised by itself, or all of them together."""
    weights: Literal["shared", "per_head", "none"] = "shared"
    """One vector for all heads of a norm over each, or as many as there are heads."""
    function: NormFunction = "rms_norm"
    bias: bool = False


class LatentAttention(Spec, frozen=True):
    """Multi-head latent attention (DeepSeek-V2, arXiv:2405.04434): keys and values of all heads are
    made of one latent vector a token, which the cache holds in their stead.
    """

    kv_lora_rank: Width
    """Width of that vector."""
    qk_nope_head_dim: Width
    """Of a head, what is not rotated."""
    qk_rope_head_dim: Width
    """Of a head, what is; of keys, one for all heads."""
    v_head_dim: Width
    q_lora_rank: Width | None = None
    """Width of the vector that queries are made of; left out, they come from the hidden state."""


class ExpertMixture(Spec, frozen=True):
    """MLPs of which a token goes through a few (mixture of experts)."""

    num_experts: SmallInt
    num_experts_per_tok: SmallInt
    intermediate_size: Width
    """Of one expert."""
    shared_intermediate_size: Width | None = None
    """Of all experts together that every token goes through; left out, there are none."""
    shared_gate: bool = False
    """Whether a token weighs what the shared experts give."""
    router_bias: bool = False
    expert_bias: bool = False
    first_dense_layers: LayerCount = 0
    """As many layers have one MLP of the model's own `intermediate_size`."""
    every: SmallInt = 1
    """Of the others, each n-th layer of the model has experts."""

    def __post_init__(self) -> None:
        if self.num_experts_per_tok > self.num_experts:
            raise ValueError("`num_experts_per_tok` must not be above `num_experts`")

    def has(self, layer: int) -> bool:
        """Whether the layer of that index, from 0, has experts."""
        return layer >= self.first_dense_layers and (layer + 1) % self.every == 0


class LayerKind(NamedTuple):
    """What tells layers of one model apart."""

    window: int | None
    """Keys that a query sees at most; None where it sees all."""
    rotary: bool
    """Whether queries and keys are rotated."""
    experts: bool
    """Whether its MLP is a mixture of experts."""


Scaled: TypeAlias = Literal["embeddings", "residuals", "logits"]


class LanguageModel(Spec, frozen=True, tag_field="kind", tag="language-model"):
    """A decoder-only transformer; as it stands of the Llama family: RMS norms before attention and
    MLP, rotary positions, a gated MLP.
    """

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
    lm_head_bias: bool = False
    tie_word_embeddings: bool = False
    norm: NormFunction = "rms_norm"
    norm_weight: bool = True
    norm_bias: bool = False
    rms_norm_eps: Epsilon = 1e-5
    block_norms: Literal["before", "after", "both"] = "before"
    """Where attention and MLP have norms: of what they read, of what they add, or of both."""
    parallel_norms: Literal[1, 2] | None = None
    """Left out: the MLP reads what attention has added. Else both read the same, through one norm
    or through one of their own each."""
    mlp: Literal["gated", "plain"] = "gated"
    """Three matrices, act(x·G) ∘ (x·U)·D, or two, act(x·U)·D."""
    hidden_act: HiddenAct = "silu"
    qk_norm: QueryKeyNorm | None = None
    positions: Literal["rotary", "learned", "none"] = "rotary"
    partial_rotary_factor: _Share = 1.0
    """Of a head's width that is rotated."""
    rotary_pattern: tuple[bool, ...] = (True,)
    """Whether a layer rotates, over and over from the first layer to the last."""
    position_rows: PositiveInt | None = None
    """Of the table of learned positions."""
    rope_theta: Positive = 10000.0
    max_position_embeddings: PositiveInt | None = None
    sliding_window: PositiveInt | None = None
    """Keys that a query sees at most, itself included, in layers that have a window."""
    attention_pattern: tuple[Literal["full", "sliding"], ...] = ("sliding",)
    """Which layers have the window, if there is one, over and over from the first to the last."""
    attention_sinks: bool = False
    """Whether each head has a logit of its own that no key belongs to."""
    attn_logit_softcapping: Positive | None = None
    """c of c·tanh(x / c), on the logits of attention."""
    final_logit_softcapping: Positive | None = None
    """The same on those of the lm_head."""
    scaled: tuple[Scaled, ...] = ()
    """What is multiplied by a constant."""
    moe: ExpertMixture | None = None
    mla: LatentAttention | None = None
    aliases: tuple[str, ...] = ()
    unsure: tuple[str, ...] = ()
    """Fields of its config that no source vouches for, each with why it is taken."""
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
        if (self.positions == "learned") != (self.position_rows is not None):
            raise ValueError("`position_rows` goes with `positions: learned`, and only with it")
        if not self.attention_pattern or not self.rotary_pattern:
            raise ValueError("`attention_pattern` and `rotary_pattern` need a layer each")
        if self.parallel_norms and self.block_norms != "before":
            raise ValueError("`parallel_norms` goes with `block_norms: before` only")

    @property
    def kv_heads(self) -> int:
        return self.num_key_value_heads or self.num_attention_heads

    @property
    def head_size(self) -> int:
        """Width of a query, and of a key."""
        if self.mla is not None:
            return self.mla.qk_nope_head_dim + self.mla.qk_rope_head_dim
        return self.head_dim or self.hidden_size // self.num_attention_heads

    @property
    def rotary_size(self) -> int:
        """Of a head's width, what is rotated."""
        if self.mla is not None:
            return self.mla.qk_rope_head_dim
        return int(self.head_size * self.partial_rotary_factor)

    @property
    def attention_width(self) -> int:
        """Width of the queries, all heads together."""
        return self.num_attention_heads * self.head_size

    @property
    def kv_width(self) -> int:
        """Width of the keys (and of the values), all KV heads together."""
        return self.kv_heads * self.head_size

    @property
    def output_bias(self) -> bool:
        """Whether o_proj has a bias."""
        given = self.attention_output_bias
        return self.attention_bias if given is None else given

    @property
    def cached_width(self) -> int:
        """Elements of a token in the KV cache of a layer."""
        if self.mla is not None:
            return self.mla.kv_lora_rank + self.mla.qk_rope_head_dim
        return 2 * self.kv_width

    def layer_kind(self, layer: int) -> LayerKind:
        """What the layer of that index, from 0, is like."""
        pattern, rotates = self.attention_pattern, self.rotary_pattern
        return LayerKind(
            self.sliding_window if pattern[layer % len(pattern)] == "sliding" else None,
            self.positions == "rotary" and rotates[layer % len(rotates)],
            self.moe is not None and self.moe.has(layer),
        )

    def layer_kinds(self, first: int, layers: int) -> dict[LayerKind, int]:
        """How many layers of each kind there are among those from `first` on."""
        return dict(Counter(map(self.layer_kind, range(first, first + layers))))

    @property
    def unlike_llama(self) -> tuple[str, ...]:
        """Fields in which it is another shape than Llama's, for what knows that alone."""
        return tuple(name for name, value in _LLAMA.items() if getattr(self, name) != value)


_LLAMA = {
    "lm_head_bias": False,
    "norm": "rms_norm",
    "norm_weight": True,
    "norm_bias": False,
    "block_norms": "before",
    "parallel_norms": None,
    "mlp": "gated",
    "hidden_act": "silu",
    "qk_norm": None,
    "positions": "rotary",
    "partial_rotary_factor": 1.0,
    "rotary_pattern": (True,),
    "sliding_window": None,
    "attention_sinks": False,
    "attn_logit_softcapping": None,
    "final_logit_softcapping": None,
    "scaled": (),
    "moe": None,
    "mla": None,
}

register_kind(LanguageModel)
