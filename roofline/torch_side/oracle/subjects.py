"""What is traced: Hugging Face modules of a spec's shape, on the meta device, in fp16."""

from __future__ import annotations

import functools
from typing import Any

import torch
from msgspec.structs import replace
from torch import nn
from transformers import AutoModel, AutoModelForCausalLM, DynamicCache

from roofline.model.architectures import AttentionKind
from roofline.specs.models import DEFAULT_ARCHITECTURE, LanguageModel, Lmm, VisionEncoder
from roofline.torch_side.families import families
from roofline.torch_side.families.base import cache_keyword
from roofline.torch_side.families.tower import Tower
from roofline.torch_side.oracle.trace import Trace, record

IMPLEMENTATIONS = {"flash": "sdpa", "eager": "eager"}
"""Hugging Face's name of each kind of attention: meta tensors know no flash kernel."""


class Prompted(nn.Module):
    """An LLM whose prompt is visual rows, if any, followed by text."""

    def __init__(self, llm: Any) -> None:
        super().__init__()
        self.llm = llm

    def forward(
        self, text: torch.Tensor, visual: torch.Tensor, cache: DynamicCache
    ) -> torch.Tensor:
        prompt: torch.Tensor = self.llm.get_input_embeddings()(text)
        if visual.shape[1]:
            prompt = torch.cat([visual, prompt], dim=1)
        output = self.llm(
            inputs_embeds=prompt, logits_to_keep=1, **{cache_keyword(self.llm): cache}
        )
        logits: torch.Tensor = output.logits
        return logits


class Features(nn.Module):
    """A vision tower up to its last block: what lies behind it yields no visual features."""

    def __init__(self, tower: Tower) -> None:
        super().__init__()
        self.tower = tower.module
        self._taken_apart = tower

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        hidden = self._taken_apart.embed(pixels)
        for index in range(self._taken_apart.blocks):
            hidden = self._taken_apart.block(index)(hidden)
        return hidden


class Projection(nn.Module):
    """A connector, fed as LLaVA does it: by a view without the class token."""

    def __init__(self, connector: nn.Module) -> None:
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
    architecture: str = DEFAULT_ARCHITECTURE,
) -> Trace:
    """Trace a prompt of `visual` rows and `text` tokens behind `cached` tokens in the KV cache."""
    cache = DynamicCache()
    if cached:
        past = _empty(batch, spec.kv_heads, cached, spec.head_size)
        for layer in range(spec.num_hidden_layers):
            cache.update(past, past, layer)
    ids = torch.empty(batch, text, dtype=torch.long, device="meta")
    rows = _empty(batch, visual, spec.hidden_size)
    owners = families.find(architecture).owners
    return record(_llm(spec, attention, architecture), ids, rows, owners=owners, cache=cache)


def trace_vision(
    spec: VisionEncoder,
    attention: AttentionKind,
    *,
    blocks: int,
    images: int,
    architecture: str = DEFAULT_ARCHITECTURE,
) -> Trace:
    """Trace the first `blocks` blocks of a vision tower."""
    side = spec.image_size_px
    pixels = _empty(images, spec.num_channels, side, side)
    owners = families.find(architecture).owners
    return record(_tower(spec, attention, blocks, architecture), pixels, owners=owners)


def trace_connector(
    vision: VisionEncoder,
    llm: LanguageModel,
    *,
    samples: int,
    tokens: int,
    architecture: str = DEFAULT_ARCHITECTURE,
) -> Trace:
    """Trace a connector on `tokens` visual features of each sample."""
    family = families.find(architecture)
    with torch.device("meta"):
        connector = family.connector_class()(_config(architecture, vision=vision, llm=llm)).half()
    hidden = _empty(samples, 1 + tokens, vision.hidden_size)
    return record(Projection(connector), hidden, owners=family.owners)


@functools.lru_cache(maxsize=4)
def _llm(spec: LanguageModel, attention: AttentionKind, architecture: str) -> Prompted:
    config = _config(architecture, llm=spec).text_config
    return Prompted(_on_meta(AutoModelForCausalLM, config, attention))


@functools.lru_cache(maxsize=4)
def _tower(
    spec: VisionEncoder, attention: AttentionKind, blocks: int, architecture: str
) -> Features:
    config = _config(architecture, vision=replace(spec, num_hidden_layers=blocks)).vision_config
    return Features(families.find(architecture).tower(_on_meta(AutoModel, config, attention)))


def _on_meta(auto_class: Any, config: Any, attention: AttentionKind) -> Any:
    implementation = IMPLEMENTATIONS[attention]
    with torch.device("meta"):
        model = auto_class.from_config(
            config, attn_implementation=implementation, dtype=torch.float16
        )
    return model.eval()


def _config(
    architecture: str,
    *,
    vision: str | VisionEncoder = "clip-vit-l-336",
    llm: str | LanguageModel = "vicuna-7b",
) -> Any:
    """Hugging Face's config of an LMM with these parts; those not given do not matter."""
    lmm = Lmm(
        name="traced",
        title="",
        source="",
        vision=vision,
        connector="llava-connector",
        llm=llm,
        vision_feature_select_strategy="full",  # goes with any tower
        architecture=architecture,
        pad_token_id=1,
    )
    return families.find(architecture).config_of(lmm)


def _empty(*shape: int) -> torch.Tensor:
    return torch.empty(shape, dtype=torch.float16, device="meta")
