"""Configs of decoder-only language models: a file for each family, which registers itself."""

from __future__ import annotations

from roofline.specs.hub.language_models import llama

__all__ = ["llama"]
