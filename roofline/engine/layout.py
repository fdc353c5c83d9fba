"""What runs: the components of a model as blocks, and how many tokens each of their layers sees."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import TypeAlias

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from roofline.engine.axes import Kernels, Stage
from roofline.engine.components import (
    Component,
    connector_component,
    llm_component,
    vision_component,
)
from roofline.engine.parts import FeatureRows, ModelParts, SampleViews, parts_of
from roofline.errors import ScenarioError
from roofline.model.architectures import (
    LANGUAGE_MODELS,
    AttentionKind,
    Feed,
    Pass,
    kind_of,
    rows_out,
)
from roofline.model.block import Block, LayerGroup
from roofline.model.counted import Phase
from roofline.model.polynomial import Array, Derived, Number
from roofline.model.variables import (
    BATCH,
    IMAGES,
    PROMPT,
    SAMPLES,
    STEP,
    STEPS,
    TEXT,
    VISUAL,
    images,
    prompt_tokens,
    samples,
    steps,
)
from roofline.reducers import Reducer, ReductionTask
from roofline.specs.catalog import load_model
from roofline.specs.models import (
    Connector,
    LanguageModel,
    Model,
    StepConnector,
    View,
    VisionEncoder,
)

Layers: TypeAlias = Sequence[tuple[int, int] | tuple[int, int, int]]
"""(layers, tokens) or (layers, tokens in attention, tokens in the MLP), first to last layer."""
COMPONENTS = ("vision", "reducer", "connector", "llm")
"""All that there may be, in the order in which they run."""


class Layout(Struct, frozen=True):
    """A model taken apart; parts it does not have are None."""

    name: str
    vision: VisionEncoder | None
    connector: Connector | None
    llm: LanguageModel | None
    stage: Stage
    attention: AttentionKind
    vision_groups: tuple[tuple[LayerGroup, ...], ...]
    """What each block sees, of each of the sample's views."""
    llm_groups: tuple[LayerGroup, ...]
    unreduced_visual_tokens: int | None
    """Visual tokens of one sample before any reduction, if the model says so."""
    sample: SampleViews
    features: FeatureRows
    """What the connector gets of the tower."""
    vision_towers: int
    learned_rows: int = 0
    """Of the LLM's width, that stand between visual tokens."""
    reducer: Reducer | None = None
    task: ReductionTask | None = None
    """What the reducer is to do."""
    rest: ReductionTask | None = None
    """Of images that leave one token less, where a count is no multiple of them."""
    kernels: Kernels = "unfused"
    """Whether matmuls and norms of servers take several ops at once, or autocast adds casts."""
    has_images: bool = True
    """Whether the prompt has any; one of text alone runs neither tower nor connector."""

    @property
    def images_per_sample(self) -> int:
        return self.sample.pictures

    @property
    def feeds(self) -> tuple[Feed, ...]:
        """What goes through the connector."""
        assert self.vision is not None
        feeds = []
        for view in self.sample.views:
            images, tokens = self._pictures(view), self.tokens_of(view)
            if self.reducer is not None and self.reducer.connects_all:
                tokens = self.task.candidates if self.task else tokens
            features = self.features.of(self.vision, view)
            feeds.append(
                Feed(view, images, features, tokens, self._connected(view, images * tokens))
            )
        return tuple(feeds)

    @property
    def connected(self) -> Number:
        """Rows that come out of the connector."""
        return rows_out(self.feeds)

    def _pictures(self, view: View) -> Number:
        """Of that shape, of the whole batch."""
        return IMAGES if len(self.sample.views) == 1 else SAMPLES * view.count

    def _connected(self, view: View, whole: Number) -> Number:
        """Rows that come out of the connector, where pictures of that shape give `whole`."""
        unreduced = self.unreduced_visual_tokens
        assert unreduced is not None
        if self.reducer is not None and self.task is not None:
            if self.reducer.connects_all or self.task.merged:
                return whole
            if self.reducer.site != "llm":
                return BATCH * VISUAL
        alone = len(self.sample.views) == 1 and view.count * self.tokens_of(view) == unreduced
        if not alone:  # separators do not pass through the connector
            return whole
        return BATCH * (VISUAL if self.reducer is None else float(unreduced))

    def tokens_of(self, view: View) -> int:
        """Visual tokens that one picture of that shape gives, unreduced."""
        assert self.vision is not None
        rows = self.features.of(self.vision, view)
        return rows if self.connector is None else self.connector.tokens(view, rows)

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
            samples(per_sample),
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
            passes = tuple(
                Pass(view, self._pictures(view), groups)
                for view, groups in zip(self.sample.views, self.vision_groups, strict=True)
            )
            tower = self.vision, passes, self.attention, self.features.normed
            parts.append(vision_component(*tower, self.vision_towers, seen, self.kernels))
        if self.reducer:
            assert self.task
            phases: dict[Phase, Sequence[Block]] = {}
            if seen:
                tasks = [self.task, self.rest] if self.rest else [self.task]
                work = [block for task in tasks for block in self.reducer.extra_ops(task)]
                phases["prefill"] = tuple(work)
            parts.append(Component("reducer", phases, in_llm=self.reducer.site == "llm"))
        if self.vision and self.connector and self.llm:
            widths = self.vision.hidden_size * self.features.layers, self.llm.hidden_size
            parts.append(
                connector_component(self.connector, self.feeds, *widths, seen, self.learned_rows)
            )
        if self.llm:
            parts.append(
                llm_component(self.llm, self.llm_groups, self.attention, self.stage, self.kernels)
            )
        return tuple(parts)


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
    sample: SampleViews | None = None,
) -> Layout:
    """Resolve a model and lay out its layers.

    `llm_layers` gives the visual tokens that each LLM layer sees, `vision_layers` the tokens,
    class token included, that each ViT block sees; left out, all layers see all tokens. `reducer`
    lays them out by its own schedule, to leave `visual_tokens` of a sample. `sample` is what a
    sample shows, where that is not what the model's spec says.
    Raises UnknownNameError, SpecError, ScenarioError.
    """
    spec = load_model(model)
    parts = parts_of(spec)
    if stage != "prefill" and parts.llm is None:
        raise ScenarioError(f"{spec.name} has no LLM: only the stage prefill applies to it")
    if sample is not None:
        parts = parts.showing(sample)
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
        sample=parts.sample,
        features=parts.features,
        vision_towers=parts.vision_towers,
        learned_rows=parts.learned_rows,
        kernels=kernels,
    )
    if reducer is None:
        return layout
    if vision_layers is not None or llm_layers is not None:
        raise ScenarioError("a reducer lays out the layers itself: leave `*_layers` to it")
    return _reduced(layout, parts, reducer, visual_tokens)


