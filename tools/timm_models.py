"""Vision transformers of timm by name, as columns of `roofline fit`: widths, depths, heads.

From timm's `vision_transformer.py` and `deit.py` (Apache-2.0). What the formulas of the tower do
not express is left out, and named in `LEFT_OUT`.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple


class Size(NamedTuple):
    """Of a vision transformer."""

    hidden: int
    layers: int
    heads: int
    mlp: int


SIZES = {
    "tiny": Size(192, 12, 3, 768),
    "xsmall": Size(256, 10, 4, 1024),
    "small": Size(384, 12, 6, 1536),
    "medium": Size(512, 12, 8, 2048),
    "betwixt": Size(640, 12, 10, 2560),
    "base": Size(768, 12, 12, 3072),
    "base_plus": Size(896, 12, 14, 3584),
    "so150m": Size(896, 18, 14, 2304),
    "large": Size(1024, 24, 16, 4096),
    "so400m": Size(1152, 27, 16, 4304),
    "huge": Size(1280, 32, 16, 5120),
    "giant": Size(1408, 40, 16, 6144),
    "gigantic": Size(1664, 48, 16, 8192),
}

LEFT_OUT = {
    "eva": "SwiGLU, rotary positions, norms inside the MLP",
    "beit": "a bias of relative positions in attention",
    "36x1": "36 layers of one branch, as deep as wide",
    "18x2": "two attentions and two MLPs side by side",
    "_xp_": "norms on the sublayers' results, RMS norms",
    "_rpn_": "norms behind the sublayers",
    "vit_giant_patch14_dinov2": "SwiGLU",
    "vit_giant_patch14_reg4_dinov2": "SwiGLU",
}
"""Parts of names, and what the tower's formulas lack of those models."""

_NAME = re.compile(r"(?:vit|deit3?)_(?P<size>[a-z0-9]+?)_(?:distilled_)?patch(?P<patch>\d+)")


def why_left_out(name: str) -> str:
    """What the formulas lack of a model; empty where they have all."""
    lacks = (reason for part, reason in LEFT_OUT.items() if part in name)
    return next(lacks, "" if _match(name) else "an unknown size")


def columns(name: str, image_size: int) -> dict[str, Any]:
    """The model as columns of a table of whole-model times."""
    match = _match(name)
    assert match is not None
    size = SIZES[match["size"] + ("_plus" if "_plus_" in name else "")]
    without_class = "siglip" in name or "_map_" in name
    return {
        "model": name,
        "hidden_size": size.hidden,
        "layers": size.layers,
        "heads": size.heads,
        "mlp_size": size.mlp,
        "patch_size": int(match["patch"]),
        "image_size": image_size,
        "class_token": not without_class,
        "pre_norm": "clip" in name,
        "hidden_act": "quick_gelu" if "quickgelu" in name else "gelu",
    }


def _match(name: str) -> re.Match[str] | None:
    match = _NAME.match(name)
    return match if match and match["size"] in SIZES else None
