"""Language models of transformers from a `config.json`, on the meta device."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, DynamicCache

from roofline.model.architectures import AttentionKind
from roofline.torch_side.families.base import OpOwners, cache_keyword
from roofline.torch_side.oracle.subjects import IMPLEMENTATIONS
from roofline.torch_side.oracle.trace import Trace, record

EXPERTS = "batched_mm"
"""Of transformers' ways through experts the one whose FLOPs do not depend on where tokens go, and
are those of `top_k` experts a token: a loop reads back who has any, grouped matmuls are not seen by
PyTorch's counter."""


_ROTATIONS = ("apply_rotary_pos_emb", "apply_rotary_pos_emb_interleave", "apply_rotary_emb")
"""Functions of a modeling module that rotate queries and keys."""


def owners_of(model: Any) -> OpOwners:
    """Whose calls are which op, by what transformers ends the names of its classes with."""
    module = type(model).__module__
    functions = tuple((module, name) for name in _ROTATIONS if hasattr(import_module(module), name))
    return OpOwners(
        norm=("Norm", "LayerNormPerHead"),
        linear=("Linear", "Conv1D"),
        rotary=("RotaryEmbedding", *_ROTATIONS),
        activation=("Activation", "GELUTanh", "SiLU", "ReLU"),
        layer=("DecoderLayer",),
        decoder=("Model",),
        functions=functions,
    )


class NextToken(torch.nn.Module):
    """A decoder that is given text alone: logits of the last token."""

    def __init__(self, llm: Any) -> None:
        super().__init__()
        self.llm = llm

    def forward(self, ids: torch.Tensor, cache: DynamicCache) -> torch.Tensor:
        given = {cache_keyword(self.llm): cache, "logits_to_keep": 1}
        logits: torch.Tensor = self.llm(input_ids=ids, **given).logits
        return logits


def decoder_trace(
    config: Mapping[str, Any],
    attention: AttentionKind,
    *,
    batch: int,
    text: int,
    cached: int = 0,
) -> Callable[[], Trace]:
    """What traces `text` tokens behind `cached` ones; the cache is filled when it is made."""
    model = decoder_on_meta(config_of(config), attention)
    cache = filled_cache(model, batch=batch, tokens=cached)
    ids = torch.empty(batch, text, dtype=torch.long, device="meta")
    return partial(record, NextToken(model), ids, owners=owners_of(model), cache=cache)


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
    with torch.no_grad():
        logits: torch.Tensor = NextToken(model)(ids, cache)
    return logits
