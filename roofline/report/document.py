"""A report as a list of blocks, which Markdown and HTML are two ways to write down."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeAlias

from msgspec import Struct

from roofline.plain_text import markdown as escaped
from roofline.plain_text import printable
from roofline.tables import grid


class Heading(Struct, frozen=True):
    """A section; `level` 2 for those of the report, 3 within them."""

    text: str
    level: int = 2


class Paragraph(Struct, frozen=True):
    """Sentences."""

    text: str


class Bullets(Struct, frozen=True):
    """A label and what is to be said of it, one line each; an empty label is left out."""

    items: tuple[tuple[str, str], ...]


class Table(Struct, frozen=True):
    """The first column names the row; it and `words` stand to the left, numbers to the right."""

    caption: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: tuple[str, ...] = ()
    names: int = 1
    """Columns, from the first on, that it takes to tell a row from the others."""
    stacks: bool = False
    """Whether narrow screens show each cell on a line of its own, to be read without scrolling."""


class Picture(Struct, frozen=True):
    """A figure, in files `name.png` and `name.svg` beside the report."""

    name: str
    caption: str
    alt: str


class Code(Struct, frozen=True):
    """What to type."""

    text: str


DocumentBlock: TypeAlias = Heading | Paragraph | Bullets | Table | Picture | Code


class Document(Struct, frozen=True):
    """A title and what stands below it."""

    title: str
    blocks: tuple[DocumentBlock, ...]


def table(
    caption: str, rows: Sequence[dict[str, str]], *, words: Sequence[str] = (), names: int = 1
) -> tuple[Table, ...]:
    """A table of rows that share their keys; none where there are no rows.

    names: columns that name a row together.
    """
    if not rows:
        return ()
    headers = tuple(rows[0])
    cells = tuple(tuple(row.values()) for row in rows)
    return (Table(caption, headers, cells, tuple(words), names),)


def markdown(document: Document) -> str:
    """GitHub's dialect, ending in a newline."""
    parts = [f"# {escaped(document.title)}", *map(_markdown, document.blocks)]
    return "\n\n".join(parts) + "\n"


def _markdown(block: DocumentBlock) -> str:
    match block:
        case Heading():
            return f"{'#' * block.level} {escaped(block.text)}"
        case Paragraph():
            return escaped(block.text)
        case Bullets():
            return "\n".join(
                f"- **{escaped(label)}** {escaped(text)}" if label else f"- {escaped(text)}"
                for label, text in block.items
            )
        case Table():
            cells = grid(block.rows, block.headers, "github", words=block.words)
            return f"{escaped(block.caption)}\n\n{cells}"
        case Picture():
            alt = re.sub(r"\s+", " ", block.alt).replace("[", "(").replace("]", ")")
            return f"![{escaped(alt)}]({block.name}.png)\n\n*{escaped(block.caption)}*"
        case Code():
            text = printable(block.text)
            fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
            return f"{fence}sh\n{text}\n{fence}"
