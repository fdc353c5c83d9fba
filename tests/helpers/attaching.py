"""What the tests of reducers on real models share: options, prompts taken apart, models by hand."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

import roofline
from roofline import reducers

Prompts = Callable[..., dict[str, Tensor]]

PATCHES, FRAMES, IMAGE = 36, 8, 500

KEEPS_EVERYTHING: dict[str, dict[str, Any]] = {
    "sequential": {"count": PATCHES},
    "spatial": {"count": PATCHES},
    "fastervlm": {"count": PATCHES},
    "divprune": {"count": PATCHES},
    "tome": {"r": 0},
    "evit": {"rate": 1.0},
    "fastv": {"ratio": 0.0},
}
REDUCES: dict[str, dict[str, Any]] = {
    **{name: {"count": 12} for name in reducers.names()},
    "prumerge": {},  # as the images ask for
    "prumerge+": {},
    "spatial": {"grid": (3, 4)},
    "ats": {"count": 20},
    "fastv": {"ratio": 0.6},
}
RAGGED = ["prumerge", "prumerge+", "ats"]


def padded(sequences: Sequence[Sequence[int]], pad: int, side: str) -> dict[str, Tensor]:
    """Ids and mask of a batch, shorter sequences filled up at one side."""
    longest = max(map(len, sequences))
    ids = torch.full((len(sequences), longest), pad)
    mask = torch.zeros_like(ids)
    for row, sequence in enumerate(sequences):
        here = slice(longest - len(sequence), None) if side == "left" else slice(len(sequence))
        ids[row, here], mask[row, here] = torch.tensor(sequence), 1
    return {"input_ids": ids, "attention_mask": mask}


def close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


def one_by_one(given: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """Each row of a batch of images by itself, without its padding."""
    image = 0
    alone = []
    for ids, mask in zip(given["input_ids"], given["attention_mask"], strict=True):
        real = ids[mask == 1]
        images = int((real == IMAGE).sum()) // PATCHES
        row = {"input_ids": real[None], "attention_mask": torch.ones_like(real)[None]}
        if images:
            row["pixel_values"] = given["pixel_values"][image : image + images]
        image += images
        alone.append(row)
    return alone


def named_for(model: Any, given: dict[str, Tensor]) -> dict[str, Tensor]:
    """Pixels under the name that Video-LLaVA's `forward` knows: it changed in transformers 5.23."""
    if "pixel_values" in inspect.signature(model.forward).parameters:
        return given
    return {_OLD_NAMES.get(name, name): value for name, value in given.items()}


_OLD_NAMES = {"pixel_values": "pixel_values_images"}


def by_hand(model: Any, given: dict[str, Tensor], name: str, **options: Any) -> Tensor:
    """One sequence's reduced embeddings, put together from what transformers returns."""
    project, tower = model.model.multi_modal_projector, model.model.vision_tower
    features = tower(given["pixel_values"], output_hidden_states=True).hidden_states[-2]
    last = tower.encoder.layers[-1]
    normed = last.layer_norm1(features)
    queries, keys = last.self_attn.q_proj(normed), last.self_attn.k_proj(normed)
    if reducers.find(name).connects_all:
        features = project(features)
        project = torch.nn.Identity()
    reduction = roofline.reduce_tokens(name, features, queries, keys, **options)
    images = iter(map(project, reduction.tokens))
    embed, pieces, ids = model.get_input_embeddings(), [], given["input_ids"][0].tolist()
    while ids:
        is_image = ids[0] == IMAGE
        pieces.append(next(images) if is_image else embed(torch.tensor(ids[:1])))
        ids = ids[PATCHES if is_image else 1 :]
    return torch.cat(pieces)[None]


BY_HAND: dict[str, dict[str, Any]] = {
    "prumerge": {},
    "prumerge+": {"ratio": 0.25},
    "spatial": {"grid": (2, 3)},
    "divprune": {"count": 9},
}


def hooks_on(model: Any) -> list[str]:
    return [
        name
        for name, module in model.named_modules()
        for hooks in (module._forward_hooks, module._forward_pre_hooks)
        for _ in hooks
    ]
