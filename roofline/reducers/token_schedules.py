"""How many tokens each ViT block sees when a reducer acts inside the ViT.

Each function returns one (tokens in attention, tokens in the MLP) per block. All counts of
`tokens` include the class token; a `count` that is asked for, and budgets, are visual tokens, the
class token aside. The drivers in `roofline.torch_side.reduce.methods` follow these very schedules,
and `spatial` this very grid.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Literal

from roofline.errors import ScenarioError

Schedule = list[tuple[int, int]]

EvitRule = Literal["budget", "paper"]

RATE = 0.63
"""Share of tokens kept at each of three stages: 0.63³ ≈ 25 %."""
CROSSGET_TOKENS = 13
"""Tokens that CrossGET merges in each block of LLaVA-1.5's ViT."""


def tome_schedule(
    tokens: int, blocks: int, count: int | None = None, r: int | None = None
) -> Schedule:
    """ToMe: every block merges some tokens between its attention and its MLP.

    Either `count` visual tokens come out, with merges spread as evenly as possible, larger ones
    first; or every block merges `r`, or (T − 1) // 2 where that is fewer. By default a quarter of
    the patches comes out: 144 of 576.
    """
    if count is None and r is None:
        count = max(1, _patches(tokens) // 4)
    return _merging(tokens, blocks, 1, _patches(tokens), count, r)


def crossget_schedule(
    tokens: int, blocks: int, count: int | None = None, r: int | None = None
) -> Schedule:
    """CrossGET: as ToMe, with a cross token beside the class token, neither of which merges.

    `tokens` are those of the plain ViT: the first block sees one more. `count` includes the cross
    token, which comes out as a visual token. By default r = 13.
    """
    if count is None and r is None:
        r = CROSSGET_TOKENS
    mergeable = None if count is None else count - 1
    return _merging(tokens + 1, blocks, 2, _patches(tokens), mergeable, r)


def evit_schedule(
    tokens: int,
    blocks: int,
    stages: Sequence[int] | None = None,
    *,
    rate: float = RATE,
    count: int | None = None,
    rule: EvitRule = "budget",
) -> Schedule:
    """EViT: blocks in `stages` keep the strongest tokens and fuse all others into one.

    Rule "budget": `budgets` visual tokens are left after each stage, the fused one included. Rule
    "paper": ⌈rate·(T − 1)⌉ tokens are kept, the previous stage's fused token being one to choose
    from, plus the fused one. A stage that would drop nothing, or one token, leaves all as they are.
    """
    chosen = stages_of(blocks, stages)
    left = _patches(tokens)
    if rule == "paper":
        if count is not None:
            raise ScenarioError('EViT\'s rule "paper" takes a `rate`, no `count`')
    elif rule != "budget":
        raise ScenarioError(f'EViT\'s `rule` is "budget" or "paper", not {rule!r}')
    allowed = budgets(left, len(chosen), rate=rate, count=count)
    schedule = []
    for block in range(blocks):
        before = left
        if block in chosen:
            budget = allowed[chosen.index(block)]
            left = min(left, budget if rule == "budget" else math.ceil(rate * left) + 1)
        schedule.append((1 + before, 1 + left))
    return schedule


def ats_schedule(
    tokens: int,
    blocks: int,
    stages: Sequence[int] | None = None,
    counts: Sequence[int] | None = None,
    *,
    rate: float = RATE,
    count: int | None = None,
) -> Schedule:
    """ATS: blocks in `stages` compute only the rows of the tokens that they sample.

    `counts` are the visual tokens left after each stage, which depend on the image (for images
    padded to a common length: the largest count). Without them: `budgets`, the most there can be.
    """
    chosen = stages_of(blocks, stages)
    left = _patches(tokens)
    if counts is None:
        counts = budgets(left, len(chosen), rate=rate, count=count)
    if len(counts) != len(chosen):
        raise ScenarioError(f"{len(chosen)} stages need as many counts, not {len(counts)}")
    schedule = []
    for block in range(blocks):
        before = left
        if block in chosen:
            left = min(left, counts[chosen.index(block)])
        schedule.append((1 + before, 1 + left))
    return schedule


def stages_of(blocks: int, stages: Sequence[int] | None = None) -> tuple[int, ...]:
    """Indices of the blocks that reduce; by default at the quarters: 6, 12, 18 of 23 or 24."""
    if blocks < 1:
        raise ScenarioError(f"a ViT that reduces tokens runs 1 block or more, not {blocks}")
    if stages is None:
        return tuple(sorted({min(math.ceil(blocks * i / 4), blocks - 1) for i in (1, 2, 3)}))
    chosen = tuple(stages)
    if list(chosen) != sorted(set(chosen)) or not set(chosen) <= set(range(blocks)):
        raise ScenarioError(
            f"`stages` are ascending indices of the {blocks} blocks that run, not {list(chosen)}"
        )
    return chosen


def budgets(
    patches: int, stages: int, *, rate: float = RATE, count: int | None = None
) -> tuple[int, ...]:
    """Visual tokens after each stage, in geometric progression: ⌊patches·rate^s⌋ for s = 1, 2, ….

    With `count` the rate is the one that leaves exactly `count` after the last stage.
    """
    if count is None:
        _check_rate(rate)
        return tuple(max(1, int(patches * rate**s)) for s in range(1, stages + 1))
    _check_count(count, 1, patches)
    if not stages:
        raise ScenarioError("without a stage no `count` can be reached")
    share = count / patches
    steps = [max(count, int(patches * share ** (s / stages))) for s in range(1, stages)]
    return (*steps, count)


def _merging(
    tokens: int, blocks: int, protected: int, patches: int, count: int | None, r: int | None
) -> Schedule:
    """`r` or fewer merges a block, or as many as leave `count` tokens that may merge."""
    if count is not None and r is not None:
        raise ScenarioError("give `count` or `r`, not both")
    if count is not None:
        _check_count(count + protected - 1, protected, patches + protected - 1)
        merges = _spread(patches - count, blocks, count)
    else:
        assert r is not None
        if r < 0:
            raise ScenarioError(f"`r` must not be negative, and is {r}")
        merges, left = [], patches
        for _ in range(blocks):
            merges.append(min(r, left // 2))
            left -= merges[-1]
    schedule = []
    for merged in merges:
        schedule.append((tokens, tokens - merged))
        tokens -= merged
    return schedule


def _spread(removed: int, blocks: int, left: int) -> list[int]:
    """`removed` in as many parts as blocks, as even as can be, never rising; `left` stay.

    A block merges at most half of its tokens: backwards, no more than are left behind it.
    """
    parts: list[int] = []
    for blocks_before in range(blocks, 0, -1):
        part = min(removed // blocks_before, left)
        parts.append(part)
        removed -= part
        left += part
    if removed:
        raise ScenarioError(
            f"{blocks} blocks that each merge half of their tokens at most cannot merge so many: "
            f"{removed} too many"
        )
    return parts[::-1]


def _patches(tokens: int) -> int:
    if tokens < 2:
        raise ScenarioError(f"`tokens` are a class token and 1 patch or more, not {tokens}")
    return tokens - 1


def _check_rate(rate: float) -> None:
    if not 0 < rate <= 1:
        raise ScenarioError(f"`rate` must be above 0 and at most 1, and is {rate}")


def _check_count(count: int, least: int, most: int) -> None:
    if not least <= count <= most:
        raise ScenarioError(f"`count` must be between {least} and {most}, and is {count}")


def squarest(count: int, rows: int, columns: int) -> tuple[int, int]:
    """Points along rows and columns, as many as `count` in all, that lie about as far apart down as
    across; of two such grids the wider one. Raises ScenarioError where there is none.
    """
    fit = [
        (points, count // points)
        for points in range(1, min(count, rows) + 1)
        if count % points == 0 and count // points <= columns
    ]

    def stretch(grid: tuple[int, int]) -> Fraction:
        down, across = rows * grid[1], columns * grid[0]
        return Fraction(max(down, across), min(down, across))

    if fit:
        return min(fit, key=stretch)
    near = sorted(grids_near(count, min(rows, columns))[:3])
    raise ScenarioError(
        f"{count} patches form no grid within {rows}×{columns}; near counts that do: "
        f"{', '.join(map(str, near))}"
    )


def grids_near(count: int, side: int) -> list[int]:
    """Counts of patches that form a grid within side×side, nearest first, then fewest."""
    return sorted(
        {r * c for r in range(1, side + 1) for c in range(r, side + 1)},
        key=lambda other: (abs(other - count), other),
    )
