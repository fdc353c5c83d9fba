"""A report as one HTML file that needs nothing else: style and figures are inside, no script is."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape

from roofline.plain_text import one_line, printable
from roofline.report.document import (
    Bullets,
    Code,
    Document,
    DocumentBlock,
    Heading,
    Paragraph,
    Picture,
    Table,
)

_REM_PER_IN = 8.5
"""On a screen, type of a figure is as large as that around it if it is this much wider."""
NARROW_IN = 3.4
PHONE = "40rem"
"""Width of figures for screens that are no wider than that."""
_LONG = 16
"""Letters of a row's header, beyond which it has several lines on such screens."""
_UNIT = re.compile(r"(?<=\d) (?=%|[pnµmkMGTP]?(?:s|B|J|W|FLOP|OP)\b)")
COLOURS = {
    "light": {
        "ink": "#1c1f23",
        "paper": "#ffffff",
        "quiet": "#555b63",
        "band": "#f3f5f7",
        "line": "#c9ced4",
        "edge": "#b4bac1",
    },
    "dark": {
        "ink": "#e8eaed",
        "paper": "#16181b",
        "quiet": "#a9b0b8",
        "band": "#202429",
        "line": "#454b53",
        "edge": "#5a626b",
    },
}
"""By what they are for: `ink` and `quiet` are read on `paper` and `band`; `edge` is the shadow at
which a table goes on beyond the screen."""

_STYLE = """\
:root { color-scheme: light dark; %(light)s }
@media (prefers-color-scheme: dark) { :root { %(dark)s } }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, "Segoe UI", "Helvetica Neue", Arial, sans-serif; }
main { max-width: 72rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 1.5rem; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .75rem; padding-top: .75rem;
  border-top: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.75rem 0 .5rem; }
p, li { max-width: 46rem; }
ul { padding-left: 1.2rem; }
li { margin: .35rem 0; overflow-wrap: anywhere; }
pre { background: var(--band); padding: .75rem 1rem; white-space: pre-wrap;
  overflow-wrap: anywhere; }
.wide { overflow-x: auto; margin: .4rem 0 1.5rem; background:
  linear-gradient(to left, var(--paper) 50%%, transparent) right / 4rem 100%% no-repeat local,
  linear-gradient(to left, var(--edge), transparent) right / 1.25rem 100%% no-repeat scroll; }
table { border-collapse: separate; border-spacing: 0;
  font-size: .875rem; font-variant-numeric: tabular-nums; }
.caption, figcaption { color: var(--quiet); font-size: .875rem; }
.caption { margin: 1rem 0 0; }
th, td { padding: .3rem .7rem; border-bottom: 1px solid var(--line); text-align: right;
  font-weight: normal; white-space: nowrap; }
th { text-align: left; }
th.row { position: sticky; left: 0; background: var(--paper); }
thead th, thead th.row { background: var(--band); font-weight: 600; vertical-align: bottom; }
.together { display: none; }
thead th.number { text-align: right; }
td.words { text-align: left; }
figure { margin: 1.5rem 0; }
figure img { display: block; width: 100%%; max-width: %(figure)s; height: auto;
  background: #ffffff; }
figcaption { padding: .5rem 0 0; max-width: 46rem; }
@media (max-width: %(phone)s) { main { padding: 1rem 1rem 3rem; } h1 { font-size: 1.35rem; }
  th, td { padding: .3rem .4rem; }
  thead th, th.long { white-space: normal; } th.long { min-width: 5.5rem; }
  .apart { display: none; }
  th.together { display: table-cell; white-space: normal; min-width: 6rem; }
  .stacked thead { display: none; }
  .stacked, .stacked tbody, .stacked tr, .stacked th, .stacked td { display: block; }
  .stacked th.row { font-weight: 600; border: 0; padding-top: .75rem; }
  .stacked td { display: flex; justify-content: space-between; border: 0; }
  .stacked td::before { content: attr(data-header); color: var(--quiet); }
  .stacked tr { border-bottom: 1px solid var(--line); }
  figure img { max-width: %(narrow)s; } }
@media print { main { max-width: none; padding: 0; } .wide { overflow: visible; } }
"""


