"""Estimates as text: tables for people (terminal, Markdown), CSV and JSON for programs."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from roofline.device.resources import RESOURCES
from roofline.engine.axes import AXES, BY_NAME, KERNELS
from roofline.engine.estimate import Counts, Estimate
from roofline.engine.result import OpTotals, Totals
from roofline.report.text.estimate_rows import several
from roofline.report.text.estimate_totals import single
from roofline.report.text.estimate_words import WORDS, described, has_laws, varying
from roofline.tables import Style, grid, paragraph
from roofline.units import share, si


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
            waited_for = {name for op in document["ops"] for name in op.get("resource_times_s", ())}
            names = [resource.name for resource in RESOURCES if resource.name in waited_for]
            rows += [document["inputs"] | _flat(op, names) for op in document["ops"]]
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
    headline = ("speedup", "roofline_speedup", "tie", "full_fits")
    return {
        **{f"end_to_end_{key}": value for key, value in document["end_to_end"].items()},
        **{
            f"{estimate.main}_{key}": value
            for key, value in document["components"][estimate.main].items()
        },
        "flops_saving": comparison.get("end_to_end", {}).get("flops_saving"),
        **{name: comparison.get(name) for name in headline},
    }


def _flat(op: dict[str, Any], resources: Sequence[str]) -> dict[str, Any]:
    """Times at resources as columns of their own: none at those that it does not need."""
    times = op.pop("resource_times_s", {})
    return op | {f"{name}_time_s": times.get(name, 0.0) for name in resources}


def _markdown(estimates: Sequence[Counts], per_op: bool) -> str:
    return _readable(estimates, per_op, "github")


def _table(estimates: Sequence[Counts], per_op: bool) -> str:
    return _readable(estimates, per_op, "simple")


def _readable(estimates: Sequence[Counts], per_op: bool, style: Style) -> str:
    parts = [_heading(estimates, style)]
    parts += single(estimates[0], style) if len(estimates) == 1 else several(estimates, style)
    if per_op:
        names = varying(estimates)
        parts += [part for e in estimates for part in _ops(e, described(e, names), style)]
    return "\n\n".join(parts)


FORMATS: dict[str, Callable[[Sequence[Counts], bool], str]] = {
    "table": _table,
    "json": _json,
    "csv": _csv,
    "md": _markdown,
}


_IN_TITLE = ("model", "hardware", "quant", "reducer", "stage", "output_tokens")
_USUAL = (KERNELS[0], BY_NAME["accounting"].default)
_TOKENS = ("visual_tokens", "text_tokens")


def _heading(estimates: Sequence[Counts], style: Style) -> str:
    """What all the estimates have in common."""
    first, differ = estimates[0].inputs, varying(estimates)
    stage = {
        "prefill": "prefill",
        "decode": "one decode step",
        "generate": f"prefill and {first['output_tokens']} output tokens",
    }[first["stage"]]
    if "output_tokens" in differ and first["stage"] == "generate":
        stage = "prefill and output tokens"
    title = stage if "model" in differ else f"{first['model']}, {stage}"
    if first["reducer"] and "reducer" not in differ:
        title += f" with {first['reducer']}"
    if first["hardware"] and "hardware" not in differ:
        device = estimates[0].scenario.hardware
        title += f", on {first['hardware']}" + (f" ({device.title})" if device else "")
    if "quant" not in differ:
        title += f", {first['quant']}"
    tokens = []
    if all("llm" not in estimate.components for estimate in estimates):
        if "visual_tokens" not in differ:
            tokens.append(f"{first['visual_tokens']} tokens")
    else:
        same = [name for name in _TOKENS if name not in differ]
        counts = [f"{first[name]} {name.partition('_')[0]}" for name in same if first[name]]
        tokens += [f"{' + '.join(counts)} tokens"] if counts else []
    tokens += [
        axis.in_words(first[axis.name])
        for axis in AXES
        if axis.name not in (*_IN_TITLE, *_TOKENS, *differ, *_as_usual(first))
        # kernels follow the runtime, without a column of their own
        and all(e.inputs[axis.name] == first[axis.name] for e in estimates)
    ]
    return f"{paragraph(title, style)}\n{paragraph(', '.join(tokens), style)}"


def _as_usual(inputs: Mapping[str, Any]) -> Iterator[str]:
    """Axes that go without saying: exact accounting, separate kernels, a library that nobody named,
    pictures of the model's own size, and who runs what is counted.
    """
    yield from (name for name in ("kernels", "accounting") if inputs[name] in _USUAL)
    yield from (name for name in ("library", "pictures") if inputs[name] is None)
    if inputs["hardware"] is None:
        yield "runtime"


def _ops(estimate: Counts, which: str, style: Style) -> list[str]:
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
            headers += ["Roofline", "Attainable" if has_laws(estimate) else "Share", "Bound"]
        title = paragraph(f"{title}: {which}" if which else title, style)
        parts.append(f"{title}\n\n{grid(rows, headers, style, words=WORDS)}")
    return parts


def _op_times(op: OpTotals, estimate: Counts) -> list[str]:
    whole = estimate.end_to_end
    assert isinstance(whole, Totals)
    second = (
        share(op.roofline_time_s / whole.roofline_time_s if whole.roofline_time_s else 0.0)
        if op.attainable_time_s is None
        else si(op.attainable_time_s, "s")
    )
    return [si(op.roofline_time_s, "s"), second, str(op.bound) if op.roofline_time_s else "-"]
