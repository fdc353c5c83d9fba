"""Text tables: columns of text for the terminal, pipes for Markdown.

Written here because start-up time is a feature: see docs/log.md for what a library costs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import zip_longest
from textwrap import fill, wrap
from typing import Any, Literal

from roofline.plain_text import markdown, one_line, wrapped_markdown

Style = Literal["simple", "github"]
WIDTH = 80
"""Columns of a terminal."""
_BEHIND_A_NUMBER = re.compile(r"(?<=\d) (?=\S)")
_HELD = "\N{NO-BREAK SPACE}"
_HELD_HYPHEN = "\N{NON-BREAKING HYPHEN}"


def grid(
    rows: Sequence[Sequence[Any]],
    headers: Sequence[str],
    style: Style = "simple",
    *,
    words: Sequence[str] = (),
    widths: Sequence[int | None] | None = None,
) -> str:
    """First column and `words` to the left, numbers to the right; cells wrap at their `widths`.

    Cells and headers may hold any text: it is escaped here.
    """
    limits = widths or [None] * len(headers)
    safe = markdown if style == "github" else one_line
    left = [h == headers[0] or h in words for h in headers]
    headers = [safe(header) for header in headers]
    cells = [
        [_lines(safe(str(cell)), limit) for cell, limit in zip(row, limits, strict=True)]
        for row in rows
    ]
    lines = [list(line) for row in cells for line in zip_longest(*row, fillvalue="")]
    columns = [max(map(len, column)) for column in zip(headers, *lines, strict=True)]

    def joined(line: Sequence[str]) -> str:
        padded = [
            cell.ljust(width) if is_left else cell.rjust(width)
            for cell, width, is_left in zip(line, columns, left, strict=True)
        ]
        if style == "github":
            return f"| {' | '.join(padded)} |"
        return "  ".join(padded).rstrip()

    if style == "github":
        rules = [
            "-" * (width + 1) + ("-" if is_left else ":")
            for width, is_left in zip(columns, left, strict=True)
        ]
        rule = f"|{'|'.join(rules)}|"
    else:
        rule = "  ".join("-" * width for width in columns)
    return "\n".join([joined(headers), rule, *map(joined, lines)])


def definitions(pairs: Sequence[tuple[str, str]], style: Style = "simple") -> str:
    """One line for each label and its text, any text; on a terminal of 80 columns, in a block.

    A name with hyphens stays in one piece. An address that does not fit beside its label stands
    below it.
    """
    if style == "github":
        return "\n".join(f"- {markdown(label)}: {markdown(text)}" for label, text in pairs)
    if not pairs:
        return ""
    pairs = [(one_line(label), one_line(text)) for label, text in pairs]
    width = max(len(label) for label, _ in pairs) + 2
    return "\n".join(_defined(label, _whole_names(text), width) for label, text in pairs)


def _defined(label: str, text: str, width: int) -> str:
    beside = filled(text, f"{label:<{width}}", " " * width)
    if max(map(len, beside.splitlines()), default=0) <= WIDTH:
        return beside
    return f"{label}\n{filled(text, '  ', '  ')}"


def paragraph(text: str, style: Style = "simple") -> str:
    """Lines of any text."""
    if style == "github":
        return wrapped_markdown(filled(markdown(text)))
    return filled(one_line(text))


def filled(text: str, first: str = "", further: str = "") -> str:
    """Lines of a terminal's width, the first and all further ones indented so.

    No number ends a line that what it counts would follow.
    """
    held = _BEHIND_A_NUMBER.sub(_HELD, text)
    lines = fill(
        held,
        WIDTH,
        initial_indent=first,
        subsequent_indent=further,
        break_long_words=False,  # a name stays whole
    )
    return lines.replace(_HELD, " ").replace(_HELD_HYPHEN, "-")


def _whole_names(text: str) -> str:
    """The same with hyphens that end no line, but in words too long for one, such as addresses."""
    words = text.split(" ")
    return " ".join(w.replace("-", _HELD_HYPHEN) if len(w) < WIDTH // 2 else w for w in words)


def _lines(text: str, limit: int | None) -> list[str]:
    return wrap(text, limit) if limit and text else [text]
