"""What the configs of most vision encoders have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from roofline.specs.hub.fields import ACTIVATIONS, ConfigFields

_OF_THE_TEXT = (
    *("vocab_size", "projection_dim", "tie_word_embeddings", "num_positions", "num_image_tokens"),
)
"""Fields that older configs have beside a tower's own, and what follows from these."""
UNSAID_SIDE_PX = 448
"""Of the square picture that is assumed where none is given, of towers that take any: the side of
InternVL's tiles, a multiple of two patches of 14 or 16 px."""


def sizes(fields: ConfigFields, **settled: Any) -> dict[str, Any]:
    """Widths, heads, picture and patch, and the function of the MLP.

    settled: what the caller knows better, or the config calls by another name.
    """
    fields.skip(*_OF_THE_TEXT)
    read: dict[str, Callable[[], Any]] = {
        "hidden_size": lambda: fields.count("hidden_size"),
        "num_hidden_layers": lambda: fields.count("num_hidden_layers"),
        "num_attention_heads": lambda: fields.count("num_attention_heads"),
        "intermediate_size": lambda: fields.count("intermediate_size"),
        "image_size_px": lambda: side(fields, "image_size"),
        "patch_size_px": lambda: side(fields, "patch_size"),
        "num_channels": lambda: fields.count("num_channels"),
        "layer_norm_eps": lambda: fields.number("layer_norm_eps"),
        "hidden_act": lambda: fields.mapped("hidden_act", ACTIVATIONS),
    }
    values = {name: settled.get(name) or value() for name, value in read.items()}
    return {"kind": "vision-encoder", **values}


def side(fields: ConfigFields, name: str) -> int:
    """Of a square, which may be given twice. Raises SpecError for other rectangles."""
    value = fields.value(name)
    if isinstance(value, list | tuple) and len(value) == 2 and value[0] == value[1]:
        return int(value[0])
    return fields.count(name)
