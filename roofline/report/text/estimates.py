"""Estimates as text: tables for people (terminal, Markdown), CSV and JSON for programs."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from textwrap import fill
from typing import Any, SupportsFloat

from roofline.engine.price import Plan
from roofline.engine.result import Estimate, Totals
from roofline.reducers.base import Reducer
from roofline.report.text.grid import Style, definitions, grid
from roofline.specs.sourced import Peak
from roofline.units import GIGA, TERA, si, significant

_WORDS = ("Hardware", "Quant", "Bound")

ORIGINS = {
    "measured": "measured on this machine",
    "fitted": "fitted from public measurements",
    "typical": "typical for this architecture",
}
"""Where laws of attained time come from, in words."""

TOO_LARGE = "!"
"""Marks a memory that the device does not have."""

STAGE_TIMES = {
    "prefill": "Prefill time",
    "decode": "Time of one step",
    "generate": "Time of prompt and output",
}


def render(estimates: Sequence[Estimate], form: str, *, per_op: bool = False) -> str:
    """Estimates of single prompts in one of `FORMATS`, with a newline at the end."""
    return FORMATS[form](estimates, per_op).rstrip("\n") + "\n"


def _json(estimates: Sequence[Estimate], per_op: bool) -> str:
    """One document, or a list of them where several prompts were asked for."""
    import json

    documents = [estimate.to_dict(per_op=per_op) for estimate in estimates]
    return json.dumps(documents[0] if len(documents) == 1 else documents, indent=2)


def _csv(estimates: Sequence[Estimate], per_op: bool) -> str:
    """One row per prompt, or per op of each prompt; headers are the JSON keys."""
    import csv

    rows: list[dict[str, Any]] = []
    for estimate in estimates:
        document = estimate.to_dict(per_op=per_op)
        if per_op:
            rows += [document["inputs"] | op for op in document["ops"]]
        else:
            end_to_end = {f"end_to_end_{k}": v for k, v in document["end_to_end"].items()}
            saving = {f"saving_{k}": v for k, v in (document["saving"] or {}).items()}
            rows.append(document["inputs"] | document["totals"] | end_to_end | saving)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _markdown(estimates: Sequence[Estimate], per_op: bool) -> str:
    return _readable(estimates, per_op, "github")


def _table(estimates: Sequence[Estimate], per_op: bool) -> str:
    return _readable(estimates, per_op, "simple")


def _readable(estimates: Sequence[Estimate], per_op: bool, style: Style) -> str:
    parts = [_heading(estimates)]
    if len(estimates) == 1:
        parts.append(_comparison(estimates[0], style))
        if len(estimates[0].components) > 1:
            parts.append(_components(estimates[0], style))
        parts.append(definitions([*_peaks(estimates[0]), *_verdicts(estimates[0])], style))
    else:
        parts.append(_rows(estimates, style))
        blocks = [
            definitions([*_title(e), *_peaks(e), *_laws(e, band=False)], style) for e in estimates
        ]
        parts += dict.fromkeys(blocks)  # one per device and mode
        if not all(estimate.end_to_end.fits for estimate in estimates):
            parts.append(f"{TOO_LARGE}  more than the device's memory")
    if per_op:
        parts += [part for estimate in estimates for part in _ops(estimate, style)]
    return "\n\n".join(parts)


FORMATS: dict[str, Callable[[Sequence[Estimate], bool], str]] = {
    "table": _table,
    "json": _json,
    "csv": _csv,
    "md": _markdown,
}


def _heading(estimates: Sequence[Estimate]) -> str:
    """What all the estimates have in common."""
    first, varying = estimates[0].inputs, _varying(estimates).values()
    stage = {
        "prefill": "prefill",
        "decode": "one decode step",
        "generate": f"prefill and {first['output_tokens']} output tokens",
    }[first["stage"]]
    title = f"{first['model']}, {stage}"
    if first["reducer"]:
        title += f" with {first['reducer']}"
    if "hardware" not in varying:
        title += f", on {first['hardware']} ({estimates[0].hardware.title})"
    if "quant" not in varying:
        title += f", {first['quant']}"
    tokens = f"{first['text_tokens']} text tokens"
    if "llm" not in estimates[0].components:
        tokens = f"{first['visual_tokens']} tokens"
    elif "visual_tokens" not in varying and first["visual_tokens"]:
        tokens = f"{first['visual_tokens']} visual + {tokens}"
    return (
        f"{fill(title, 80)}\n{tokens}, batch {first['batch']}, {first['attention']} attention, "
        f"{first['accounting']} accounting"
    )


def _comparison(estimate: Estimate, style: Style) -> str:
    """The LLM's totals, beside those of the unreduced prompt where there is one to compare with."""
    full = estimate.unreduced
    if full is not None and full.inputs["visual_tokens"] == estimate.inputs["visual_tokens"]:
        full = None
    quantities: list[tuple[str, str, str]] = [
        ("FLOPs", "flops", "FLOP"),
        ("Vector FLOPs", "vector_flops", "FLOP"),
        ("Memory traffic", "memory_access_bytes", "B"),
        ("Activations stored", "activation_store_bytes", "B"),
        ("Weights", "weight_bytes", "B"),
        ("KV cache", "kv_cache_bytes", "B"),
        ("Peak activations", "peak_activation_bytes", "B"),
        ("Peak memory", "peak_memory_bytes", "B"),
        (f"{STAGE_TIMES[estimate.inputs['stage']]}, roofline", "time_s", "s"),
    ]
    if estimate.attainable_time_s is not None:
        time = f"{STAGE_TIMES[estimate.inputs['stage']]}, attainable"
        quantities.append((time, "attainable_time_s", "s"))
    rows = []
    for label, name, unit in quantities:
        value = getattr(estimate, name)
        row = [label, si(value, unit)]
        if full is not None:
            before = getattr(full, name)
            row += [si(before, unit), _times(before / value) if name != "weight_bytes" else ""]
        rows.append(row)
    intensities = [significant(e.arithmetic_intensity) for e in (estimate, full) if e is not None]
    rows.append(["FLOP per byte", *intensities, *([] if full is None else [""])])
    rows.append(["Bound", str(estimate.bound), *([] if full is None else [str(full.bound), ""])])
    who = "LLM" if "llm" in estimate.components else "Vision"
    headers = [who, f"{estimate.inputs['visual_tokens']} visual"]
    if full is not None:
        headers += [f"all {full.inputs['visual_tokens']}", "saving"]
    else:
        headers[1] = "total"
    return grid(rows, headers, style)


