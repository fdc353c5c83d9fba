"""What runs: the components of a model as blocks, and how many tokens each of their layers sees."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from numbers import Real
from typing import Any, TypeAlias

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from roofline.engine.axes import Kernels, Stage
from roofline.errors import ScenarioError, SpecError
from roofline.model.architectures import (
    CONNECTORS,
    LANGUAGE_MODELS,
    VISION_ENCODERS,
    AttentionKind,
    kind_of,
)
from roofline.model.autocast import autocast, compiled
from roofline.model.block import Block, LayerGroup
from roofline.model.counted import Phase
from roofline.model.fused import fused
from roofline.model.polynomial import Array, Derived, Number, Polynomial
from roofline.model.variables import (
    BATCH,
    IMAGES,
    PROMPT,
    STEP,
    STEPS,
    TEXT,
    VISUAL,
    images,
    prompt_tokens,
    steps,
)
from roofline.reducers import Reducer, ReductionTask
from roofline.registry import Registry
from roofline.specs.catalog import load_model, referred, where
from roofline.specs.models import LanguageModel, Lmm, MlpConnector, Model, VisionEncoder

Layers: TypeAlias = Sequence[tuple[int, int] | tuple[int, int, int]]
"""(layers, tokens) or (layers, tokens in attention, tokens in the MLP), first to last layer."""
COMPONENTS = ("vision", "reducer", "connector", "llm")
"""All that there may be, in the order in which they run."""
LMM_PARTS: Mapping[str, Registry[Any]] = {
    "vision": VISION_ENCODERS,
    "connector": CONNECTORS,
    "llm": LANGUAGE_MODELS,
}
"""Fields of an LMM that are specs, and what knows their kinds."""
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


class Layout(Struct, frozen=True):
    """A model taken apart; parts it does not have are None."""

    name: str
    vision: VisionEncoder | None
    connector: MlpConnector | None
    llm: LanguageModel | None
    stage: Stage
    attention: AttentionKind
    vision_groups: tuple[LayerGroup, ...]
    llm_groups: tuple[LayerGroup, ...]
    unreduced_visual_tokens: int | None
    """Visual tokens of one sample before any reduction, if the model says so."""
    images_per_sample: int
    vision_towers: int
    reducer: Reducer | None = None
    task: ReductionTask | None = None
    """What the reducer is to do."""
    kernels: Kernels = "unfused"
    """Whether matmuls and norms of servers take several ops at once, or autocast adds casts."""
    has_images: bool = True
    """Whether the prompt has any; one of text alone runs neither tower nor connector."""

    @property
    def connected(self) -> Number:
        """Rows that go through the connector."""
        if self.reducer is None:
            return BATCH * VISUAL
        assert self.vision is not None  # what a reducer acts on is an LMM
        if self.reducer.connects_all:
            return IMAGES * self.vision.patches
        if self.reducer.site == "llm":
            assert self.unreduced_visual_tokens is not None
            return BATCH * float(self.unreduced_visual_tokens)
        return BATCH * VISUAL

    @property
    def default_visual_tokens(self) -> int:
        """Of a sample where no count is asked for: what the reducer leaves, or all there are."""
        if self.reducer is None or self.task is None:
            return self.unreduced_visual_tokens or 0
        kept = self.reducer.default_kept(self.task.candidates, self.task.blocks)
        return kept * (1 if self.reducer.site == "llm" else self.images_per_sample)

    @property
    def main(self) -> str:
        """The component that a model is known for: the LLM, or else all there is."""
        return "llm" if self.llm else "vision"

    @property
    def derived(self) -> tuple[Derived, ...]:
        """Variables that are no axes, computed before polynomials see them."""
        # what a reducer leaves is of one sample, were it more than enters
        per_sample = None if self.reducer else self.unreduced_visual_tokens
        known = (
            prompt_tokens(),
            images(self.images_per_sample, per_sample),
            steps(self.stage),
        )
        derived = LANGUAGE_MODELS.find(kind_of(self.llm)).derived if self.llm else None
        if derived is None:
            return known
        counts = {"batch": BATCH, "step": STEP, "steps": STEPS}
        return (*known, *derived(self.llm, self.llm_groups, **counts))

    @property
    def components(self) -> tuple[Component, ...]:
        """All parts, in the order in which they run."""
        seen = self.stage != "decode" and self.has_images
        parts: list[Component] = []
        if self.vision:
            tower = self.vision, self.vision_groups, self.attention
            parts.append(_vision(*tower, self.vision_towers, seen, self.kernels))
        if self.reducer:
            assert self.task
            phases: dict[Phase, Sequence[Block]] = {}
            if seen:
                phases["prefill"] = self.reducer.extra_ops(self.task)
            parts.append(Component("reducer", phases, in_llm=self.reducer.site == "llm"))
        if self.vision and self.connector and self.llm:
            widths = self.vision.hidden_size, self.llm.hidden_size
            parts.append(_connector(self.connector, self.connected, *widths, seen))
        if self.llm:
            parts.append(_llm(self.llm, self.llm_groups, self.attention, self.stage, self.kernels))
        return tuple(parts)


# Laid out once: configurations that differ in visual tokens share all blocks but those of the
# reducer's own work.


_RUN_AS: Mapping[Kernels, Callable[[Sequence[Block]], tuple[Block, ...]]] = {
    "unfused": tuple,
    "fused": fused,
    "autocast": autocast,
    "compiled": compiled,
}
"""Blocks as kernels of that form run them."""


@lru_cache(maxsize=_MEMO_SIZE)
def _vision(
    encoder: VisionEncoder,
    groups: tuple[LayerGroup, ...],
    attention: AttentionKind,
    towers: int,
    seen: bool,
    kernels: Kernels,
) -> Component:
    encode = VISION_ENCODERS.find(kind_of(encoder))
    blocks = encode(encoder, groups, images=IMAGES, attention=attention)
    blocks = _RUN_AS[kernels](blocks)
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
def _connector(
    connector: MlpConnector, rows: Number, in_features: int, out_features: int, seen: bool
) -> Component:
    connect = CONNECTORS.find(kind_of(connector))
    blocks = connect(connector, rows=rows, in_features=in_features, out_features=out_features)
    phases: dict[Phase, Sequence[Block]] = {"prefill": blocks} if seen else {}
    return Component("connector", phases, loaded=blocks, architecture=kind_of(connector))


@lru_cache(maxsize=_MEMO_SIZE)
def _llm(
    llm: LanguageModel,
    groups: tuple[LayerGroup, ...],
    attention: AttentionKind,
    stage: Stage,
    kernels: Kernels,
) -> Component:
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


def lay_out(
    model: str | Model,
    *,
    stage: Stage = "prefill",
    attention: AttentionKind = "flash",
    kernels: Kernels = "unfused",
    vision_layers: Layers | None = None,
    llm_layers: Layers | None = None,
    reducer: Reducer | None = None,
    visual_tokens: float | None = None,
) -> Layout:
    """Resolve a model and lay out its layers.

    `llm_layers` gives the visual tokens that each LLM layer sees, `vision_layers` the tokens,
    class token included, that each ViT block sees; left out, all layers see all tokens. `reducer`
    lays them out by its own schedule, to leave `visual_tokens` of a sample.
    Raises UnknownNameError, SpecError, ScenarioError.
    """
    spec = load_model(model)
    kind = kind_of(spec)
    if isinstance(spec, Lmm):
        parts = _lmm_parts(spec)
    elif kind in LANGUAGE_MODELS:
        parts = _llm_parts(spec)
    elif kind in VISION_ENCODERS:
        parts = _encoder_parts(spec)
    elif kind in CONNECTORS:
        fault = "a connector takes its sizes from its neighbours: analyze an LMM that has it"
        raise SpecError(where(spec), [("kind", fault)])
    else:
        fault = f"no architecture is registered for {kind}"
        raise SpecError(where(spec), [("kind", fault)])
    if stage != "prefill" and parts.llm is None:
        raise ScenarioError(f"{spec.name} has no LLM: only the stage prefill applies to it")
    layout = Layout(
        name=spec.name,
        vision=parts.vision,
        connector=parts.connector,
        llm=parts.llm,
        stage=stage,
        attention=attention,
        vision_groups=_vision_groups(parts, vision_layers),
        llm_groups=_llm_groups(parts, llm_layers),
        unreduced_visual_tokens=parts.visual_tokens,
        images_per_sample=parts.images,
        vision_towers=parts.vision_towers,
        kernels=kernels,
    )
    if reducer is None:
        return layout
    if vision_layers is not None or llm_layers is not None:
        raise ScenarioError("a reducer lays out the layers itself: leave `*_layers` to it")
    return _reduced(layout, parts, reducer, visual_tokens)


def _reduced(
    layout: Layout, parts: _Parts, reducer: Reducer, visual_tokens: float | None
) -> Layout:
    """The same with fewer tokens where the reducer acts, and its own work."""
    if parts.vision is None or layout.llm is None or parts.visual_tokens is None:
        raise ScenarioError(f"a reducer needs an LMM, such as llava-1.5-7b; {layout.name} is none")
    in_llm = reducer.site == "llm"
    candidates = parts.visual_tokens if in_llm else parts.vision.patches
    kept = reducer.default_kept(candidates, parts.vision_blocks)
    if visual_tokens is not None:
        images = 1 if in_llm else parts.images
        kept = per_image(layout.name, visual_tokens, images)
    llm_groups = layout.llm_groups
    if in_llm:
        first = reducer.full_llm_layers
        rest = layout.llm.num_hidden_layers - first
        if rest < 1:
            raise ScenarioError(f"{reducer.label} needs an LLM of more than {first} layers")
        full = LayerGroup(first, TEXT + float(parts.visual_tokens))
        llm_groups = (full, LayerGroup(rest, PROMPT))
    task = ReductionTask(
        vision=parts.vision,
        blocks=parts.vision_blocks,
        images=IMAGES,
        candidates=candidates,
        kept=kept,
        llm=layout.llm,
        batch=BATCH,
        prompt=llm_groups[0].tokens,
    )
    try:
        reducer.check(task)
    except ScenarioError as error:
        if visual_tokens is None or in_llm or parts.images == 1:
            raise
        raise ScenarioError(
            f"{error} ({visual_tokens:g} of a sample are {kept} of each of its {parts.images})"
        ) from None
    return replace(
        layout,
        vision_groups=reducer.vision_groups(task),
        llm_groups=llm_groups,
        reducer=reducer,
        task=task,
    )


def all_visual_tokens(visual_tokens: Array, per_sample: int, *, reduced: bool) -> Array:
    """Visual tokens of the unreduced prompt: all of as many samples as it takes to have so many.

    What a reducer leaves is of one sample, were it more than enters.
    """
    samples = np.minimum(visual_tokens, 1.0) if reduced else np.ceil(visual_tokens / per_sample)
    return samples * per_sample


def per_image(name: str, visual_tokens: float, images: int) -> int:
    """Visual tokens that each of a sample's images leaves. Raises ScenarioError for a remainder."""
    each, rest = divmod(int(visual_tokens), images)
    if rest:
        raise ScenarioError(
            f"{name} has {images} images a sample, each of which leaves as many visual tokens: "
            f"{visual_tokens:g} is no multiple of {images}"
        )
    return each


