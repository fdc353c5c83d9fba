"""Language models of transformers from a `config.json`, on the meta device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, DynamicCache

from roofline.model.architectures import AttentionKind
from roofline.torch_side.families.base import cache_keyword

IMPLEMENTATIONS: Mapping[AttentionKind, str] = {"flash": "sdpa", "eager": "eager"}
"""Hugging Face's name of each kind of attention: meta tensors know no flash kernel."""
EXPERTS = "batched_mm"
"""Of transformers' ways through experts the one whose FLOPs do not depend on where tokens go, and
are those of `top_k` experts a token: a loop reads back who has any, grouped matmuls are not seen by
PyTorch's counter."""


def config_of(config: Mapping[str, Any]) -> Any:
    """A `config.json` as a config of transformers."""
    plain = {name: value for name, value in config.items() if name != "model_type"}
    return CONFIG_MAPPING[str(config["model_type"])](**plain)


def decoder_on_meta(config: Any, attention: AttentionKind) -> Any:
    """The model with its head, in fp16."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
            config,
            attn_implementation=IMPLEMENTATIONS[attention],
            experts_implementation=EXPERTS,
            dtype=torch.float16,
        )
    return model.eval()


def filled_cache(model: Any, *, batch: int, tokens: int) -> DynamicCache:
    """A cache as it is behind a prompt of so many tokens."""
    cache = DynamicCache(config=model.config)
    if tokens:
        run(model, cache, batch=batch, tokens=tokens)
    return cache


def run(model: Any, cache: DynamicCache, *, batch: int, tokens: int) -> torch.Tensor:
    """Logits of the last of so many further tokens."""
    ids = torch.empty(batch, tokens, dtype=torch.long, device="meta")
    before = cache.get_seq_length()
    positions = torch.arange(before, before + tokens, device="meta")[None]
    given = {cache_keyword(model): cache, "position_ids": positions, "logits_to_keep": 1}
    with torch.no_grad():
        logits: torch.Tensor = model(input_ids=ids, **given).logits
    return logits