def _components(estimate: Estimate, style: Style) -> str:
    parts: dict[str, Totals] = {**estimate.components, "end to end": estimate.end_to_end}
    whole = estimate.end_to_end.time_s
    told = estimate.attainable_time_s is not None
    rows = [
        [
            name,
            si(part.flops, "FLOP"),
            si(part.memory_access_bytes, "B"),
            si(part.weight_bytes, "B"),
            si(part.time_s, "s"),
            _share(part.time_s, whole),
            *([_attainable(part)] if told else []),
            str(part.bound) if part.time_s else "-",
        ]
        for name, part in parts.items()
    ]
    times = ["Roofline", "Share", *(["Attainable"] if told else [])]
    headers = ["Component", "FLOPs", "Traffic", "Weights", *times, "Bound"]
    return grid(rows, headers, style, words=_WORDS)


def _rows(estimates: Sequence[Estimate], style: Style) -> str:
    """One line per prompt; what is the same in all of them is left to the heading."""
    told = any(estimate.attainable_time_s is not None for estimate in estimates)
    varying = _varying(estimates)
    rows = []
    for estimate in estimates:
        saving = estimate.saving
        row = {name: str(estimate.inputs[key]) for name, key in varying.items()} | {
            **({} if told and len(varying) > 2 else {"FLOPs": si(estimate.flops, "")}),
            "Roofline": si(estimate.time_s, "s"),
            **(
                {"Attainable": f"{_attainable(estimate)} {_band(estimate)}".strip()}
                if told
                else {"Traffic": si(estimate.memory_access_bytes, "B")}
            ),
            "Bound": str(estimate.bound),
            "Memory": si(estimate.end_to_end.peak_memory_bytes, "B")
            + ("" if estimate.end_to_end.fits else TOO_LARGE),
            "Saves": "-" if saving is None else _times(saving["time_s"]),
        }
        rows.append(row)
    return grid([list(row.values()) for row in rows], list(rows[0]), style, words=_WORDS)


def _varying(estimates: Sequence[Estimate]) -> dict[str, str]:
    """Column title and key of the inputs in which the estimates differ."""
    columns = {"Hardware": "hardware", "Quant": "quant", "Visual": "visual_tokens"}
    return {
        title: key for title, key in columns.items() if len({e.inputs[key] for e in estimates}) > 1
    }


def _title(estimate: Estimate) -> list[tuple[str, str]]:
    return [("Device", f"{estimate.hardware.name} ({estimate.hardware.title})")]


def _peaks(estimate: Estimate) -> list[tuple[str, str]]:
    """Which peaks the LLM ran at, and where computing and moving take equally long."""
    plan = _main_plan(estimate)
    used, wanted = plan.rates, plan.cost.matmul_types[0]
    peak = f"{used.matmul_type} {_rate(used.matmul_type, used.matmul)} ({used.matmul.engine})"
    if used.matmul_type != wanted:
        peak += f"; no {wanted} on this device"
    if used.attention_type != used.matmul_type:
        peak += f"; attention {used.attention_type} {_rate(used.attention_type, used.attention)}"
    bandwidth = f"{used.memory_bytes_per_s / GIGA:g} GB/s"
    return [
        (f"Peak, {estimate.inputs['quant']}", peak),
        ("Vector peak", si(used.vector_flops_per_s, "FLOP/s")),
        ("Ridge point", f"{significant(used.ridge_point)} FLOP/B, at {bandwidth}"),
    ]


