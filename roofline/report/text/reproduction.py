"""A reproduction as text or JSON."""

from __future__ import annotations

import json

from roofline.explore.published_tables import PrintedCell, Reproduction
from roofline.tables import Style, filled, grid
from roofline.units import significant

_MARKS = {
    "match": "",
    "match, padded zero": "p",
    "match, scaled": "s",
    "slip": "!",
    "mismatch": "?",
}


def render_reproduction(result: Reproduction, form: str) -> str:
    """`table`, `md` or `json`."""
    if form == "json":
        return json.dumps(result.to_dict(), indent=2) + "\n"
    style: Style = "github" if form == "md" else "simple"
    return "\n\n".join(
        [_title(result), _cells(result, style), _legend(result, style), _stated(result, style)]
    )


def _title(result: Reproduction) -> str:
    matches = sum(cell.matches for cell in result.cells)
    return (
        f"{filled(result.source)}\n\n"
        f"{matches} of {len(result.cells)} cells match at printed precision; printed→recomputed,\n"
        "in llm-viewer accounting at prompts of 700 and 70 tokens"
    )


def _cells(result: Reproduction, style: Style) -> str:
    rows: dict[tuple[str, str], list[str]] = {}
    for cell in result.cells:
        row = rows.setdefault((f"{cell.model} {cell.quant}", cell.method), [])
        row.append(f"{cell.printed}→{_digits(cell)}{_MARKS[cell.status]}")
    headers = ["LLM", "Method", "FLOPs, T", "Time, ms", "Traffic, GB", "Stored, GB"]
    return grid([[*key, *cells] for key, cells in rows.items()], headers, style, words=headers)


def _digits(cell: PrintedCell) -> str:
    """One digit more than printed; two where the one is a 5 that hides which way it rounds."""
    printed = len(cell.printed.partition(".")[2])
    shown = f"{cell.recomputed:.{printed + 1}f}"
    return f"{cell.recomputed:.{printed + 2}f}" if shown.endswith("5") else shown


def _legend(result: Reproduction, style: Style) -> str:
    """What each mark in the table means; slips and mismatches one by one."""
    lines = []
    for status, mark in _MARKS.items():
        cells = [cell for cell in result.cells if cell.status == status]
        if not cells or not mark:
            continue
        if status in ("slip", "mismatch"):
            lines += [f"{mark}  {c.model} {c.quant} {c.method}: {c.why}" for c in cells]
        else:
            lines.append(f"{mark}  {cells[0].why}")
    bullet = "- " if style == "github" else ""
    return "\n".join(filled(bullet + line, further=" " * len(bullet) + "   ") for line in lines)


def _stated(result: Reproduction, style: Style) -> str:
    rows = [
        [
            row.model,
            row.quant,
            row.prompt_tokens,
            *(significant(v) for v in (row.flops_t, row.time_ms, row.memory_gb, row.activation_gb)),
            row.bound,
        ]
        for row in result.stated
    ]
    headers = [
        "LLM",
        "Quant",
        "Tokens",
        "FLOPs, T",
        "Time, ms",
        "Traffic, GB",
        "Stored, GB",
        "Bound",
    ]
    table = grid(rows, headers, style, words=("Quant", "Bound"))
    return f"The same rows at the lengths that the text states, exact accounting\n\n{table}\n"
