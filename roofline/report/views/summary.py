"""What is said of an estimate first, on a few lines; figures of many configurations as ranges."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from roofline.engine.axes import BY_NAME
from roofline.engine.compare import Comparison
from roofline.engine.estimate import Counts
from roofline.engine.result import Quantities, Totals
from roofline.report.text.estimate_words import band, predicted_title, times
from roofline.units import si

_LONGEST = 120
"""Letters of a line: names may be of any length."""
_MOST_COMPARED = 1 << 16
"""Configurations up to which the saving is worked out for a summary."""


def answer(estimate: Counts) -> str:
    """What it takes, and what binds it."""
    whole = estimate.end_to_end
    if not _any(estimate):
        return f"{_stage(estimate)}: no configuration"
    if isinstance(whole, Totals):
        text = f"{_time(whole)}, {bound(whole)}-bound"
    else:
        text = f"{between(whole.flops, 'FLOP')}, {between(whole.memory_access_bytes, 'B')} moved"
    return cut(f"{_stage(estimate)}: {text}")


def subject(estimate: Counts) -> str:
    """What it is of: `llava-1.5-7b with prumerge on h200, fp16`."""
    inputs = estimate.inputs
    reducer = f" with {inputs['reducer']}" if inputs["reducer"] else ""
    device = f" on {inputs['hardware']}" if inputs["hardware"] else ""
    return cut(f"{inputs['model']}{reducer}{device}, {inputs['quant']}")


def saved(estimate: Counts) -> str:
    """What is saved end to end; empty where nothing is compared."""
    if int(np.prod(estimate.shape)) > _MOST_COMPARED or not _any(estimate):
        return ""
    comparison = estimate.comparison
    return "" if comparison is None else cut(f"Saving: {_saving(comparison)}")


def needed(estimate: Counts) -> str:
    """FLOPs, traffic and memory, and whether the device has it; empty of no configuration."""
    whole = estimate.end_to_end
    if not _any(estimate):
        return ""
    text = (
        f"Needs: {between(whole.flops, 'FLOP')}, {between(whole.memory_access_bytes, 'B')} of "
        f"traffic, {between(whole.peak_memory_bytes, 'B')} of memory"
    )
    if not isinstance(whole, Totals):
        return cut(text)
    fits = np.asarray(whole.fits)
    verdict = "fits" if fits.all() else "does not fit"
    if fits.any() and not fits.all():
        verdict = f"{np.count_nonzero(fits):,} of {fits.size:,} fit"
    return cut(f"{text} ({verdict} in {si(whole.device_memory_bytes, 'B')})")


def question(estimate: Counts) -> str:
    """Names, counts, and how they are priced, as far as that is not the usual way."""
    counts, inputs = estimate.scenario.counts, estimate.inputs
    names = [inputs[name] for name in ("model", "reducer", "hardware", "quant")]
    tokens = _counts(counts["visual_tokens"])
    if "llm" in estimate.components:
        tokens += f" visual + {_counts(counts['text_tokens'])} text"
    text = f"Asked: {', '.join(filter(None, names))}; {tokens} tokens"
    text += f", batch {_counts(counts['batch'])}"
    if estimate.shape:
        text += f"; {' × '.join(map(str, estimate.shape))} configurations"
    usual = {"attention": "flash", "kernels": "unfused", "accounting": "exact"}
    ways = ("pictures", "attention", "runtime", "kernels", "library", "accounting")
    unusual = [BY_NAME[way].in_words(inputs[way]) for way in ways if inputs[way] != usual.get(way)]
    return cut("; ".join([text, *unusual]))


def table(estimate: Counts, *, together: bool) -> tuple[list[str], list[list[str]]]:
    """Headings, and a row for each component and, on request, all of them together."""
    parts: dict[str, Quantities] = dict(estimate.components) if _any(estimate) else {}
    if together and parts:
        parts["end to end"] = estimate.end_to_end
    headings = ["Component", "FLOPs", "Traffic", "Weights"]
    timed = isinstance(estimate.end_to_end, Totals)
    predicted = predicted_title(estimate)
    if timed:
        headings += ["Roofline", *predicted, "Bound"]
    rows = []
    for name, part in parts.items():
        row = [
            name,
            between(part.flops, "FLOP"),
            between(part.memory_access_bytes, "B"),
            between(part.weight_bytes, "B"),
        ]
        if isinstance(part, Totals):
            row.append(between(part.roofline_time_s, "s"))
            row += [between(part.predicted_time_s, "s")] if predicted else []
            row.append(bound(part))
        rows.append(row)
    return headings, rows


def between(values: Any, unit: str) -> str:
    """`3.44 ms`, or `3.44 ms to 9.57 ms` of many."""
    return _ends(values, lambda value: si(value, unit))


def bound(part: Totals) -> str:
    """`memory`, or `compute/memory` of many; a dash where nothing runs."""
    runs = np.asarray(part.roofline_time_s) > 0
    words = np.unique(np.broadcast_to(part.bound, runs.shape)[runs])
    return "/".join(words.tolist()) or "-"


def cut(text: str) -> str:
    """As much of a line as there is room for."""
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _any(estimate: Counts) -> bool:
    """Whether there is a configuration at all."""
    return 0 not in estimate.shape


def _stage(estimate: Counts) -> str:
    if estimate.inputs["stage"] == "generate":
        return f"Prompt and {_counts(estimate.scenario.counts['output_tokens'])} output tokens"
    return {"prefill": "Prefill", "decode": "One decode step"}[estimate.inputs["stage"]]


def _time(whole: Totals) -> str:
    """The predicted one, with the roofline's beside it."""
    roofline = between(whole.roofline_time_s, "s")
    if whole.predicted_time_s is whole.roofline_time_s:
        return f"{roofline} at the roofline"
    error = "" if np.ndim(whole.predicted_time_s) else band(whole)
    kernels = ""
    if whole.elapsed_time_s is not None:
        kernels = f"kernels {between(whole.kernel_time_s, 's')}"
    inside = ", ".join(filter(None, [error, kernels, f"roofline {roofline}"]))
    elapsed = " elapsed" if kernels else ""
    return f"{between(whole.predicted_time_s, 's')}{elapsed} ({inside})"


