"""A validation as text: verdicts, counts, times cell by cell, accuracies, conditions."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from roofline.plain_text import markdown
from roofline.records.validation import (
    BAND_SHARE,
    BYTES_TOLERANCE,
    Accuracy,
    Count,
    TimedCell,
    Validation,
    Verdict,
    accuracy,
)
from roofline.report.text.record import attention_words
from roofline.specs.kernel_laws import UNTRUSTED
from roofline.tables import Style, definitions, filled, grid, paragraph
from roofline.units import percent, si, significant

LLM = "llm"
_BY = "Counted by"
_ASIDE = "Aside"
"""What the model computes by matmuls, and the analysis has as vector work."""


def render_validation(validation: Validation, form: str) -> str:
    """A validation as `table`, `md` (a page of its own) or `json`, with a newline at the end."""
    if form == "json":
        return validation.to_json().decode()
    style: Style = "github" if form == "md" else "simple"
    exact, others = _layers(validation.counts)
    parts = [
        _title(validation, style),
        *_section("Verdicts", "", definitions(_verdicts(validation), style), style),
        *_section("FLOPs", _EXACT, _flops(exact, style), style),
        *_section("Traffic and memory", _BYTES, _bytes(others, style), style),
        *_section("Predicted against measured time", _TIMES, _cells(validation, style), style),
        *_section("Accuracy", _ACCURACY, _accuracies(validation, style), style),
        *_section("Conditions", "", definitions(_conditions(validation), style), style),
    ]
    return "\n\n".join(parts) + "\n"


_EXACT = "Matmuls and attention, 2 FLOPs per multiply-accumulate, on the real model."
_BYTES = "What the analysis says beside what the model's own tensors say."
_TIMES = (
    "Sizes that the calibration never saw. Measured: the fastest sample, since whatever else a "
    "machine does only adds time. Noise: how far the median sample is above it, with ! where "
    "something disturbed the cell. Roofline: error of the plain bound at the calibrated peaks. "
    "Errors: predicted / measured − 1, with ! outside the band that the prediction promises."
)
_MARK = " !"
_ACCURACY = (
    "Absolute errors; bias: geometric mean of predicted / measured, 1 where there is none. In "
    "brackets the plain roofline's."
)


def _title(validation: Validation, style: Style) -> str:
    given, device = validation.inputs, validation.environment.get("device", "this machine")
    title = f"{given.get('model')} validated on {device}"
    lines = [headline(validation)]
    if validation.untrusted:
        lines.insert(0, f"{UNTRUSTED}{validation.untrusted}.")
    if not validation.complete:
        lines.append("Interrupted: this is what had been measured by then.")
    if style == "github":
        return "\n\n".join([f"# {markdown(title)}", *map(markdown, lines)])
    return "\n".join(map(paragraph, (title, *lines)))


def headline(validation: Validation) -> str:
    """The one sentence that a reader takes away: how well the LLM's prefill is predicted."""
    cells = validation.by_component.get(LLM)
    if not cells:
        return "No prefill was timed."
    found, bound = accuracy(cells), accuracy(cells, roofline=True)
    return (
        f"LLM prefill of {min(c.tokens for c in cells)} to {max(c.tokens for c in cells)} tokens: "
        f"predicted times are {percent(found.median)} off in the median and "
        f"{percent(found.worst)} at worst over {found.cells} cells; the plain roofline is "
        f"{percent(bound.median)} off."
    )


def _verdicts(validation: Validation) -> list[tuple[str, str]]:
    """Of each layer: whether it holds, and by what."""
    words = {True: "holds", False: "fails", None: "open"}
    reasons = {"flops": _flops_agree, "bytes": _bytes_agree, "time": _times_agree}
    names = {"flops": "FLOPs", "bytes": "Traffic and memory", "time": "Time"}
    return [
        (
            names[verdict.layer],
            f"{words[verdict.holds]}{f', since {verdict.why_open}' * bool(verdict.why_open)}: "
            f"{reasons[verdict.layer](verdict)}",
        )
        for verdict in validation.verdicts
    ]


def _flops_agree(verdict: Verdict) -> str:
    if verdict.holds:
        return f"all of {verdict.compared} counts are equal to the last FLOP"
    return f"{verdict.compared - verdict.agree} of {verdict.compared} counts differ"


def _bytes_agree(verdict: Verdict) -> str:
    far = f"{percent(verdict.off)} off" if isfinite(verdict.off) else "where nothing was counted"
    return (
        f"{verdict.agree} of {verdict.compared} are within {percent(BYTES_TOLERANCE)}, the "
        f"farthest is {far}"
    )


def _times_agree(verdict: Verdict) -> str:
    median = f"{percent(verdict.off)} off in the median"
    if not verdict.compared:
        return median
    return (
        f"{verdict.agree} of {verdict.compared} cells are inside the bands of their predictions, "
        f"which promise {percent(BAND_SHARE)}; {median}"
    )


