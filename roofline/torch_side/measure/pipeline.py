"""A model taken apart at its components, as it is timed: vision, reducer, connector, LLM.

What runs is the Hugging Face model itself and `attach`'s own path through it. Everything that does
not depend on the pixels' values, such as where visual tokens go, is laid out and on the device
before the first run; the KV cache is written in place.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from roofline.engine.axes import DEFAULT_TEXT_TOKENS
from roofline.engine.layout import per_image
from roofline.engine.pictures import DEFAULT_PICTURE
from roofline.engine.scenario import Scenario
from roofline.errors import ScenarioError, SpecError, UnknownNameError, UnsupportedModeError
from roofline.reducers import Reducer
from roofline.specs.catalog import load_model as load_spec
from roofline.specs.catalog import where
from roofline.specs.models import Lmm
from roofline.torch_side.families import Family, family_of
from roofline.torch_side.families.base import Decoder
from roofline.torch_side.families.tower import NativeTower, Tower
from roofline.torch_side.families.visual import VisualInput
from roofline.torch_side.load import SEED, AttentionImplementation, load_model
from roofline.torch_side.measure.language import ExactLength, LanguageRun, Next, StaticLength
from roofline.torch_side.measure.modes import (
    GRAPHS,
    GraphRecorder,
    Mode,
    Steps,
    eager,
    graphed_before_llm,
    ignore,
    keywords_of,
    run,
)
from roofline.torch_side.measure.timing import Mark
from roofline.torch_side.pictures import PictureError, preprocessed, preprocessed_by, read
from roofline.torch_side.reduce.methods import bind
from roofline.torch_side.reduce.methods.base import LanguageLayers, Reduction
from roofline.torch_side.reduce.path import ReductionPath, embed
from roofline.torch_side.reduce.splice import PromptError, TokenizedPrompt
from roofline.torch_side.reduce.taps import Taps


def build_pipeline(
    model: str | Lmm,
    *,
    reducer: str | Reducer | None = None,
    visual_tokens: int | None = None,
    batch: int = 1,
    text_tokens: int = DEFAULT_TEXT_TOKENS,
    output_tokens: int = 0,
    image: str | Path | Tensor | None = None,
    loaded: Any = None,
    checkpoint: str | Path | None = None,
    dtype: str | torch.dtype | None = None,
    quant: str | None = None,
    device: str | torch.device = "cpu",
    attention: AttentionImplementation = "sdpa",
    mode: str = "eager",
    seed: int = SEED,
    on_eager: Callable[[Pipeline], object] | None = None,
) -> Pipeline:
    """A pipeline for `batch` prompts of one image, or a video's frames, and random text after it.

    reducer: by its name, with options behind it or as a Reducer.
    visual_tokens: of each prompt, as many from each image or frame; left out, as many as the model
        has, or as the reducer decides on. Without a reducer the first ones are taken.
    image: a file, or pixels [1 or all images, 3, height, width]; a single one serves for all.
        Left out, each is noise of its own.
    loaded: the model, if it is at hand; `checkpoint`, `dtype`, `quant`, `device` and `attention`
        are else those of `load_model`.
    mode: one of `roofline.torch_side.measure.modes.RUN_MODES`.
    on_eager: called with the pipeline while it still runs eagerly, whatever the mode: graphs hold
        on to memory.

    Raises InputError, such as PictureError, ScenarioError and ReducerError, and what `load_model`
    raises.
    """
    spec = load_spec(model)
    if not isinstance(spec, Lmm):
        raise SpecError(where(spec), [("kind", "only an lmm has components to time")])
    scenario = Scenario.of(
        spec,
        reducer=reducer,
        visual_tokens=visual_tokens,
        text_tokens=text_tokens,
        batch=batch,
        output_tokens=output_tokens,
    )
    run_as = keywords_of(mode, torch.device(device) if loaded is None else loaded.device)
    photo = read(image) if isinstance(image, str | Path) else image
    if loaded is None:
        loaded = load_model(
            spec,
            checkpoint,
            dtype=dtype,
            quant=quant,
            device=device,
            attention=attention,
            seed=seed,
        )
    family = family_of(loaded)
    visual = family.sample_input(loaded)
    if mode in GRAPHS and isinstance(visual.tower, NativeTower):
        raise UnsupportedModeError(
            f"the tower of {spec.name} reads the shapes of pictures back as it runs, which a CUDA "
            "graph cannot hold: use mode eager or compile"
        )
    random = torch.Generator().manual_seed(seed)
    shown = _shown(spec, visual, batch, photo, checkpoint, random)
    pictures = visual.pictures(shown)
    assert pictures is not None
    placeholders = torch.full((batch, sum(pictures.sizes) // batch), visual.placeholder)
    together = visual.pictures({**shown, "input_ids": placeholders})
    assert together is not None
    runs = len(together.sizes) // batch
    options = _options(spec.name, scenario.reducer, visual_tokens, runs)
    rows, special = (
        loaded.get_input_embeddings().num_embeddings,
        family.special_tokens(loaded.config),
    )
    text = _text(rows, special, (batch, text_tokens), random)
    ids = torch.cat([placeholders, text], dim=1)
    return Pipeline(
        loaded,
        reducer=scenario.reducer,
        options=options,
        pixels=shown.pop(visual.arguments[0]),
        beside=shown,
        ids=ids,
        output_tokens=output_tokens,
        on_eager=on_eager,
        **run_as,
    )


def _shown(
    spec: Lmm,
    visual: VisualInput,
    batch: int,
    photo: Any,
    checkpoint: str | Path | None,
    random: torch.Generator,
) -> dict[str, Any]:
    """Pixels of a batch of samples and what comes beside them: of a photo, or noise.

    Raises PictureError for a photo that only a checkpoint's own preprocessor can cut.
    """
    count = batch * spec.images
    if photo is None:
        rule = spec.image_tokens
        return visual.noise([DEFAULT_PICTURE] * count, rule, random)
    if visual.view is None:
        if checkpoint is None or isinstance(photo, Tensor):
            raise PictureError(
                f"{spec.name} cuts a picture by its shape: give a file, and a checkpoint whose "
                "preprocessor cuts it"
            )
        return preprocessed_by(checkpoint, [photo] * count)
    assert isinstance(visual.tower, Tower)
    side = visual.tower.image_size
    pixels = photo if isinstance(photo, Tensor) else preprocessed(photo, checkpoint, side)[1]
    if len(pixels) not in (1, count):
        raise PromptError(
            f"{len(pixels)} pictures are given for {count} in the prompt's placeholders: give one, "
            "or as many"
        )
    pixels = pixels.expand(count if len(pixels) == 1 else -1, -1, -1, -1)
    return {visual.arguments[0]: pixels}


def _options(
    model: str, reducer: Reducer | None, visual_tokens: int | None, runs: int
) -> dict[str, int]:
    """What makes a reducer, or none, leave so many visual tokens of each prompt, which has so many
    runs of placeholders.
    """
    inside_llm = reducer is not None and reducer.site == "llm"
    if visual_tokens is None:
        return {}
    if visual_tokens == 0:
        raise ScenarioError("a pipeline feeds images: give 1 or more visual tokens")
    return {"count": per_image(model, visual_tokens, 1 if inside_llm else runs)}


def _text(
    vocabulary: int, special: Collection[int], shape: tuple[int, int], random: torch.Generator
) -> Tensor:
    """Ids of any tokens but those with a meaning of their own."""
    ordinary = torch.ones(vocabulary, dtype=torch.bool)
    ordinary[[token for token in special if token < vocabulary]] = False
    ids = ordinary.nonzero().flatten()
    return ids[torch.randint(len(ids), shape, generator=random)]


def check_one_length(reducer: Reducer) -> None:
    """Raise UnsupportedModeError for a reducer whose prompt is not as long in each of the LLM's
    layers.
    """
    if reducer.site == "llm":
        raise UnsupportedModeError(
            f"{reducer.name} drops tokens inside the LLM, and static-graph keeps one length in all "
            "layers: use mode cuda-graph"
        )


def check_counted(family: Family, placed: Collection[str], decoder: Decoder) -> None:
    """Raise UnsupportedModeError for a family whose prompts are more than embeddings in a row."""
    if placed or decoder.tapped:
        raise UnsupportedModeError(
            f"static-graph runs prompts whose tokens are simply counted, and those of "
            f"{family.model_type} have places or kinds: use mode cuda-graph"
        )


class Pipeline:
    """One prompt, ready to run as often as it takes.

    pixels: [images, 3, height, width], or videos [B, frames, 3, height, width]; in families that
        cut a picture by its shape as their processors give them, with what comes `beside`.
    ids: [B, n], a placeholder for every unreduced visual token, as a processor writes them; no
        padding.
    options: those of the reducer; without one `count`, tokens of each image (`ReductionPath`).
    output_tokens: decode steps of `generate`.
    mode: what the steps run as (`roofline.torch_side.measure.modes`).
    static: records graphs: the LLM then runs in static shapes (`language.StaticLength`), and so
        does what comes before it where the image does not decide on its shapes.
    on_eager: called with the pipeline while it still runs eagerly.

    The tower runs up to the features: the block behind them, which Hugging Face runs for nothing,
    is left out, and priced at nothing by the analysis. A reducer inside the ViT is part of the
    component `vision`, one inside the LLM of `llm`: there is no `reducer` then. `llm` embeds the
    text, splices, prefills, and computes logits of the last position alone.

    Making one runs the prompt once. A reducer inside the LLM hooks the model until `close`.
    Raises InputError for what does not go together, and what `mode` raises.
    """

    components: tuple[str, ...]
    """In the order in which they run, and are marked."""
    visual_tokens: list[int]
    """Visual tokens that reach the LLM, of each sequence. FastV drops its own later."""
    _last: Next
    """Of the last prefill."""

    @torch.inference_mode()
    def __init__(
        self,
        model: Any,
        *,
        reducer: str | Reducer | None = None,
        options: Mapping[str, Any] | None = None,
        pixels: Tensor,
        ids: Tensor,
        beside: Mapping[str, Any] | None = None,
        output_tokens: int = 0,
        mode: Mode = eager,
        static: GraphRecorder | None = None,
        on_eager: Callable[[Pipeline], object] | None = None,
    ) -> None:
        options = options or {}
        if reducer is None:
            for option in options:
                if option != "count":
                    raise UnknownNameError("option of no reducer", option, ["count"])
            bound, path = None, ReductionPath(model, None, **options)
        else:
            bound = bind(reducer, **options)
            if static is not None:
                check_one_length(bound.reducer)
            path = ReductionPath(model, bound)
        prompt = TokenizedPrompt.of(ids)
        visual = next((v for v in path.inputs if bool((prompt.ids == v.placeholder).any())), None)
        if visual is None:
            raise PromptError("the prompt has no placeholder of a visual token")
        self.model = model
        family = path.family
        given = {**(beside or {}), "input_ids": ids.to(model.device)}
        given |= family.token_type_values(model, given["input_ids"])
        shown = pixels.to(model.device, model.dtype)
        pictures = visual.pictures({**given, visual.arguments[0]: shown})
        assert pictures is not None
        self._pixels = pictures.pixels
        prompt.check(visual.placeholder, pictures.sizes)

        places = family.places(model, given)
        layout = path.lay_out(
            prompt,
            [(visual, pictures)],
            [path.tokens(visual, pictures)],
            keep_places=places is not None,
        )
        self._layout, self._visual_here = layout.spliced, layout.visual
        self._ids, self._visual_positions = (
            tensor.to(model.device) for tensor in (layout.text, layout.visual_positions)
        )
        self._placed = {
            name: layout.spliced.carry(given[name], 0)
            for name in family.token_types
            if name in given
        }
        behind = None
        if places is not None:
            self._placed["position_ids"] = layout.spliced.carry(places.positions, 0)
            behind = places.behind.expand(len(places.positions), -1, -1)
        self.visual_tokens = layout.visual.sum(dim=1).tolist()
        steps = max(output_tokens, 1)
        decoder = path.family.decoder(model)
        real = layout.spliced.mask.bool().to(model.device) if layout.spliced.padded else None
        batch, tokens = self._ids.shape
        self._language: LanguageRun
        if static is None:
            self._language = ExactLength(model, decoder, tokens, steps, real, behind)
        else:
            check_counted(family, self._placed, decoder)
            self._language = StaticLength(model, decoder, batch, tokens, steps, real, static)
        self._inside_llm: LanguageLayers | None = None
        if bound is not None and bound.reducer.site == "llm":
            self._inside_llm = bound.llm(decoder)

        self._taps = Taps(decoder) if decoder.tapped else None
        self._output_tokens = output_tokens
        self._prefill: Steps = [*path.steps(visual, pictures), ("llm", self._prefill_llm)]
        self._decode: Steps = [("decode", partial(self._language.decode, n)) for n in range(steps)]
        self.components = tuple(name for name, _ in self._prefill)
        try:
            if on_eager is not None:
                on_eager(self)
            if static is not None:
                mode = partial(graphed_before_llm, recorder=static)
            self._prefill, self._decode = mode(self._prefill, self._decode, self._pixels)
            self.prefill()
            self._language.record()
        except BaseException:
            self.close()
            raise

    @property
    def prompt_tokens(self) -> int:
        """Length of the prompt as it reaches the LLM, of the longest sequence."""
        return int(self._ids.shape[1])

    @torch.inference_mode()
    def prefill(self, mark: Mark = ignore) -> Tensor:
        """Logits [B, V] of the last position; marks `components`.

        As a CUDA graph it fills the same tensor each time.
        """
        self._last = run(self._prefill, self._pixels, mark)
        return self._last.logits

    @torch.inference_mode()
    def decode_step(self, mark: Mark = ignore) -> Tensor:
        """Logits [B, V] behind the first token of the answer; marks `decode`.

        The most likely token is fed in behind the prompt, of which the cache holds keys and values.
        Runs the same step however often it is called.
        """
        after: Next = run(self._decode[:1], self._last, mark)
        return after.logits

    @torch.inference_mode()
    def generate(self, mark: Mark = ignore) -> Tensor:
        """The most likely answer, [B, output_tokens]; marks `components`, then every `decode`.

        One decode step a token, and no stop at an end-of-sequence token.
        """
        state: Next = run(self._prefill, self._pixels, mark)
        self._last, answer = state, [self._ids[:, :0]]
        for step in self._decode[: self._output_tokens]:
            state = run([step], state, mark)
            assert state.token is not None
            answer.append(state.token)
        return torch.cat(answer, dim=1)

    def prefill_of(self, tokens: int) -> Callable[[], object]:
        """What prefills the LLM with another prompt [B, tokens], eagerly, and drops nothing of it.

        A decode step needs a prefill of its own prompt afterwards.
        """
        decoder = family_of(self.model).decoder(self.model)
        language = ExactLength(self.model, decoder, tokens, 1, None)
        row = self.model.get_input_embeddings().weight[:1]
        embeddings = row.expand(len(self._ids), tokens, -1).contiguous()

        @torch.inference_mode()
        def run() -> object:
            if self._inside_llm is not None:
                self._inside_llm.forget()
            return language.prefill(embeddings)

        return run

    def close(self) -> None:
        """Take off what a reducer has put on the model."""
        if self._inside_llm is not None:
            self._inside_llm.remove()
            self._inside_llm = None
        if self._taps is not None:
            self._taps.remove()
            self._taps = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _prefill_llm(self, reduction: Reduction) -> Next:
        if self._inside_llm is not None:
            self._inside_llm.expect(self._visual_here, self._layout.mask)
        if self._taps is not None:
            self._taps.expect(self._visual_here, self._visual_positions, [reduction])
        embeddings = embed(self.model, self._ids, self._visual_positions, [reduction])
        return self._language.prefill(embeddings, **self._placed)
