"""Tiny models of every family, and what their processors would give for a few pictures."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from attaching import padded
from tiny_lmms import IMAGE, PAD, tiny
from torch import Tensor

import roofline
from roofline.torch_side.families import family_of

LIVELY = 5.0
SIZES = ((300, 200), (170, 260))
"""Pictures, width and height: one lies, one stands."""


@cache
def _model(architecture: str, attention: Any) -> Any:
    model = roofline.load_model(tiny(architecture), attention=attention)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.mul_(LIVELY)
    return model


def model_of(architecture: str, attention: str = "sdpa") -> Any:
    """One with random weights, great enough for attention far from uniform; without a reducer."""
    model = roofline.detach(_model(architecture, attention))
    if hasattr(model.model, "rope_deltas"):
        model.model.rope_deltas = None
    return model


def shown(model: Any, sizes: Sequence[tuple[int, int]]) -> dict[str, Any]:
    """Pixels of pictures of noise, and what comes beside them."""
    family = family_of(model)
    rule = tiny(family.name).image_tokens
    random = torch.Generator().manual_seed(1)
    return family.sample_input(model).noise(list(sizes), rule, random)


def prompt_of(
    model: Any, rows: Sequence[str], side: str = "left", sizes: Sequence[tuple[int, int]] = SIZES
) -> dict[str, Any]:
    """What a processor gives for rows such as "titt": t is text, i the next picture."""
    family, count = family_of(model), "".join(rows).count("i")
    given = shown(model, sizes[:count])
    pixels = family.sample_input(model).pictures(given | _apart(model, sizes[:count]))
    assert pixels is not None
    lengths, text = iter(pixels.sizes), iter(range(3, 400))
    sequences = [
        [
            token
            for kind in row
            for token in ([IMAGE] * next(lengths) if kind == "i" else [next(text)])
        ]
        for row in rows
    ]
    batch = padded(sequences, PAD, side)
    types: dict[str, Tensor] = family.token_type_values(model, batch["input_ids"])
    return {**batch, **given, **types}


def _apart(model: Any, sizes: Sequence[tuple[int, int]]) -> dict[str, Tensor]:
    """For a family whose prompt tells which tiles are of one picture: such a prompt."""
    family = family_of(model)
    if family.name != "internvl":
        return {}
    visual = family.sample_input(model)
    tiles = [len(shown(model, [size])["pixel_values"]) for size in sizes]
    row = [token for number in tiles for token in [*[IMAGE] * number * visual.unreduced, 5]]
    return {"input_ids": torch.tensor([row])}
