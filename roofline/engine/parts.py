"""What a model is made of: its parts, found by name or written out, and what a sample shows it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from roofline.engine.pictures import DEFAULT_PICTURE, PictureSize
from roofline.errors import ScenarioError, SpecError
from roofline.model.architectures import CONNECTORS, LANGUAGE_MODELS, VISION_ENCODERS, kind_of
from roofline.registry import Registry
from roofline.specs.catalog import load_model, referred, where
from roofline.specs.models import (
    Connector,
    LanguageModel,
    Lmm,
    Model,
    View,
    VisionEncoder,
)
from roofline.specs.models.image_rules import ImageRule, Unstated
from roofline.specs.models.image_tokens import ImageTokens

LMM_PARTS: Mapping[str, Registry[Any]] = {
    "vision": VISION_ENCODERS,
    "connector": CONNECTORS,
    "llm": LANGUAGE_MODELS,
}
"""Fields of an LMM that are specs, and what knows their kinds."""


class SampleViews(Struct, frozen=True):
    """What a sample shows to a model with a vision encoder."""

    views: tuple[View, ...]
    """Its pictures, tiles or frames, by shape."""
    tokens: int | None = None
    """Visual tokens that it feeds to the LLM, separators included; None: what its views give."""

    @property
    def tiled(self) -> bool:
        """Whether its pictures are cut by a rule: a count is then shared out over what is cut."""
        return self.tokens is not None

    @property
    def pictures(self) -> int:
        """Those that the tower encodes."""
        return sum(view.count for view in self.views)


class FeatureRows(Struct, frozen=True):
    """Which of a tower's rows are visual features."""

    every_row: bool = True
    """Or the patches alone, without class token and registers."""
    layers: int = 1
    """Hidden states side by side."""
    normed: bool = True
    """Whether they are those behind the last norm, where the tower has one for features."""

    def of(self, vision: VisionEncoder, view: View) -> int:
        """Rows of one picture of that shape."""
        return vision.sequence(view) if self.every_row else view.patches


class ModelParts(Struct, frozen=True):
    """A model taken apart; parts it does not have are None."""

    vision: VisionEncoder | None = None
    vision_blocks: int = 0
    """Blocks that run."""
    features: FeatureRows = FeatureRows()
    connector: Connector | None = None
    llm: LanguageModel | None = None
    visual_tokens: int | None = None
    """Of one sample before any reduction, if the model says so."""
    sample: SampleViews = SampleViews(())
    vision_towers: int = 1
    learned_rows: int = 0

    def showing(self, sample: SampleViews) -> ModelParts:
        """The same for samples of other pictures. Raises SpecError for shapes that do not go."""
        assert self.vision is not None
        tokens = sample.tokens
        if tokens is None:
            tokens = sum(view.count * self.tokens_of(view) for view in sample.views)
        return replace(self, sample=sample, visual_tokens=tokens)

    def tokens_of(self, view: View) -> int:
        """Visual tokens that one picture of that shape gives, unreduced."""
        assert self.vision is not None
        rows = self.features.of(self.vision, view)
        return rows if self.connector is None else self.connector.tokens(view, rows)


def parts_of(spec: Any) -> ModelParts:
    """Take a model apart. Raises SpecError for a kind that does not run by itself."""
    kind = kind_of(spec)
    if isinstance(spec, Lmm):
        return _lmm_parts(spec)
    if kind in LANGUAGE_MODELS:
        return ModelParts(llm=spec, visual_tokens=_fed_tokens(spec))
    if kind in VISION_ENCODERS:
        parts = ModelParts(vision=spec, vision_blocks=spec.num_hidden_layers)
        return parts.showing(SampleViews((spec.view,)))
    if kind in CONNECTORS:
        fault = "a connector takes its sizes from its neighbours: analyze an LMM that has it"
        raise SpecError(where(spec), [("kind", fault)])
    raise SpecError(where(spec), [("kind", f"no architecture is registered for {kind}")])


class ShownPictures(Struct, frozen=True):
    """What a model makes of the pictures of one sample."""

    tokens: int
    """Visual tokens that reach the LLM, `extra_tokens` included."""
    views: tuple[View, ...]
    """What the tower encodes, by shape: whole pictures, or tiles of them."""
    features: int
    """Rows that go into the connector."""
    extra_tokens: int
    """Of the tokens, those that no patch makes: ends of rows, separators."""

    @property
    def sample(self) -> SampleViews:
        """The same, to be laid out."""
        return SampleViews(self.views, self.tokens)


