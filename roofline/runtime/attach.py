"""`attach`: put a reducer on an unmodified Hugging Face LMM, and `detach` it again.

The model object keeps its class and weights. While a reducer is attached, `forward` and `generate`
encode the images themselves, reduce them, give each image's run of placeholders its new length and
hand on embeddings; calls without images pass straight through.
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from roofline.errors import InputError, UnknownNameError
from roofline.runtime.reducers import find
from roofline.runtime.reducers.base import LanguageLayers, Reducer, Reduction
from roofline.runtime.splice import IGNORED_LABEL, Prompt, Run, Side, Splice, splice
from roofline.runtime.vision import encode

_STATE = "_roofline_attachment"
_PATCHED = ("forward", "generate")
_SETTLED_BY_THE_TOWER = frozenset({"heads", "class_token"})


class AttachError(InputError):
    """A model that no reducer can be put on, or a call that cannot be made with one."""


def attach(model: nn.Module, reducer: str = "prumerge", **options: Any) -> nn.Module:
    """Reduce the visual tokens of a LLaVA-1.5 or Video-LLaVA model from now on; returns the model.

    Options are those of the reducer (`roofline.runtime.reducers`). A model that already has a
    reducer gets the new one instead; one inside a PEFT wrapper is found there.

    Raises InputError for a model or options that do not fit; the model is then as before.
    """
    base = _unwrapped(model)
    attachment = Attachment(base, find(reducer), options)
    detach(base)
    attachment.install()
    return model


def detach(model: nn.Module) -> nn.Module:
    """Take the reducer off, if there is one; returns the model, which is then as before."""
    attachment = getattr(_unwrapped(model), _STATE, None)
    if attachment is not None:
        attachment.remove()
    return model


@dataclass(frozen=True)
class VisualInput:
    """One kind of visual input that a model takes, and how it becomes tokens."""

    arguments: tuple[str, ...]
    """Names of the keyword that carries its pixels."""
    tower: Any
    placeholder: int
    blocks: int
    """ViT blocks behind the features."""
    keeps_class_token: bool
    """Whether the unreduced model feeds the class token to the LLM too."""

    @property
    def class_token(self) -> bool:
        return hasattr(self._inner.embeddings, "class_embedding")

    @property
    def tokens(self) -> int:
        """Tokens of one image in the ViT's blocks."""
        return int(self._inner.embeddings.num_positions)

    @property
    def unreduced(self) -> int:
        """Tokens of one image that the unreduced model feeds to the LLM: its placeholders."""
        return self.tokens - (self.class_token and not self.keeps_class_token)

    @property
    def _inner(self) -> Any:
        return getattr(self.tower, "vision_model", self.tower)

    def pixels(self, given: Mapping[str, Any]) -> Tensor | None:
        """What a call gives of it, one image or frame after the other: [B, 3, height, width]."""
        for name in self.arguments:
            if given.get(name) is not None:
                pixels: Tensor = given[name]
                return pixels.flatten(0, -4)  # videos are [B, frames, 3, height, width]
        return None


