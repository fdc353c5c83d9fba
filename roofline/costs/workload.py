"""What runs: the parts of a model, the stage, and how many tokens each of their layers sees."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from roofline.costs.blocks import Span, layers_in
from roofline.costs.language import AttentionKind
from roofline.costs.polynomial import Polynomial
from roofline.costs.scenario import Stage
from roofline.errors import ScenarioError, SpecError
from roofline.specs.catalog import load_component, load_model
from roofline.specs.models import LanguageModel, Lmm, Model, Projector, VisionEncoder

BATCH = Polynomial.variable("batch")
TEXT = Polynomial.variable("text")
PROMPT = Polynomial.variable("prompt")
"""Visual and text tokens of one sequence."""
VISUAL = Polynomial.variable("visual")
IMAGES = Polynomial.variable("images")
"""Images or frames of the whole batch."""
STEP = Polynomial.variable("step")
"""Decode steps done when the current one ends: 1 in the first."""
STEPS = Polynomial.variable("steps")
"""Decode steps of the whole stage."""

Layers = Sequence[tuple[int, int] | tuple[int, int, int]]
"""(layers, tokens) or (layers, tokens in attention, tokens in the MLP), first to last layer."""


class Workload(Struct, frozen=True):
    """A model taken apart; parts it does not have are None."""

    name: str
    vision: VisionEncoder | None
    projector: Projector | None
    llm: LanguageModel | None
    stage: Stage
    attention: AttentionKind
    vision_spans: tuple[Span, ...] = ()
    llm_spans: tuple[Span, ...] = ()
    unreduced_visual_tokens: int | None = None
    """Visual tokens of one sample before any reduction, if the model says so."""
    images_per_sample: int = 1

    @property
    def main(self) -> str:
        """The component that totals are about."""
        return "llm" if self.llm else "vision"


def workload(
    model: str | Model,
    *,
    stage: Stage = "prefill",
    attention: AttentionKind = "flash",
    vision_layers: Layers | None = None,
    llm_layers: Layers | None = None,
) -> Workload:
    """Resolve a model and lay out its layers.

    `llm_layers` gives the visual tokens that each LLM layer sees, `vision_layers` the tokens,
    class token included, that each ViT block sees; left out, all layers see all tokens.
    Raises UnknownNameError, SpecError, ScenarioError.
    """
    spec = load_model(model)
    match spec:
        case LanguageModel():
            lmm = load_model(spec.used_in) if spec.used_in else None
            visual = _sample_tokens(lmm) if isinstance(lmm, Lmm) else None
            parts = _Parts(llm=spec, visual_tokens=visual)
        case VisionEncoder():
            parts = _Parts(
                vision=spec, vision_blocks=spec.num_hidden_layers, visual_tokens=spec.tokens
            )
        case Lmm():
            parts = _lmm_parts(spec)
        case Projector():
            fault = "a projector takes its sizes from its neighbours: analyze an LMM that has it"
            raise SpecError(f"model {spec.name}", [("kind", fault)])
    if stage != "prefill" and parts.llm is None:
        raise ScenarioError(f"{spec.name} has no LLM: only the stage prefill applies to it")
    return Workload(
        name=spec.name,
        vision=parts.vision,
        projector=parts.projector,
        llm=parts.llm,
        stage=stage,
        attention=attention,
        vision_spans=_vision_spans(parts, vision_layers),
        llm_spans=_llm_spans(parts, llm_layers),
        unreduced_visual_tokens=parts.visual_tokens,
        images_per_sample=parts.images,
    )


class _Parts(Struct, frozen=True):
    vision: VisionEncoder | None = None
    vision_blocks: int = 0
    projector: Projector | None = None
    llm: LanguageModel | None = None
    visual_tokens: int | None = None
    images: int = 1


def _lmm_parts(lmm: Lmm) -> _Parts:
    vision = load_component(lmm.vision, VisionEncoder)
    llm = load_component(lmm.llm, LanguageModel)
    if lmm.llm_vocab_size:
        llm = replace(llm, vocab_size=lmm.llm_vocab_size)
    return _Parts(
        vision=vision,
        vision_blocks=_blocks_used(lmm, vision),
        projector=load_component(lmm.projector, Projector),
        llm=llm,
        visual_tokens=_sample_tokens(lmm),
        images=lmm.images,
    )


def _blocks_used(lmm: Lmm, vision: VisionEncoder) -> int:
    """Blocks that run: hidden state 0 is the embeddings' output, the last one the last block's."""
    states = vision.num_hidden_layers + 1
    if not -states <= lmm.vision_feature_layer < states:
        fault = (
            f"{vision.name} has hidden states 0 to {states - 1}, or −1 to −{states} from the end"
        )
        raise SpecError(f"model {lmm.name}", [("vision_feature_layer", fault)])
    return lmm.vision_feature_layer % states


def _sample_tokens(lmm: Lmm) -> int:
    """Visual tokens that one sample feeds to the LLM, unreduced."""
    vision = load_component(lmm.vision, VisionEncoder)
    per_image = vision.tokens if lmm.vision_feature_select_strategy == "full" else vision.patches
    return lmm.images * per_image


def _vision_spans(parts: _Parts, layers: Layers | None) -> tuple[Span, ...]:
    if parts.vision is None:
        if layers is not None:
            raise ScenarioError("`vision_layers` is given, but the model has no vision encoder")
        return ()
    if layers is None:
        return (Span(parts.vision_blocks, float(parts.vision.tokens)),)
    spans = tuple(Span(n, *map(float, tokens)) for n, *tokens in layers)
    _check_layers("vision_layers", spans, parts.vision_blocks)
    return spans


def _llm_spans(parts: _Parts, layers: Layers | None) -> tuple[Span, ...]:
    if parts.llm is None:
        if layers is not None:
            raise ScenarioError("`llm_layers` is given, but the model has no LLM")
        return ()
    if layers is None:
        return (Span(parts.llm.num_hidden_layers, PROMPT),)
    first, *rest = layers
    spans = (
        Span(first[0], PROMPT, *(TEXT + float(t) for t in first[2:])),
        *(Span(n, *(TEXT + float(t) for t in tokens)) for n, *tokens in rest),
    )
    _check_layers("llm_layers", spans, parts.llm.num_hidden_layers)
    return spans


def _check_layers(name: str, spans: Sequence[Span], expected: int) -> None:
    if layers_in(spans) != expected:
        raise ScenarioError(f"`{name}` covers {layers_in(spans)} layers; the model runs {expected}")
