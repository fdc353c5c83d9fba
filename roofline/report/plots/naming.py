"""What deployments and prompts are called in figures and in the words that describe them."""

from __future__ import annotations

from collections.abc import Sequence

from roofline.explore.study import Deployment, PricedPrompt


def setting_name(deployment: Deployment) -> str:
    return f"{deployment.model}, {deployment.hardware}, {deployment.quant}"


def prompt_name(one: PricedPrompt) -> str:
    """Its visual tokens, and who left so many."""
    if not one.visual_tokens:
        return "text alone"
    return f"{one.visual_tokens} {one.reducer}" if one.reducer else str(one.visual_tokens)


def ends(deployment: Deployment) -> list[PricedPrompt]:
    """The fewest visual tokens, behind all of the same samples; alone, what comes first."""
    first = deployment.prompts[0]
    one = min(deployment.reduced, key=lambda reduced: reduced.visual_tokens, default=first)
    return [one] if one.whole is None else [one.whole, one]


def listed(items: Sequence[str], most: int = 6) -> str:
    """A list in words, cut short where it would be tiring."""
    left = len(items) - most
    return "; ".join(items[:most]) + (f"; and {left} more" if left > 0 else "")
