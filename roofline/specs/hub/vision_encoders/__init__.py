"""Configs of vision encoders: a file for each family, which registers itself."""

from __future__ import annotations

from roofline.specs.hub.vision_encoders import clip, dinov2, native, siglip

__all__ = ["clip", "dinov2", "native", "siglip"]
