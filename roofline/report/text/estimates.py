"""Estimates as text: tables for people (terminal, Markdown), CSV and JSON for programs."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from textwrap import fill
from typing import Any, SupportsFloat

from roofline.engine.axes import VARIED
from roofline.engine.compare import Comparison, Saving
from roofline.engine.estimate import Counts, Estimate
from roofline.engine.result import OpTotals, Quantities, Totals
from roofline.report.text.grid import Style, definitions, grid
from roofline.units import GIGA, share, si, significant

_WORDS = ("Model", "Hardware", "Quant", "Reducer", "Bound")
_WIDTH = 80

ORIGINS = {
    "measured": "measured on this machine",
    "fitted": "fitted from public measurements",
    "typical": "typical for this architecture",
}
"""Where laws of kernel time come from, in words."""

TOO_LARGE = "!"
"""Marks a memory that the device does not have."""
FULL_TOO_LARGE = "*"
"""Marks a saving over a prompt that does not fit the device."""
_NOTES = {
    TOO_LARGE: "more than the device's memory",
    FULL_TOO_LARGE: "over a prompt that does not fit the device's memory",
}

STAGE_TIMES = {
    "prefill": "Prefill time",
    "decode": "Time of one step",
    "generate": "Time of prompt and output",
}
_TITLES = {"vision": "Vision", "llm": "LLM", "end_to_end": "End to end"}
_COUNTED = (
    ("FLOPs", "flops", "FLOP"),
    ("Vector FLOPs", "vector_flops", "FLOP"),
    ("Memory traffic", "memory_access_bytes", "B"),
    ("Activations stored", "activation_store_bytes", "B"),
    ("Weights", "weight_bytes", "B"),
    ("KV cache", "kv_cache_bytes", "B"),
    ("Peak activations", "peak_activation_bytes", "B"),
    ("Peak memory", "peak_memory_bytes", "B"),
)


def render(estimates: Sequence[Counts], form: str, *, per_op: bool = False) -> str:
    """Estimates of single configurations in one of `FORMATS`, with a newline at the end.

    All are priced, or all counted on no device.
    """
    return FORMATS[form](estimates, per_op).rstrip("\n") + "\n"


def _json(estimates: Sequence[Counts], per_op: bool) -> str:
    """One document, or a list of them where several configurations were asked for."""
    import json

    documents = [estimate.to_dict(per_op=per_op) for estimate in estimates]
    return json.dumps(documents[0] if len(documents) == 1 else documents, indent=2)


def _csv(estimates: Sequence[Counts], per_op: bool) -> str:
    """One row per configuration, or per op of each configuration; headers are the JSON keys."""
    import csv

    rows: list[dict[str, Any]] = []
    for estimate in estimates:
        document = estimate.to_dict(per_op=per_op)
        if per_op:
            rows += [document["inputs"] | _flat(op) for op in document["ops"]]
        else:
            rows.append(document["inputs"] | _figures(estimate, document))
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _figures(estimate: Counts, document: dict[str, Any]) -> dict[str, Any]:
    """End to end, of the LLM (or the encoder) alone, and the headline of the comparison."""
    comparison = document["comparison"] or {}
    headline = ("speedup", "roofline_speedup", "tie")
    return {
        **{f"end_to_end_{key}": value for key, value in document["end_to_end"].items()},
        **{
            f"{estimate.main}_{key}": value
            for key, value in document["components"][estimate.main].items()
        },
        **{name: comparison.get(name) for name in headline},
        "unreduced_fits": comparison.get("fits"),
    }


def _flat(op: dict[str, Any]) -> dict[str, Any]:
    times = op.pop("resource_times_s", {})
    return op | {f"{name}_time_s": time for name, time in times.items()}


def _markdown(estimates: Sequence[Counts], per_op: bool) -> str:
    return _readable(estimates, per_op, "github")


def _table(estimates: Sequence[Counts], per_op: bool) -> str:
    return _readable(estimates, per_op, "simple")


def _readable(estimates: Sequence[Counts], per_op: bool, style: Style) -> str:
    parts = [_heading(estimates)]
    if len(estimates) == 1:
        parts.append(_totals(estimates[0], style))
        if len(estimates[0].components) > 1:
            parts.append(_components(estimates[0], style))
        lines = [*_peaks(estimates[0]), *_verdicts(estimates[0])]
        parts += [definitions(lines, style)] if lines else []
    else:
        parts += _rows(estimates, style)
        blocks = [
            definitions([*_title(e), *_peaks(e), *_laws(e, band=False)], style)
            for e in estimates
            if isinstance(e, Estimate)
        ]
        parts += dict.fromkeys(blocks)  # one per device and mode
    if per_op:
        parts += [part for estimate in estimates for part in _ops(estimate, style)]
    return "\n\n".join(parts)


FORMATS: dict[str, Callable[[Sequence[Counts], bool], str]] = {
    "table": _table,
    "json": _json,
    "csv": _csv,
    "md": _markdown,
}


def _heading(estimates: Sequence[Counts]) -> str:
    """What all the estimates have in common."""
    first, varying = estimates[0].inputs, _varying(estimates)
    stage = {
        "prefill": "prefill",
        "decode": "one decode step",
        "generate": f"prefill and {first['output_tokens']} output tokens",
    }[first["stage"]]
    if "output_tokens" in varying and first["stage"] == "generate":
        stage = "prefill and output tokens"
    title = stage if "model" in varying else f"{first['model']}, {stage}"
    if first["reducer"] and "reducer" not in varying:
        title += f" with {first['reducer']}"
    if first["hardware"] and "hardware" not in varying:
        device = estimates[0].scenario.hardware
        title += f", on {first['hardware']}" + (f" ({device.title})" if device else "")
    if "quant" not in varying:
        title += f", {first['quant']}"
    tokens = []
    if all("llm" not in estimate.components for estimate in estimates):
        tokens.append(f"{first['visual_tokens']} tokens")
    else:
        visual = "visual_tokens" not in varying and first["visual_tokens"]
        text = "text_tokens" not in varying
        both = f"{first['visual_tokens']} visual + " if visual and text else ""
        if text:
            tokens.append(f"{both}{first['text_tokens']} text tokens")
        elif visual:
            tokens.append(f"{first['visual_tokens']} visual tokens")
    if "batch" not in varying:
        tokens.append(f"batch {first['batch']}")
    tokens += [f"{first['attention']} attention", f"{first['accounting']} accounting"]
    return f"{fill(title, _WIDTH)}\n{fill(', '.join(tokens), _WIDTH)}"


def _totals(estimate: Counts, style: Style) -> str:
    """All components together, beside the unreduced prompt where there is one to compare with."""
    comparison = estimate.comparison
    part = estimate.end_to_end
    full = comparison.full_end_to_end if comparison else None
    rows = []
    for label, name, unit in (*_COUNTED, *_times(estimate)):
        value = getattr(part, name)
        row = [label, si(value, unit)]
        if comparison is not None and full is not None:
            row += [si(getattr(full, name), unit), _saved(comparison.end_to_end, full, part, name)]
        rows.append(row)
    both = [part] if full is None else [part, full]
    blank = [] if full is None else [""]
    rows.append(["FLOP per byte", *(significant(p.arithmetic_intensity) for p in both), *blank])
    if isinstance(part, Totals):
        bounds = [str(p.bound) for p in both if isinstance(p, Totals)]
        rows.append(["Bound", *bounds, *blank])
    headers = [_of(estimate), "total"]
    if comparison is not None:
        headers[1] = f"{estimate.inputs['visual_tokens']} visual"
        headers += [f"all {int(comparison.visual_tokens)}", "saving"]
    return grid(rows, headers, style)


def _of(estimate: Counts) -> str:
    """What totals are of: the end-to-end sum, or the only component that there is."""
    name = "end_to_end" if len(estimate.components) > 1 else next(iter(estimate.components))
    return _TITLES[name]


def _times(estimate: Counts) -> list[tuple[str, str, str]]:
    """Rows of time; none of counts on no device."""
    if not isinstance(estimate, Estimate):
        return []
    label = STAGE_TIMES[estimate.inputs["stage"]]
    times = [(f"{label}, roofline", "roofline_time_s", "s")]
    if estimate.end_to_end.attainable_time_s is not None:
        times.append((f"{label}, attainable", "attainable_time_s", "s"))
    return times


def _saved(saving: Saving, full: Quantities, part: Quantities, name: str) -> str:
    """How many times less; what is as large in both, such as weights, saves nothing."""
    if name == "weight_bytes":
        return ""
    if name == "attainable_time_s" and saving.tie:
        return "tie"
    known = {
        "roofline_time_s": saving.roofline_speedup,
        "attainable_time_s": saving.attainable_speedup,
    }.get(name, getattr(saving, name, None))
    if known is None:
        from roofline.engine.compare import ratio

        known = ratio(getattr(full, name), getattr(part, name))
    return times(known)


def _components(estimate: Counts, style: Style) -> str:
    parts: dict[str, Quantities] = {**estimate.components, "end to end": estimate.end_to_end}
    rows = []
    for name, part in parts.items():
        row = [
            name,
            si(part.flops, "FLOP"),
            si(part.memory_access_bytes, "B"),
            si(part.weight_bytes, "B"),
        ]
        rows.append(row + _component_times(part, estimate.end_to_end))
    headers = ["Component", "FLOPs", "Traffic", "Weights"]
    if isinstance(estimate.end_to_end, Totals):
        lawful = estimate.end_to_end.attainable_time_s is not None
        headers += ["Roofline", *(["Attainable"] if lawful else []), "Share", "Bound"]
    return grid(rows, headers, style, words=_WORDS)


def _component_times(part: Quantities, whole: Quantities) -> list[str]:
    """Times, share of the predicted one, bound."""
    if not (isinstance(part, Totals) and isinstance(whole, Totals)):
        return []
    lawful = whole.attainable_time_s is not None
    total = float(whole.predicted_time_s)
    portion = float(part.predicted_time_s) / total if total else 0.0
    return [
        si(part.roofline_time_s, "s"),
        *([si(part.predicted_time_s, "s")] if lawful else []),
        "100 %" if part is whole else share(portion, _error(part)),
        str(part.bound) if part.roofline_time_s else "-",
    ]


def _error(part: Totals) -> float:
    """Of the attainable time, as a share of it; 0 where it is the roofline."""
    if not part.attainable_time_s or part.attainable_error_s is None:
        return 0.0
    return float(part.attainable_error_s) / float(part.attainable_time_s)


def _rows(estimates: Sequence[Counts], style: Style) -> list[str]:
    """What the columns are of, one line per configuration, and notes on what is marked."""
    rows = [_row(estimate, estimates) for estimate in estimates]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    of = dict.fromkeys(_of(estimate) for estimate in estimates)
    caption = f"All columns: {' or '.join(of)}."
    comparisons = [c for c in (e.comparison for e in estimates) if c]
    if any(c.speedup is not None for c in comparisons):
        lawful = any(c.end_to_end.attainable_speedup is not None for c in comparisons)
        kind = "attainable" if lawful else "roofline"
        caption += f" Saves: {kind} time against all visual tokens"
        caption += ", in brackets the roofline's." if lawful else "."
    table = grid([[row.get(c, "-") for c in columns] for row in rows], columns, style, words=_WORDS)
    text = " ".join(cell for row in rows for cell in row.values())
    notes = [f"{mark}  {note}" for mark, note in _NOTES.items() if mark in text]
    if "tie" in text.split():
        notes.append("tie: the difference is inside the error band")
    return [fill(caption, _WIDTH), table, *(["\n".join(notes)] if notes else [])]


def _row(estimate: Counts, estimates: Sequence[Counts]) -> dict[str, str]:
    """What is the same in all estimates is left to the heading."""
    whole, varying = estimate.end_to_end, _varying(estimates)
    row = {title: str(estimate.inputs[name] or "-") for name, title in varying.items()}
    row |= {"Visual": str(estimate.inputs["visual_tokens"])} if "visual_tokens" in varying else {}
    roomy = len(varying) <= 2
    if not isinstance(estimate, Estimate) or not isinstance(whole, Totals):
        return row | {
            "FLOPs": si(whole.flops, ""),
            "Traffic": si(whole.memory_access_bytes, "B"),
            "Memory": si(whole.peak_memory_bytes, "B"),
            "Saves FLOPs": times(estimate.comparison.end_to_end.flops)
            if estimate.comparison
            else "-",
        }
    lawful = any(
        isinstance(e, Estimate) and e.end_to_end.attainable_time_s is not None for e in estimates
    )
    row |= {"FLOPs": si(whole.flops, "")} if roomy else {}
    row["Roofline"] = si(whole.roofline_time_s, "s")
    if lawful:
        row["Attainable"] = f"{_attainable(whole)} {_band(whole)}".strip()
    elif roomy:
        row["Traffic"] = si(whole.memory_access_bytes, "B")
    row["Bound"] = str(whole.bound)
    row["Memory"] = si(whole.peak_memory_bytes, "B") + ("" if whole.fits else TOO_LARGE)
    row["Saves"] = headline(estimate.comparison)
    return row


def headline(comparison: Comparison | None) -> str:
    """`2.1x (2.8x)`: attainable and, in brackets, roofline; `tie` inside the error band."""
    if comparison is None or comparison.speedup is None:
        return "-"
    saving = comparison.end_to_end
    text = "tie" if saving.tie else times(comparison.speedup)
    if saving.attainable_speedup is not None and saving.roofline_speedup is not None:
        text += f" ({times(saving.roofline_speedup)})"
    return text + ("" if comparison.fits else FULL_TOO_LARGE)


def _varying(estimates: Sequence[Counts]) -> dict[str, str]:
    """Key and column title of the axes in which the estimates differ."""
    return {
        axis.name: axis.title
        for axis in VARIED
        if len({e.inputs[axis.name] for e in estimates}) > 1
    }


def _title(estimate: Estimate) -> list[tuple[str, str]]:
    device = estimate.device
    return [("Device", f"{device['name']} ({device['title']})")]


def _peaks(estimate: Counts) -> list[tuple[str, str]]:
    """Which peaks the LLM ran at, and where computing and moving take equally long."""
    if not isinstance(estimate, Estimate):
        return []
    used = estimate.device["peaks"][estimate.main]
    kind = used["matmul_type"]
    peak = f"{kind} {_rate(kind, used['matmul_flops_per_s'])} ({used['matmul_engine']})"
    if kind != used["preferred_type"]:
        peak += f"; no {used['preferred_type']} on this device"
    if used["attention_type"] != kind:
        attention = used["attention_type"]
        peak += f"; attention {attention} {_rate(attention, used['attention_flops_per_s'])}"
    bandwidth = f"{estimate.device['memory_bytes_per_s'] / GIGA:g} GB/s"
    ridge = significant(used["ridge_point_flops_per_byte"])
    return [
        (f"Peak, {estimate.inputs['quant']}", peak),
        ("Vector peak", si(used["vector_flops_per_s"], "FLOP/s")),
        ("Ridge point", f"{ridge} FLOP/B, at {bandwidth}"),
    ]


def _verdicts(estimate: Counts) -> list[tuple[str, str]]:
    """Whether it fits, what it saves, and where the time goes."""
    if not isinstance(estimate, Estimate):
        return []
    whole, capacity = estimate.end_to_end, estimate.device["memory_bytes"]
    verdict = "fits in" if whole.fits else "does not fit in"
    lines = [("Memory", f"{si(whole.peak_memory_bytes, 'B')} {verdict} {si(capacity, 'B')}")]
    lines += _laws(estimate)
    if estimate.comparison is not None:
        lines.append(("Saving", _saving_line(estimate, estimate.comparison)))
    if whole.roofline_time_s:
        lines.append(("Time goes to", _shares(estimate, "kind")))
        if estimate.inputs["stage"] == "generate":
            lines.append(("By phase", _shares(estimate, "phase")))
    return lines


def _attainable(part: Totals) -> str:
    return "-" if part.attainable_time_s is None else si(part.attainable_time_s, "s")


def _band(part: Totals) -> str:
    """What nine in ten kernels stay within, as a share of the attainable time."""
    return f"±{100 * _error(part):.0f}%" if _error(part) else ""


def _laws(estimate: Estimate, *, band: bool = True) -> list[tuple[str, str]]:
    """What the attainable time rests on, by shares of it, and how far off it may be."""
    whole = estimate.end_to_end
    if not whole.attainable_time_s:
        return []
    ranked = _ranked(estimate, lambda op: ORIGINS.get(op.attainable_origin or "", ""))
    ranked = {name: time for name, time in ranked.items() if name}
    if band:
        ends = (whole.attainable_time_low_s, whole.attainable_time_high_s)
        span = " to ".join(si(end, "s") for end in ends if end is not None)
        total = sum(ranked.values())
        shares = ", ".join(
            f"{share(time / total, _error(whole))} {name}" if len(ranked) > 1 else name
            for name, time in ranked.items()
        )
        return [("Attainable", f"{span} ({_band(whole)}): {shares}")]
    return [("Attainable", ", ".join(ranked))]


def _saving_line(estimate: Estimate, comparison: Comparison) -> str:
    """What fewer tokens save end to end, what the reducer takes of that, how typical they are."""
    saving, reducer = comparison.end_to_end, estimate.reducer
    text = f"{reducer.label}: " if reducer else ""
    if saving.tie:
        text += "none to tell: the difference is inside the error band"
    else:
        ends = " end to end" if len(estimate.components) > 1 else ""
        text += f"{times(comparison.speedup or 0.0)} as fast{ends}"
    if saving.attainable_speedup is not None and saving.roofline_speedup is not None:
        text += f" ({times(saving.roofline_speedup)} at the roofline)"
    if not comparison.fits:
        text += f"; all {int(comparison.visual_tokens)} visual tokens do not fit this device"
    taken = comparison.reducer_share
    if taken is not None and float(taken) < 1 and not saving.tie:
        own = estimate.components["reducer"]
        text += f"; reducing takes {share(taken, _error(own))} of the time saved"
    scenario = estimate.scenario
    visual = int(scenario.counts["visual_tokens"])
    if reducer and visual == reducer.default_tokens_per_image and not reducer.settles_count:
        text += f"; {reducer.default_tokens_per_image} tokens an image is typical "
        text += f"({reducer.default_tokens_source})"
    return text


def _ranked(estimate: Estimate, group: Callable[[OpTotals], str]) -> dict[str, float]:
    """Predicted seconds of groups of ops, end to end, the largest first."""
    grouped: dict[str, float] = {}
    for op in estimate.ops:
        time = op.roofline_time_s if op.attainable_time_s is None else op.attainable_time_s
        grouped[group(op)] = grouped.get(group(op), 0.0) + float(time)
    return dict(sorted(grouped.items(), key=lambda item: -item[1]))


def _shares(estimate: Estimate, key: str) -> str:
    """Shares of the predicted time, end to end, by a field of its ops."""
    ranked: Mapping[str, float] = _ranked(estimate, lambda op: str(getattr(op, key)))
    total = sum(ranked.values())
    return ", ".join(
        f"{name} {share(time / total, _error(estimate.end_to_end))}"
        for name, time in ranked.items()
        if time >= 0.0005 * total
    )


def _ops(estimate: Counts, style: Style) -> list[str]:
    """A table per component; FLOPs are those of matmuls and vector ops together."""
    parts = []
    for group in dict.fromkeys((op.component, op.phase) for op in estimate.ops):
        ops = [op for op in estimate.ops if (op.component, op.phase) == group]
        rows = [
            [
                op.name + (f" {op.layers}" if op.layers else ""),
                int(op.count),
                si(op.flops + op.vector_flops, ""),
                si(op.memory_access_bytes, "B"),
                *(_op_times(op, estimate) if isinstance(op, OpTotals) else ()),
            ]
            for op in ops
        ]
        title, headers = f"{group[0]}, {group[1]}", ["Op", "Count", "FLOPs", "Traffic"]
        if isinstance(estimate, Estimate):
            kind = estimate.device["peaks"][group[0]]["matmul_type"]
            title += f", on {estimate.device['name']} at its {kind} peak"
            lawful = estimate.end_to_end.attainable_time_s is not None
            headers += ["Roofline", "Attainable" if lawful else "Share", "Bound"]
        parts.append(f"{title}\n\n{grid(rows, headers, style, words=_WORDS)}")
    return parts


def _op_times(op: OpTotals, estimate: Counts) -> list[str]:
    whole = estimate.end_to_end
    assert isinstance(whole, Totals)
    second = (
        share(op.roofline_time_s / whole.roofline_time_s if whole.roofline_time_s else 0.0)
        if op.attainable_time_s is None
        else si(op.attainable_time_s, "s")
    )
    return [si(op.roofline_time_s, "s"), second, str(op.bound)]


def times(ratio: SupportsFloat) -> str:
    """`7.9x`, `12.6x`, and, where two digits would hide it, `1.04x`."""
    value = float(ratio)
    return f"{significant(value, 3 if value >= 10 or 1 < value < 1.1 else 2)}x"


def _rate(kind: str, per_s: float) -> str:
    return si(per_s, "OP/s" if kind.startswith("int") else "FLOP/s")
