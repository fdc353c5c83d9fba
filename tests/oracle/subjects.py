"""What is traced: Hugging Face modules of a spec's shape, on the meta device, in fp16."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import nn
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModel,
    DynamicCache,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
)
from transformers.models.llava.modeling_llava import LlavaMultiModalProjector

from roofline.costs.language import AttentionKind
from roofline.specs.models import LanguageModel, VisionEncoder

from .trace import Trace, record

_IMPLEMENTATION = {"flash": "sdpa", "eager": "eager"}


class Prompted(nn.Module):
    """An LLM whose prompt is visual rows, if any, followed by text."""

    def __init__(self, llm: LlamaForCausalLM) -> None:
        super().__init__()
        self.llm = llm

    def forward(
        self, text: torch.Tensor, visual: torch.Tensor, cache: DynamicCache
    ) -> torch.Tensor:
        prompt = self.llm.model.embed_tokens(text)
        if visual.shape[1]:
            prompt = torch.cat([visual, prompt], dim=1)
        output = self.llm(inputs_embeds=prompt, past_key_values=cache, logits_to_keep=1)
        return output.logits


class Features(nn.Module):
    """A vision tower up to its last block: what lies behind it yields no visual features."""

    def __init__(self, tower: CLIPVisionModel) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        embedded = self.tower.pre_layrnorm(self.tower.embeddings(pixels))
        return self.tower.encoder(inputs_embeds=embedded).last_hidden_state


class Projection(nn.Module):
    """A projector, fed as LLaVA does it: by a view without the class token."""

    def __init__(self, projector: LlavaMultiModalProjector) -> None:
        super().__init__()
        self.projector = projector

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.projector(hidden[:, 1:])


def trace_llm(
    spec: LanguageModel,
    attention: AttentionKind,
    *,
    batch: int,
    text: int,
    visual: int = 0,
    cached: int = 0,
) -> Trace:
    """Trace a prompt of `visual` rows and `text` tokens behind `cached` tokens in the KV cache."""
    cache = DynamicCache()
    if cached:
        past = _empty(batch, spec.kv_heads, cached, spec.head_size)
        for layer in range(spec.num_hidden_layers):
            cache.update(past, past, layer)
    ids = torch.empty(batch, text, dtype=torch.long, device="meta")
    rows = _empty(batch, visual, spec.hidden_size)
    return record(_llm(spec, attention), ids, rows, cache=cache)


def trace_vision(
    spec: VisionEncoder, attention: AttentionKind, *, blocks: int, images: int
) -> Trace:
    """Trace the first `blocks` blocks of a vision tower."""
    side = spec.image_size_px
    return record(_tower(spec, attention, blocks), _empty(images, spec.num_channels, side, side))


def trace_projector(vision: VisionEncoder, llm: LanguageModel, *, images: int) -> Trace:
    """Trace LLaVA-1.5's projector on the features of `images` images."""
    config = LlavaConfig(vision_config=_clip_config(vision), text_config=_llama_config(llm))
    with torch.device("meta"):
        projector = LlavaMultiModalProjector(config).half()
    return record(Projection(projector), _empty(images, vision.tokens, vision.hidden_size))


@functools.cache
def _llm(spec: LanguageModel, attention: AttentionKind) -> Prompted:
    config = _llama_config(spec, attn_implementation=_IMPLEMENTATION[attention])
    with torch.device("meta"):
        return Prompted(LlamaForCausalLM._from_config(config, dtype=torch.float16)).eval()


@functools.cache
def _tower(spec: VisionEncoder, attention: AttentionKind, blocks: int) -> Features:
    config = _clip_config(
        spec, num_hidden_layers=blocks, attn_implementation=_IMPLEMENTATION[attention]
    )
    with torch.device("meta"):
        return Features(CLIPVisionModel._from_config(config, dtype=torch.float16)).eval()


def _llama_config(spec: LanguageModel, **options: Any) -> LlamaConfig:
    return LlamaConfig(
        hidden_size=spec.hidden_size,
        num_hidden_layers=spec.num_hidden_layers,
        num_attention_heads=spec.num_attention_heads,
        num_key_value_heads=spec.kv_heads,
        head_dim=spec.head_size,
        intermediate_size=spec.intermediate_size,
        vocab_size=spec.vocab_size,
        attention_bias=spec.attention_bias,
        mlp_bias=spec.mlp_bias,
        **options,
    )


def _clip_config(spec: VisionEncoder, **options: Any) -> CLIPVisionConfig:
    return CLIPVisionConfig(
        hidden_size=spec.hidden_size,
        num_attention_heads=spec.num_attention_heads,
        intermediate_size=spec.intermediate_size,
        image_size=spec.image_size_px,
        patch_size=spec.patch_size_px,
        **options,
    )


def _empty(*shape: int) -> torch.Tensor:
    return torch.empty(shape, dtype=torch.float16, device="meta")