def shown(model: Model, pictures: Iterable[PictureSize]) -> ShownPictures:
    """What a sample of these pictures shows to a model: by its own rule, or each scaled to the
    square of its tower.

    Raises ScenarioError for a model without a vision encoder and for a picture that it refuses.
    """
    parts = parts_of(model)
    if parts.vision is None:
        raise ScenarioError(f"{model.name} takes no pictures: leave them out")
    rule = model.image_tokens if isinstance(model, Lmm) else None
    views: list[View] = []
    tokens = extra = 0
    for picture in pictures:
        if rule is None:
            views.append(parts.vision.view)
            tokens += parts.tokens_of(parts.vision.view)
        else:
            found = _seen(rule, picture, model.name)
            views += found.views
            tokens += found.tokens
            extra += found.extra_tokens
    together = _by_shape(views)
    features = sum(view.count * parts.features.of(parts.vision, view) for view in together)
    return ShownPictures(tokens, together, features, extra)


def _seen(rule: ImageRule, picture: PictureSize, model: str) -> ImageTokens:
    """What a rule makes of a picture. Raises ScenarioError that names the model."""
    try:
        return rule.image(picture.width, picture.height)
    except ScenarioError as error:
        raise ScenarioError(f"{model}: {error}") from None


def _by_shape(views: Iterable[View]) -> tuple[View, ...]:
    """Those of one shape together, in the order in which shapes come."""
    counts: Counter[tuple[int, int]] = Counter()
    for view in views:
        counts[view.rows, view.columns] += view.count
    return tuple(View(*shape, count=count) for shape, count in counts.items())


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


def _fed_tokens(llm: Any) -> int | None:
    """Visual tokens of a sample that an LLM by itself is fed with."""
    if not llm.used_in:
        return None
    if isinstance(llm.used_in, int):
        return llm.used_in
    lmm = referred(where(llm), "used_in", load_model, llm.used_in)
    return _lmm_parts(lmm).visual_tokens if isinstance(lmm, Lmm) else None


def _lmm_parts(lmm: Lmm) -> ModelParts:
    vision, llm = _part(lmm, "vision", VISION_ENCODERS), _part(lmm, "llm", LANGUAGE_MODELS)
    if lmm.llm_vocab_size:
        llm = replace(llm, vocab_size=lmm.llm_vocab_size)
    layers, connector = lmm.vision_feature_layer, _part(lmm, "connector", CONNECTORS)
    parts = ModelParts(
        vision=vision,
        vision_blocks=_blocks_used(lmm, vision),
        features=FeatureRows(
            every_row=lmm.vision_feature_select_strategy == "full",
            layers=len(layers) if isinstance(layers, tuple) else 1,
            normed=layers == "last",
        ),
        connector=connector,
        llm=llm,
        vision_towers=lmm.vision_towers,
        learned_rows=lmm.learned_rows,
    )
    if connector.needs_grid and parts.features.of(vision, View(1, 1)) > 1:
        fault = f"must be default: {connector.name} merges patches, and a class token is none"
        raise SpecError(where(lmm), [("vision_feature_select_strategy", fault)])
    if lmm.image_tokens is not None and not isinstance(lmm.image_tokens, Unstated):
        found = lmm.image_tokens.image(*DEFAULT_PICTURE)
        return parts.showing(SampleViews(_by_shape(found.views), found.tokens))
    own = vision.view
    if not parts.tokens_of(own):
        fault = (
            f"{connector.name} leaves nothing of {vision.name}'s {own.rows}×{own.columns} patches"
        )
        raise SpecError(where(lmm), [("connector", fault)])
    return parts.showing(SampleViews((View(own.rows, own.columns, lmm.images),)))


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
    states, layers = vision.num_hidden_layers + 1, lmm.vision_feature_layer
    if layers == "last":
        return vision.num_hidden_layers
    chosen = layers if isinstance(layers, tuple) else (layers,)
    if not all(isinstance(one, int) and -states <= one < states for one in chosen) or not chosen:
        fault = (
            f"{vision.name} has hidden states 0 to {states - 1}, or −1 to −{states} from the end"
        )
        raise SpecError(where(lmm), [("vision_feature_layer", fault)])
    return max(one % states for one in chosen if isinstance(one, int))