class _Parts(Struct, frozen=True):
    vision: VisionEncoder | None = None
    vision_blocks: int = 0
    connector: MlpConnector | None = None
    llm: LanguageModel | None = None
    visual_tokens: int | None = None
    images: int = 1
    vision_towers: int = 1


def in_full(model: Model) -> Model:
    """The same with what it refers to in place, so that it means the same under any catalog.

    Raises UnknownNameError, SpecError.
    """
    if isinstance(model, Lmm):
        parts = {field: _part(model, field, known) for field, known in LMM_PARTS.items()}
        return replace(model, **parts)
    if isinstance(model, LanguageModel):
        return replace(model, used_in=_fed_tokens(model))
    return model


def _llm_parts(llm: Any) -> _Parts:
    return _Parts(llm=llm, visual_tokens=_fed_tokens(llm))


def _fed_tokens(llm: Any) -> int | None:
    """Visual tokens of a sample that an LLM by itself is fed with."""
    if not llm.used_in:
        return None
    if isinstance(llm.used_in, int):
        return llm.used_in
    lmm = referred(where(llm), "used_in", load_model, llm.used_in)
    return _sample_tokens(lmm) if isinstance(lmm, Lmm) else None


def _encoder_parts(encoder: Any) -> _Parts:
    blocks = encoder.num_hidden_layers
    return _Parts(vision=encoder, vision_blocks=blocks, visual_tokens=encoder.tokens)


