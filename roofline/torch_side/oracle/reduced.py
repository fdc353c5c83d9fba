"""FLOPs of a Hugging Face LMM with a reducer on it, component by component, on meta tensors."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from roofline.engine.estimate import Counts
from roofline.errors import ScenarioError
from roofline.specs.catalog import load_component, load_model
from roofline.specs.models import Lmm, Model, VisionEncoder
from roofline.torch_side.families import Family, families
from roofline.torch_side.families.tower import Tower
from roofline.torch_side.oracle.flops import SeenFlops, seen
from roofline.torch_side.reduce.attach import attach

AND = " + "
"""Joins the names of components that cannot be told apart."""


def reduced_flops(model: str | Model, estimate: Counts) -> dict[str, SeenFlops]:
    """FLOPs of a prefill that yields one token's logits, with the estimate's reducer attached.

    All that no other component runs is the reducer's; one inside a component shares its row.
    Raises ScenarioError for a reducer that needs a picture to know what it leaves.
    """
    spec, reducer = load_model(model), estimate.scenario.reducer
    assert isinstance(spec, Lmm)
    assert reducer is not None
    if reducer.by_picture:
        raise ScenarioError(
            f"{reducer.name} leaves as many tokens as the picture asks for: the analysis gives the "
            "most there can be, which no count on shapes alone equals"
        )
    family = families.find(spec.architecture)
    with torch.device("meta"):
        # eager attention is matmuls, which every version of the counter sees
        built = family.model_class()(family.config_of(spec, "eager")).half().eval()
    counts = estimate.scenario.counts
    tokens = int(counts["visual_tokens"])
    per_image = tokens if reducer.site == "llm" else tokens // spec.images
    attach(built, reducer, count=None if reducer.settles_count else per_image)
    inputs = _inputs(family, built, spec, int(counts["batch"]), int(counts["text_tokens"]))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        built(**inputs, logits_to_keep=1)
    aside = seen(counter, family.owners).aside
    return {
        name: SeenFlops(flops, aside if "llm" in name.split(AND) else {})  # its angles
        for name, flops in _by_component(family, built, counter, reducer.site).items()
    }


def _by_component(
    family: Family, built: Any, counter: FlopCounterMode, site: str
) -> dict[str, int]:
    counts = {name: sum(ops.values()) for name, ops in counter.get_flop_counts().items()}
    root = type(built).__name__
    names = {module: f"{root}.{name}" for name, module in built.named_modules()}

    def within(*modules: nn.Module) -> int:
        return sum(counts.get(names[module], 0) for module in modules)

    inputs = family.inputs(built)
    towers = [visual.tower for visual in inputs if isinstance(visual.tower, Tower)]
    # blocks, not the tower: the reducer may borrow projections of one that does not run
    parts = {
        "vision": within(
            *(tower.embeddings for tower in towers),
            *(tower.block(index).module for tower in towers for index in range(tower.blocks)),
        ),
        "reducer": 0,
        "connector": within(family.connector(built)),
        "llm": within(family.decoder(built).module, built.get_output_embeddings()),
    }
    parts["reducer"] = counter.get_total_flops() - sum(parts.values())
    if site == "features":
        return parts
    shared = parts.pop("reducer")
    return {
        f"{name}{AND}reducer" if name == site else name: flops + shared * (name == site)
        for name, flops in parts.items()
    }


def _inputs(
    family: Family, built: Any, spec: Lmm, batch: int, text: int
) -> dict[str, torch.Tensor]:
    """Placeholders of one sample's images or video, then text; pixels have a shape alone."""
    vision, visual = load_component(spec.vision, VisionEncoder), family.sample_input(built)
    side = vision.image_size_px
    ids = torch.tensor([[visual.placeholder] * spec.images * visual.unreduced + [0] * text])
    pixels = torch.empty(
        batch, spec.images, vision.num_channels, side, side, device="meta", dtype=torch.float16
    )
    given = pixels if visual.video else pixels.flatten(0, 1)
    return {"input_ids": ids.expand(batch, -1), visual.arguments[0]: given}
