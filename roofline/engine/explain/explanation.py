"""An explanation as a record that prints itself."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from msgspec import Struct

from roofline.tables import definitions, filled

Line: TypeAlias = tuple[str, str]
"""A figure, and how it comes about or who says so."""


class Lines(Struct, frozen=True):
    """Figures that belong together."""

    lines: tuple[Line, ...]
    heading: str = ""

    @classmethod
    def of(cls, lines: Iterable[Line], heading: str = "") -> Lines:
        return cls(tuple(lines), heading)

    def __str__(self) -> str:
        text = definitions(self.lines)
        return f"{self.heading}\n{text}" if self.heading else text


class Explanation(Struct, frozen=True):
    """A figure's formulas with their numbers, and the sources of those."""

    title: str
    """What is explained, and of which configuration."""
    parts: tuple[Lines, ...]
    sources: tuple[Line, ...]

    def __str__(self) -> str:
        groups = [*self.parts, Lines(self.sources, "Sources")]
        return "\n\n".join([filled(self.title), *map(str, groups)]) + "\n"

    def __repr__(self) -> str:
        return str(self)
