"""Runs of placeholders change length, and all that runs along follows, against a naive loop."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from roofline.errors import InputError
from roofline.torch_side.reduce.splice import IGNORED_LABEL, PlaceholderRun, TokenizedPrompt, splice

IMAGE, VIDEO, PAD = 500, 502, 501
LENGTHS = {IMAGE: 3, VIDEO: 2}


@dataclass
class Batch:
    ids: torch.Tensor
    mask: torch.Tensor
    labels: torch.Tensor
    positions: torch.Tensor
    counts: dict[int, list[int]]

    def runs(self) -> list[PlaceholderRun]:
        return [
            PlaceholderRun(token, [LENGTHS[token]] * len(counts), counts)
            for token, counts in self.counts.items()
        ]


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    """Rows of text, images and videos, padded at either side, or at neither."""
    rows = draw(st.lists(st.lists(st.sampled_from("ttiv"), min_size=1, max_size=6), min_size=1))
    token = iter(range(1, 400))
    sequences = [[t for kind in row for t in _expand(kind, next(token))] for row in rows]
    longest = max(map(len, sequences))
    ids = torch.full((len(rows), longest), PAD)
    mask = torch.zeros_like(ids)
    side = draw(st.sampled_from(["left", "right"]))
    for row, sequence in enumerate(sequences):
        start = longest - len(sequence) if side == "left" else 0
        ids[row, start : start + len(sequence)] = torch.tensor(sequence)
        mask[row, start : start + len(sequence)] = 1
    counts = {
        placeholder: [
            draw(st.integers(0, LENGTHS[placeholder] + 1))
            for _ in range("".join(map("".join, rows)).count(kind))
        ]
        for kind, placeholder in (("i", IMAGE), ("v", VIDEO))
    }
    labels = torch.where(mask == 1, ids + 1000, IGNORED_LABEL)
    offset = draw(st.integers(0, 9))
    positions = torch.where(mask == 1, mask.cumsum(1) - 1 + offset, 0)
    return Batch(ids, mask, labels, positions, counts)


def _expand(kind: str, token: int) -> list[int]:
    return {"t": [token], "i": [IMAGE] * LENGTHS[IMAGE], "v": [VIDEO] * LENGTHS[VIDEO]}[kind]


def naive(batch: Batch) -> list[list[tuple[int, int, int]]]:
    """(id, label, position) of each row's tokens, without padding."""
    seen = dict.fromkeys(batch.counts, 0)
    rows = []
    for ids, mask, labels, positions in zip(
        batch.ids.tolist(),
        batch.mask.tolist(),
        batch.labels.tolist(),
        batch.positions.tolist(),
        strict=True,
    ):
        row: list[tuple[int, int, int]] = []
        first = next((p for p, m in zip(positions, mask, strict=True) if m), 0)
        for token, real, label in zip(ids, mask, labels, strict=True):
            if not real:
                continue
            copies = 1
            if token in seen:
                image, within = divmod(seen[token], LENGTHS[token])
                copies = 0 if within else batch.counts[token][image]
                seen[token] += 1
            for _ in range(copies):
                row.append((token, label, first + len(row)))
        rows.append(row)
    return rows


@given(batches(), st.sampled_from(["left", "right", None]))
def test_splice_is_the_naive_loop(batch: Batch, side: str | None) -> None:
    expected = naive(batch)

    spliced = splice(TokenizedPrompt.of(batch.ids, batch.mask), batch.runs(), PAD, side)  # type: ignore[arg-type]

    labels, positions = (
        spliced.carry(batch.labels, IGNORED_LABEL),
        spliced.positions(batch.positions),
    )
    longest = max(map(len, expected))
    left = (side or ("right" if (batch.mask[:, -1] == 0).any() else "left")) == "left"
    assert spliced.ids.shape == spliced.mask.shape == labels.shape == (len(expected), longest)
    for row, tokens in enumerate(expected):
        here = slice(longest - len(tokens), longest) if left else slice(len(tokens))
        together = torch.stack([spliced.ids, labels, positions], dim=-1)[row]
        assert together[here].tolist() == [list(token) for token in tokens]
        assert spliced.mask[row, here].all()
        assert spliced.mask[row].sum() == len(tokens)
        padding = spliced.mask[row] == 0
        assert (spliced.ids[row][padding] == PAD).all()
        assert (labels[row][padding] == IGNORED_LABEL).all()
    assert spliced.padded == any(len(tokens) < longest for tokens in expected)
    for placeholder in LENGTHS:
        flat = (spliced.ids == placeholder).flatten().nonzero()[:, 0]
        assert torch.equal(spliced.visual_positions(placeholder), flat)


@given(batches())
def test_keeping_every_token_changes_nothing(batch: Batch) -> None:
    runs = [
        PlaceholderRun(token, [LENGTHS[token]] * len(c), [LENGTHS[token]] * len(c))
        for token, c in batch.counts.items()
    ]

    spliced = splice(TokenizedPrompt.of(batch.ids, batch.mask), runs, PAD)

    assert torch.equal(spliced.ids, batch.ids)
    assert torch.equal(spliced.mask, batch.mask)
    assert torch.equal(spliced.carry(batch.labels, IGNORED_LABEL), batch.labels)
    assert torch.equal(spliced.positions(batch.positions), batch.positions)


def test_padding_that_is_the_placeholder_is_no_visual_token() -> None:
    ids = torch.tensor([[IMAGE, IMAGE, IMAGE, 7], [1, 2, 3, 4]])

    spliced = splice(TokenizedPrompt.of(ids), [PlaceholderRun(IMAGE, [3], [1])], pad_id=IMAGE)

    assert spliced.ids.tolist() == [[IMAGE, IMAGE, IMAGE, 7], [1, 2, 3, 4]]
    assert spliced.visual_positions(IMAGE).tolist() == [2]


def test_the_type_of_the_mask_stays() -> None:
    ids = torch.tensor([[IMAGE] * 3 + [7]])

    prompt = TokenizedPrompt.of(ids, torch.ones_like(ids).bool())
    spliced = splice(prompt, [PlaceholderRun(IMAGE, [3], [2])], PAD)

    assert spliced.mask.dtype == torch.bool


@pytest.mark.parametrize(
    ("ids", "images"),
    [
        ([[IMAGE] * 3 + [1]], 2),
        ([[IMAGE] * 3 + [1]], 0),
        ([[IMAGE] * 4], 1),
        ([[IMAGE, IMAGE, 1], [IMAGE, 1, 1]], 1),  # an image over two rows
        ([[1, 2]], 1),
    ],
)
def test_placeholders_must_match_the_images(ids: list[list[int]], images: int) -> None:
    with pytest.raises(InputError, match="placeholders"):
        TokenizedPrompt.of(torch.tensor(ids)).check(IMAGE, [3] * images)


@pytest.mark.parametrize(
    ("ids", "mask", "message"),
    [((4,), None, "input_ids"), ((1, 4), (1, 5), "whole prompt"), ((1, 4), (1, 1, 4, 4), "mask")],
)
def test_shapes_must_match(
    ids: tuple[int, ...], mask: tuple[int, ...] | None, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        TokenizedPrompt.of(torch.ones(ids), None if mask is None else torch.ones(mask))
