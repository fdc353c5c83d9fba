"""Hugging Face's small models of odd sizes, and what is counted of them while they see pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import CONFIG_MAPPING, AutoModelForImageTextToText

from roofline.engine.layout import lay_out
from roofline.engine.parts import SampleViews
from roofline.model.block import parameters
from roofline.model.polynomial import Point, total
from roofline.specs.hub import HUB_CONFIGS, model_from_config
from roofline.specs.models import Model, View

TEXT: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 88,
    "vocab_size": 132,
}
VIT: dict[str, Any] = {
    "hidden_size": 72,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "intermediate_size": 140,
}
QWEN: dict[str, Any] = {"depth": 3, "num_heads": 6, "patch_size": 7}
ROPE = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 2, 2]}


class Counted(NamedTuple):
    """FLOPs of tower and connector together, of the connector, and the parameters of both."""

    flops: int
    connector_flops: int
    parameters: int


def built(config: Mapping[str, Any]) -> Any:
    """Hugging Face's model of a config, with eager attention, on the CPU: grids are data."""
    fields = {name: value for name, value in config.items() if name != "model_type"}
    made = CONFIG_MAPPING[config["model_type"]](**fields)
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_config(made, attn_implementation="eager")
    return model.eval().requires_grad_(False)


def imported(config: Mapping[str, Any], text_type: str | None = None) -> Model:
    """Ours; with a Llama as wide, where the LLM's own type is not known."""
    known = str(text_type or dict(config["text_config"]).get("model_type", ""))
    if known not in HUB_CONFIGS:
        config = {**config, "text_config": TEXT}
    return model_from_config(config, name="odd")


def seen(model: Any, connector: tuple[str, ...], run: Any) -> Counted:
    """What is counted of a model of Hugging Face while it makes features of pictures."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        run(model)
    by_module = {name: sum(ops.values()) for name, ops in counter.get_flop_counts().items()}
    inside = 0
    for name, module in model.named_modules():
        if name.endswith(connector):  # named by what was called first: itself, or what holds it
            parts = name.split(".")
            ends = {type(module).__name__, *(".".join(parts[i:]) for i in range(len(parts)))}
            inside += max(
                (f for n, f in by_module.items() if n in ends or n.partition(".")[2] in ends),
                default=0,
            )
    text = {id(p) for part in text_parts(model) for p in part.parameters()}
    held = sum(p.numel() for p in model.parameters() if id(p) not in text)
    return Counted(counter.get_total_flops(), inside, held)


def text_parts(model: Any) -> list[Any]:
    """The LLM's modules."""
    for name in ("language_model", "text_model"):
        for owner in (getattr(model, "model", model), model):
            if hasattr(owner, name):
                head = [model.lm_head] if getattr(model, "lm_head", None) is not None else []
                return [getattr(owner, name), *head]
    raise AssertionError("no LLM in it")


def counted(model: Model, views: tuple[View, ...]) -> Counted:
    """The same by the formulas."""
    layout = lay_out(model, sample=SampleViews(views))
    tokens = float(layout.unreduced_visual_tokens or 0)
    values = {"batch": 1.0, "visual_tokens": tokens, "text_tokens": 1.0, "output_tokens": 0.0}
    point = Point({name: np.asarray(value) for name, value in values.items()}, layout.derived)
    flops, held = {}, 0.0
    for part in layout.components:
        if part.name == "llm":
            continue
        running = [block for block in part.phases["prefill"] if not block.idle]
        work = total(block.count * op.flops for block in running for op in block.ops)
        flops[part.name] = int(point(work))
        held += part.copies * parameters(part.loaded).total
    return Counted(flops["vision"] + flops["connector"], flops["connector"], int(held))


class Case(NamedTuple):
    """A config, pictures, and how Hugging Face's model is shown them."""

    config: dict[str, Any]
    views: tuple[View, ...]
    run: Callable[[Any], Any]
    connector: tuple[str, ...]
    """Ends of the names of its modules."""


def pixels(images: int, height: int, width: int, channels: int = 3) -> torch.Tensor:
    return torch.ones(images, channels, height, width)  # Idefics leaves out pictures of zeros


