"""What a validation runs: prompts of many lengths, and the cells that their components make."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from msgspec.structs import replace

from roofline.engine.analysis import count
from roofline.records.validation import TimedCell
from roofline.specs.models import Lmm

PROMPTS = (16, 24, 40, 80, 120, 200, 320, 616, 1024)
"""Prompt tokens of the cells: none of them a size that the calibration multiplies at, but for the
ends."""
BATCHES = (1, 4)
_BATCHED_PROMPTS = (40, 120)
_DECODED_PROMPTS = (80, 616)
DEFAULT_REDUCER = "prumerge"
_LEAST_TEXT = 8
_REDUCED_TEXT = 40


class Scene(NamedTuple):
    """One prompt that is run."""

    visual_tokens: int
    text_tokens: int
    batch: int
    reducer: str | None = None
    decodes: bool = False

    @property
    def tokens(self) -> int:
        return self.visual_tokens + self.text_tokens

    @property
    def name(self) -> str:
        method = f" {self.reducer}" if self.reducer else ""
        return f"{self.tokens} tokens, batch {self.batch}{method}"


def scenes(spec: Lmm, reducer: str = DEFAULT_REDUCER) -> list[Scene]:
    """Prompts of all lengths, some in batches, some decoded from, one reduced to what the reducer
    leaves by default; the longest last. Raises what `count` raises.
    """
    most = int(count(spec).inputs["visual_tokens"])
    kept = int(count(spec, reducer=reducer).inputs["visual_tokens"])

    def of(tokens: int, batch: int = 1) -> Scene:
        visual = min(most, tokens - _LEAST_TEXT) // spec.images * spec.images
        decodes = batch == 1 and tokens in _DECODED_PROMPTS
        return Scene(visual, tokens - visual, batch, decodes=decodes)

    found = [of(tokens, batch) for batch in BATCHES[1:] for tokens in _BATCHED_PROMPTS]
    found.append(Scene(kept, _REDUCED_TEXT, 1, reducer))
    return [*found, *map(of, PROMPTS)]


def merged(cells: Sequence[TimedCell]) -> list[TimedCell]:
    """Cells of one component and size together: vision sees the same images at any prompt."""
    groups: dict[Any, TimedCell] = {}
    for cell in cells:
        size = cell.batch if cell.component == "vision" else (cell.tokens, cell.batch)
        key = (cell.component, size, cell.attainable_time_s)
        known = groups.get(key)
        if known is not None:
            cell = replace(
                cell,
                samples_s=[*known.samples_s, *cell.samples_s],
                disturbance=known.disturbance or cell.disturbance,
            )
        groups[key] = cell
    return list(groups.values())