def html(
    document: Document,
    figures: Mapping[str, bytes],
    width_in: float = 7.0,
    narrow: Mapping[str, bytes] | None = None,
) -> str:
    """The page; `figures` has the SVG file of each picture by its name, each `width_in` wide.

    narrow: the same, `NARROW_IN` wide, for screens on which type would be too small otherwise.
    """
    body = printable(
        "\n".join(_html(block, i, figures, narrow or {}) for i, block in enumerate(document.blocks))
    )
    title = escape(one_line(document.title))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        # Nothing may be loaded, whatever a text in here says.
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "img-src data:; style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>\n{_style(width_in)}</style>\n</head>\n"
        f"<body>\n<main>\n<h1>{title}</h1>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _style(width_in: float) -> str:
    themes = {
        theme: " ".join(f"--{name}: {colour};" for name, colour in colours.items())
        for theme, colours in COLOURS.items()
    }
    sizes = {
        "figure": f"{_REM_PER_IN * width_in:.0f}rem",
        "narrow": f"{_REM_PER_IN * min(NARROW_IN, width_in):.0f}rem",
        "phone": PHONE,
    }
    return _STYLE % (themes | sizes)


def _html(
    block: DocumentBlock, place: int, figures: Mapping[str, bytes], narrow: Mapping[str, bytes]
) -> str:
    match block:
        case Heading():
            return f"<h{block.level}>{escape(block.text)}</h{block.level}>"
        case Paragraph():
            return f"<p>{_prose(block.text)}</p>"
        case Bullets():
            items = (
                f"<li>{f'<strong>{escape(label)}</strong> ' if label else ''}{_prose(text)}</li>"
                for label, text in block.items
            )
            return "<ul>\n" + "\n".join(items) + "\n</ul>"
        case Table():
            return _table(block, place)
        case Picture():
            image = f'<img src="{_data(figures[block.name])}" alt="{_words(block.alt)}">'
            if block.name in narrow:
                source = f'media="(max-width: {PHONE})" srcset="{_data(narrow[block.name])}"'
                image = f"<picture>\n<source {source}>\n{image}\n</picture>"
            caption = escape(block.caption)
            return f"<figure>\n{image}\n<figcaption>{caption}</figcaption>\n</figure>"
        case Code():
            return f"<pre><code>{escape(block.text)}</code></pre>"


def _data(vector: bytes) -> str:
    return f"data:image/svg+xml;base64,{b64encode(vector).decode()}"


def _words(text: str) -> str:
    return escape(" ".join(text.split()))


def _prose(text: str) -> str:
    """Sentences in which no line ends between a number and its unit."""
    return _UNIT.sub("&nbsp;", escape(text))


def _table(block: Table, place: int) -> str:
    """Rows and columns have headers of their own; what is too wide scrolls, by keyboard as well.

    What names a row stays where it is when the others scroll: its first column, or on narrow
    screens all that name it, in one cell. The caption stands before it and does not scroll with it.
    """
    left = [i == 0 or header in block.words for i, header in enumerate(block.headers)]
    heads = _together(block.headers, block.names, "col") + "".join(
        f'<th scope="col"{_classes(block, i, number=not is_left)}>{escape(header)}</th>'
        for i, (header, is_left) in enumerate(zip(block.headers, left, strict=True))
    )
    rows = []
    for first, *cells in block.rows:
        data = "".join(
            f"<td{_classes(block, i, words=is_left)}{_header(block, i) if block.stacks else ''}>"
            f"{escape(cell)}</td>"
            for i, (cell, is_left) in enumerate(zip(cells, left[1:], strict=True), 1)
        )
        head = _together((first, *cells), block.names, "row")
        classes = _classes(block, 0, long=len(first) > _LONG)
        rows.append(f'<tr>{head}<th scope="row"{classes}>{escape(first)}</th>{data}</tr>')
    named = f'aria-labelledby="table-{place}"'
    stacked = ' class="stacked"' if block.stacks else ""
    return (
        f'<p class="caption" id="table-{place}">{escape(block.caption)}</p>\n'
        f'<div class="wide" role="region" {named} tabindex="0">\n'
        f"<table{stacked} {named}>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n"
        + "\n".join(rows)
        + "\n</tbody>\n</table>\n</div>"
    )


def _header(block: Table, column: int) -> str:
    return f' data-header="{escape(block.headers[column])}"'


def _classes(block: Table, column: int, **others: bool) -> str:
    """Of a cell: `row` if it heads its row, `apart` if narrow screens have one for several."""
    apart = block.names > 1 and column < block.names
    classes = {"row": column == 0, "apart": apart} | others
    found = " ".join(name for name, given in classes.items() if given)
    return f' class="{found}"' if found else ""


def _together(cells: Sequence[str], names: int, scope: str) -> str:
    """For narrow screens, the cells that name a row as one; nothing where that is one already."""
    if names < 2:
        return ""
    words = " · ".join(cell for cell in cells[:names] if cell != "-")
    return f'<th scope="{scope}" class="row together">{escape(words)}</th>'
