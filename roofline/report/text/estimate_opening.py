"""The answer in two or three sentences: what it costs, what binds it, what fewer tokens save."""

from __future__ import annotations

from collections.abc import Iterator

from roofline.engine.axes import ANSWER_TOKENS
from roofline.engine.compare import Saving
from roofline.engine.estimate import Counts, Estimate
from roofline.engine.result import Totals
from roofline.report.text.estimate_words import band, times
from roofline.units import si

_WHAT = {
    "prefill": "The prefill takes",
    "decode": "One decode step takes",
    "generate": "The prompt and an answer of {} tokens take",
}


def opening(estimate: Counts) -> str:
    """Of one configuration, end to end."""
    return " ".join(_priced(estimate) if isinstance(estimate, Estimate) else _counted(estimate))


def _counted(estimate: Counts) -> Iterator[str]:
    whole, comparison = estimate.end_to_end, estimate.comparison
    yield (
        f"{si(whole.flops, 'FLOP')}, {si(whole.memory_access_bytes, 'B')} of memory traffic and "
        f"{si(whole.peak_memory_bytes, 'B')} of memory{_ends(estimate)}."
    )
    if comparison is not None:
        yield f"{_fewer(estimate)} needs {times(comparison.end_to_end.flops_saving)} fewer FLOPs."


def _priced(estimate: Estimate) -> Iterator[str]:
    whole, capacity = estimate.end_to_end, estimate.device["memory_bytes"]
    if not whole.roofline_time_s:
        yield "Nothing runs."
        return
    what = _WHAT[estimate.inputs["stage"]].format(estimate.inputs["output_tokens"])
    yield f"{what} {_time(whole)}{_ends(estimate)}, bound by {whole.bound}."
    if not whole.fits:
        needs = si(whole.peak_memory_bytes, "B")
        yield f"It does not fit: it needs {needs} of the device's {si(capacity, 'B')}."
    comparison = estimate.comparison
    if comparison is not None:
        full = int(comparison.full_visual_tokens)
        unfit = "" if comparison.full_fits else f"; all {full} do not fit this device"
        yield f"{_fewer(estimate)} {_saved(comparison.end_to_end)}{unfit}."
    if estimate.inputs["stage"] == "prefill" and "llm" in estimate.components:
        yield from _answer(estimate.answered(ANSWER_TOKENS))


def _answer(answered: Estimate) -> Iterator[str]:
    """What is left of a saving once an answer has been written."""
    comparison, seconds = answered.comparison, answered.end_to_end.predicted_time_s
    took = f"With an answer of {ANSWER_TOKENS} tokens it takes {si(seconds, 's')}"
    if comparison is None:
        yield f"{took}."
    elif comparison.tie:
        yield f"{took}: a tie, the saving is inside the error."
    else:
        yield f"{took}, {times(comparison.speedup or 0.0)} as fast."


def _time(whole: Totals) -> str:
    roofline = si(whole.roofline_time_s, "s")
    if whole.attainable_time_s is None:
        return f"{roofline} at the roofline"
    return f"{si(whole.attainable_time_s, 's')} {band(whole)} ({roofline} at the roofline)"


def _ends(estimate: Counts) -> str:
    return " end to end" if len(estimate.components) > 1 else ""


def _fewer(estimate: Counts) -> str:
    """`Keeping 40 of 576 visual tokens with prumerge`"""
    comparison, reducer = estimate.comparison, estimate.reducer
    assert comparison is not None
    kept, full = estimate.inputs["visual_tokens"], int(comparison.full_visual_tokens)
    by = f" with {reducer.label}" if reducer else ""
    return f"Keeping {kept} of {full} visual tokens{by}"


def _saved(saving: Saving) -> str:
    roofline = times(saving.roofline_speedup or 0.0)
    if saving.attainable_speedup is None:
        return f"makes it {roofline} as fast at the roofline"
    if saving.tie:
        return f"is a tie, inside the error ({roofline} as fast at the roofline)"
    return f"makes it {times(saving.attainable_speedup)} as fast ({roofline} at the roofline)"
