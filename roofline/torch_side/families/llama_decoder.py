"""Llama's decoder in `transformers`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from roofline.errors import SpecError
from roofline.specs.catalog import where
from roofline.specs.models import LanguageModel
from roofline.torch_side.families.base import Decoder, OpOwners

OWNERS = OpOwners(
    decoder=("LlamaModel",),
    functions=(("transformers.models.llama.modeling_llama", "apply_rotary_pos_emb"),),
)
"""Whose calls are which op, in Llama's decoder and in the towers and connectors around it."""


def decoder_config(spec: LanguageModel, *, vocab_size: int, pad_token_id: int) -> Any:
    """Llama's config. Raises SpecError for what it cannot describe."""
    import transformers

    if spec.unlike_llama:
        fault = "a decoder of another shape than Llama's is not built"
        raise SpecError(where(spec), [(name, fault) for name in spec.unlike_llama])
    if spec.output_bias != spec.attention_bias:
        fault = "Llama in transformers has one flag for the biases of q, k, v and o"
        raise SpecError(where(spec), [("attention_output_bias", fault)])
    return transformers.LlamaConfig(
        hidden_size=spec.hidden_size,
        intermediate_size=spec.intermediate_size,
        num_hidden_layers=spec.num_hidden_layers,
        num_attention_heads=spec.num_attention_heads,
        num_key_value_heads=spec.kv_heads,
        head_dim=spec.head_size,
        vocab_size=vocab_size,
        max_position_embeddings=spec.max_position_embeddings or 4096,
        rms_norm_eps=spec.rms_norm_eps,
        rope_parameters={"rope_type": "default", "rope_theta": spec.rope_theta},
        attention_bias=spec.attention_bias,
        mlp_bias=spec.mlp_bias,
        tie_word_embeddings=spec.tie_word_embeddings,
        pad_token_id=pad_token_id,
    )


class LlamaDecoder(Decoder):
    """A `LlamaModel`, or a decoder that names its parts as it does."""

    module: Any

    @property
    def layers(self) -> nn.ModuleList:
        layers: nn.ModuleList = self.module.layers
        return layers

    @property
    def norm(self) -> nn.Module:
        norm: nn.Module = self.module.norm
        return norm

    def query_and_key(self, layer: Any) -> tuple[nn.Module, nn.Module]:
        attention = layer.self_attn
        if hasattr(attention, "q_norm"):
            return attention.q_norm, attention.k_norm
        return attention.q_proj, attention.k_proj

    @property
    def sections(self) -> tuple[int, ...]:
        rotation = getattr(self.module.config, "rope_parameters", None) or {}
        return tuple(rotation.get("mrope_section", ()))

    def unranked(self, layer: Any) -> str:
        if getattr(layer.self_attn, "attn_logit_softcapping", None) is not None:
            return "the LLM caps its logits"
        return ""


def rms_norm(width: int) -> nn.Module:
    """Llama's norm over the last dimension: as eager transformers computes it."""
    from transformers.models.llama.modeling_llama import LlamaRMSNorm

    norm: nn.Module = LlamaRMSNorm(width)
    return norm


def rotation() -> Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Llama's rotation of queries and keys [B, H, T, e] by cosines and sines [B, T, e]."""
    from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

    function: Callable[..., tuple[Tensor, Tensor]] = apply_rotary_pos_emb
    return function
