"""Docstrings as Markdown, for the reference of the site: an extension of griffe, which reads them.

A line `name, other: what they are` becomes an item of a list, what is indented under it going with
it; `>>>` becomes a block of code.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

PARAMETER = re.compile(r"^(?P<names>[a-z…]\w*…?(?:, [a-z…]\w*)*): (?P<text>\S.*)$")


def as_markdown(docstring: str) -> str:
    """The same text, its parameters a list."""
    lines: list[str] = []
    in_list = in_code = False
    for number, line in enumerate(docstring.splitlines()):
        if in_code and not line:
            lines.append("```")
            in_code = False
        if line.startswith(">>>") and not in_code:
            lines.append("```pycon")
            in_code = True
        found = None if in_code or not number else PARAMETER.match(line)  # a summary is none
        if found:
            names = ", ".join(f"**{name}**" for name in found["names"].split(", "))
            if not in_list and lines and lines[-1]:
                lines.append("")
            line = f"- {names}: {found['text']}"
        elif in_list and line and not line.startswith(" "):  # prose behind the list
            lines.append("")
        in_list = bool(found) or (in_list and line.startswith(" "))
        lines.append(line)
    return "\n".join([*lines, "```"] if in_code else lines)


class ProseDocstrings(griffe.Extension):
    """Applied to everything that griffe reads."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring:
            obj.docstring.value = as_markdown(obj.docstring.value)
