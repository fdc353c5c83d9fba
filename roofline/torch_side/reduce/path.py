"""From pixels to projected tokens, component by component: one path for `attach` and for timing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from roofline.errors import InputError
from roofline.torch_side.families import family_of
from roofline.torch_side.families.tower import NativeTower, Tower, Views, queries_and_keys
from roofline.torch_side.families.visual import Pictures, VisualInput
from roofline.torch_side.reduce.assemble import RunLayout
from roofline.torch_side.reduce.encode import encode
from roofline.torch_side.reduce.methods.base import BoundMethod, Reduction, check_count
from roofline.torch_side.reduce.splice import PlaceholderRun, Side, Splice, TokenizedPrompt, splice

Step = tuple[str, Callable[[Any], Any]]
"""A component's name, and what it makes of the result of the one before it."""

_SETTLED_BY_THE_TOWER = frozenset({"heads", "class_token", "group", "shape"})


class AttachError(InputError):
    """A model that no reducer can be put on, or a call that cannot be made with one."""


class ReductionPath:
    """A model's visual side with a reducer, or without.

    count: without a reducer, so many tokens of each run, the first ones, go to the LLM, as views
    that cost nothing. Left out, all that the unreduced model feeds.

    The tower runs up to the features; blocks behind them would change nothing and never run.
    Where the connector makes one token of each patch, reducers act before it, as their authors have
    it; where it merges patches, behind it, and a token is paid the mean attention of its patches.
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

    def steps(self, visual: VisualInput, pictures: Pictures) -> list[Step]:
        """`vision`, `reducer` where one acts on features, and `connector`, in the order they run.

        From the pixels of pictures laid out as these are to a Reduction, the tokens of every run.
        What a reducer does inside the ViT is part of `vision`. Queries and keys of a block that
        would not run otherwise are the reducer's work. The last step puts the runs together.
        """
        layout = RunLayout(pictures)
        vision = ("vision", partial(self._encode, visual, pictures.grids))
        if self.bound is None or self.bound.reducer.site != "features":
            return [vision, ("connector", partial(self._project_all, visual, layout))]
        if visual.merged > 1 or self.bound.reducer.connects_all:
            return [
                vision,
                ("connector", partial(self._project_patches, visual)),
                ("reducer", partial(self._reduce_projected, visual, layout)),
            ]
        return [
            vision,
            ("reducer", partial(self._reduce, visual, layout)),
            ("connector", partial(self._project, visual, layout)),
        ]

    def tokens(self, visual: VisualInput, pictures: Pictures) -> Reduction:
        """Projected tokens that are left of every run of placeholders."""
        state: Any = pictures.pixels
        for _, step in self.steps(visual, pictures):
            state = step(state)
        reduction: Reduction = state
        return reduction

    def lay_out(
        self,
        prompt: TokenizedPrompt,
        shown: Sequence[tuple[VisualInput, Pictures]],
        reductions: Sequence[Reduction],
        side: Side | None = None,
        *,
        keep_places: bool = False,
    ) -> PromptLayout:
        """Give each run the length of its reduction; pad on `side` (see `splice`).

        keep_places: whether each token is to take along what belongs to its own placeholder.
        """
        runs = [
            PlaceholderRun(
                visual.placeholder,
                pictures.sizes,
                reduction.counts,
                [indices.cpu() for indices in reduction.indices] if keep_places else None,
            )
            for (visual, pictures), reduction in zip(shown, reductions, strict=True)
        ]
        spliced = splice(prompt, runs, self.family.pad_id(self.model.config), side)
        return PromptLayout(
            spliced, torch.cat([spliced.visual_positions(run.placeholder) for run in runs])
        )

    def _try(self, visual: VisualInput) -> None:
        """Reduce an empty view, so that options which cannot work do not wait for a real one."""
        bound, tower = self.bound, visual.tower
        if bound is None:
            if self.count is not None and visual.view is not None:
                check_count(self.count, visual.unreduced)
            return
        name, site = bound.reducer.name, bound.reducer.site
        ranks_without = site == "llm" or "class_token" in bound.method.arguments
        if not tower.class_token and not ranks_without:
            kind = type(tower.module).__name__
            raise AttachError(f"{name} needs a class token, which {kind} has not")
        if site == "vision" and visual.merged > 1:
            raise AttachError(
                f"{name} drops patches inside the ViT, and the connector of "
                f"{type(self.model).__name__} takes them side by side: it needs the whole grid"
            )
        if visual.view is None:  # what it has is not known before there is a picture
            return
        assert isinstance(tower, Tower)
        if site == "features":
            tokens = visual.class_token + visual.view[0] * visual.view[1]
            empty = torch.zeros(1, tokens, tower.heads, device="cpu")
            bound.reduce(empty, empty, empty, **self._facts(visual, visual.view, group=1))
        if site == "vision":
            empty = torch.zeros(1, tower.tokens, tower.width, device="cpu")
            bound.blocks().start(empty, visual.blocks)

    def _encode(
        self, visual: VisualInput, grids: Tensor | None, pixels: Tensor
    ) -> list[Views] | Reduction:
        site = None if self.bound is None else self.bound.reducer.site
        attended = self._attended(visual)
        if isinstance(visual.tower, NativeTower):
            assert grids is not None
            return visual.tower.encode(pixels, grids, attention=attended is not None)
        driver = self.bound.blocks() if self.bound is not None and site == "vision" else None
        if self._attends_ahead(visual):
            attended = None
        encoded = encode(visual.tower, pixels, visual.blocks, reducer=driver, attention_of=attended)
        if visual.last_norm is not None:
            encoded = replace(encoded, features=visual.last_norm(encoded.features))
        return [encoded] if encoded.reduction is None else encoded.reduction

    def _project_all(
        self, visual: VisualInput, layout: RunLayout, state: list[Views] | Reduction
    ) -> Reduction:
        """What no reducer of features touches."""
        if isinstance(state, Reduction):
            return self._project(visual, layout, state)
        if visual.merged > 1:
            state = self._project_patches(visual, state)
            return layout.assembled(_everything(state), self._learned).first(self.count)
        (encoded,) = state
        kept = encoded.features[:, encoded.features.shape[1] - visual.unreduced :]
        if not layout.plain:
            return self._project(visual, layout, _everything([replace(encoded, features=kept)]))
        return self._project(visual, layout, Reduction(list(kept[:, : self.count]), []))

    def _reduce_projected(
        self, visual: VisualInput, layout: RunLayout, state: list[Views]
    ) -> Reduction:
        return layout.assembled(self._reduce(visual, layout, state), self._learned)

    def _reduce(self, visual: VisualInput, layout: RunLayout, state: list[Views]) -> Reduction:
        """What the reducer leaves of each view."""
        assert self.bound is not None
        counts, first, left = layout.shares(self.bound.given.get("count")), 0, []
        for encoded in state:
            if self._attends_ahead(visual):
                assert isinstance(visual.tower, Tower)
                queries, keys = queries_and_keys(visual.tower, encoded.features, visual.blocks)
                encoded = replace(encoded, queries=queries, keys=keys)
            views = range(first, first + len(encoded.features))
            first = views.stop
            alike = {(counts[view], layout.shown[view] is None) for view in views}
            if len(alike) == 1 and (counts[views[0]], True) in alike:
                left.append(self._left(visual, layout, encoded, views[0], counts[views[0]]))
                continue
            left += [
                self._left(visual, layout, encoded.view(number), view, counts[view])
                for number, view in enumerate(views)
            ]
        return Reduction.joined(left)

    def _left(
        self, visual: VisualInput, layout: RunLayout, encoded: Views, view: int, count: int | None
    ) -> Reduction:
        """Of views that are alike: the shape and count of one are those of all."""
        assert self.bound is not None
        if count == 0 or not prod(layout.shapes[view]):
            return Reduction.empty(encoded.features)
        bound = self.bound
        if count != bound.given.get("count"):
            bound = replace(bound, given={**bound.given, "count": count})
        shown = layout.shown[view]
        if shown is not None:
            encoded = encoded.only(shown, visual.class_token)
        queries, keys = encoded.queries, encoded.keys
        if queries is not None and keys is not None:  # of the class token alone, as a rule
            queries = queries.expand(-1, keys.shape[1], -1)
        facts = self._facts(visual, layout.shapes[view], visual.merged)
        reduction = bound.reduce(encoded.features, queries, keys, **facts)
        if shown is not None:
            reduction = reduction.renumbered(shown)
        return reduction.tapping(encoded.taps)

    def _project(self, visual: VisualInput, layout: RunLayout, reduction: Reduction) -> Reduction:
        """The connector over all views' tokens at once; runs of them."""
        flat = visual.connect(torch.cat(reduction.tokens))
        projected = replace(reduction, tokens=list(torch.split(flat, reduction.counts)))
        return layout.assembled(projected, self._learned)

    def _project_patches(self, visual: VisualInput, state: list[Views]) -> list[Views]:
        """Projected patches, behind an empty row for the class token: nobody reads that one."""
        ahead = int(visual.tower.class_token)
        return [self._projected(visual, encoded, ahead) for encoded in state]

    def _projected(self, visual: VisualInput, encoded: Views, ahead: int) -> Views:
        patches = visual.connect(encoded.features[:, ahead:])
        if visual.merged == 1:
            return replace(encoded, features=nn.functional.pad(patches, (0, 0, ahead, 0)))
        grouped = visual.grouped or _as_they_are
        queries, keys = (
            None if rows is None else grouped(rows[:, ahead:])
            for rows in (encoded.queries, encoded.keys)
        )
        return replace(encoded, features=patches, queries=queries, keys=keys)

    @property
    def _learned(self) -> Tensor | None:
        return self.family.learned_row(self.model)

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
            and visual.merged == 1
            and self._attended(visual) == visual.blocks
        )

    def _facts(self, visual: VisualInput, shape: tuple[int, int], group: int) -> dict[str, Any]:
        """What tower and picture settle."""
        return {
            "heads": visual.tower.heads,
            "class_token": visual.class_token,
            "group": group,
            "shape": shape,
        }


