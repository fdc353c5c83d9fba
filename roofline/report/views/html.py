"""An estimate in a notebook: the answer, and a table of components.

Self-contained, without scripts or colours of its own: it is legible on light and on dark.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from roofline.engine.estimate import Counts
from roofline.engine.views import VIEWS
from roofline.report.text.estimate_opening import opening
from roofline.report.views.summary import answer, needed, question, saved, subject, table

_TABLE = "border-collapse:collapse;margin:0.5em 0;color:inherit"
_CELL = "padding:0.15em 0.6em;background:none;color:inherit;white-space:nowrap"
_RULE = "border-bottom:1px solid currentColor"


def html(estimate: Counts) -> str:
    """What it is of, the answer in sentences, then components and all of them together."""
    headings, rows = table(estimate, together=len(estimate.components) > 1)
    head = _row(headings, "th", _RULE)
    body = "".join(_row(row, "td") for row in rows)
    behind = "".join(
        f"<div>{escape(line)}</div>" for line in (needed(estimate), question(estimate)) if line
    )
    lines = [opening(estimate)] if estimate.shape == () else [answer(estimate), saved(estimate)]
    words = "".join(f"<div>{escape(line)}</div>" for line in lines if line)
    content = f'<table style="{_TABLE}"><thead>{head}</thead><tbody>{body}</tbody></table>'
    return (
        f'<div style="color:inherit"><div><strong>{escape(subject(estimate))}</strong></div>{words}'
        f'<div style="overflow-x:auto">{content}</div>{behind}</div>'
    )


def _row(cells: Sequence[str], tag: str, style: str = "") -> str:
    """The first cell names the row."""
    parts = []
    for place, cell in enumerate(cells):
        scope = ' scope="col"' if tag == "th" else ""
        name, align = tag, "left" if place == 0 else "right"
        if tag == "td" and place == 0:
            name, scope = "th", ' scope="row"'
        look = ";".join(filter(None, [_CELL, f"text-align:{align}", style]))
        parts.append(f'<{name}{scope} style="{look}">{escape(cell)}</{name}>')
    return f"<tr>{''.join(parts)}</tr>"


VIEWS.register("html", html)
