"""KV caches that are written in place.

The cache that `generate` makes appends by `torch.cat`, which copies all that it holds at every
token. Here keys and values have their room from the start: a token writes its own row and
nothing else moves, which is what the analysis counts.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

from roofline.errors import InputError


class InPlaceLayer(DynamicLayer):  # type: ignore[no-untyped-call]
    """Keys and values of one layer, [B, H_kv, n, e] each: views of buffers [B, H_kv, room, e].

    Made on the first `update`, in the type and on the device of what comes.
    """

    def __init__(self, room: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.room = room
        self.prompt = 0
        """Tokens that came first, all at once."""
        self._buffers: tuple[Tensor, Tensor] | None = None

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        self.dtype, self.device = key_states.dtype, key_states.device
        if self._buffers is None:
            keys, values = (
                new.new_empty(*new.shape[:2], self.room, new.shape[3])
                for new in (key_states, value_states)
            )
            self._buffers = keys, values
        self.is_initialized = True
        self._hold(0)

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Write what is new, [B, H_kv, m, e], behind what there is; all of it comes back as views.

        Raises InputError where they have no room.
        """
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        before, new = self.get_seq_length(), key_states.shape[2]
        if before + new > self.room:
            raise InputError(
                f"the KV cache has room for {self.room} tokens, not for {before + new}"
            )
        if not before:
            self.prompt = new
        keys, values = self._hold(before + new)
        keys[:, :, before:].copy_(key_states)
        values[:, :, before:].copy_(value_states)
        return keys, values

    def rewind(self, steps: int) -> None:
        """Forget all but the prompt and the `steps` tokens behind it."""
        self._hold(self.prompt + steps)

    def reset(self) -> None:
        """Forget everything; the buffers stay."""
        if self.is_initialized:
            self._hold(0)

    def _hold(self, tokens: int) -> tuple[Tensor, Tensor]:
        assert self._buffers is not None
        keys, values = (buffer[:, :, :tokens] for buffer in self._buffers)
        self.keys, self.values = keys, values
        return keys, values


class InPlaceCache(Cache):
    """Of a decoder of so many layers, with room for so many tokens a sequence."""

    def __init__(self, layers: int, room: int) -> None:
        self.in_place = [InPlaceLayer(room) for _ in range(layers)]
        super().__init__(layers=list(self.in_place))

    def reset(self) -> None:
        """Forget everything; the buffers stay."""
        for layer in self.in_place:
            layer.reset()

    def rewind(self, steps: int) -> None:
        """Forget all but the prompt and the `steps` tokens behind it.

        The prompt is what came first after the cache was made or `reset`. Layers may hold different
        numbers of its tokens.
        """
        for layer in self.in_place:
            layer.rewind(steps)


class StaticLayer(DynamicLayer):  # type: ignore[no-untyped-call]
    """Keys and values of one layer in buffers [B, H_kv, room, e], of which a step sees all.

    Where a step writes is a number on the device, so that its shapes never change.
    """

    def __init__(self, cache: StaticCache, room: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._cache, self._room = cache, room
        self._buffers: tuple[Tensor, Tensor] | None = None

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """A prompt is written from the start, and comes back as it is; a token goes to `position`,
        and all of the buffers comes back.
        """
        if self._buffers is None:
            keys, values = (
                new.new_zeros(*new.shape[:2], self._room, new.shape[3])
                for new in (key_states, value_states)
            )
            self._buffers = keys, values
        keys, values = self._buffers
        position = self._cache.position
        if position is None:
            keys[:, :, : key_states.shape[2]].copy_(key_states)
            values[:, :, : value_states.shape[2]].copy_(value_states)
            return key_states, value_states
        keys.index_copy_(2, position, key_states)
        values.index_copy_(2, position, value_states)
        return keys, values

    def get_seq_length(self, *args: Any) -> int:
        """0: a pass says by itself where its tokens stand."""
        return 0


class StaticCache(Cache):
    """Of a decoder of so many layers, with room for so many tokens a sequence."""

    position: Tensor | None = None
    """Where a step's token goes, [1], on the device; None for a prompt."""

    def __init__(self, layers: int, room: int) -> None:
        super().__init__(layers=[StaticLayer(self, room) for _ in range(layers)])
