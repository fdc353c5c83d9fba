"""A record as text: times beside what the device could do, and what it says of itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from statistics import median

from roofline.records.measurement import Achieved, Record, Telemetry, TimedSpan
from roofline.tables import Style, definitions, grid, paragraph
from roofline.units import percent, si, significant

_NOTABLE = 0.1
"""Share by which a first prefill takes longer: less is noise."""
_STAGES = {"prefill": "prefill", "decode": "one decode step"}


def render_record(record: Record, form: str) -> str:
    """A record as `table`, `md` or `json`, with a newline at the end."""
    if form == "json":
        return record.to_json().decode()
    style: Style = "github" if form == "md" else "simple"
    parts = [
        _heading(record, style),
        _times(record, style),
        _rates(record, style),
        definitions(facts(record), style),
        *_ops(record, style),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _heading(record: Record, style: Style) -> str:
    given = record.inputs
    reducer = f" with {given['reducer']}" if given["reducer"] else ""
    stage = _STAGES.get(given["stage"], f"prefill and {given['output_tokens']} output tokens")
    weights = f"weights of {given['checkpoint']}" if given["checkpoint"] else "random weights"
    device = record.environment.get("device", given["device"])
    tokens = f"{given['visual_tokens']} visual + {given['text_tokens']} text tokens"
    lines = [
        f"{given['model']}{reducer}, {stage}, on {device}",
        f"{tokens}, batch {given['batch']}, {given['quant']}, {given['mode']}, "
        f"{given['attention']} attention, {weights}",
    ]
    if not record.complete:
        lines.append("Interrupted: this is what had been measured by then.")
    return "\n".join(paragraph(line, style) for line in lines)


SpanColumn = tuple[str, Callable[[TimedSpan], str]]


def _times(record: Record, style: Style) -> str:
    """Components and the whole, beside the bound and the prediction where there are any."""
    columns: list[SpanColumn] = [
        ("Median", lambda span: si(span.summary.p50_s, "s")),
        ("p10", lambda span: si(span.summary.p10_s, "s")),
        ("p90", lambda span: si(span.summary.p90_s, "s")),
    ]
    if any(span.roofline_time_s is not None for span in record.spans.values()):
        columns += [
            ("Roofline", lambda span: shown(span.roofline_time_s, "s")),
            ("Of roof", lambda span: share(span.roofline_share)),
        ]
    if any(span.attainable_time_s is not None for span in record.spans.values()):
        columns += [
            ("Predicted", lambda span: shown(span.attainable_time_s, "s")),
            ("Error", lambda span: share(span.attainable_error, signed=True)),
        ]
    return _by_span(record, columns, style)


def _rates(record: Record, style: Style) -> str:
    """What was computed and moved, and how fast; empty where nobody knows how much it was."""
    if all(span.flops is None for span in record.spans.values()):
        return ""
    whole_s = record.whole.summary.p50_s
    columns: list[SpanColumn] = [
        ("Share", lambda span: percent(span.summary.p50_s / whole_s) if whole_s else "-"),
        ("FLOPs", lambda span: shown(span.flops, "FLOP")),
        ("Traffic", lambda span: shown(span.memory_access_bytes, "B")),
        ("FLOP/s", lambda span: shown(span.flops_per_s, "")),
        ("B/s", lambda span: shown(span.bytes_per_s, "")),
    ]
    return _by_span(record, columns, style)


def _by_span(record: Record, columns: Sequence[SpanColumn], style: Style) -> str:
    rows = [[name, *(cell(span) for _, cell in columns)] for name, span in record.spans.items()]
    return grid(rows, ["Component", *(title for title, _ in columns)], style)


def facts(record: Record) -> list[tuple[str, str]]:
    whole = record.whole.summary
    known = (
        f"the median known to ±{percent(whole.relative_ci)} (95 %)"
        if isfinite(whole.relative_ci)
        else "too few to bound the median"
    )
    facts = [("Samples", f"{whole.count}, {known}")]
    if (pace := _pace(record)) is not None:
        facts.append(("Decode", pace))
    if record.host is not None:
        host = record.host
        facts.append(
            (
                "Device busy",
                f"{si(host.busy_s, 's')} of {si(host.wall_s, 's')} ({percent(host.busy_share)}), "
                f"{host.kernels} kernels: {host.verdict}",
            )
        )
    if record.attention_kernels:
        facts.append(("Attention", attention_words(record.attention_kernels)))
    if (new := record.new_length) is not None and new.first_s > (1 + _NOTABLE) * new.again_s:
        facts.append(
            (
                "New length",
                f"a first prefill of {new.tokens} tokens takes the LLM {si(new.first_s, 's')}, the "
                f"next {si(new.again_s, 's')}",
            )
        )
    if record.peak_memory_bytes is not None:
        facts.append(("Peak memory", _memory(record)))
    if record.telemetry.energy_j is not None:
        facts.append(("Energy", f"{significant(record.telemetry.energy_j)} J a run"))
    if state := _state(record.telemetry):
        facts.append(("Sensors", state))
    facts.append(("Software", _software(record)))
    facts += [("Warning", text) for text in record.warnings]
    facts += [("Note", text) for text in record.notes]
    return facts


def attention_words(kernels: Mapping[str, Sequence[str]]) -> str:
    """`flash`, or `flash in vision, cudnn in llm and decode`."""
    components: dict[str, list[str]] = {}
    for component, used in kernels.items():
        components.setdefault(" and ".join(used), []).append(component)
    if len(components) == 1:
        return next(iter(components))
    return ", ".join(f"{used} in {' and '.join(names)}" for used, names in components.items())


def _memory(record: Record) -> str:
    assert record.peak_memory_bytes is not None
    peak = si(record.peak_memory_bytes, "B")
    if record.graph_memory_bytes is None:
        return peak
    return f"{peak} run eagerly; CUDA graphs hold {si(record.graph_memory_bytes, 'B')} more"


def _pace(record: Record) -> str | None:
    """How fast an answer grows, where decode steps were timed."""
    span = record.spans.get("decode")
    if span is None or not span.summary.p50_s:
        return None
    steps = record.inputs["output_tokens"] if record.inputs["stage"] == "generate" else 1
    step_s = span.summary.p50_s / steps
    return f"{si(step_s, 's')} a step, {significant(record.inputs['batch'] / step_s)} tokens/s"


def _state(telemetry: Telemetry) -> str:
    """Clock, power, temperature and what held the clock down, while it was measured."""
    ends = [end for end in (telemetry.before, telemetry.after) if end is not None]
    moments = telemetry.during or ends

    def typical(name: str) -> float | None:
        found = [getattr(moment, name) for moment in moments]
        known = [value for value in found if value is not None]
        return median(known) if known else None

    phrases = []
    for name, limit, unit in (
        ("sm_clock_mhz", "max_sm_clock_mhz", "MHz"),
        ("power_w", "power_limit_w", "W"),
        ("temperature_c", None, "°C"),
    ):
        value, most = typical(name), typical(limit) if limit else None
        if value is not None:
            phrases.append(f"{value:.0f}{'' if most is None else f' of {most:.0f}'} {unit}")
    known = [moment.throttle for moment in moments if moment.throttle is not None]
    held = Counter(reason for reasons in known for reason in reasons)
    phrases += [f"{reason} in {times} of {len(known)} looks" for reason, times in held.items()]
    if known and not held:
        phrases.append("not throttled")
    return ", ".join(phrases)


def _software(record: Record) -> str:
    facts = record.environment
    versions = {
        "torch": facts.get("torch"),
        "transformers": facts.get("transformers"),
        "CUDA": facts.get("cuda"),
        "driver": (record.telemetry.device or {}).get("driver"),
        "threads": facts.get("threads"),
    }
    return ", ".join(f"{name} {version}" for name, version in versions.items() if version)


def _ops(record: Record, style: Style) -> list[str]:
    """A table per component, what takes longest first; an op that nobody could time at the end."""
    total_s = sum(op.measured_time_s or 0.0 for op in record.ops)
    groups: dict[str, list[Achieved]] = {}
    for op in record.ops:
        groups.setdefault(op.component, []).append(op)
    order = [*record.spans, *groups]  # components as they ran, then what belongs to none
    parts = []
    for component in sorted(groups, key=order.index):
        rows = [
            [
                op.name,
                op.count or "-",
                shown(op.measured_time_s, "s"),
                share(
                    op.measured_time_s / total_s
                    if op.measured_time_s is not None and total_s
                    else None
                ),
                shown(op.flops_per_s or None, ""),  # vector ops have no FLOPs to count
                shown(op.bytes_per_s or None, ""),
                share(op.share_of_roof),
            ]
            for op in sorted(groups[component], key=_rank, reverse=True)
        ]
        title = "outside components" if component == "other" else f"{component}, op by op"
        headers = ["Op", "Count", "Time", "Share", "FLOP/s", "B/s", "Of roof"]
        parts.append(f"{paragraph(title, style)}\n\n{grid(rows, headers, style)}")
    return parts


def _rank(op: Achieved) -> float:
    """Its time; less than any where nobody could time it."""
    return -1.0 if op.measured_time_s is None else op.measured_time_s


def shown(value: float | None, unit: str) -> str:
    """With its unit; a dash for what is not known."""
    return "-" if value is None else si(value, unit)


def share(value: float | None, *, signed: bool = False) -> str:
    """In percent; a dash for what is not known."""
    return "-" if value is None else percent(value, signed=signed)
