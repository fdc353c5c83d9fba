"""From pixels to projected tokens, component by component: one path for `attach` and for timing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from roofline.errors import InputError
from roofline.torch_side.families import family_of
from roofline.torch_side.families.base import VisualInput
from roofline.torch_side.families.tower import queries_and_keys
from roofline.torch_side.reduce.encode import Encoded, encode
from roofline.torch_side.reduce.methods.base import BoundMethod, Reduction, check_count
from roofline.torch_side.reduce.splice import PlaceholderRun, Side, Splice, TokenizedPrompt, splice

Step = tuple[str, Callable[[Any], Any]]
"""A component's name, and what it makes of the result of the one before it."""

_SETTLED_BY_THE_TOWER = frozenset({"heads", "class_token"})


class AttachError(InputError):
    """A model that no reducer can be put on, or a call that cannot be made with one."""


class ReductionPath:
    """A model's visual side with a reducer, or without.

    count: without a reducer, so many tokens of each image, the first ones, go to the connector, as
    views that cost nothing. Left out, all that the unreduced model feeds.

    The tower runs up to the features; blocks behind them would change nothing and never run.
    Raises InputError where model and reducer do not go together.
    """

    def __init__(self, model: Any, bound: BoundMethod | None, count: int | None = None) -> None:
        self.model, self.bound, self.count = model, bound, count
        self.family = family_of(model)
        self.inputs = self.family.inputs(model)
        for argument in () if bound is None else bound.given:
            if argument in _SETTLED_BY_THE_TOWER:
                raise AttachError(f"`{argument}` is settled by the model's tower: leave it out")
        for visual in self.inputs:
            self._try(visual)

    def steps(self, visual: VisualInput) -> list[Step]:
        """`vision`, `reducer` where one acts on features, and `connector`, in the order they run.

        From pixels [B, 3, height, width] to a Reduction, the projected tokens of every image. What
        a reducer does inside the ViT is part of `vision`. Queries and keys of a block that would
        not run otherwise are the reducer's work.
        """
        vision = ("vision", partial(self._encode, visual))
        reducer = ("reducer", partial(self._reduce, visual))
        if self.bound is None or self.bound.reducer.site != "features":
            return [vision, ("connector", self._project)]
        if self.bound.reducer.connects_all:
            return [vision, ("connector", partial(self._project_patches, visual)), reducer]
        return [vision, reducer, ("connector", self._project)]

    def tokens(self, visual: VisualInput, pixels: Tensor) -> Reduction:
        """Projected tokens of every image (frame) that are left."""
        state: Any = pixels
        for _, step in self.steps(visual):
            state = step(state)
        reduction: Reduction = state
        return reduction

    def lay_out(
        self,
        prompt: TokenizedPrompt,
        visuals: Sequence[VisualInput],
        reductions: Sequence[Reduction],
        side: Side | None = None,
    ) -> PromptLayout:
        """Give each image's run the length of its reduction; pad on `side` (see `splice`)."""
        runs = [
            PlaceholderRun(visual.placeholder, visual.unreduced, reduction.counts)
            for visual, reduction in zip(visuals, reductions, strict=True)
        ]
        spliced = splice(prompt, runs, self.family.pad_id(self.model.config), side)
        return PromptLayout(
            spliced, torch.cat([spliced.visual_positions(run.placeholder) for run in runs])
        )

    def _try(self, visual: VisualInput) -> None:
        """Reduce an empty image, so that options which cannot work do not wait for a real one."""
        bound = self.bound
        if bound is None:
            check_count(visual.unreduced if self.count is None else self.count, visual.unreduced)
            return
        site, tower = bound.reducer.site, visual.tower
        ranks_without = site == "llm" or "class_token" in bound.method.arguments
        if not tower.class_token and not ranks_without:
            kind = type(tower.module).__name__
            raise AttachError(f"{bound.reducer.name} needs a class token, which {kind} has not")
        if site == "features":
            empty = torch.zeros(1, tower.tokens, tower.heads, device="cpu")
            bound.reduce(empty, empty, empty, **self._tower_facts(visual))
        if site == "vision":
            empty = torch.zeros(1, tower.tokens, tower.width, device="cpu")
            bound.blocks().start(empty, visual.blocks)

    def _encode(self, visual: VisualInput, pixels: Tensor) -> Encoded | Reduction:
        attended = self._attended(visual)
        site = None if self.bound is None else self.bound.reducer.site
        driver = self.bound.blocks() if self.bound is not None and site == "vision" else None
        if self._attends_ahead(visual):
            attended = None
        encoded = encode(visual.tower, pixels, visual.blocks, reducer=driver, attention_of=attended)
        if encoded.reduction is not None:
            return encoded.reduction
        if site == "features":
            return encoded
        kept = encoded.features[:, visual.tower.tokens - visual.unreduced :]
        if self.bound is None:  # one inside the LLM is to see everything
            kept = kept[:, : self.count]
        return Reduction(list(kept), [])

    def _reduce(self, visual: VisualInput, encoded: Encoded) -> Reduction:
        assert self.bound is not None
        features, queries, keys = encoded.features, encoded.queries, encoded.keys
        if self._attends_ahead(visual):
            queries, keys = queries_and_keys(visual.tower, features, visual.blocks)
        if queries is not None:  # of the class token alone, where no other is needed
            queries = queries.expand(-1, features.shape[1], -1)
        return self.bound.reduce(features, queries, keys, **self._tower_facts(visual))

    def _project(self, reduction: Reduction) -> Reduction:
        """The connector over all images' tokens at once."""
        flat = self._connector(torch.cat(reduction.tokens))
        return Reduction(list(flat.split(reduction.counts)), reduction.indices)

    def _project_patches(self, visual: VisualInput, encoded: Encoded) -> Encoded:
        """Projected patches, behind an empty row for the class token: nobody reads that one."""
        features, skipped = encoded.features, int(visual.tower.class_token)
        patches = self._connector(features[:, skipped:])
        return replace(encoded, features=nn.functional.pad(patches, (0, 0, skipped, 0)))

    @property
    def _connector(self) -> nn.Module:
        return self.family.connector(self.model)

    def _attended(self, visual: VisualInput) -> int | None:
        """The ViT block that the reducer ranks by; the nearest, where the tower has no such one."""
        if self.bound is None or not self.bound.method.needs_attention:
            return None
        last = visual.tower.blocks - 1
        return min(max(visual.blocks + self.bound.method.attention_block, 0), last)

    def _attends_ahead(self, visual: VisualInput) -> bool:
        """Whether it ranks features by a block that does not run: that much is its own work."""
        return (
            self.bound is not None
            and not self.bound.reducer.connects_all
            and self._attended(visual) == visual.blocks
        )

    def _tower_facts(self, visual: VisualInput) -> dict[str, Any]:
        """What the tower settles."""
        return {
            "heads": visual.tower.heads,
            "class_token": visual.tower.class_token,
        }


@dataclass(frozen=True)
class PromptLayout:
    """A prompt whose runs of placeholders have the lengths of what was reduced."""

    spliced: Splice
    visual_positions: Tensor
    """Where in the flattened batch visual tokens go, in the order of the reductions."""

    @property
    def visual(self) -> Tensor:
        """Which tokens are visual: [B, n], bool, on the CPU."""
        here = torch.zeros_like(self.spliced.ids, dtype=torch.bool)
        here.view(-1)[self.visual_positions] = True
        return here


def embed(
    model: Any, ids: Tensor, visual_positions: Tensor, reductions: Sequence[Reduction]
) -> Tensor:
    """Embeddings [B, n, d] of ids [B, n], visual tokens at their `visual_positions` [all of them].

    Nothing is copied from the host where ids and positions are on the model's device already.
    """
    embeddings = model.get_input_embeddings()(ids.to(model.device, non_blocking=True))
    tokens = torch.cat([token for reduction in reductions for token in reduction.tokens])
    index = visual_positions.to(embeddings.device, non_blocking=True)
    flat = embeddings.flatten(0, 1).index_copy(0, index, tokens.to(embeddings))
    filled: Tensor = flat.view_as(embeddings)
    return filled
