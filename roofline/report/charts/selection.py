"""Which of many deployments and prompts a page has room for, and what to say of the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from roofline.explore.study import Deployment, PricedPrompt
from roofline.units import noun

T = TypeVar("T")


def first(items: Sequence[T], most: int, what: str) -> tuple[Sequence[T], str]:
    """As many as a page holds, and what to say of the others: nothing if there are none.

    what: one of them is called.
    """
    return items[:most], more(len(items) - most, what)


def more(left: int, what: str) -> str:
    """`1 more prompt not shown`; nothing where none is left."""
    return f"{left} more {noun(left, what)} not shown" if left > 0 else ""


def spread(items: Sequence[T], most: int, what: str) -> tuple[Sequence[T], str]:
    """As `first`, but those that are shown lie at even distances, from the first to the last."""
    if len(items) <= most:
        return items, ""
    shown = [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]
    left = len(items) - most
    return shown, f"{left} {noun(left, what)} between these not shown"


def pair_first(deployment: Deployment, most: int) -> tuple[Sequence[PricedPrompt], str]:
    """The pair that the text is about, and behind it the others; of many as `spread` does."""
    pair = deployment.pair
    others = [prompt for prompt in deployment.prompts if prompt not in pair]
    shown, left_out = spread(others, most - len(pair), "prompt")
    return [*pair, *shown], left_out