def _lmm_parts(lmm: Lmm) -> _Parts:
    vision, llm = _part(lmm, "vision", VISION_ENCODERS), _part(lmm, "llm", LANGUAGE_MODELS)
    if lmm.llm_vocab_size:
        llm = replace(llm, vocab_size=lmm.llm_vocab_size)
    return _Parts(
        vision=vision,
        vision_blocks=_blocks_used(lmm, vision),
        connector=_part(lmm, "connector", CONNECTORS),
        llm=llm,
        visual_tokens=_sample_tokens(lmm),
        images=lmm.images,
        vision_towers=lmm.vision_towers,
    )


def _part(lmm: Lmm, field: str, architectures: Registry[Any]) -> Any:
    """A part of an LMM, by name or written out. Raises SpecError if it is of another kind."""
    part = referred(where(lmm), field, load_model, getattr(lmm, field))
    if kind_of(part) not in architectures:
        expected = " or ".join(architectures.names())
        fault = f"expected {expected}, got {kind_of(part)}"
        named = isinstance(getattr(lmm, field), str)
        raise SpecError(where(lmm), [(field if named else f"{field}.kind", fault)])
    return part


def _blocks_used(lmm: Lmm, vision: VisionEncoder) -> int:
    """Blocks that run: hidden state 0 is the embeddings' output, the last one the last block's."""
    states = vision.num_hidden_layers + 1
    if not -states <= lmm.vision_feature_layer < states:
        fault = (
            f"{vision.name} has hidden states 0 to {states - 1}, or −1 to −{states} from the end"
        )
        raise SpecError(where(lmm), [("vision_feature_layer", fault)])
    return lmm.vision_feature_layer % states


