"""Configs of large multimodal models: a file for each form of connector, which registers itself."""

from __future__ import annotations

from roofline.specs.hub.multimodal import blip, idefics, llava, mergers, pooled, qwen_vl

__all__ = ["blip", "idefics", "llava", "mergers", "pooled", "qwen_vl"]
