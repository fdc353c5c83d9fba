"""Several estimates as text: a row for each, what they differ in as columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from roofline.engine.axes import BY_NAME
from roofline.engine.estimate import Counts, Estimate
from roofline.engine.result import Totals
from roofline.report.text.estimate_words import (
    NOTES,
    TOO_LARGE,
    WORDS,
    attainable_band,
    by_origin,
    described,
    elapsed,
    headline,
    launch_bound_line,
    peaks,
    predicted_title,
    times,
    varying,
)
from roofline.tables import WIDTH, Style, definitions, filled, grid
from roofline.units import si

_DISPENSABLE = ("Traffic", "FLOPs")
"""Columns that go where a line would be too long, the first one first."""
TableRow = dict[str, str]


def several(estimates: Sequence[Counts], style: Style) -> list[str]:
    """What the figures are of, tables, notes on what is marked, and the devices, in paragraphs."""
    rows = [_row(estimate, estimates) for estimate in estimates]
    cells = [cell for row in rows for cell in row.values()]
    notes = [f"{mark}  {n}" for mark, n in NOTES.items() if any(c.endswith(mark) for c in cells)]
    if any(cell.startswith("tie ") for cell in cells):
        notes.append("tie: the difference is inside the error band")
    priced = [estimate for estimate in estimates if isinstance(estimate, Estimate)]
    blocks = [definitions(_device(estimate, priced), style) for estimate in priced]
    return [
        filled(_caption(estimates)),
        *_tables(estimates, rows, style),
        *(["\n".join(notes)] if notes else []),
        *dict.fromkeys(blocks),  # one per device and mode
    ]


def _tables(estimates: Sequence[Counts], rows: Sequence[TableRow], style: Style) -> list[str]:
    """One table; on a terminal that is too narrow for it, one under the name of each device, say.

    Columns that can be spared go first, then axes from the left: their values become titles.
    """
    axes = varying(estimates)
    spare = [name for name in _DISPENSABLE if any(name in row for row in rows)]
    for titled in range(len(axes) + 1):
        names, titles = list(axes)[:titled], list(axes.values())[:titled]
        for left_out in range(len(spare) + 1):
            without = {*titles, *spare[:left_out]}
            groups: dict[str, list[TableRow]] = {}
            for estimate, row in zip(estimates, rows, strict=True):
                kept = {name: cell for name, cell in row.items() if name not in without}
                groups.setdefault(described(estimate, names), []).append(kept)
            tables = [part for group in groups.items() for part in _titled(*group, style)]
            if style == "github" or _width(tables) <= WIDTH:
                return tables
    return tables


def _titled(title: str, rows: Sequence[TableRow], style: Style) -> Iterator[str]:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    if title:
        yield filled(title)
    yield grid([[row.get(c, "-") for c in columns] for row in rows], columns, style, words=WORDS)


def _width(parts: Sequence[str]) -> int:
    return max(len(line) for part in parts for line in part.splitlines())


def _caption(estimates: Sequence[Counts]) -> str:
    """What all figures are of, and what a saving is."""
    whole = dict.fromkeys(e.inputs["model"] for e in estimates if len(e.components) > 1)
    of: dict[str, list[str]] = {}
    for estimate in estimates:
        if len(estimate.components) == 1:
            alone = of.setdefault(estimate.main, [])
            alone += [] if estimate.inputs["model"] in alone else [estimate.inputs["model"]]
    figures = ["end to end"] if whole else []
    for name, models in of.items():
        part = "the LLM's" if name == "llm" else "the vision encoder's"
        figures.append(part if len(of) == 1 and not whole else f"of {', '.join(models)} {part}")
    text = f"All figures are {'; '.join(figures)}."
    comparisons = [e.comparison for e in estimates if e.comparison]
    if not comparisons:
        return text
    if not isinstance(estimates[0], Estimate):
        return f"{text} Saves: FLOPs against all visual tokens."
    titles = dict.fromkeys(title.lower() for e in estimates for title in predicted_title(e))
    if not titles:
        return f"{text} Saves: roofline time against all visual tokens."
    saves = f"Saves: {' or '.join(titles)} time against all visual tokens, in brackets the"
    return f"{text} {saves} roofline's."


def _row(estimate: Counts, estimates: Sequence[Counts]) -> TableRow:
    """Where it differs from the others, and its figures."""
    whole, comparison = estimate.end_to_end, estimate.comparison
    row = {
        title: BY_NAME[name].in_cell(estimate.inputs[name])
        for name, title in varying(estimates).items()
    }
    compared = any(e.comparison for e in estimates)
    row["FLOPs"] = si(whole.flops, "")
    if not isinstance(whole, Totals):
        row["Traffic"] = si(whole.memory_access_bytes, "B")
        row["Memory"] = si(whole.peak_memory_bytes, "B")
        saved = times(comparison.end_to_end.flops_saving) if comparison else "-"
        return row | ({"Saves": saved} if compared else {})
    titles = {title for e in estimates for title in predicted_title(e)}
    lawful = bool(titles)
    if not lawful:
        row["Traffic"] = si(whole.memory_access_bytes, "B")
    row["Roofline"] = si(whole.roofline_time_s, "s")
    if "Attainable" in titles:
        row["Attainable"] = _attainable(whole)
    if "Elapsed" in titles:
        row["Elapsed"] = "-" if whole.elapsed_time_s is None else elapsed(whole)
    row["Bound"] = str(whole.bound) if whole.roofline_time_s else "-"
    row["Memory"] = si(whole.peak_memory_bytes, "B") + ("" if whole.fits else TOO_LARGE)
    if not compared:
        return row
    saving, fits = (comparison.end_to_end, comparison.full_fits) if comparison else (None, True)
    return row | {"Saves": headline(saving, bracketed=lawful, full_fits=bool(fits))}


def _attainable(whole: Totals) -> str:
    if whole.attainable_time_s is None:
        return "-"
    return f"{si(whole.attainable_time_s, 's')} {attainable_band(whole)}".strip()


def _device(estimate: Estimate, estimates: Sequence[Counts]) -> list[tuple[str, str]]:
    """Its name where the heading does not say it, its peaks, what its laws rest on, and, where that
    is one number, up to how many visual tokens its host is waited for.
    """
    device, lines = estimate.device, peaks(estimate)
    if "hardware" in varying(estimates):
        lines = [("Device", f"{device['name']} ({device['title']})"), *lines]
    if estimate.end_to_end.attainable_time_s:
        lines.append(("Attainable", ", ".join(sorted(by_origin(estimate)))))
    same = [e for e in estimates if isinstance(e, Estimate) and _deployed(e) == _deployed(estimate)]
    return lines + launch_bound_line(same)


def _deployed(estimate: Estimate) -> tuple[object, object]:
    return estimate.inputs["hardware"], estimate.inputs["quant"]
