"""The answer as a small table: an unreduced prompt and the quickest with fewer visual tokens."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from roofline.engine.compare import Saving
from roofline.explore.study import Deployment, PricedPrompt, Study
from roofline.report.charts.naming import prompt_name
from roofline.report.document import Table, table
from roofline.report.text.estimate_words import FULL_TOO_LARGE, times
from roofline.report.text.study_answers import MOST_BRIEF, how, short_name
from roofline.units import si


def glance(study: Study) -> tuple[Table, ...]:
    """Of one deployment a column for each prompt, of several a row for each of them."""
    if len(study.deployments) == 1:
        return _prompts(study.deployments[0])
    return _deployments(study)


def _prompts(deployment: Deployment) -> tuple[Table, ...]:
    """Quantities by prompts, and what is gained where there are two."""
    pair = deployment.pair
    full, kept = pair[0], pair[-1]
    rows = {
        "Prefill": [_time(c, c.predicted_time_s) for c in pair],
        "Bound by": [str(c.estimate.end_to_end.bound) for c in pair],
    }
    gains = {"Prefill": _faster(kept)}
    answers = [c.answer() for c in pair]
    if (length := _length(kept)) is not None:
        label = f"With {length} output token{'s' if length > 1 else ''}"
        rows[label] = [
            _time(c, a.predicted_time_s) for c, a in zip(pair, answers, strict=True) if a
        ]
        gains[label] = _faster_answer(kept)
        cache = [c.estimate.end_to_end.kv_cache_bytes for c in pair]
        rows["KV cache"] = [si(size, "B") for size in cache]
        gains["KV cache"] = times(cache[0] / cache[-1])
    rows["Fit at once"] = [str(c.sequences_that_fit) for c in pair]
    if full.sequences_that_fit:
        gains["Fit at once"] = times(kept.sequences_that_fit / full.sequences_that_fit)
    prompts = list(map(prompt_name, pair))
    found = [
        {"Visual tokens": label}
        | dict(zip(prompts, cells, strict=True))
        | ({"Gain": gains.get(label, "")} if len(pair) > 1 else {})
        for label, cells in rows.items()
    ]
    return table(f"At a glance, end to end.{_said(pair)}", found)


def _deployments(study: Study) -> tuple[Table, ...]:
    """As many as get a line of their own below."""
    shown = study.deployments[:MOST_BRIEF]
    reduced = any(len(one.pair) > 1 for one in shown)
    rows = []
    for one in shown:
        full, kept = one.pair[0], one.pair[-1]
        row = {"Deployment": short_name(one, study)}
        row |= {"Unreduced" if reduced else "Prefill": _time(full, full.predicted_time_s)}
        if reduced:
            alone = len(one.pair) == 1
            row |= {
                "Fewer tokens": "-" if alone else _time(kept, kept.predicted_time_s),
                "Faster": _faster(kept),
                "With answer": _faster_answer(kept),
            }
        rows.append(row | {"Fit at once": " → ".join(str(c.sequences_that_fit) for c in one.pair)})
    caption = "At a glance: prefill, end to end"
    if reduced:
        ways = {how(one.pair[1]) for one in shown if len(one.pair) > 1}
        way = ways.pop() if len(ways) == 1 else "the quickest way"
        caption += f", unreduced and with {way}"
    left = len(study.deployments) - len(shown)
    more = f" {left} more below." if left else ""
    found = table(f"{caption}.{_said([p for o in shown for p in o.pair])}{more}", rows)
    return tuple(replace(one, stacks=True) for one in found)


def _said(prompts: Sequence[PricedPrompt]) -> str:
    """What the signs mean that stand in the cells."""
    text = "" if all(c.has_laws for c in prompts) else " ≥ marks bounds."
    if any(c.tie or ((a := c.answer()) and a.saving and a.saving.tie) for c in prompts):
        text += " Tie: the difference is inside the error band."
    if any(c.unreduced and not c.unreduced.fits for c in prompts):
        text += f" {FULL_TOO_LARGE}: all visual tokens do not fit."
    return text


def _length(prompt: PricedPrompt) -> int | None:
    answer = prompt.answer()
    return None if answer is None else answer.output_tokens


def _time(prompt: PricedPrompt, time_s: float) -> str:
    return f"{'' if prompt.has_laws else '≥ '}{si(time_s, 's')}"


def _faster(prompt: PricedPrompt) -> str:
    return _gain(prompt.saving, full_fits=not prompt.unreduced or prompt.unreduced.fits)


def _faster_answer(prompt: PricedPrompt) -> str:
    answer, full = prompt.answer(), prompt.unreduced and prompt.unreduced.answer()
    return _gain(answer.saving if answer else None, full_fits=not full or full.fits)


def _gain(saving: Saving | None, *, full_fits: bool) -> str:
    """`2.5x` by the predicted time, or `tie`."""
    if saving is None or saving.speedup is None:
        return "-"
    text = "tie" if saving.tie else times(saving.speedup)
    return text + ("" if full_fits else FULL_TOO_LARGE)