def _verdicts(estimate: Estimate) -> list[tuple[str, str]]:
    """Whether it fits, and where the time goes."""
    whole, capacity = estimate.end_to_end, estimate.hardware.memory_bytes
    verdict = "fits in" if whole.fits else "does not fit in"
    lines = [("Memory", f"{si(whole.peak_memory_bytes, 'B')} {verdict} {si(capacity, 'B')}")]
    lines += _laws(estimate)
    if estimate.work.reducer is not None:
        lines.append(("Reducer", _reducer_line(estimate, estimate.work.reducer)))
    if estimate.time_s:
        lines.append(("Time goes to", _shares(estimate, "kind")))
        if estimate.inputs["stage"] == "generate":
            lines.append(("By phase", _shares(estimate, "phase")))
    return lines


def _attainable(part: Totals) -> str:
    return "-" if part.attainable_time_s is None else si(part.attainable_time_s, "s")


def _band(part: Totals) -> str:
    """What nine in ten kernels stay within, as a share of the attainable time."""
    if not part.attainable_time_s or part.attainable_error_s is None:
        return ""
    return f"±{100 * float(part.attainable_error_s) / float(part.attainable_time_s):.0f}%"


def _laws(estimate: Estimate, *, band: bool = True) -> list[tuple[str, str]]:
    """What the attainable time rests on, by shares of it, and how far off it may be."""
    if not estimate.attainable_time_s:
        return []
    times: dict[str, float] = {}
    for op in estimate.op_table():
        if op["component"] == estimate.work.main and op["attainable_origin"]:
            origin = ORIGINS[op["attainable_origin"]]
            times[origin] = times.get(origin, 0.0) + float(op["attainable_time_s"])
    ranked = sorted(times.items(), key=lambda item: -item[1])
    if band:
        ends = (estimate.attainable_time_low_s, estimate.attainable_time_high_s)
        span = " to ".join(si(end, "s") for end in ends if end is not None)
        shares = ", ".join(f"{_share(time, sum(times.values()))} {name}" for name, time in ranked)
        return [("Attainable", f"{span} ({_band(estimate)}): {shares}")]
    return [("Attainable", ", ".join(name for name, _ in ranked))]


def _reducer_line(estimate: Estimate, reducer: Reducer) -> str:
    """What it gains end to end, what it takes of that, and how typical the count is."""
    share, speedup = estimate.reducer_share, estimate.end_to_end_speedup
    text = reducer.label
    if share is not None and speedup is not None and float(share) < 1:
        percent = significant(100 * float(share), 2)
        text += f": {_times(speedup)} as fast end to end; it takes {percent} % of the time it saves"
    else:
        text += " saves no time here"
    task, typical = estimate.work.task, estimate.default_tokens
    if task is not None and task.kept == typical and not reducer.settles_count:
        text += f"; {typical} tokens an image is typical ({reducer.default_source})"
    return text


def _shares(estimate: Estimate, key: str) -> str:
    """Shares of the time of the component that the totals are about, by a column of its ops."""
    main = _main_plan(estimate).cost.component
    times: dict[str, float] = {}
    for op in estimate.op_table():
        if op["component"] == main:
            times[op[key]] = times.get(op[key], 0.0) + float(op["time_s"])
    ranked = sorted(times.items(), key=lambda item: -item[1])
    return ", ".join(
        f"{name} {_share(time, estimate.time_s)}"
        for name, time in ranked
        if time >= 0.0005 * estimate.time_s
    )


def _main_plan(estimate: Estimate) -> Plan:
    """The plan of the component that the totals are about: the LLM, or else all there is."""
    return next(p for p in estimate.plans if p.cost.component == estimate.work.main)


def _ops(estimate: Estimate, style: Style) -> list[str]:
    """A table per component; FLOPs are those of matmuls and vector ops together."""
    table, whole = estimate.op_table(), estimate.end_to_end.time_s
    told = estimate.attainable_time_s is not None
    types = {plan.cost.component: plan.rates.matmul_type for plan in estimate.plans}
    parts = []
    for group in dict.fromkeys((op["component"], op["phase"]) for op in table):
        rows = [
            [
                op["name"] + (f" {op['layers']}" if op["layers"] else ""),
                int(op["count"]),
                si(op["flops"] + op["vector_flops"], ""),
                si(op["memory_access_bytes"], "B"),
                si(op["time_s"], "s"),
                si(op["attainable_time_s"], "s") if told else _share(op["time_s"], whole),
                str(op["bound"]),
            ]
            for op in table
            if (op["component"], op["phase"]) == group
        ]
        title = f"{group[0]}, {group[1]}, on {estimate.hardware.name} at its {types[group[0]]} peak"
        second = "Attainable" if told else "Share"
        headers = ["Op", "Count", "FLOPs", "Traffic", "Roofline", second, "Bound"]
        parts.append(f"{title}\n\n{grid(rows, headers, style, words=_WORDS)}")
    return parts


def _rate(data_type: str, peak: Peak) -> str:
    return si(peak.value * TERA, "OP/s" if data_type.startswith("int") else "FLOP/s")


def _times(ratio: SupportsFloat) -> str:
    return f"{significant(ratio, 2 if float(ratio) < 10 else 3)}x"


def _share(part: SupportsFloat, whole: SupportsFloat) -> str:
    return f"{100 * float(part) / float(whole):.1f} %" if whole else "-"