def _section(title: str, text: str, body: str, style: Style) -> list[str]:
    """Heading, explanation and table; nothing without a table."""
    if not body:
        return []
    if style == "github":
        return [f"## {title}", *([text] if text else []), body]
    return [*([filled(f"{title}: {text}")] if text else []), body]


def _layers(counts: Sequence[Count]) -> tuple[list[Count], list[Count]]:
    """FLOPs, and bytes."""
    flops = [count for count in counts if count.is_flops]
    return flops, [count for count in counts if not count.is_flops]


def _flops(counts: Sequence[Count], style: Style) -> str:
    """To the last FLOP, since that is the claim."""
    rows = [
        [
            count.component,
            f"{count.analytic:,.0f}",
            ", ".join(f"{flops:,.0f} {name}" for name, flops in count.aside.items()),
            f"{count.witnessed:,.0f}",
            f"{count.difference:+,.0f}" if count.difference else "0",
            count.witness,
        ]
        for count in counts
    ]
    headers = ["Component", "Analysis", _ASIDE, "Counted", "Difference", _BY]
    if not any(count.aside for count in counts):
        column = headers.index(_ASIDE)
        headers, *rows = ([*row[:column], *row[column + 1 :]] for row in (headers, *rows))
    return grid(rows, headers, style, words=[_ASIDE, _BY]) if rows else ""


def _bytes(counts: Sequence[Count], style: Style) -> str:
    rows = [
        [
            count.component,
            count.quantity.removesuffix("_bytes").replace("_", " "),
            si(count.analytic, "B"),
            si(count.witnessed, "B"),
            _difference(count),
            count.witness,
        ]
        for count in counts
    ]
    headers = ["Component", "Quantity", "Analysis", "Counted", "Difference", _BY]
    return grid(rows, headers, style, words=["Quantity", _BY]) if rows else ""


def _difference(count: Count) -> str:
    if not count.difference:
        return "0 B"
    if not count.witnessed:
        return si(count.difference, "B")
    return percent(count.error, signed=True)


def _cells(validation: Validation, style: Style) -> str:
    rows = [
        [
            cell.component,
            cell.tokens,
            cell.batch,
            si(cell.attainable_time_s, "s"),
            si(cell.measured_time_s, "s"),
            percent(cell.error, signed=True) + _MARK * (cell.in_band is False),
            _noise(cell),
            percent(cell.roofline_error, signed=True),
        ]
        for cells in validation.by_component.values()
        for cell in sorted(cells, key=lambda cell: (cell.batch, cell.tokens))
    ]
    headers = [
        *("Component", "Tokens", "Batch", "Predicted", "Measured", "Error", "Noise", "Roofline")
    ]
    return grid(rows, headers, style) if rows else ""


def _noise(cell: TimedCell) -> str:
    """A single sample shows none, which is not to say that there is none."""
    known = percent(cell.noise) if len(cell.samples_s) > 1 else "1 sample"
    return known + _MARK * cell.disturbed


def _accuracies(validation: Validation, style: Style) -> str:
    rows = [_accuracy(name, cells) for name, cells in validation.by_component.items()]
    headers = ["Component", "Cells", "Median", "p90", "Worst", "Bias"]
    return grid(rows, headers, style) if rows else ""


def _accuracy(name: str, cells: Sequence[TimedCell]) -> list[str]:
    found, bound = accuracy(cells), accuracy(cells, roofline=True)

    def both(quantity: str) -> str:
        return f"{percent(getattr(found, quantity))} ({percent(getattr(bound, quantity))})"

    return [name, str(found.cells), both("median"), both("p90"), both("worst"), _bias(found, bound)]


def _bias(found: Accuracy, bound: Accuracy) -> str:
    return f"{significant(found.geometric_mean)} ({significant(bound.geometric_mean)})"


def _conditions(validation: Validation) -> list[tuple[str, str]]:
    """What was run and where, as far as the record says so."""
    given, around = validation.inputs, validation.environment
    memory = around.get("device_memory_bytes")
    facts = {
        "Date": validation.created,
        "Took": si(validation.took_s, "s"),
        **{name.capitalize(): value for name, value in given.items()},
        "Attention kernels": attention_words(validation.attention_kernels),
        "Device": around.get("device"),
        "Memory": None if memory is None else si(memory, "B"),
        "CPU": around.get("cpu"),
        "Threads": around.get("threads"),
        "CUDA": around.get("cuda"),
        "System": around.get("system"),
        "Software": ", ".join(
            f"{name} {around[name]}"
            for name in ("roofline", "python", "torch", "transformers")
            if around.get(name)
        ),
    }
    shown = [(name, str(value)) for name, value in facts.items() if value not in (None, "")]
    return shown + [("Note", note) for note in validation.notes]
