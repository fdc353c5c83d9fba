"""Words and figures that all tables of estimates share."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import SupportsFloat

from roofline.engine.axes import BY_NAME, VARIED
from roofline.engine.compare import Saving
from roofline.engine.estimate import Counts, Estimate
from roofline.engine.result import OpTotals, Totals
from roofline.units import GIGA, si, significant

WORDS = ("Model", "Hardware", "Quant", "Reducer", "Bound")
"""Columns that are no numbers."""

ORIGINS = {
    "measured": "measured on this machine",
    "fitted": "fitted from public measurements",
    "typical": "typical for this architecture",
}
"""Where laws of kernel time come from, in words."""

HOST_ORIGINS = {
    "measured": "measured on this machine",
    "fitted": "fitted to measured answers",
    "typical": "typical of such hosts",
}
"""Where the host's time comes from, in words."""

ENERGY_ORIGINS = {
    "measured": "measured on this machine",
    "fitted": "fitted to served models",
    "typical": "by the law of a relative",
}
"""Where laws of energy come from, in words."""

TOO_LARGE = "!"
"""Marks a memory that the device does not have."""
FULL_TOO_LARGE = "*"
"""Marks a saving over a prompt that does not fit the device."""
NOTES = {
    TOO_LARGE: "more than the device's memory",
    FULL_TOO_LARGE: "over a prompt that does not fit the device's memory",
}

OWN_WORK = {
    "stated": "stated by its file",
    "traced": "traced from its code",
    "none": "not counted: it states no cost and has no code",
}
"""Where a reducer's own work is from."""

STAGE_TIMES = {
    "prefill": "Prefill time",
    "decode": "Time of one step",
    "generate": "Time of prompt and output",
}


def varying(estimates: Sequence[Counts]) -> dict[str, str]:
    """Key and column title of the axes in which the estimates differ."""
    return {
        axis.name: axis.title
        for axis in VARIED
        if len({e.inputs[axis.name] for e in estimates}) > 1
    }


def described(estimate: Counts, names: Collection[str]) -> str:
    """Its values on some axes, in words: `h200, fp16, 40 visual tokens`."""
    return ", ".join(BY_NAME[name].in_words(estimate.inputs[name]) for name in names)


def has_laws(estimate: Counts) -> bool:
    """Whether it is priced on a device that has laws of kernel time."""
    return isinstance(estimate, Estimate) and estimate.end_to_end.attainable_time_s is not None


def predicted_title(estimate: Counts) -> list[str]:
    """What a column of predicted times is called; none where these are the roofline's."""
    if not isinstance(estimate, Estimate):
        return []
    if estimate.end_to_end.elapsed_time_s is not None:
        return ["Elapsed"]
    return ["Attainable"] if has_laws(estimate) else []


def energy(part: Totals, origin: str) -> str:
    """`10.9 J, 683 W on average (±11 %, fitted to served models)`"""
    assert part.energy_j is not None
    assert part.energy_error_j is not None
    assert part.power_w is not None
    watts = si(part.power_w, "W")
    off = 100 * float(part.energy_error_j) / float(part.energy_j)
    return f"{si(part.energy_j, 'J')}, {watts} on average (±{off:.0f} %, {ENERGY_ORIGINS[origin]})"


def launch_bound(tokens: int) -> str:
    """What `launch_bound_tokens` says."""
    if not tokens:
        return "never: whatever the number of visual tokens, the device takes longer"
    return f"up to {tokens} visual tokens the LLM waits for the host: prefill gets no faster"


def launch_bound_line(estimates: Sequence[Estimate]) -> list[tuple[str, str]]:
    """Up to how many visual tokens the host is what a prefill waits for, where all have one."""
    prefills = all(estimate.inputs["stage"] == "prefill" for estimate in estimates)
    tokens = {estimate.launch_bound_tokens for estimate in estimates} if prefills else set()
    return [("Launch-bound", launch_bound(n)) for n in tokens if n is not None and len(tokens) == 1]


