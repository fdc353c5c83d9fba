"""One estimate as text: the answer, its components, totals beside those of the unreduced prompt."""

from __future__ import annotations

from roofline.device.borrowed import laws_of
from roofline.engine.compare import Saving, ratio
from roofline.engine.estimate import Counts, Estimate
from roofline.engine.result import Quantities, Totals
from roofline.report.text.estimate_opening import opening
from roofline.report.text.estimate_words import (
    HOST_ORIGINS,
    OWN_WORK,
    STAGE_TIMES,
    WORDS,
    at_least,
    attainable_band,
    band,
    by_origin,
    by_time,
    energy,
    error_share,
    has_laws,
    launch_bound_line,
    peaks,
    predicted_title,
    times,
)
from roofline.tables import Style, definitions, filled, grid
from roofline.units import share, si, si_apart, significant

_TITLES = {"vision": "Vision", "llm": "LLM"}
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


def single(estimate: Counts, style: Style) -> list[str]:
    """All of one configuration, in paragraphs."""
    text = opening(estimate)
    parts = [text if style == "github" else filled(text)]
    if len(estimate.components) > 1:
        parts.append(_components(estimate, style))
    parts.append(_totals(estimate, style))
    if isinstance(estimate, Estimate):
        parts.append(definitions([*peaks(estimate), *_verdicts(estimate)], style))
    return parts


def _totals(estimate: Counts, style: Style) -> str:
    """All components together, beside the unreduced prompt where there is one to compare with."""
    comparison, part = estimate.comparison, estimate.end_to_end
    full = comparison.full_end_to_end if comparison else None
    rows = []
    for label, name, unit in (*_COUNTED, *_times(estimate)):
        row = [label, si(getattr(part, name), unit)]
        if comparison is not None and full is not None:
            row += [si(getattr(full, name), unit), _saved(comparison.end_to_end, full, part, name)]
        rows.append(row)
    both = [part] if full is None else [part, full]
    blank = [] if full is None else [""]
    rows.append(["FLOP per byte", *(significant(p.arithmetic_intensity) for p in both), *blank])
    if isinstance(part, Totals):
        rows.append(["Bound", *(_bound(p) for p in both), *blank])
    # of one component alone, its own name
    of = _TITLES[estimate.main] if len(estimate.components) == 1 else "End to end"
    headers = [of, "total"]
    if comparison is not None:
        headers[1] = f"{estimate.inputs['visual_tokens']} visual"
        headers += [f"all {int(comparison.full_visual_tokens)}", "saving"]
    return grid(rows, headers, style)


def _times(estimate: Counts) -> list[tuple[str, str, str]]:
    """Rows of time; none of counts on no device."""
    if not isinstance(estimate, Estimate):
        return []
    label = STAGE_TIMES[estimate.inputs["stage"]]
    rows = [(f"{label}, roofline", "roofline_time_s", "s")]
    if has_laws(estimate):
        rows.append((f"{label}, attainable", "attainable_time_s", "s"))
    if estimate.end_to_end.elapsed_time_s is not None:
        rows.append(("Host time", "host_time_s", "s"))
        rows.append((f"{label}, elapsed", "elapsed_time_s", "s"))
    return rows


def _saved(saving: Saving, full: Quantities, part: Quantities, name: str) -> str:
    """How many times less; what is as large in both, such as weights, saves nothing."""
    if name == "weight_bytes":
        return ""
    elapsed = saving.elapsed_speedup is not None
    if name == ("elapsed_time_s" if elapsed else "attainable_time_s") and saving.tie:
        return "tie"
    return times(ratio(getattr(full, name), getattr(part, name)))


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
    if isinstance(estimate, Estimate):
        headers += ["Roofline", *predicted_title(estimate), "Share", "Bound"]
    return grid(rows, headers, style, words=WORDS)


def _component_times(part: Quantities, whole: Quantities) -> list[str]:
    """Times, share of the predicted one, bound."""
    if not (isinstance(part, Totals) and isinstance(whole, Totals)):
        return []
    predicted = whole.predicted_time_s is not whole.roofline_time_s
    total = float(whole.predicted_time_s)
    portion = float(part.predicted_time_s) / total if total else 0.0
    return [
        si(part.roofline_time_s, "s"),
        *([si(part.predicted_time_s, "s")] if predicted else []),
        "100 %" if part is whole else share(portion, error_share(part)),
        _bound(part),
    ]


