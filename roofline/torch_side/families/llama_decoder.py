"""Llama's decoder in `transformers`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from roofline.torch_side.families.base import Decoder, OpOwners

OWNERS = OpOwners(
    decoder=("LlamaModel",),
    functions=(("transformers.models.llama.modeling_llama", "apply_rotary_pos_emb"),),
)
"""Whose calls are which op, in Llama's decoder and in the towers and connectors around it."""


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