def square(
    model_type: str,
    side: int,
    *,
    images: int = 1,
    vision: Mapping[str, Any],
    connector: tuple[str, ...] = ("multi_modal_projector",),
    run: Callable[[Any, torch.Tensor], Any] | None = None,
    **more: Any,
) -> Case:
    """A model that takes square pictures of one size."""
    sized = {**VIT, "image_size": side, **vision}
    patch = sized["patch_size"]
    show = run or (lambda model, shown: model.get_image_features(shown))
    config = {"model_type": model_type, "vision_config": sized, "text_config": TEXT, **more}
    view = View(side // patch, side // patch, images)
    return Case(config, (view,), lambda m: show(m, pixels(images, side, side)), connector)


def grids(
    model_type: str,
    shapes: tuple[tuple[int, int], ...],
    vision: Mapping[str, Any],
    connector: tuple[str, ...],
    text_type: str,
    **more: Any,
) -> Case:
    """A model that takes grids of patches, each as a row of pixels."""
    width = 3 * 2 * vision["patch_size"] ** 2
    rows = sum(height * width for height, width in shapes)
    grid = torch.tensor([[1, height, width] for height, width in shapes])
    text = {**TEXT, "model_type": text_type, "rope_parameters": ROPE, **more}
    config = {"model_type": model_type, "vision_config": dict(vision), "text_config": text}
    views = tuple(View(height, width) for height, width in shapes)
    return Case(
        config,
        views,
        lambda m: m.get_image_features(torch.zeros(rows, width), grid),
        connector,
    )


GEMMA = {**TEXT, "model_type": "gemma", "head_dim": 12}
CLIP = {"model_type": "clip_vision_model", "patch_size": 7}
SIGLIP = {"model_type": "siglip_vision_model", "patch_size": 7, "vision_use_head": False}
MERGER = ("visual.merger", "visual.downsample", *(f"deepstack_merger_list.{i}" for i in range(4)))
Q_FORMER = {
    "hidden_size": 36,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 68,
    "encoder_hidden_size": 72,
    "vocab_size": 131,
    "max_position_embeddings": 17,
}


WORDS = 6
"""Of an instruction."""


def _shown_tiles(model: Any, shown: torch.Tensor) -> Any:
    """One picture of one tile and no other: its rows are put together by newlines elsewhere."""
    inner = model.model
    layer = model.config.vision_feature_layer
    seen = inner.vision_tower(shown, output_hidden_states=True).hidden_states[layer]
    full = model.config.vision_feature_select_strategy == "full"
    return inner.multi_modal_projector(seen if full else seen[:, 1:])


def sized(make: Callable[[int], Case], *sides: int) -> list[Case]:
    return [make(side) for side in sides]


WIDTHS = QWEN | {"hidden_size": 72, "intermediate_size": 140, "out_hidden_size": 48}
EXPERTS = {"moe_intermediate_size": 20, "num_experts_per_tok": 2}


def shaped(model_type: str, vision: Mapping[str, Any], text: str, **more: Any) -> list[Case]:
    several = (((4, 10),), ((6, 4), (18, 14)), ((34, 20),))
    return [grids(model_type, shapes, vision, MERGER, text, **more) for shapes in several]


CASES: dict[str, list[Case]] = {
    "llava": sized(
        lambda side: square("llava", side, images=2, vision=CLIP, vision_feature_layer=-1), 30, 49
    ),
    "vipllava": sized(
        lambda side: square("vipllava", side, vision=CLIP, vision_feature_layer=[-1, -2, 1]), 30, 49
    ),
    "internvl": [
        case
        for vision in (
            {"attention_bias": True},
            {"norm_type": "rms_norm", "use_qk_norm": True},
            {"use_mean_pooling": False, "use_mask_token": True},
        )
        for case in sized(
            lambda side, vision=vision: square(
                "internvl",
                side,
                images=3,
                vision={"model_type": "internvl_vision", "patch_size": 7, **vision},
            ),
            28,
            42,
        )
    ],
    "paligemma": sized(
        lambda side: square("paligemma", side, vision=SIGLIP, projection_dim=48, text_config=GEMMA),
        30,
        49,
    ),
    "gemma3": sized(
        lambda side: square(
            "gemma3",
            side,
            vision=SIGLIP,
            mm_tokens_per_image=9,
            text_config=GEMMA | {"model_type": "gemma3_text"},
        ),
        21,
        44,
    ),
    "aya_vision": sized(
        lambda side: square("aya_vision", side, vision=SIGLIP, alignment_intermediate_size=70),
        28,
        42,
    ),
    "cohere2_vision": sized(
        lambda side: square("cohere2_vision", side, vision=SIGLIP, alignment_intermediate_size=70),
        28,
        42,
    ),
    "mistral3": [
        square(
            "mistral3",
            7 * rows,
            vision={"model_type": "pixtral", "patch_size": 7, "head_dim": 12},
            run=lambda m, shown: m.get_image_features(shown, image_sizes=[tuple(shown.shape[2:])]),
            spatial_merge_size=2,
        )
        for rows in (4, 6)
    ],
    "idefics2": sized(
        lambda side: square(
            "idefics2",
            side,
            vision={"patch_size": 7},
            connector=("connector",),
            run=lambda m, shown: m.get_image_features(shown[None]),
            perceiver_config={
                "hidden_size": 48,
                "resampler_n_latents": 5,
                "resampler_depth": 2,
                "resampler_n_heads": 4,
                "resampler_head_dim": 10,
                "num_key_value_heads": 2,
            },
        ),
        28,
        49,
    ),
    "idefics3": sized(
        lambda side: square(
            "idefics3",
            side,
            vision={"patch_size": 7},
            connector=("connector",),
            run=lambda m, shown: m.get_image_features(shown[None]),
        ),
        28,
        42,
    ),
    "smolvlm": sized(
        lambda side: square(
            "smolvlm",
            side,
            vision={"patch_size": 7},
            connector=("connector",),
            scale_factor=3,
            run=lambda m, shown: m.get_image_features(shown[None]),
        ),
        21,
        42,
    ),
    "blip-2": sized(
        lambda side: square(
            "blip-2",
            side,
            vision={"patch_size": 7},
            qformer_config=Q_FORMER,
            num_query_tokens=5,
            connector=("qformer", "language_projection"),
        ),
        30,
        49,
    ),
    "instructblip": sized(
        lambda side: square(
            "instructblip",
            side,
            vision={"patch_size": 7},
            qformer_config=Q_FORMER,
            num_query_tokens=5,
            connector=("qformer", "language_projection"),
            run=lambda m, shown: m.get_image_features(
                shown, torch.ones(1, WORDS, dtype=torch.long), torch.ones(1, WORDS)
            ),
        ),
        30,
        49,
    ),
    **{
        model_type: [square(model_type, 30, vision=CLIP, vision_feature_layer=-1, run=_shown_tiles)]
        for model_type in ("llava_next", "llava_next_video")
    },
    "video_llava": [
        square(
            "video_llava",
            30,
            images=8,
            vision=CLIP,
            vision_feature_layer=-1,
            run=lambda m, shown: m.model.get_video_features(shown[None]),
        )
    ],
    "llava_onevision": [square("llava_onevision", 30, vision=SIGLIP, run=_shown_tiles)],
    "llama4": sized(
        lambda side: square(
            "llama4",
            text_config=TEXT | {"model_type": "llama4_text"},
            side=side,
            vision={
                "patch_size": 7,
                "intermediate_size": 288,
                "projector_input_dim": 60,
                "projector_output_dim": 60,
                "vision_output_dim": 60,
            },
            connector=("vision_adapter", "multi_modal_projector"),
            run=lambda m, shown: m.multi_modal_projector(
                m.get_image_features(shown).last_hidden_state
            ),
        ),
        28,
        42,
    ),
    "qwen2_vl": shaped(
        "qwen2_vl", QWEN | {"embed_dim": 72, "hidden_size": 48, "mlp_ratio": 3}, "qwen2_vl_text"
    ),
    "qwen2_5_vl": shaped(
        "qwen2_5_vl",
        QWEN
        | {
            "hidden_size": 72,
            "intermediate_size": 140,
            "out_hidden_size": 48,
            "window_size": 56,
            "fullatt_block_indexes": [1],
        },
        "qwen2_5_vl_text",
    ),
    "qwen3_vl": shaped(
        "qwen3_vl",
        QWEN
        | {
            "hidden_size": 72,
            "intermediate_size": 140,
            "out_hidden_size": 48,
            "num_position_embeddings": 49,
            "deepstack_visual_indexes": [0, 2],
        },
        "qwen3_vl_text",
    ),
    "glm4v": shaped(
        "glm4v",
        QWEN
        | {
            "hidden_size": 72,
            "intermediate_size": 140,
            "out_hidden_size": 48,
            "image_size": 49,
            "attention_bias": True,
        },
        "glm4v_text",
    ),
    "qwen3_vl_moe": shaped(
        "qwen3_vl_moe",
        WIDTHS | {"num_position_embeddings": 49, "deepstack_visual_indexes": [0, 2]},
        "qwen3_vl_moe_text",
        num_experts=4,
        **EXPERTS,
    ),
    "glm46v": shaped("glm46v", WIDTHS | {"image_size": 49}, "glm4v_text"),
    "glm4v_moe": shaped(
        "glm4v_moe",
        WIDTHS | {"image_size": 49},
        "glm4v_moe_text",
        n_routed_experts=4,
        first_k_dense_replace=1,
        **EXPERTS,
    ),
}
