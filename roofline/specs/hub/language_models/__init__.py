"""Configs of decoder-only language models: a family or a few a file, which register themselves."""

from __future__ import annotations

from roofline.specs.hub.language_models import (
    experts,
    gemma,
    layer_norms,
    llama,
    of_multimodal,
)

__all__ = ["experts", "gemma", "layer_norms", "llama", "of_multimodal"]