def headline(saving: Saving | None, *, bracketed: bool, full_fits: bool) -> str:
    """`2.1x (2.8x)`: of predicted time and, in brackets, roofline; `tie` inside the error band.

    bracketed: whether the roofline's stands in brackets even where it is all that is known.
    full_fits: whether the unreduced prompt fits the device; marked where it does not.
    """
    if saving is None or saving.roofline_speedup is None:
        return "-"
    roofline = times(saving.roofline_speedup)
    if saving.speedup is None or saving.speedup is saving.roofline_speedup:
        text = f"({roofline})" if bracketed else roofline
    else:
        text = f"{'tie' if saving.tie else times(saving.speedup)} ({roofline})"
    return text + ("" if full_fits else FULL_TOO_LARGE)


def times(value: SupportsFloat) -> str:
    """`7.9x`, `12.6x`, `1.04x`."""
    return f"{ratio(value)}x"


def ratio(value: SupportsFloat) -> str:
    """`7.9`, `12.6`, and, where two digits would hide it, `1.04`."""
    number = float(value)
    return significant(number, 3 if number >= 10 or 1 < number < 1.1 else 2)


def error_share(part: Totals) -> float:
    """Error of the predicted time, as a share of it; 0 where kernels are at the roofline."""
    if not part.predicted_time_s or part.predicted_error_s is None or at_least(part):
        return 0.0
    return float(part.predicted_error_s) / float(part.predicted_time_s)


def at_least(part: Totals) -> bool:
    """Whether an elapsed time is of kernels at the roofline, so that nobody knows its upper end."""
    return part.elapsed_time_s is not None and part.attainable_time_s is None


def elapsed(part: Totals) -> str:
    """`16.2 ms ±21 %`, or `≥ 7.40 ms` where kernels are at the roofline."""
    seconds = si(part.predicted_time_s, "s")
    return f"≥ {seconds}" if at_least(part) else f"{seconds} {band(part)}".strip()


def band(part: Totals) -> str:
    """What nine in ten kernels, and the host, stay within, as a share of the predicted time."""
    error = error_share(part)
    if not error:
        return ""
    low, high = part.predicted_time_low_s, part.predicted_time_high_s
    if part.elapsed_time_s is None or low is None or high is None:
        return f"±{100 * error:.0f} %"
    below, above = (
        f"{abs(100 * (float(e) / float(part.elapsed_time_s) - 1)):.0f}" for e in (low, high)
    )
    return f"±{above} %" if below == above else f"−{below}/+{above} %"


def attainable_band(part: Totals) -> str:
    """The same of the attainable time, kernels alone."""
    if not part.attainable_time_s or not part.attainable_error_s:
        return ""
    return f"±{100 * float(part.attainable_error_s) / float(part.attainable_time_s):.0f} %"


def by_time(estimate: Estimate, group: Callable[[OpTotals], str]) -> dict[str, float]:
    """Predicted seconds of groups of ops, end to end, the largest first."""
    grouped: dict[str, float] = {}
    for op in estimate.ops:
        time = op.roofline_time_s if op.attainable_time_s is None else op.attainable_time_s
        grouped[group(op)] = grouped.get(group(op), 0.0) + float(time)
    return dict(sorted(grouped.items(), key=lambda item: -item[1]))


def by_origin(estimate: Estimate) -> dict[str, float]:
    """Attainable seconds by what the laws rest on, in words."""
    ranked = by_time(estimate, lambda op: ORIGINS.get(op.attainable_origin or "", ""))
    return {name: time for name, time in ranked.items() if name}


def peaks(estimate: Estimate) -> list[tuple[str, str]]:
    """Which peaks the main component ran at, and where computing and moving take equally long."""
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


def _rate(kind: str, per_s: float) -> str:
    return si(per_s, "OP/s" if kind.startswith("int") else "FLOP/s")
