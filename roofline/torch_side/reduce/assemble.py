"""What is left of views, put together as the runs of the prompt that they stand in."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from math import prod

import torch
from torch import Tensor

from roofline.errors import InputError
from roofline.torch_side.families.visual import LEARNED, Pictures
from roofline.torch_side.reduce.methods.base import MERGED, Reduction


class RunLayout:
    """Where rows of views stand in runs, settled before anything runs.

    Tensors that are indexed with are on the device of the pixels.
    """

    def __init__(self, pictures: Pictures) -> None:
        self.plain = pictures.runs is None
        self.shapes = list(pictures.shapes)
        """Rows and columns of what each view shows: rectangles."""
        self.shown: list[Tensor | None] = [None] * len(self.shapes)
        """Of each view the rows that stand in a run; None where all do."""
        self._runs = list(pictures.runs or ())
        self._views: list[list[int]] = []
        """Of each run."""
        self._places: list[Tensor] = []
        self._last: list[int] = []
        self._learned: list[Tensor] = []
        """Of each run the places of learned rows."""
        if not self.plain:
            self._lay_out(pictures.pixels.device)

    def _lay_out(self, device: torch.device) -> None:
        starts = [0, *accumulate(rows * columns for rows, columns in self.shapes)]
        bounds, places = torch.tensor(starts), torch.full((starts[-1],), LEARNED)
        for run in self._runs:
            own = run != LEARNED
            places[run[own]] = own.nonzero().flatten()
            views = torch.bucketize(run[own], bounds, right=True) - 1
            self._views.append(torch.unique(views).tolist())
            self._learned.append((~own).nonzero().flatten().to(device))
        for view, (start, stop) in enumerate(pairwise(starts)):
            here = places[start:stop]
            self._last.append(int(here.max()))
            self._places.append(here.to(device))
            shown = (here != LEARNED).nonzero().flatten()
            if len(shown) < len(here):
                across = len(torch.unique(shown % self.shapes[view][1]))
                self.shapes[view] = len(shown) // across if across else 0, across
                self.shown[view] = shown.to(device)

    def shares(self, count: int | None) -> list[int | None]:
        """How many tokens each view is to leave: of each view `count`, or of each run, shared out
        by what its views show, largest remainders first.

        Raises InputError for a run that has not as many.
        """
        if count is None or self.plain:
            return [count] * len(self.shapes)
        left: list[int | None] = [None] * len(self.shapes)
        for views in self._views:
            sizes = [prod(self.shapes[view]) for view in views]
            if count > sum(sizes):
                raise InputError(
                    f"`count` is {count}, but a picture has {sum(sizes)} visual tokens"
                )
            for view, share in zip(views, apportioned(count, sizes), strict=True):
                left[view] = share
        return left

    def assembled(self, reduction: Reduction, learned: Tensor | None) -> Reduction:
        """Tokens of each run in the order of their places, from those of each view.

        Indices are places in the run. A token that is made of several patches comes behind the
        last place of its view. Learned rows stay where nothing is dropped: they end rows of a grid,
        and papers count without them.
        """
        if self.plain:
            return reduction
        runs = [
            self._run(number, views, reduction, learned) for number, views in enumerate(self._views)
        ]
        return Reduction.joined(runs)

    def _run(
        self, number: int, views: Sequence[int], left: Reduction, learned: Tensor | None
    ) -> Reduction:
        tokens = torch.cat([left.tokens[view] for view in views])
        places = torch.cat([self._placed(view, left.indices[view]) for view in views])
        taps = torch.cat([left.taps[view] for view in views], dim=1) if left.taps else None
        if any(self.shown[view] is not None for view in views):  # else none can be out of it
            seen = places != LEARNED
            tokens, places = tokens[seen], places[seen]
        ends = self._learned[number]
        if len(ends) and len(places) + len(ends) == len(self._runs[number]):
            assert learned is not None
            tokens = torch.cat([tokens, learned.to(tokens).expand(len(ends), -1)])
            places = torch.cat([places, ends])
        order = places.argsort(stable=True)
        return Reduction([tokens[order]], [places[order]], [] if taps is None else [taps[:, order]])

    def _placed(self, view: int, indices: Tensor) -> Tensor:
        places = self._places[view][indices.clamp(min=0)]
        return places.masked_fill(indices == MERGED, self._last[view])


def apportioned(count: int, sizes: Sequence[int]) -> list[int]:
    """Shares of a count by sizes: their sum is the count, and none is more than its size."""
    total = sum(sizes)
    shares = [count * size // total for size in sizes]
    remainders = [count * size % total for size in sizes]
    order = sorted(range(len(sizes)), key=lambda index: -remainders[index])
    for index in order[: count - sum(shares)]:
        shares[index] += 1
    return shares
