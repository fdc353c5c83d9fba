"""FastV once more: a loop over the LLM's layers, all anew each step, without cache or hooks.

Nothing is shared with the package but the model's own modules.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

IMAGE = 500
"""The placeholder of an image's tokens in the tiny models."""


def kept_by_eager_attention(
    model: Any, embeddings: Tensor, visual: Tensor, layer: int, left: int
) -> Tensor:
    """Text, and the visual tokens that the last token looks at most, by transformers' weights."""
    decoder = model.model.language_model
    implementation = decoder.config._attn_implementation
    decoder.set_attn_implementation("eager")
    weights = decoder(inputs_embeds=embeddings, output_attentions=True).attentions
    decoder.set_attn_implementation(implementation)
    paid = weights[layer - 1][0, :, -1].mean(dim=0)
    positions = visual.nonzero()[:, 0]
    strongest = positions[paid[positions].topk(left).indices]
    return torch.cat([(~visual).nonzero()[:, 0], strongest]).sort().values


def fastv(
    model: Any, given: dict[str, Tensor], *, layer: int, left: int, steps: int
) -> tuple[list[Tensor], Tensor]:
    """Logits after the prompt and each further step, all layers run anew; and what stayed."""
    decoder, embed = model.model.language_model, model.get_input_embeddings()
    features = model.get_image_features(given["pixel_values"]).pooler_output
    visual = given["input_ids"][0] == IMAGE
    embeddings = embed(given["input_ids"])
    embeddings[0, visual] = torch.cat(list(features))
    kept = kept_by_eager_attention(model, embeddings, visual, layer, left)
    results = []
    for _ in range(steps):
        hidden, positions = embeddings, torch.arange(embeddings.shape[1])
        later = torch.cat([kept, positions[len(visual) :]])
        for index, block in enumerate(decoder.layers):
            if index == layer:
                hidden, positions = hidden[:, later], positions[later]
            angles = decoder.rotary_emb(hidden, position_ids=positions[None])
            causal = torch.full((len(positions),) * 2, -torch.inf).triu(1)[None, None]
            hidden = block(hidden, attention_mask=causal, position_embeddings=angles)
        results.append(model.lm_head(decoder.norm(hidden))[0])
        embeddings = torch.cat([embeddings, embed(results[-1][-1:].argmax(-1))[None]], dim=1)
    return results, kept
