"""Prompts whose runs of visual placeholders change length: ids, masks, labels and positions.

A processor writes one placeholder id per visual token. When an image keeps n of its tokens, its run
of placeholders must become n long, and everything that runs along with the ids must follow.

Lengths depend on what the ids are. So ids and mask are read once, all decisions are made on the
CPU, and tensors on a device are only indexed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

import torch
from torch import Tensor

from roofline.errors import InputError

IGNORED_LABEL = -100
"""Label that Hugging Face losses skip."""

Side = Literal["left", "right"]


class PromptError(InputError):
    """A prompt whose placeholders, mask or labels do not match the images or each other."""


@dataclass(frozen=True)
class PlaceholderRun:
    """One kind of placeholder, image by image."""

    placeholder: int
    sizes: Sequence[int]
    """How many there are for each image. Images are numbered through the batch, row by row."""
    counts: Sequence[int]
    """How many there shall be."""
    places: Sequence[Tensor] | None = None
    """For each image which of its placeholders each token comes from, ascending: [count]. None: all
    of them from the first."""


@dataclass(frozen=True)
class TokenizedPrompt:
    """A batch of sequences as given, on the CPU: [B, L]."""

    ids: Tensor
    mask: Tensor
    """1 where there is a token, 0 where there is padding."""

    @classmethod
    def of(cls, ids: Tensor, mask: Tensor | None = None) -> TokenizedPrompt:
        """From tensors anywhere; without a mask nothing is padding. Raises PromptError."""
        if ids.ndim != 2:
            raise PromptError(f"`input_ids` must be [batch, tokens], not {list(ids.shape)}")
        if mask is not None and mask.shape != ids.shape:
            raise PromptError(
                f"`attention_mask` {list(mask.shape)} must have the shape of `input_ids` "
                f"{list(ids.shape)}: images come with a whole prompt"
            )
        return cls(ids.cpu(), torch.ones_like(ids, device="cpu") if mask is None else mask.cpu())

    def check(self, placeholder: int, sizes: Sequence[int]) -> None:
        """Raise PromptError unless the placeholders are those of images of these sizes, in whole
        images a row.
        """
        in_rows = (self.ids == placeholder).sum(dim=1)
        ends = torch.tensor([0, *accumulate(sizes)])
        if in_rows.sum() != ends[-1] or not torch.isin(in_rows.cumsum(0), ends).all():
            each = f"of {sizes[0]} " if len(set(sizes)) == 1 else ""
            raise PromptError(
                f"the prompt has {int(in_rows.sum())} placeholders (id {placeholder}) for "
                f"{len(sizes)} images {each}with {sum(sizes)} visual tokens in all: let the "
                "model's processor write the prompt"
            )


@dataclass(frozen=True)
class Splice:
    """The same batch with runs of new lengths, on the CPU: [B, n], padded to the longest."""

    ids: Tensor
    mask: Tensor
    route: Route
    shift: Tensor
    """Tokens that each has moved by within its sequence, padding aside: negative to the left."""

    @property
    def padded(self) -> bool:
        return not bool(self.mask.all())

    def visual_positions(self, placeholder: int) -> Tensor:
        """Where in the flattened batch the visual tokens go, image by image."""
        rows, columns = self.route.now
        here = self.ids[rows, columns] == placeholder
        return rows[here] * self.ids.shape[1] + columns[here]

    def carry(self, values: Tensor, fill: int) -> Tensor:
        """Take along what belongs to the tokens: [B or 1, L] → [B, n], on its own device.

        [axes, B or 1, L] → [axes, B, n]. Raises PromptError for another shape.
        """
        if values.ndim == 3:
            return torch.stack([self.carry(axis, fill) for axis in values])
        batch, before = len(self.ids), self.route.before
        if values.shape not in ((batch, before), (1, before)):
            raise PromptError(
                "labels and position ids must have the shape of `input_ids`, "
                f"{[batch, before]}, not {list(values.shape)}"
            )
        return self.route.carry(values.expand(batch, -1), fill)

    def positions(self, given: Tensor) -> Tensor:
        """Position ids [B or 1, L] → [B, n]: gaps close up, padding has 0."""
        moved = torch.zeros_like(self.ids)
        moved[self.route.now] = self.shift
        return self.carry(given, 0) + moved.to(given)


@dataclass(frozen=True)
class Route:
    """Row and column of each token before and after, row by row."""

    was: tuple[Tensor, Tensor]
    """Tokens of a run come from its first one where their places are not told."""
    now: tuple[Tensor, Tensor]
    before: int
    """Length of the rows, padding included: L."""
    after: int
    """n."""

    def carry(self, values: Tensor, fill: int) -> Tensor:
        carried = values.new_full((len(values), self.after), fill)
        carried[_on(values.device, self.now)] = values[_on(values.device, self.was)]
        return carried


def splice(
    prompt: TokenizedPrompt, runs: Sequence[PlaceholderRun], pad_id: int, side: Side | None = None
) -> Splice:
    """Give each image as many placeholders as its run's `counts` say.

    `side` is where shorter sequences are padded; None: where the mask pads already, else left.
    """
    ids, present = prompt.ids, prompt.mask.long()
    repeats = present.clone()  # text stays, padding goes
    for run in runs:
        sizes = torch.tensor(list(run.sizes), dtype=torch.long)
        kept = torch.zeros(int(sizes.sum()), dtype=torch.long)
        if run.places is None:  # the first stands for all that are left
            kept[sizes.cumsum(0) - sizes] = torch.tensor(list(run.counts), dtype=torch.long)
        else:
            starts = (sizes.cumsum(0) - sizes).tolist()
            for start, places in zip(starts, run.places, strict=True):
                kept.index_add_(0, start + places, torch.ones_like(places))
        repeats[ids == run.placeholder] = kept

    lengths = repeats.sum(dim=1, keepdim=True)
    longest = int(lengths.max())
    start = lengths.new_zeros(lengths.shape)
    if (side or _padded_side(present)) == "left":
        start = longest - lengths
    column = torch.arange(longest)
    rows, columns = ((column >= start) & (column < start + lengths)).nonzero(as_tuple=True)
    source = torch.repeat_interleave(repeats.flatten())
    was = source // ids.shape[1], source % ids.shape[1]
    route = Route(was, (rows, columns), ids.shape[1], longest)
    rank = present.cumsum(dim=1) - 1
    return Splice(
        ids=route.carry(ids, pad_id),
        mask=route.carry(prompt.mask, 0),
        route=route,
        shift=columns - start[rows, 0] - rank[was],
    )


def _padded_side(present: Tensor) -> Side:
    """Where the batch is padded; left if nowhere, since generation needs it there."""
    return "right" if bool((present[:, -1] == 0).any()) else "left"


def _on(device: torch.device, index: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    rows, columns = (part.to(device, non_blocking=True) for part in index)
    return rows, columns