def _reduced(
    layout: Layout, parts: ModelParts, reducer: Reducer, visual_tokens: float | None
) -> Layout:
    """The same with fewer tokens where the reducer acts, and its own work."""
    if parts.vision is None or layout.llm is None or parts.visual_tokens is None:
        raise ScenarioError(f"a reducer needs an LMM, such as llava-1.5-7b; {layout.name} is none")
    in_llm = reducer.site == "llm"
    view, merged = _candidates(layout, parts, reducer)
    candidates = parts.visual_tokens
    if not in_llm:
        candidates = parts.tokens_of(view) if merged else view.patches
    kept, longer = reducer.default_kept(candidates, parts.vision_blocks), 0
    pictures = 1 if in_llm else parts.sample.pictures
    if visual_tokens is not None:
        if parts.sample.tiled and reducer.site == "features":
            kept, longer = divmod(int(visual_tokens), pictures)
        else:
            kept = per_image(layout.name, visual_tokens, pictures)
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
        view=view,
        merged=merged,
    )
    fewer: ReductionTask | None = None
    if longer:  # so many images leave a token more
        if kept:
            fewer = replace(task, images=IMAGES * ((pictures - longer) / pictures))
        task = replace(task, images=IMAGES * (longer / pictures), kept=kept + 1)
    try:
        for one in (task, fewer):
            if one is not None:
                reducer.check(one)
    except ScenarioError as error:
        if visual_tokens is None or pictures == 1:
            raise
        raise ScenarioError(
            f"{error} ({visual_tokens:g} of a sample are {kept} of each of its {pictures})"
        ) from None
    groups = layout.vision_groups if in_llm else (reducer.vision_groups(task),)
    return replace(
        layout,
        vision_groups=groups,
        llm_groups=llm_groups,
        reducer=reducer,
        task=task,
        rest=fewer,
    )


def _candidates(layout: Layout, parts: ModelParts, reducer: Reducer) -> tuple[View, bool]:
    """The shape of the pictures that a reducer chooses from, and whether it does so among what the
    connector has made of them. Raises ScenarioError.
    """
    view, *others = parts.sample.views
    if reducer.site == "llm":
        return view, False
    if others:
        raise ScenarioError(
            f"{reducer.name} chooses within pictures of one shape; a sample of {layout.name} has "
            f"{1 + len(others)}: take a reducer inside the LLM"
        )
    features = parts.features.of(parts.vision, view) if parts.vision else 0
    if parts.tokens_of(view) in (features, view.patches):
        return view, False
    whole = view.patches % parts.tokens_of(view) == 0 and isinstance(parts.connector, StepConnector)
    looks = not (reducer.connects_all or reducer.by_position)
    if reducer.site == "features" and (whole or not looks):
        return view, True
    why = "drops patches inside the ViT" if reducer.site == "vision" else "ranks single patches"
    raise ScenarioError(
        f"{reducer.name} {why}, which the connector of {layout.name} merges: take a reducer of "
        "connected rows, such as divprune, or one inside the LLM"
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


def _vision_groups(parts: ModelParts, layers: Layers | None) -> tuple[tuple[LayerGroup, ...], ...]:
    """What the blocks see of each view."""
    if parts.vision is None:
        if layers is not None:
            raise ScenarioError("`vision_layers` is given, but the model has no vision encoder")
        return ()
    if layers is None:
        vision, blocks = parts.vision, parts.vision_blocks
        return tuple(
            (LayerGroup(blocks, float(vision.sequence(view))),) for view in parts.sample.views
        )
    if len(parts.sample.views) > 1 or parts.vision.windows:
        raise ScenarioError(
            "`vision_layers` is of pictures of one shape, whose patches attend to all others"
        )
    _check_layers("vision_layers", layers, parts.vision_blocks, least=1)
    return (tuple(_group(n, [float(t) for t in tokens]) for n, *tokens in layers),)


def _llm_groups(parts: ModelParts, layers: Layers | None) -> tuple[LayerGroup, ...]:
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
