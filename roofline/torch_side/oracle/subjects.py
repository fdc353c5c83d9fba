"""What is traced: Hugging Face modules of a spec's shape, on the meta device, in fp16."""

from __future__ import annotations

import functools
from typing import Any

import torch
from msgspec.structs import replace
from torch import nn
from transformers import CLIPVisionModel, DynamicCache, LlamaForCausalLM
from transformers.models.llava.modeling_llava import LlavaMultiModalProjector

from roofline.model.architectures import AttentionKind
from roofline.specs.models import LanguageModel, Lmm, VisionEncoder
from roofline.torch_side.load import config_of
from roofline.torch_side.oracle.trace import Trace, record

IMPLEMENTATIONS = {"flash": "sdpa", "eager": "eager"}
"""Hugging Face's name of each kind of attention: meta tensors know no flash kernel."""


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
        logits: torch.Tensor = output.logits
        return logits


class Features(nn.Module):
    """A vision tower up to its last block: what lies behind it yields no visual features."""

    def __init__(self, tower: CLIPVisionModel) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        embedded = self.tower.pre_layrnorm(self.tower.embeddings(pixels))
        hidden: torch.Tensor = self.tower.encoder(inputs_embeds=embedded).last_hidden_state
        return hidden


class Projection(nn.Module):
    """A connector, fed as LLaVA does it: by a view without the class token."""

    def __init__(self, connector: LlavaMultiModalProjector) -> None:
        super().__init__()
        self.connector = connector

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        projected: torch.Tensor = self.connector(hidden[:, 1:])
        return projected


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
    pixels = _empty(images, spec.num_channels, side, side)
    return record(_tower(spec, attention, blocks), pixels)


def trace_connector(
    vision: VisionEncoder, llm: LanguageModel, *, samples: int, tokens: int
) -> Trace:
    """Trace LLaVA-1.5's connector on `tokens` visual features of each sample."""
    config = _config(vision=vision, llm=llm)
    with torch.device("meta"):
        connector = LlavaMultiModalProjector(config).half()
    hidden = _empty(samples, 1 + tokens, vision.hidden_size)
    return record(Projection(connector), hidden)


@functools.lru_cache(maxsize=4)
def _llm(spec: LanguageModel, attention: AttentionKind) -> Prompted:
    config = _config(llm=spec).text_config
    return Prompted(_on_meta(LlamaForCausalLM, config, attention))


@functools.lru_cache(maxsize=4)
def _tower(spec: VisionEncoder, attention: AttentionKind, blocks: int) -> Features:
    config = _config(vision=replace(spec, num_hidden_layers=blocks)).vision_config
    return Features(_on_meta(CLIPVisionModel, config, attention))


def _on_meta(model_class: Any, config: Any, attention: AttentionKind) -> Any:
    implementation = IMPLEMENTATIONS[attention]
    with torch.device("meta"):
        model = model_class._from_config(
            config, attn_implementation=implementation, dtype=torch.float16
        )
    return model.eval()


def _config(
    *, vision: str | VisionEncoder = "clip-vit-l-336", llm: str | LanguageModel = "vicuna-7b"
) -> Any:
    """Hugging Face's config of an LMM with these parts; those not given do not matter."""
    return config_of(
        Lmm(
            name="traced",
            title="",
            source="",
            vision=vision,
            connector="llava-connector",
            llm=llm,
            pad_token_id=1,
        )
    )


def _empty(*shape: int) -> torch.Tensor:
    return torch.empty(shape, dtype=torch.float16, device="meta")
