"""LMMs of the shape of those that ship, a few narrow layers deep."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from roofline.specs.catalog import load_component, load_model
from roofline.specs.models import AnyConnector, LanguageModel, Lmm, VisionEncoder

LLM_WIDTH, LLM_HEADS, LLM_KEY_HEADS, HEAD = 64, 4, 2, 16
VISION_WIDTH, VISION_HEADS = 48, 3
VOCABULARY = 512
IMAGE, VIDEO, PAD = 500, 502, 501

TINY = {
    "llava_next": "llava-next-vicuna-7b",
    "llava_onevision": "llava-onevision-7b",
    "paligemma": "paligemma-3b-224",
    "gemma3": "gemma-3-4b",
    "internvl": "internvl3-8b",
    "internvl_chat": "internvl2-26b",
    "qwen2_vl": "qwen2-vl-7b",
    "qwen2_5_vl": "qwen2.5-vl-7b",
    "qwen3_vl": "qwen3-vl-8b",
    "qwen3_vl_moe": "qwen3-vl-30b-a3b",
}
"""By architecture, one that ships."""


def tiny(name: str, **more: Any) -> Lmm:
    """The one of an architecture, or of that name, small: what it has and lacks is the same.

    more: fields that differ.
    """
    whole = load_model(TINY.get(name, name))
    assert isinstance(whole, Lmm)
    vision, side = _vision(load_component(whole.vision, VisionEncoder))
    connector = load_component(whole.connector, AnyConnector)
    return replace(
        whole,
        name=f"{name}-tiny",
        vision=vision,
        connector=_connector(connector, vision),
        llm=_llm(load_component(whole.llm, LanguageModel)),
        llm_vocab_size=None,
        image_tokens=_rule(whole.image_tokens, side, vision),
        image_token_index=IMAGE,
        video_token_index=VIDEO,
        pad_token_id=PAD,
        aliases=(),
        **more,
    )


def _vision(spec: VisionEncoder) -> tuple[VisionEncoder, int]:
    merges = 4 if spec.image_size_px == 896 else 2
    side = spec.patch_size_px * merges * 3
    windows = spec.windows
    return (
        replace(
            spec,
            name="tiny vision",
            hidden_size=VISION_WIDTH,
            num_hidden_layers=4,
            num_attention_heads=VISION_HEADS,
            intermediate_size=2 * VISION_WIDTH,
            image_size_px=448 if "rotary" in spec.positions else side,
            position_rows=36 if spec.position_rows else None,
            windows=windows and replace(windows, side=4, full_attention_layers=(1, 3)),
            aliases=(),
        ),
        side,
    )


def _connector(spec: Any, vision: VisionEncoder) -> Any:
    if not hasattr(spec, "steps"):
        return spec

    def narrowed(steps: Any) -> Any:
        wide = 4 * VISION_WIDTH
        return tuple(
            replace(step, width=wide) if getattr(step, "width", None) else step for step in steps
        )

    taps = tuple(range(len(spec.taps)))
    return replace(spec, steps=narrowed(spec.steps), taps=taps, tap_steps=narrowed(spec.tap_steps))


def _llm(spec: LanguageModel) -> LanguageModel:
    moe = spec.moe and replace(spec.moe, num_experts=4, num_experts_per_tok=2, intermediate_size=32)
    return replace(
        spec,
        name="tiny text",
        hidden_size=LLM_WIDTH,
        num_hidden_layers=6,
        num_attention_heads=LLM_HEADS,
        num_key_value_heads=LLM_KEY_HEADS,
        intermediate_size=2 * LLM_WIDTH,
        vocab_size=VOCABULARY,
        head_dim=HEAD,
        max_position_embeddings=4096,
        sliding_window=spec.sliding_window and 24,
        moe=moe,
        aliases=(),
    )


def _rule(rule: Any, side: int, vision: VisionEncoder) -> Any:
    tiles: dict[str, Any] = {}
    if hasattr(rule, "tile_size_px"):
        tiles["tile_size_px"] = side
    if hasattr(rule, "tokens_per_tile"):
        tiles["tokens_per_tile"] = vision.patches // 4
    if hasattr(rule, "grid_pinpoints_px"):
        grids = ((1, 2), (2, 1), (2, 2), (3, 1), (1, 3))
        tiles["grid_pinpoints_px"] = tuple((side * down, side * over) for down, over in grids)
    return rule and replace(rule, **tiles)