def _as_they_are(rows: Tensor) -> Tensor:
    return rows


def _everything(state: Sequence[Views]) -> Reduction:
    """All rows of all views."""
    whole = []
    for encoded in state:
        features = encoded.features
        indices = torch.arange(features.shape[1], device=features.device)
        reduction = Reduction(list(features), [indices] * len(features))
        whole.append(reduction.tapping(encoded.taps))
    return Reduction.joined(whole)


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

    @property
    def text(self) -> Tensor:
        """Ids [B, n] that an embedding can look up: a placeholder's may lie beyond all of them."""
        return (
            self.spliced.ids.view(-1)
            .index_fill(0, self.visual_positions, 0)
            .view_as(self.spliced.ids)
        )


def embed(
    model: Any, ids: Tensor, visual_positions: Tensor, reductions: Sequence[Reduction]
) -> Tensor:
    """Embeddings [B, n, d] of text ids [B, n], visual tokens at their `visual_positions` [all of
    them].

    Nothing is copied from the host where ids and positions are on the model's device already.
    """
    embeddings = model.get_input_embeddings()(ids.to(model.device, non_blocking=True))
    tokens = torch.cat([token for reduction in reductions for token in reduction.tokens])
    index = visual_positions.to(embeddings.device, non_blocking=True)
    flat = embeddings.flatten(0, 1).index_copy(0, index, tokens.to(embeddings))
    filled: Tensor = flat.view_as(embeddings)
    return filled
