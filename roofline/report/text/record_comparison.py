"""Records side by side: one line for each run, so that any number of them fits."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from roofline.engine.axes import AXES
from roofline.plain_text import markdown
from roofline.records.measurement import WHOLE, Record
from roofline.report.text.record import share, shown
from roofline.tables import Style, definitions, grid, paragraph
from roofline.units import significant

_NAME = 22
"""Longest part of a run's name on one line of a terminal."""
_PHRASES = {axis.name: axis.phrase for axis in AXES if axis.name != "hardware"} | {
    "mode": "{}",
    "checkpoint": "weights of {}",
    "hardware": "beside the spec {}",
    "device": "on {}",
    "torch": "torch {}",
}
"""What may tell one run from another: axes and other inputs, and two facts of the environment."""
_ABSENT = {"reducer": "no reducer", "checkpoint": "random weights", "hardware": "beside no spec"}

RecordColumn = tuple[str, Callable[[Record], str]]


def render_comparison(names: Sequence[str], records: Sequence[Record], form: str) -> str:
    """Runs by their names, later ones against the first; `table`, `md` or `json`."""
    if form == "json":
        documents = {name: record.to_dict() for name, record in zip(names, records, strict=True)}
        return json.dumps(documents, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    style: Style = "github" if form == "md" else "simple"
    warnings = [
        (name, text)
        for name, record in zip(names, records, strict=True)
        for text in record.warnings
    ]
    parts = [
        *_inputs(names, records, style),
        _table("Median", names, records, _medians(records), style),
        _table("Speed-up", names, records[1:] and records, _speed_ups(records), style),
        _table("Besides", names, records, _besides(records), style),
        definitions(warnings, style) if warnings else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _inputs(names: Sequence[str], records: Sequence[Record], style: Style) -> list[str]:
    """What all runs have in common, then for each what it has not."""
    settings = [_settings(record) for record in records]
    common = {key for key in settings[0] if len({each[key] for each in settings}) == 1}
    shared = _phrased({key: settings[0][key] for key in settings[0] if key in common})
    parts = [paragraph(shared) if style == "simple" else markdown(shared)]
    if len(common) < len(settings[0]):
        own = [_phrased({k: v for k, v in each.items() if k not in common}) for each in settings]
        parts.append(definitions(list(zip(names, own, strict=True)), style))
    return parts


def _settings(record: Record) -> dict[str, Any]:
    """Values of `_PHRASES`."""
    facts = record.inputs | {key: record.environment.get(key) for key in ("device", "torch")}
    return {key: facts[key] for key in _PHRASES if key in facts}


def _phrased(values: dict[str, Any]) -> str:
    phrases = [
        _ABSENT.get(key) if value is None else _PHRASES[key].format(value)
        for key, value in values.items()
        if value != 0  # no output tokens
    ]
    return ", ".join(words for words in phrases if words)


def _spans(records: Sequence[Record]) -> list[str]:
    """Of all runs, the whole at the end."""
    return [*dict.fromkeys(name for record in records for name in record.components), WHOLE]


def _median_s(record: Record, span: str) -> float | None:
    return record.spans[span].summary.p50_s if span in record.spans else None


def _medians(records: Sequence[Record]) -> list[RecordColumn]:

    def of(span: str) -> RecordColumn:
        return span, lambda record: shown(_median_s(record, span), "s")

    return [of(span) for span in _spans(records)]


def _speed_ups(records: Sequence[Record]) -> list[RecordColumn]:
    """How many times as fast as in the first run."""

    def of(span: str) -> RecordColumn:
        first_s = _median_s(records[0], span)

        def speed_up(record: Record) -> str:
            here_s = _median_s(record, span)
            return f"{significant(first_s / here_s)}x" if first_s and here_s else "-"

        return span, speed_up

    return [of(span) for span in _spans(records)]


def _besides(records: Sequence[Record]) -> list[RecordColumn]:
    """What else is known of any run."""
    columns: list[RecordColumn] = [
        ("Of roof", lambda record: share(record.whole.roofline_share)),
        ("Prediction", lambda record: share(record.whole.attainable_error, signed=True)),
        ("Peak memory", lambda record: shown(record.peak_memory_bytes, "B")),
        ("Energy", lambda record: shown(record.telemetry.energy_j, "J")),
        ("Busy", lambda record: share(record.host.busy_share if record.host else None)),
        ("Kernels", lambda record: str(record.host.kernels) if record.host else "-"),
    ]
    return [
        (title, cell) for title, cell in columns if any(cell(record) != "-" for record in records)
    ]


def _table(
    title: str,
    names: Sequence[str],
    records: Sequence[Record],
    columns: Sequence[RecordColumn],
    style: Style,
) -> str:
    """A line per run; empty without runs or columns."""
    if not records or not columns:
        return ""
    rows = [
        [name, *(cell(record) for _, cell in columns)]
        for name, record in zip(names, records, strict=True)
    ]
    widths = [_NAME if style == "simple" else None, *[None] * len(columns)]
    return grid(rows, [title, *(title for title, _ in columns)], style, widths=widths)
