"""Text of others made harmless: what a terminal would obey, what Markdown would take for markup.

Names, titles, sources and records come from files that somebody else may have written. Everything
that is printed goes through `printable`, every piece of Markdown through `markdown`.
"""

from __future__ import annotations

import re

_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)?", re.DOTALL)
"""What a terminal takes for a command: `ESC [ … letter`, `ESC ] … BEL`, `ESC` and any other."""
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Control characters but for the tab and the line feed, and what turns the direction of text."""
_BREAKS = re.compile(r"\s*[\n\t]\s*")
_MARKUP = r"([\\`*<|~$\[\]]|(?<![^\W_])_|_(?![^\W_])|&(?=#?\w+;))"
_AT_A_START = r"(?<!\S)(?=#{1,6}(?:\s|$)|>|={2,}(?:\s|$)|-{2,}(?:\s|$))"
"""Of a line, where paragraphs are wrapped anywhere. Compiled at first use: a start is short."""
_LIST = r"^(\s*(?:\d{1,9}(?=[.)]\s)|(?=[-+]\s)))"
_BEGUN_BY_A_WRAP = r"(?m)^(\d{1,9}(?=[.)](?:\s|$))|(?=[-+](?:\s|$)|=$))"
"""Signs and numbers within a sentence, which are an item or a rule where a line begins."""


def printable(text: str) -> str:
    """Lines without what a terminal would obey."""
    return _CONTROL.sub("", _SEQUENCE.sub("", text))


def one_line(text: str) -> str:
    """The same on one line."""
    return _BREAKS.sub(" ", printable(text.replace("\r", "\n"))).strip("\n\t")


def markdown(text: str) -> str:
    """One line that Markdown shows as it is; wrapped, it wants `wrapped_markdown`."""
    shown = re.sub(_AT_A_START, r"\\", re.sub(_MARKUP, r"\\\1", one_line(text)))
    return re.sub(_LIST, r"\1\\", shown)


def wrapped_markdown(lines: str) -> str:
    """What was one line of Markdown and is several, of which none begins a list."""
    return re.sub(_BEGUN_BY_A_WRAP, r"\1\\", lines)