def _sample_tokens(lmm: Lmm) -> int:
    """Visual tokens that one sample feeds to the LLM, unreduced."""
    vision = _part(lmm, "vision", VISION_ENCODERS)
    per_image: int = (
        vision.tokens if lmm.vision_feature_select_strategy == "full" else vision.patches
    )
    return lmm.images * per_image


def _vision_groups(parts: _Parts, layers: Layers | None) -> tuple[LayerGroup, ...]:
    if parts.vision is None:
        if layers is not None:
            raise ScenarioError("`vision_layers` is given, but the model has no vision encoder")
        return ()
    if layers is None:
        return (LayerGroup(parts.vision_blocks, float(parts.vision.tokens)),)
    _check_layers("vision_layers", layers, parts.vision_blocks, least=1)
    return tuple(_group(n, [float(t) for t in tokens]) for n, *tokens in layers)


def _llm_groups(parts: _Parts, layers: Layers | None) -> tuple[LayerGroup, ...]:
    if parts.llm is None:
        if layers is not None:
            raise ScenarioError("`llm_layers` is given, but the model has no LLM")
        return ()
    if layers is None:
        return (LayerGroup(parts.llm.num_hidden_layers, PROMPT),)
    _check_layers("llm_layers", layers, parts.llm.num_hidden_layers, least=0)
    first, *rest = layers
    return (
        _group(first[0], [PROMPT, *(TEXT + float(t) for t in first[2:])]),
        *(_group(n, [TEXT + float(t) for t in tokens]) for n, *tokens in rest),
    )


def _group(layers: int, tokens: Sequence[Number]) -> LayerGroup:
    """Tokens of the whole layer, or of its attention and of its MLP."""
    return LayerGroup(layers, tokens[0], tokens[1] if len(tokens) > 1 else None)


def _check_layers(name: str, layers: Layers, expected: int, *, least: int) -> None:
    """`least` tokens a layer: the LLM's text remains where no visual token does."""
    for entry in layers:
        whole = all(isinstance(n, Real) and float(n).is_integer() for n in entry)
        if len(entry) not in (2, 3) or not whole or entry[0] < 1 or min(entry[1:]) < least:
            raise ScenarioError(
                f"`{name}` is a list of (layers, tokens) or (layers, tokens, tokens in the MLP), "
                f"whole numbers, at least {least} tokens; {entry!r} is not"
            )
    covered = sum(entry[0] for entry in layers)
    if covered != expected:
        raise ScenarioError(f"`{name}` covers {covered} layers; the model runs {expected}")
