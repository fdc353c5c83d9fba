"""The answer in two or three sentences: what it costs, what binds it, what fewer tokens save."""

from __future__ import annotations

from collections.abc import Iterator

from roofline.engine.axes import ANSWER_TOKENS
from roofline.engine.compare import Comparison, Saving
from roofline.engine.estimate import Counts, Estimate
from roofline.engine.result import Totals
from roofline.report.text.estimate_words import at_least, band, elapsed, times
from roofline.units import si, si_apart

_WHAT = {
    "prefill": "The prefill takes",
    "decode": "One decode step takes",
    "generate": "The prompt and an answer of {} tokens take",
}
_NO_LAWS = "kernels at the roofline, which is all that is known of this device"


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
    whole, stage = estimate.end_to_end, estimate.inputs["stage"]
    if not whole.roofline_time_s:
        yield "Nothing runs."
        return
    what = _WHAT[stage].format(estimate.inputs["output_tokens"])
    yield f"{what} {_time(whole)}{_ends(estimate)}, bound by {whole.bound}."
    if not whole.fits:
        yield f"It does not fit: it needs {_of_the_device(estimate)}."
    if estimate.comparison is not None:
        saved = _saved(estimate.comparison.end_to_end)
        yield f"{_fewer(estimate)} {saved}{_full_too_large(estimate.comparison)}."
    if stage == "prefill" and estimate.main == "llm" and len(estimate.components) > 1:
        yield from _answer(estimate.answered(ANSWER_TOKENS), fits=bool(whole.fits))


def _answer(answered: Estimate, *, fits: bool) -> Iterator[str]:
    """What is left of a saving once an answer has been written."""
    comparison, whole = answered.comparison, answered.end_to_end
    took = f"With an answer of {ANSWER_TOKENS} tokens it takes {si(whole.predicted_time_s, 's')}"
    if comparison is None:
        yield f"{took}."
    elif comparison.tie or comparison.speedup is None:
        took += ": a tie, the saving is inside the error"
        yield f"{took}{_full_too_large(comparison)}."
    else:
        yield f"{took}, {times(comparison.speedup)} as fast{_full_too_large(comparison)}."
    if fits and not whole.fits:
        yield f"Then it does not fit: it needs {_of_the_device(answered)}."


def _of_the_device(estimate: Estimate) -> str:
    """`17.4 GB of the device's 17.2 GB`"""
    memory = estimate.end_to_end.peak_memory_bytes, estimate.device["memory_bytes"]
    needs, capacity = si_apart(*memory, "B")
    return f"{needs} of the device's {capacity}"


def _full_too_large(comparison: Comparison) -> str:
    full = int(comparison.full_visual_tokens)
    return "" if comparison.full_fits else f"; all {full} do not fit this device"


def _time(whole: Totals) -> str:
    roofline = si(whole.roofline_time_s, "s")
    if whole.elapsed_time_s is not None and whole.host_time_s is not None:
        parts = f"kernels {si(whole.kernel_time_s, 's')}, host {si(whole.host_time_s, 's')}"
        if at_least(whole):
            return f"at least {si(whole.elapsed_time_s, 's')} elapsed ({parts}; {_NO_LAWS})"
        return f"{elapsed(whole)} elapsed ({parts}; {roofline} at the roofline)"
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
    assert saving.roofline_speedup is not None  # it is priced
    roofline = times(saving.roofline_speedup)
    if saving.speedup is None or saving.speedup is saving.roofline_speedup:
        return f"makes it {roofline} as fast at the roofline"
    if saving.tie:
        return f"is a tie, inside the error ({roofline} as fast at the roofline)"
    return f"makes it {times(saving.speedup)} as fast ({roofline} at the roofline)"
