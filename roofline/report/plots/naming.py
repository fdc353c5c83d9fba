"""What settings and configurations are called in figures and in the words that describe them."""

from __future__ import annotations

from collections.abc import Sequence

from roofline.explore.study import Configuration, Setting


def setting_name(setting: Setting) -> str:
    return f"{setting.model}, {setting.hardware}, {setting.quant}"


def prompt_name(one: Configuration) -> str:
    """Its visual tokens, and who left so many."""
    if not one.visual_tokens:
        return "text alone"
    return f"{one.visual_tokens} {one.reducer}" if one.reducer else str(one.visual_tokens)


def ends(setting: Setting) -> list[Configuration]:
    """The fewest visual tokens, behind all of the same samples; alone, what comes first."""
    first = setting.configurations[0]
    one = min(setting.reduced, key=lambda reduced: reduced.visual_tokens, default=first)
    return [one] if one.whole is None else [one.whole, one]


def listed(items: Sequence[str], most: int = 6) -> str:
    """A list in words, cut short where it would be tiring."""
    left = len(items) - most
    return "; ".join(items[:most]) + (f"; and {left} more" if left > 0 else "")
