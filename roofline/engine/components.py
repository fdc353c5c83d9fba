"""The parts of a model as blocks of what runs.

Each is laid out once: configurations that differ in visual tokens share all blocks but those of the
reducer's own work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

from msgspec import Struct

from roofline.engine.axes import Kernels, Stage
from roofline.model.architectures import (
    CONNECTORS,
    LANGUAGE_MODELS,
    VISION_ENCODERS,
    AttentionKind,
    Feed,
    Pass,
    kind_of,
)
from roofline.model.autocast import autocast, compiled
from roofline.model.block import Block, LayerGroup
from roofline.model.counted import Phase
from roofline.model.fused import fused
from roofline.model.op import Op
from roofline.model.polynomial import Polynomial
from roofline.model.variables import BATCH, STEP, STEPS, TEXT
from roofline.specs.models import Connector, LanguageModel, VisionEncoder

_MEMO_SIZE = 64
"""Components that are not laid out again."""


class Component(Struct, frozen=True, eq=False):
    """A part of the model that runs by itself; equal to no other, so that it can be a key."""

    name: str
    """vision, reducer, connector or llm."""
    phases: Mapping[Phase, Sequence[Block]]
    """What runs; nothing of the prompt's parts in a decode step."""
    loaded: Sequence[Block] = ()
    """Blocks whose parameters are resident, whether or not they run."""
    copies: int = 1
    """Of those parameters."""
    cached_elements: Polynomial | None = None
    """In the KV cache when the stage ends."""
    layers: int = 0
    """Transformer layers that one pass runs through."""
    architecture: str = ""
    """`kind` of its spec; empty of a reducer."""
    materialised_layers: int = 0
    """Of those layers, as many as need the probabilities of attention in memory (`LayerGroup`)."""
    in_llm: bool = False
    """Whether it takes the LLM's widths, where a mode has others outside."""


_RUN_AS: Mapping[Kernels, Callable[[Sequence[Block]], tuple[Block, ...]]] = {
    "unfused": tuple,
    "fused": fused,
    "autocast": autocast,
    "compiled": compiled,
}
"""Blocks as kernels of that form run them."""


@lru_cache(maxsize=_MEMO_SIZE)
def vision_component(
    encoder: VisionEncoder,
    passes: tuple[Pass, ...],
    attention: AttentionKind,
    normed: bool,
    towers: int,
    seen: bool,
    kernels: Kernels,
) -> Component:
    """Of a vision encoder. seen: whether the stage runs it."""
    encode = VISION_ENCODERS.find(kind_of(encoder))
    blocks = _RUN_AS[kernels](encode(encoder, passes, attention=attention, normed=normed))
    groups = passes[0].groups
    return Component(
        "vision",
        {"prefill": blocks} if seen else {},
        loaded=blocks,
        copies=towers,
        layers=sum(group.layers for group in groups),
        architecture=kind_of(encoder),
        materialised_layers=sum(group.layers for group in groups if group.materialised),
    )


@lru_cache(maxsize=_MEMO_SIZE)
def connector_component(
    connector: Connector,
    feeds: tuple[Feed, ...],
    in_features: int,
    out_features: int,
    seen: bool,
    learned_rows: int,
) -> Component:
    """Of a connector, and of the learned rows that it holds."""
    connect = CONNECTORS.find(kind_of(connector))
    blocks = connect(connector, feeds, in_features=in_features, out_features=out_features)
    phases: dict[Phase, Sequence[Block]] = {"prefill": blocks} if seen else {}
    if learned_rows:
        held = learned_rows * out_features
        rows = Op("learned_rows", "embedding", "vector", reads={}, writes={}, vectors=held)
        blocks = (*blocks, Block(1, (rows,), idle=True))
    return Component("connector", phases, loaded=blocks, architecture=kind_of(connector))


@lru_cache(maxsize=_MEMO_SIZE)
def llm_component(
    llm: LanguageModel,
    groups: tuple[LayerGroup, ...],
    attention: AttentionKind,
    stage: Stage,
    kernels: Kernels,
) -> Component:
    """Of an LLM."""
    architecture = LANGUAGE_MODELS.find(kind_of(llm))
    run = _RUN_AS[kernels]
    prompt = run(
        architecture.prefill(llm, groups, batch=BATCH, text_tokens=TEXT, attention=attention)
    )
    phases: dict[Phase, Sequence[Block]] = {}
    if stage != "decode":
        phases["prefill"] = prompt
    if stage != "prefill":
        phases["decode"] = run(
            architecture.decode(llm, groups, batch=BATCH, step=STEP, attention=attention)
        )
    cached = architecture.cached(llm, groups, batch=BATCH, steps=STEPS)
    return Component(
        "llm",
        phases,
        loaded=prompt,
        cached_elements=Polynomial.of(cached),
        layers=llm.num_hidden_layers,
        architecture=kind_of(llm),
        in_llm=True,
    )