def _saving(comparison: Comparison) -> str:
    """Against all visual tokens: time, else FLOPs."""
    saving, full = comparison.end_to_end, _counts(comparison.full_visual_tokens)
    against = f"all {full} visual tokens"
    fewer = f"{_ratios(saving.flops_saving)} fewer FLOPs"
    if saving.speedup is None or saving.roofline_speedup is None:
        return f"{fewer} than {against}"
    beside = []
    if saving.speedup is not saving.roofline_speedup:
        beside.append(f"roofline {_ratios(saving.roofline_speedup)}")
    if not np.all(comparison.full_fits):
        beside.append("which do not fit")
    tie = ""
    if saving.tie is not None and np.any(saving.tie):
        tie = " (a tie)" if np.all(saving.tie) else " (some a tie)"
    text = f"{_ratios(saving.speedup)}{tie} as fast as {against}"
    return f"{text} ({', '.join(beside)}), {fewer}" if beside else f"{text}, {fewer}"


def _ratios(values: Any) -> str:
    array = np.asarray(values)
    return _ends(array[np.isfinite(array)], times)


def _counts(values: Any) -> str:
    return _ends(values, lambda value: f"{value:.0f}")


def _ends(values: Any, shown: Callable[[Any], str]) -> str:
    """The smallest and the largest, or the one that there is."""
    array = np.asarray(values)
    if not array.size:
        return "no"
    ends: Sequence[str] = [shown(array.min()), shown(array.max())]
    return " to ".join(dict.fromkeys(ends))