class Attachment:
    """A reducer on a model. Raises InputError if they do not go together."""

    def __init__(self, model: Any, reducer: Reducer, options: Mapping[str, Any]) -> None:
        self.model, self.reducer, self.options = model, reducer, dict(options)
        self.inputs = _visual_inputs(model)
        self._originals: dict[str, Any] = {}
        self._calls: dict[str, Any] = {}
        self._inside_llm: LanguageLayers | None = None
        allowed = [name for name in reducer.options if name not in _SETTLED_BY_THE_TOWER]
        for option in options:
            if option not in allowed:
                raise UnknownNameError(f"option of {reducer.name}", option, allowed)
        for visual in self.inputs:
            self._try(visual)
        if reducer.llm is not None:
            self._inside_llm = reducer.llm(model.model.language_model, **options)

    def _try(self, visual: VisualInput) -> None:
        """Reduce an empty image, so that options which cannot work do not wait for a real one."""
        reducer = self.reducer
        if (
            not visual.class_token
            and reducer.place != "llm"
            and "class_token" not in reducer.options
        ):
            raise AttachError(
                f"{reducer.name} needs a class token, which {type(visual.tower).__name__} has not"
            )
        heads = visual.tower.config.num_attention_heads
        if reducer.reduce is not None:
            empty = torch.zeros(1, visual.tokens, heads, device="cpu")
            reducer.reduce(empty, empty, empty, **self._options(visual))
        if reducer.blocks is not None:
            width = visual.tower.config.hidden_size
            empty = torch.zeros(1, visual.tokens, width, device="cpu")
            reducer.blocks(**self.options).start(empty, visual.blocks)

    def install(self) -> None:
        """Replace `forward` and `generate` on the instance, keeping what was there."""
        replacements = (self._forward, self._generate)
        setattr(self.model, _STATE, self)
        for name, replacement in zip(_PATCHED, replacements, strict=True):
            self._originals[name] = self.model.__dict__.get(name)
            original = getattr(self.model, name)
            # of bound methods, not a closure: a deep copy of the model then calls its own.
            # `generate` tells model arguments from typos by the signature, which stays visible
            call = functools.partial(self._call, original, replacement)
            self._calls[name] = functools.update_wrapper(call, original, updated=())
            setattr(self.model, name, self._calls[name])

    def remove(self) -> None:
        """Put everything back; what others have wrapped meanwhile stays and passes through."""
        if self._inside_llm is not None:
            self._inside_llm.remove()
        self.inputs = []
        for name, original in self._originals.items():
            if self.model.__dict__.get(name) is not self._calls[name]:
                continue
            if original is None:
                delattr(self.model, name)
            else:
                setattr(self.model, name, original)
        delattr(self.model, _STATE)

    def _call(
        self,
        original: Callable[..., Any],
        replacement: Callable[..., Any],
        /,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """`original` where no pixels are given, `replacement` where they are."""
        given = _named(original, args, kwargs) if args else kwargs  # 0.1 ms saved a decode step
        if all(visual.pixels(given) is None for visual in self.inputs):
            return original(*args, **kwargs)
        try:
            return replacement(original, given)
        except BaseException:
            if self._inside_llm is not None:
                self._inside_llm.forget()
            raise

    def _forward(self, original: Callable[..., Any], given: dict[str, Any]) -> Any:
        labels, positions = given.pop("labels", None), given.pop("position_ids", None)
        prompt, embeddings = self._embed(given)
        given |= {"inputs_embeds": embeddings}
        if prompt.padded:
            given["attention_mask"] = prompt.mask.to(embeddings.device, non_blocking=True)
        if positions is not None:
            given["position_ids"] = prompt.positions(positions)
        if labels is not None:
            # no logits come before the first column; none shall where padding moves it to the right
            labels = labels.index_fill(1, labels.new_zeros(1), IGNORED_LABEL)
            given["labels"] = prompt.carry(labels, IGNORED_LABEL)
        return original(**given)

    @torch.no_grad()
    def _generate(self, original: Callable[..., Any], given: dict[str, Any]) -> Any:
        """Generate from the reduced prompt; sequences come back behind the prompt as it was given.

        So `max_length` and `min_length` count the prompt as it was given, too.
        """
        if given.get("inputs") is not None:
            given["input_ids"] = given.pop("inputs")
        asked, positions = given.get("input_ids"), given.pop("position_ids", None)
        prompt, embeddings = self._embed(given, side="left")
        assert asked is not None
        length = prompt.ids.shape[1]
        self._lower_limits(given, asked.shape[1] - length)
        if positions is not None:
            given["position_ids"] = prompt.positions(positions)
        result = original(
            **given,
            input_ids=prompt.ids.to(asked.device),
            attention_mask=prompt.mask.to(asked.device),
            inputs_embeds=embeddings,
        )
        sequences = result if isinstance(result, Tensor) else result.sequences
        before = asked.to(sequences.device).repeat_interleave(len(sequences) // len(asked), dim=0)
        sequences = torch.cat([before, sequences[:, length:]], dim=1)
        if isinstance(result, Tensor):
            return sequences
        result.sequences = sequences
        return result

    def _lower_limits(self, given: dict[str, Any], removed: int) -> None:
        """Take tokens that are gone off the limits in force: an argument's, else a config's."""
        config = copy.copy(given.get("generation_config"))
        for name in ("max_length", "min_length"):
            configs = (config, self.model.generation_config)
            in_order = (given.get(name), *(getattr(c, name, None) for c in configs))
            limit = next((limit for limit in in_order if limit is not None), None)
            if limit is None:
                continue
            if config is None or given.get(name) is not None:
                given[name] = max(0, limit - removed)
            else:
                setattr(config, name, max(0, limit - removed))
        if config is not None:
            given["generation_config"] = config

    def _embed(self, given: dict[str, Any], side: Side | None = None) -> tuple[Splice, Tensor]:
        """Encode, reduce, splice, embed. Takes what it uses out of `given`."""
        ids, mask = given.pop("input_ids", None), given.pop("attention_mask", None)
        if ids is None:
            raise AttachError("give `input_ids` with the images: placeholders say where they go")
        for name in ("vision_feature_layer", "vision_feature_select_strategy"):
            if given.pop(name, None) not in (None, getattr(self.model.config, name)):
                raise AttachError(f"with a reducer `{name}` is set in the model's config")
        prompt = Prompt.of(ids, mask)
        both = [(visual, visual.pixels(given)) for visual in self.inputs]
        images = [(visual, pixels) for visual, pixels in both if pixels is not None]
        for visual, pixels in images:
            prompt.check(visual.placeholder, visual.unreduced, len(pixels))
            for name in visual.arguments:
                given.pop(name, None)

        reductions = [self._reduce(visual, pixels) for visual, pixels in images]
        runs = [
            Run(visual.placeholder, visual.unreduced, reduction.counts)
            for (visual, _), reduction in zip(images, reductions, strict=True)
        ]
        spliced = splice(prompt, runs, self._pad_id, side)
        places = torch.cat([spliced.places(run.placeholder) for run in runs])
        embed = self.model.get_input_embeddings()
        embeddings = embed(spliced.ids.to(self.model.device, non_blocking=True))
        tokens = torch.cat([token for reduction in reductions for token in reduction.tokens])
        embeddings = _put(embeddings, places, tokens)
        if self._inside_llm is not None:
            visual_here = torch.zeros_like(spliced.ids, dtype=torch.bool)
            visual_here.view(-1)[places] = True
            self._inside_llm.expect(visual_here, spliced.mask)
        return spliced, embeddings

    def _reduce(self, visual: VisualInput, pixels: Tensor) -> Reduction:
        """Projected tokens of every image (frame) that are left."""
        reducer, project = self.reducer, self.model.model.multi_modal_projector
        encoded = encode(
            visual.tower,
            pixels,
            visual.blocks,
            reducer=None if reducer.blocks is None else reducer.blocks(**self.options),
            attention_of=self._attended(visual) if reducer.needs_attention else None,
        )
        features, queries = encoded.features, encoded.queries
        if encoded.reduction is not None:
            return _projected(encoded.reduction, project)
        if reducer.reduce is None:  # it acts inside the LLM, which is to see everything
            kept = features[:, visual.tokens - visual.unreduced :]
            return _projected(Reduction(list(kept), []), project)
        if queries is not None:  # of the class token alone, where no other is needed
            queries = queries.expand(-1, features.shape[1], -1)
        if reducer.after_projector:
            features = _projected_patches(features, project, visual.class_token)
        reduction = reducer.reduce(features, queries, encoded.keys, **self._options(visual))
        return reduction if reducer.after_projector else _projected(reduction, project)

    def _attended(self, visual: VisualInput) -> int:
        """The ViT block that the reducer ranks by; the nearest, where the tower has no such one."""
        last: int = visual.tower.config.num_hidden_layers - 1
        return min(max(visual.blocks + self.reducer.attention_block, 0), last)

    def _options(self, visual: VisualInput) -> dict[str, Any]:
        """What was asked for, and what the tower settles."""
        settled = {
            "heads": visual.tower.config.num_attention_heads,
            "class_token": visual.class_token,
        }
        return {k: v for k, v in settled.items() if k in self.reducer.options} | self.options

    @property
    def _pad_id(self) -> int:
        config = self.model.config
        ids = (getattr(owner, "pad_token_id", None) for owner in (config, config.text_config))
        return next((int(pad) for pad in ids if pad is not None), 0)


def _named(function: Callable[..., Any], args: Any, kwargs: Any) -> dict[str, Any]:
    """All arguments by name, those of `**kwargs` included, defaults left out."""
    signature = inspect.signature(function)
    given: dict[str, Any] = {}
    for name, value in signature.bind_partial(*args, **kwargs).arguments.items():
        if signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD:
            given |= value
        else:
            given[name] = value
    return given


def _unwrapped(model: Any) -> Any:
    """The Hugging Face model inside a PEFT one."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _visual_inputs(model: Any) -> Sequence[VisualInput]:
    """What pixels a model takes. Raises AttachError for classes that are not supported."""
    config: Any = getattr(model, "config", None)
    inner: Any = getattr(model, "model", None)
    kind = getattr(config, "model_type", None)
    if kind == "llava" and hasattr(inner, "vision_tower"):
        towers = {"image": inner.vision_tower}
    elif kind == "video_llava" and hasattr(inner, "video_tower"):
        towers = {"image": inner.image_tower, "video": inner.video_tower}
    else:
        raise AttachError(
            f"cannot attach a reducer to {type(model).__name__}: give a "
            "LlavaForConditionalGeneration or a VideoLlavaForConditionalGeneration"
        )
    return [_visual_input(modality, tower, config) for modality, tower in towers.items()]


_ARGUMENTS = {
    "image": ("pixel_values", "pixel_values_images"),  # the second is Video-LLaVA's old name
    "video": ("pixel_values_videos",),
}


def _visual_input(modality: str, tower: Any, config: Any) -> VisualInput:
    embeddings = getattr(getattr(tower, "vision_model", tower), "embeddings", None)
    if not hasattr(embeddings, "num_positions"):
        raise AttachError(f"{type(tower).__name__} is not laid out like CLIP's or SigLIP's tower")
    layer, states = config.vision_feature_layer, tower.config.num_hidden_layers + 1
    if not isinstance(layer, int):
        raise AttachError("features from several ViT layers are not supported: name one layer")
    visual = VisualInput(
        _ARGUMENTS[modality],
        tower,
        placeholder=getattr(config, f"{modality}_token_id"),
        blocks=layer % states,  # hidden state 0 is the embeddings' output
        keeps_class_token=modality == "video" or config.vision_feature_select_strategy == "full",
    )
    if not visual.class_token and not visual.keeps_class_token:
        raise AttachError(
            f"{type(tower).__name__} has no class token: the config's "
            '`vision_feature_select_strategy` must be "full"'
        )
    return visual


def _projected_patches(features: Tensor, project: nn.Module, class_token: bool) -> Tensor:
    """Projected patches behind an empty row where the class token was: nobody reads that one."""
    patches = project(features[:, 1:] if class_token else features)
    return nn.functional.pad(patches, (0, 0, 1, 0)) if class_token else patches


def _projected(reduction: Reduction, project: nn.Module) -> Reduction:
    """The projector over all images' tokens at once."""
    flat = project(torch.cat(reduction.tokens))
    return Reduction(list(flat.split(reduction.counts)), reduction.indices)


def _put(embeddings: Tensor, places: Tensor, tokens: Tensor) -> Tensor:
    """Tokens [n, d] into the rows `places` [n] of flattened embeddings [B, L, d]."""
    index = places.to(embeddings.device, non_blocking=True)
    flat = embeddings.flatten(0, 1).index_copy(0, index, tokens.to(embeddings))
    return flat.view_as(embeddings)