def _bound(part: Quantities) -> str:
    """What binds it; a dash where nothing runs."""
    return str(part.bound) if isinstance(part, Totals) and part.roofline_time_s else "-"


def _verdicts(estimate: Estimate) -> list[tuple[str, str]]:
    """Whether it fits, what it saves, and where the time goes."""
    whole, capacity = estimate.end_to_end, estimate.device["memory_bytes"]
    verdict = "fits in" if whole.fits else "does not fit in"
    needs, there = si_apart(whole.peak_memory_bytes, capacity, "B")
    lines = [("Memory", f"{needs} {verdict} {there}")]
    if whole.attainable_time_s:
        lines.append(("Attainable", _laws(estimate)))
        hardware = estimate.scenario.hardware
        laws = hardware and laws_of(hardware)
        if laws and laws.doubt:
            lines.append(("Untrusted", f"the laws of {estimate.device['name']}: {laws.doubt}"))
    if whole.elapsed_time_s is not None and whole.roofline_time_s:
        lines += [("Elapsed", _elapsed(estimate)), *launch_bound_line([estimate])]
    if whole.energy_j:
        lines.append(("Energy", energy(whole, estimate.device["energy"]["origin"])))
    if estimate.reducer is not None and (reducing := _reducing(estimate)):
        lines.append(("Reducer", reducing))
    if whole.roofline_time_s:
        lines.append(("Time goes to", _shares(estimate, "kind")))
        if estimate.inputs["stage"] == "generate":
            lines.append(("By phase", _shares(estimate, "phase")))
    return lines


def _laws(estimate: Estimate) -> str:
    """How far off the attainable time may be, and what it rests on, by shares of it."""
    whole, ranked = estimate.end_to_end, by_origin(estimate)
    ends = (whole.attainable_time_low_s, whole.attainable_time_high_s)
    span = " to ".join(si(end, "s") for end in ends if end is not None)
    total = sum(ranked.values())
    shares = ", ".join(
        f"{share(time / total, error_share(whole))} {name}" if len(ranked) > 1 else name
        for name, time in ranked.items()
    )
    return f"{span} ({attainable_band(whole)}): {shares}"


def _elapsed(estimate: Estimate) -> str:
    """Band, parts, and what the host's time rests on."""
    whole, host = estimate.end_to_end, estimate.device["host"]
    ends = (whole.elapsed_time_low_s, whole.elapsed_time_high_s)
    span = " to ".join(si(end, "s") for end in ends if end is not None)
    host_s = 0.0 if whole.host_time_s is None else whole.host_time_s
    kernels, hosts = f"kernels {si(whole.kernel_time_s, 's')}", f"host {si(host_s, 's')}"
    rests_on = HOST_ORIGINS[host["origin"]]
    if at_least(whole):
        least = f"at least {si(whole.predicted_time_s, 's')}"
        return f"{least}: {kernels} at the roofline, {hosts}, {rests_on}"
    return f"{span} ({band(whole)}): {kernels}, {hosts}, {rests_on}"


def _reducing(estimate: Estimate) -> str:
    """What the reducer takes of the time that it saves, and who says how many it leaves."""
    comparison, reducer = estimate.comparison, estimate.reducer
    assert reducer is not None
    parts = []
    taken = comparison.reducer_share if comparison else None
    if comparison and taken is not None and float(taken) < 1 and not comparison.tie:
        own = estimate.components["reducer"]
        parts.append(f"reducing takes {share(taken, error_share(own))} of the time saved")
    if reducer.cost != "stated":
        parts.append(f"its own work is {OWN_WORK[reducer.cost]}")
    kept = int(estimate.scenario.counts["visual_tokens"])
    if kept == reducer.default_visual_tokens and not reducer.settles_count:
        parts.append(f"{kept} visual tokens are its default ({reducer.default_source})")
    return "; ".join(parts)


def _shares(estimate: Estimate, key: str) -> str:
    """Shares of the predicted time, end to end, by a field of its ops."""
    ranked = by_time(estimate, lambda op: str(getattr(op, key)))
    total = sum(ranked.values())
    return ", ".join(
        f"{name} {share(time / total, error_share(estimate.end_to_end))}"
        for name, time in ranked.items()
        if time >= 0.0005 * total
    )
