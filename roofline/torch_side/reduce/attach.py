"""`attach`: put a reducer on an unmodified Hugging Face LMM, and `detach` it again.

The model object keeps its class and weights. While a reducer is attached, `forward` and `generate`
encode the images themselves, reduce them, give each image's run of placeholders its new length and
hand on embeddings; calls without images pass straight through.
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from roofline.engine.axes import NO_REDUCER
from roofline.reducers import Reducer
from roofline.torch_side.reduce.methods import BoundMethod, bind
from roofline.torch_side.reduce.methods.base import LanguageLayers
from roofline.torch_side.reduce.path import AttachError, ReductionPath, embed
from roofline.torch_side.reduce.splice import IGNORED_LABEL, Side, Splice, TokenizedPrompt
from roofline.torch_side.reduce.taps import Taps

_STATE = "_roofline_attachment"
_PATCHED = ("forward", "generate")


def attach(model: nn.Module, reducer: str | Reducer = "prumerge", **options: Any) -> nn.Module:
    """Reduce the visual tokens of a model of a known family from now on; returns the model.

    Options are those of the reducer, here or behind its name (`fastv:k=3`), and `count`, the tokens
    to come out of each image (of each sequence, where it acts inside the LLM). A model that already
    has a reducer gets the new one instead, and with `none` is as before; one inside a PEFT wrapper
    is found there.

    Raises InputError for a model or options that do not fit; the model is then as before.
    """
    base = _unwrapped(model)
    if reducer == NO_REDUCER and not options:
        return detach(model)
    attachment = Attachment(base, bind(reducer, **options))
    detach(base)
    attachment.install()
    return model


def detach(model: nn.Module) -> nn.Module:
    """Take the reducer off, if there is one; returns the model, which is then as before."""
    attachment = getattr(_unwrapped(model), _STATE, None)
    if attachment is not None:
        attachment.remove()
    return model


class Attachment:
    """A reducer on a model. Raises InputError if they do not go together."""

    def __init__(self, model: Any, bound: BoundMethod) -> None:
        self.model = model
        self._path = ReductionPath(model, bound)
        self.inputs = self._path.inputs
        self._originals: dict[str, Any] = {}
        self._calls: dict[str, Any] = {}
        self._prompt: Tensor | None = None
        """Embeddings [B, n, d] that are to take the place of the next ids."""
        self._inside_llm: LanguageLayers | None = None
        decoder = self._path.family.decoder(model)
        if bound.reducer.site == "llm":
            self._inside_llm = bound.llm(decoder)
        self._taps = Taps(decoder) if decoder.tapped else None

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
        if self._taps is not None:
            self._taps.remove()
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
            if self._prompt is None:
                return original(*args, **kwargs)
            prompt = self._in_place_of(given.pop("input_ids"))
            return original(**given, **prompt)
        try:
            return replacement(original, given)
        except BaseException:
            self._prompt = None
            for inside in (self._inside_llm, self._taps):
                if inside is not None:
                    inside.forget()
            raise

    def _in_place_of(self, ids: Tensor) -> dict[str, Tensor]:
        """The prompt that is due, of as many beams as there are of its ids."""
        assert self._prompt is not None
        prompt, self._prompt = self._prompt, None
        return {"inputs_embeds": prompt.repeat_interleave(len(ids) // len(prompt), dim=0)}

    def _forward(self, original: Callable[..., Any], given: dict[str, Any]) -> Any:
        labels, positions = given.pop("labels", None), given.pop("position_ids", None)
        prompt, embeddings, placed = self._embed(given, positions)
        given |= {"inputs_embeds": embeddings, **placed}
        if prompt.padded:
            given["attention_mask"] = prompt.mask.to(embeddings.device, non_blocking=True)
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
        ids, positions = given.get("input_ids"), given.pop("position_ids", None)
        prompt, embeddings, placed = self._embed(given, positions, side="left")
        assert ids is not None
        length = prompt.ids.shape[1]
        self._lower_limits(given, ids.shape[1] - length)
        mask = prompt.mask.to(ids.device)
        if "position_ids" in placed and placed["position_ids"].ndim == 3:
            # `generate` counts text by itself, as a first axis
            counted = (mask.long().cumsum(-1) - 1).masked_fill(mask == 0, 0)[None]
            placed["position_ids"] = torch.cat([counted, placed["position_ids"]])
        prepare = inspect.signature(self.model.prepare_inputs_for_generation).parameters
        if "inputs_embeds" in prepare:
            placed["inputs_embeds"] = embeddings
        else:  # `generate` takes none of them: they go in as the prompt comes by
            self._prompt = embeddings
        result = original(
            **given, **placed, input_ids=prompt.ids.to(ids.device), attention_mask=mask
        )
        sequences = result if isinstance(result, Tensor) else result.sequences
        before = ids.to(sequences.device).repeat_interleave(len(sequences) // len(ids), dim=0)
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

    def _embed(
        self, given: dict[str, Any], positions: Tensor | None, side: Side | None = None
    ) -> tuple[Splice, Tensor, dict[str, Tensor]]:
        """Encode, reduce, splice, embed. Takes what it uses out of `given`.

        Third comes what runs along with the tokens: positions, and which of them are visual.
        """
        family = self._path.family
        if given.get("input_ids") is None:
            raise AttachError("give `input_ids` with the images: placeholders say where they go")
        for name in family.settled_arguments:
            if given.pop(name, None) not in (None, getattr(self.model.config, name)):
                raise AttachError(f"with a reducer `{name}` is set in the model's config")
        places = family.places(self.model, given)
        both = [(visual, visual.pictures(given)) for visual in self.inputs]
        prompt = TokenizedPrompt.of(given.pop("input_ids"), given.pop("attention_mask", None))
        shown = [(visual, pictures) for visual, pictures in both if pictures is not None]
        for visual, pictures in shown:
            prompt.check(visual.placeholder, pictures.sizes)
        for name in {
            name for visual in self.inputs for name in (*visual.arguments, *visual.beside)
        }:
            given.pop(name, None)

        reductions = [self._path.tokens(visual, pictures) for visual, pictures in shown]
        layout = self._path.lay_out(prompt, shown, reductions, side, keep_places=places is not None)
        spliced = layout.spliced
        embeddings = embed(self.model, layout.text, layout.visual_positions, reductions)
        if self._inside_llm is not None:
            self._inside_llm.expect(layout.visual, spliced.mask)
        if self._taps is not None:
            self._taps.expect(layout.visual, layout.visual_positions, reductions)
        placed = {
            name: spliced.carry(given.pop(name), 0)
            for name in family.token_types
            if given.get(name) is not None
        }
        if places is not None:
            given_positions = places.positions if positions is None else positions
            placed["position_ids"] = spliced.carry(given_positions, 0)
            lengths = spliced.mask.sum(dim=1, keepdim=True)
            family.continue_at(self.model, places.behind - lengths.to(places.behind.device))
        elif positions is not None:
            placed["position_ids"] = spliced.positions(positions)
        return spliced, embeddings, placed


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
