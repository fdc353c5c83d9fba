"""The LLM of a pipeline: the prefill of one prompt and the steps behind it, over its own cache.

`ExactLength` computes what the prompt needs and nothing else, which is what the analysis counts.
`StaticLength` is what servers run: shapes that fit many prompts, so that few CUDA graphs do for
all. A prompt is filled up to a bucket, and a step attends to the whole cache behind a mask, so that
one graph serves every step.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from math import ceil
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from roofline.errors import UnsupportedModeError
from roofline.torch_side.families.base import Decoder, cache_keyword
from roofline.torch_side.measure.kv_cache import InPlaceCache, StaticCache
from roofline.torch_side.measure.modes import WARM_UPS, GraphRecorder

FLASH_ATTN = "flash_attention_2"
BUCKET = 64
"""Prompts and caches are filled up to a multiple of so many tokens."""


class Next(NamedTuple):
    """What an LLM step leaves for the one after it."""

    logits: Tensor
    """Of the last position: [B, V]."""
    token: Tensor | None = None
    """What was fed in, [B, 1]; None for the prompt."""


class LanguageRun(ABC):
    """Passes of a model's LLM over prompts [B, n] of one length.

    decoder: that LLM without its head.
    real: tokens that are no padding, [B, n], bool, where sequences are padded to the longest; on
        the model's device.
    steps: tokens that may come behind the prompt.

    Masks are made once, and handed over as attention takes them: transformers would read the
    padding's values back at every pass, for which the device is waited for.
    """

    def __init__(
        self, model: Any, decoder: Decoder, tokens: int, steps: int, real: Tensor | None
    ) -> None:
        self.model, self.tokens = model, tokens
        config: Any = decoder.module.config
        self.attention: str = config._attn_implementation
        """As transformers calls it."""
        self.cache_keyword = cache_keyword(model)
        self.real: Tensor | None = None
        """[B, n + steps]."""
        if real is not None:
            self.real = functional.pad(real, (0, steps), value=True)

    def causal(self, queries: int, keys: int) -> Tensor | None:
        """What the last `queries` of `keys` tokens see: [B, 1, queries, keys], or [B, keys] for
        flash-attn; None where that is all that came before, which attention knows by itself.
        """
        if self.real is None:
            return None
        real = self.real[:, :keys]
        if self.attention == FLASH_ATTN:
            return real.long()
        index = torch.arange(keys, device=real.device)
        return self.shown(real[:, None, None] & (index <= index[keys - queries :, None]))

    def shown(self, seen: Tensor) -> Tensor:
        """A mask [B, 1, queries, keys] of what is seen, as the implementation takes it."""
        if self.attention != "eager":
            return seen
        dtype = self.model.dtype
        return torch.zeros_like(seen, dtype=dtype).masked_fill(~seen, torch.finfo(dtype).min)

    @abstractmethod
    def prefill(self, embeddings: Tensor, **placed: Tensor) -> Next:
        """The prompt, [B, n, d], from an empty cache, and what runs along with its tokens."""

    @abstractmethod
    def decode(self, step: int, before: Next) -> Next:
        """The `step`-th token behind the prompt, counted from 0: the most likely one."""

    def record(self) -> None:
        """Make graphs of its passes, if it runs as such; there has been a prefill by then."""
        return

    def logits(self, **given: Any) -> Tensor:
        """Of one position, the last one unless `logits_to_keep` names it: [B, V]."""
        given = {"logits_to_keep": 1, **given}
        logits: Tensor = self.model(**given, use_cache=True).logits[:, -1]
        return logits


class ExactLength(LanguageRun):
    """Every pass as long as what it computes."""

    def __init__(
        self,
        model: Any,
        decoder: Decoder,
        tokens: int,
        steps: int,
        real: Tensor | None,
        behind: Tensor | None = None,
    ) -> None:
        """behind: position of the first token of the answer, [axes, B, 1], where tokens are not
        simply counted.
        """
        super().__init__(model, decoder, tokens, steps, real)
        self._positions = [None if behind is None else behind + step for step in range(steps)]
        self._cache = InPlaceCache(len(decoder.layers), tokens + steps)
        self._masks = [self.causal(tokens, tokens)]
        self._masks += [self.causal(1, tokens + step + 1) for step in range(steps)]

    def prefill(self, embeddings: Tensor, **placed: Tensor) -> Next:
        self._cache.reset()
        return Next(self._logits(self._masks[0], inputs_embeds=embeddings, **placed))

    def decode(self, step: int, before: Next) -> Next:
        self._cache.rewind(step)
        token = before.logits.argmax(dim=-1, keepdim=True)
        positions = self._positions[step]
        placed = {} if positions is None else {"position_ids": positions}
        return Next(self._logits(self._masks[step + 1], input_ids=token, **placed), token)

    def _logits(self, mask: Tensor | None, **given: Tensor) -> Tensor:
        return self.logits(**given, attention_mask=mask, **{self.cache_keyword: self._cache})


class StaticLength(LanguageRun):
    """Prompts filled up to `bucket` tokens; steps that attend to `room` keys, behind a mask.

    What fills a prompt up stands behind it, where nothing before it looks (attention is causal),
    and is overwritten by the answer. Before `record` the same passes run eagerly.
    """

    def __init__(
        self,
        model: Any,
        decoder: Decoder,
        batch: int,
        tokens: int,
        steps: int,
        real: Tensor | None,
        recorder: GraphRecorder,
    ) -> None:
        self._recorder = recorder
        self.bucket, self.room = bucket(tokens), bucket(tokens + steps)
        super().__init__(model, decoder, tokens, self.room - tokens, real)
        if self.attention == FLASH_ATTN:
            raise UnsupportedModeError(
                "static-graph hides the rest of the cache behind a mask, which flash-attn does not "
                "take: use attention sdpa, or mode cuda-graph"
            )
        self._cache = StaticCache(len(decoder.layers), self.room)
        self._causal = self.causal(self.bucket, self.bucket)

        def numbers(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=torch.long, device=model.device)

        width = model.get_input_embeddings().embedding_dim
        self._embeddings = torch.zeros(
            batch, self.bucket, width, dtype=model.dtype, device=model.device
        )
        self._index = torch.arange(self.room, device=model.device)
        self._last = numbers(1) + tokens - 1
        self._position = numbers(1)
        """Where the next token goes."""
        self._prompt_token, self._token = numbers(batch, 1), numbers(batch, 1)
        """The one that the prompt's logits name, and the one that is fed in next."""
        self._answer = numbers(batch, steps)
        self._passes: dict[str, Callable[[], Tensor]] = {
            "prefill": self._prefill,
            "first": self._first,
        }
        if steps > 1:  # else there is no room for another
            self._passes["next"] = self._next

    def record(self) -> None:
        for function in [*self._passes.values()] * WARM_UPS:
            self._recorder.warm_up(function)
        self._passes = {
            name: _recorded(self._recorder, function) for name, function in self._passes.items()
        }

    def prefill(self, embeddings: Tensor, **placed: Tensor) -> Next:
        self._embeddings[:, : self.tokens].copy_(embeddings)
        return Next(self._passes["prefill"]())

    def decode(self, step: int, before: Next) -> Next:
        logits = self._passes["next" if step else "first"]()
        return Next(logits, self._answer[:, step : step + 1])

    def _prefill(self) -> Tensor:
        self._cache.position = None
        logits = self.logits(
            inputs_embeds=self._embeddings,
            attention_mask=self._causal,
            logits_to_keep=self._last,
            **{self.cache_keyword: self._cache},
        )
        self._prompt_token.copy_(logits.argmax(dim=-1, keepdim=True))
        return logits

    def _first(self) -> Tensor:
        """The step behind the prompt, however often."""
        self._token.copy_(self._prompt_token)
        self._position.fill_(self.tokens)
        return self._next()

    def _next(self) -> Tensor:
        self._cache.position = self._position
        self._answer.index_copy_(1, self._position - self.tokens, self._token)
        seen = (self._index <= self._position).view(1, 1, 1, -1)
        if self.real is not None:
            seen = seen & self.real[:, None, None]
        batch = len(self._token)
        logits = self.logits(
            input_ids=self._token,
            attention_mask=self.shown(seen.expand(batch, -1, -1, -1)),
            position_ids=self._position.expand(batch, 1),
            **{self.cache_keyword: self._cache},
        )
        self._token.copy_(logits.argmax(dim=-1, keepdim=True))
        self._position.add_(1)
        return logits


def bucket(tokens: int) -> int:
    """Tokens that so many are filled up to."""
    return BUCKET * ceil(tokens / BUCKET)


def _recorded(recorder: GraphRecorder, function: Callable[[], Tensor]) -> Callable[[], Tensor]:
    replay, result = recorder.record(function)

    def again() -> Tensor:
        replay()
        return result

    return again
