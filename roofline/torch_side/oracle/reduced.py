"""FLOPs of a Hugging Face LMM with a reducer on it, component by component, on meta tensors."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForImageTextToText

from roofline.engine.result import Estimate
from roofline.errors import ScenarioError
from roofline.specs.catalog import load_component, load_model
from roofline.specs.models import Lmm, Model, VisionEncoder
from roofline.torch_side.load import config_of
from roofline.torch_side.reduce.attach import attach

AND = " + "
"""Joins the names of components that cannot be told apart."""
_TOWERS = ("vision_tower", "image_tower", "video_tower")


def reduced_flops(model: str | Model, estimate: Estimate) -> dict[str, int]:
    """FLOPs of a prefill that yields one token's logits, with the estimate's reducer attached.

    All that no other component runs is the reducer's; one inside a component shares its row.
    Raises ScenarioError for a reducer that needs a picture to know what it leaves.
    """
    spec, reducer = load_model(model), estimate.work.reducer
    assert isinstance(spec, Lmm)
    assert reducer is not None
    if reducer.by_picture:
        raise ScenarioError(
            f"{reducer.name} leaves as many tokens as the picture asks for: the analysis gives the "
            "most there can be, which no count on shapes alone equals"
        )
    with torch.device("meta"):
        # eager attention is matmuls, which every version of the counter sees
        built: Any = AutoModelForImageTextToText.from_config(  # type: ignore[no-untyped-call]
            config_of(spec, "eager")
        )
    built = built.half().eval()
    tokens = int(estimate.scenario.visual_tokens)
    per_image = tokens if reducer.site == "llm" else tokens // spec.images
    attach(built, reducer, count=None if reducer.settles_count else per_image)
    inputs = _inputs(spec, int(estimate.scenario.batch), int(estimate.scenario.text_tokens))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        built(**inputs, logits_to_keep=1)
    return _by_component(built, counter, reducer.site)


def _by_component(built: Any, counter: FlopCounterMode, place: str) -> dict[str, int]:
    counts = {name: sum(ops.values()) for name, ops in counter.get_flop_counts().items()}
    root = type(built).__name__

    def within(*names: str) -> int:
        return sum(counts.get(f"{root}.{name}", 0) for name in names)

    towers = [f"model.{tower}" for tower in _TOWERS if hasattr(built.model, tower)]
    # blocks, not the tower: the reducer may borrow projections of one that does not run
    blocks = range(built.config.vision_config.num_hidden_layers)
    parts = {
        "vision": within(
            *(f"{tower}.embeddings" for tower in towers),
            *(f"{tower}.encoder.layers.{block}" for tower in towers for block in blocks),
        ),
        "reducer": 0,
        "connector": within("model.multi_modal_projector"),
        "llm": within("model.language_model", "lm_head"),
    }
    parts["reducer"] = counter.get_total_flops() - sum(parts.values())
    if place == "features":
        return parts
    shared = parts.pop("reducer")
    return {
        f"{name}{AND}reducer" if name == place else name: flops + shared * (name == place)
        for name, flops in parts.items()
    }


def _inputs(spec: Lmm, batch: int, text: int) -> dict[str, torch.Tensor]:
    """Placeholders of one sample's images or video, then text; pixels have a shape alone."""
    vision = load_component(spec.vision, VisionEncoder)
    side, video = vision.image_size_px, spec.images > 1
    whole = video or spec.vision_feature_select_strategy == "full"
    run = spec.images * (vision.tokens if whole else vision.patches)
    placeholder = spec.video_token_index if video else spec.image_token_index
    ids = torch.tensor([[placeholder] * run + [0] * text]).expand(batch, -1)
    pixels = torch.empty(
        batch, spec.images, vision.num_channels, side, side, device="meta", dtype=torch.float16
    )
    if video:
        return {"input_ids": ids, "pixel_values_videos": pixels}
    return {"input_ids": ids, "pixel_values": pixels.flatten(0, 1)}
