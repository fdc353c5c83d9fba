"""FastV in torch: hooks that drop visual tokens inside the LLM, after its first layers.

After layer k the visual tokens are ranked by the attention that the last token of the prompt paid
them in layer k, mean over heads; the weakest leave. Text stays, and so do the positions of what is
left. Layers after k hold a shorter KV cache, which decoding respects.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from roofline.reducers.fastv import FastV
from roofline.torch_side.families.base import Decoder, cache_keyword
from roofline.torch_side.reduce.methods import METHODS
from roofline.torch_side.reduce.methods.base import Method, ReducerError


@dataclass(frozen=True)
class PruningPlan:
    """What is known of a prompt before any attention is."""

    visual: Tensor
    real: Tensor
    """As they were given: [B, n]."""
    kept: int
    """Tokens that stay, text included."""
    last: Tensor
    """Where the prompt ends: [B, 1]."""
    seen: Tensor
    stays: Tensor
    """Tokens that are no padding, and those that must not leave: [B, n], bool."""

    def is_for(self, visual: Tensor, real: Tensor, hidden: Tensor) -> bool:
        """Whether it is a plan for the same tensors, and for the device and beams of `hidden`."""
        same = self.visual is visual and self.real is real
        return same and self.last.device == hidden.device and len(self.last) == len(hidden)


class FastVLayers:
    """Hooks on a decoder: watch layer k, prune from the next one on.

    count: visual tokens of a sequence to keep, instead of the reducer's share of them.

    A prompt's pruned layers are told from those of any other call by the objects that they are
    given: its rotary angles in prefill (in a checkpoint's second forward, too), its KV cache after.
    """

    def __init__(self, reducer: FastV, decoder: Decoder, *, count: int | None = None) -> None:
        layers, k = decoder.layers, reducer.k
        if not k < len(layers):
            raise ReducerError(f"fastv: `k` must be between 1 and {len(layers) - 1}, not {k}")
        if count is not None and count < 1:
            raise ReducerError(f"`count` must be at least 1, not {count}")
        if reason := decoder.unranked(layers[k - 1]):
            raise ReducerError(
                f"fastv ranks by the attention of rotated queries and keys: {reason}"
            )
        if k < decoder.tapped:
            raise ReducerError(
                f"fastv: `k` must be at least {decoder.tapped}, the layers behind which this LLM "
                "is given features of its vision encoder"
            )
        self._decoder = decoder
        self._cache_keyword = cache_keyword(layers[k])
        self.reducer, self.count = reducer, count
        self._visual: Tensor | None = None
        """[B, n] of a prompt that is to come, on the CPU."""
        self._real: Tensor | None = None
        self._prefill = False
        """Whether a prompt is between pruning and the end of the decoder."""
        self._plan: PruningPlan | None = None
        """Of the last prompt."""
        self._kept: Tensor | None = None
        """Tokens of the last prompt that stayed: [B, n'], ascending."""
        self._prompt = 0
        self._angles: Tensor | None = None
        self._shorter_angles: tuple[Tensor, ...] = ()
        self._shorter_ids: Tensor | None = None
        """Of the tokens that stayed."""
        self._masks: tuple[Tensor, Tensor] | None = None
        """The mask that the pruned layers are given, and the one that they get."""
        self._cache: weakref.ref[Any] | None = None
        self._projected: dict[str, Tensor] = {}
        self._watches: list[Any] = []
        self._handles = [
            layers[k - 1].register_forward_pre_hook(self._watch),
            layers[k].register_forward_pre_hook(self._prune, with_kwargs=True),
            *(
                later.register_forward_pre_hook(self._follow, with_kwargs=True)
                for later in layers[k:]
            ),
            decoder.norm.register_forward_hook(self._restore),
        ]

    def expect(self, visual: Tensor, mask: Tensor) -> None:
        """Start a new prompt: `visual` and `mask` are [B, n].

        The same two tensors again are the same prompt: nothing is copied to the device again.
        """
        plan = self._plan
        if plan is not None and plan.visual is visual and plan.real is mask:
            self._visual, self._real = visual, mask
            return
        counts = visual.sum(-1).tolist()
        if len(set(counts)) > 1:
            raise ReducerError(
                "fastv needs the same number of visual tokens in each sequence of a batch, "
                f"not {counts}"
            )
        if self.count is not None and self.count > counts[0]:
            raise ReducerError(f"`count` is {self.count}, but a sequence has {counts[0]}")
        self._visual, self._real = visual, mask

    def forget(self) -> None:
        """Expect no prompt any more."""
        self._visual = None

    def remove(self) -> None:
        """Take the hooks off."""
        for handle in (*self._handles, *self._watches):
            handle.remove()

    def _watch(self, layer: Any, args: Any) -> None:
        """Before the layer that ranks: of a new prompt, keep its queries and keys.

        The projections are looked up here: an adapter may have replaced them since.
        """
        self._prefill, self._masks = False, None
        self._unwatch()
        if self._visual is not None:
            names = ("queries", "keys")
            self._watches = [
                projection.register_forward_hook(partial(self._keep, name))
                for name, projection in zip(names, self._decoder.query_and_key(layer), strict=True)
            ]

    def _keep(self, name: str, module: nn.Module, args: Any, output: Tensor) -> None:
        self._projected[name] = output.flatten(2)

    def _unwatch(self) -> None:
        for handle in self._watches:
            handle.remove()
        self._watches = []

    def _prune(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
        """Before the first pruned layer of a prompt: choose what stays, and let the rest go."""
        hidden = args[0] if args else kwargs.pop("hidden_states")
        if self._visual is not None:
            self._choose(hidden, kwargs)
        elif kwargs["position_embeddings"][0] is not self._angles:
            return (hidden, *args[1:]), kwargs
        assert self._kept is not None
        index = self._kept.unsqueeze(-1).expand(-1, -1, hidden.shape[-1])
        return (hidden.gather(1, index), *args[1:]), kwargs

    def _choose(self, hidden: Tensor, kwargs: dict[str, Any]) -> None:
        """Decide which tokens of the expected prompt stay."""
        assert self._visual is not None
        assert self._real is not None
        visual, real, self._visual = self._visual, self._real, None
        self._unwatch()
        cache, angles = kwargs.get(self._cache_keyword), kwargs["position_embeddings"]
        if hidden.shape[1] != visual.shape[1] or getattr(cache, "is_compileable", False):
            raise ReducerError("fastv prunes a whole prompt: no cache but a new, dynamic one")
        if self._plan is None or not self._plan.is_for(visual, real, hidden):
            self._plan = self._planned(visual, real, hidden)
        plan = self._plan
        with torch.no_grad():
            seen = _on_one_axis(angles, self._decoder.sections)
            attention = self._attention(plan.last, plan.seen, seen)  # [B, n]
        rank = attention.masked_fill(plan.stays, torch.inf).argsort(
            dim=-1, descending=True, stable=True
        )
        self._prompt = visual.shape[1]
        self._kept = rank[:, : plan.kept].sort(dim=-1).values
        self._prefill, self._angles = True, angles[0]
        self._shorter_angles = tuple(_rows(t, self._kept) for t in angles)
        if (ids := kwargs.get("position_ids")) is not None:
            self._shorter_ids = ids.expand(len(self._kept), -1).gather(1, self._kept)
        self._cache = None if cache is None else weakref.ref(cache)
        self._projected.clear()

    def _planned(self, visual: Tensor, real: Tensor, hidden: Tensor) -> PruningPlan:
        last = (real.ne(0) * torch.arange(real.shape[1])).argmax(dim=1, keepdim=True)  # [B, 1]
        total = int(visual[0].sum())
        left = self.reducer.default_kept(total, 0) if self.count is None else self.count
        stays = (~visual).scatter(1, last, True)
        copies = len(hidden) // len(visual)  # beams
        on_device = (
            t.repeat_interleave(copies, dim=0).to(hidden.device, non_blocking=True)
            for t in (last, real.ne(0), stays)
        )
        return PruningPlan(visual, real, visual.shape[1] - total + left, *on_device)

    def _attention(self, last: Tensor, seen: Tensor, angles: tuple[Tensor, Tensor]) -> Tensor:
        """What the `last` token [B, 1] pays to all that are `seen`, mean over heads: [B, n]."""
        queries, keys = self._projected["queries"], self._projected["keys"]
        size = angles[0].shape[-1]
        q = _rotated(_rows(queries, last), tuple(_rows(t, last) for t in angles), size)
        k = _rotated(keys, angles, size)  # [B, Hk, n, e]
        q = q.reshape(len(q), k.shape[1], -1, size)  # queries that share a key head as its rows
        scores = (q @ k.transpose(-1, -2)).float() * size**-0.5
        scores = scores.masked_fill(~seen[:, None, None], -torch.inf)
        attention: Tensor = scores.softmax(dim=-1).flatten(1, 2).mean(dim=1)
        return attention

    def _follow(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
        """Before every pruned layer: positions and mask of the tokens that are left."""
        angles, cache = kwargs["position_embeddings"], kwargs.get(self._cache_keyword)
        prefill = angles[0] is self._angles
        decode = cache is not None and self._cache is not None and cache is self._cache()
        if self._kept is None or not (prefill or decode):
            return None
        if prefill:
            kwargs["position_embeddings"] = self._shorter_angles
            if kwargs.get("position_ids") is not None:
                kwargs["position_ids"] = self._shorter_ids
        mask = kwargs.get("attention_mask")
        if mask is not None:
            if self._masks is None or self._masks[0] is not mask:  # one for all layers
                self._masks = mask, self._shorter(mask, prefill)
            kwargs["attention_mask"] = self._masks[1]
        return args, kwargs

    def _shorter(self, mask: Tensor, prefill: bool) -> Tensor:
        """The mask without the keys (in prefill also the queries) that have left."""
        assert self._kept is not None
        keys = torch.arange(self._prompt, mask.shape[-1], device=mask.device)
        index = torch.cat([self._kept, keys.expand(len(self._kept), -1)], dim=1)
        if mask.ndim == 2:
            return mask.gather(1, index)
        mask = mask.expand(len(index), -1, -1, -1)
        if prefill:
            queries = self._kept[:, None, :, None].expand(-1, mask.shape[1], -1, mask.shape[-1])
            mask = mask.gather(2, queries)
        return mask.gather(3, index[:, None, None, :].expand(-1, *mask.shape[1:3], -1))

    def _restore(self, module: nn.Module, args: Any, output: Tensor) -> Tensor | None:
        """After a prompt: back to its length, zeros where tokens left.

        Logits keep their places, so that labels (ignored at visual tokens) still line up.
        """
        self._masks = None
        if not self._prefill:
            return None
        assert self._kept is not None
        self._prefill = False
        whole = output.new_zeros(len(output), self._prompt, output.shape[-1])
        return whole.scatter(1, self._kept.unsqueeze(-1).expand_as(output), output)


def _on_one_axis(angles: tuple[Tensor, Tensor], sections: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Cosines and sines [B, n, e] of angles that stand apart for three axes, [3, B, n, e], as in
    Qwen's decoders in older transformers: sections of half a head turn by each in turn.
    """
    if angles[0].ndim == 3:
        return angles
    cos, sin = (
        torch.cat(
            [part[number % 3] for number, part in enumerate(torch.split(t, [*sections] * 2, -1))],
            dim=-1,
        )
        for t in angles
    )
    return cos, sin


def _rows(table: Tensor, index: Tensor) -> Tensor:
    """Rows of [1 or B, n, e] at `index` [B, n'], or of each of several axes."""
    if table.ndim == 4:
        return torch.stack([_rows(axis, index) for axis in table])
    table = table.expand(len(index), -1, -1)
    return table.gather(1, index.unsqueeze(-1).expand(-1, -1, table.shape[-1]))


def _rotated(projected: Tensor, angles: tuple[Tensor, ...], size: int) -> Tensor:
    """Rotary embedding of a projection's output [B, n, H·e]: [B, H, n, e]."""
    heads = projected.view(*projected.shape[:2], -1, size).transpose(1, 2)
    cos, sin = (t.unsqueeze(1) for t in angles)
    left, right = heads.chunk(2, dim=-1)
    rotated: Tensor = heads * cos + torch.cat((-right, left), dim=-1) * sin
    return rotated


METHODS.register("fastv", Method("fastv", llm=FastVLayers))
