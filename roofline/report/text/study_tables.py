"""A study's tables: a row for each prompt, deployment, record or published score."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from typing import Any

from roofline import units
from roofline.engine.axes import BY_NAME, COUNTS
from roofline.engine.layout import COMPONENTS
from roofline.engine.result import Totals
from roofline.explore.study import (
    COSTS,
    Candidate,
    Deployment,
    Front,
    MeasuredRun,
    PricedPrompt,
    Study,
)
from roofline.records.published import unpriced
from roofline.report.document import Table, table
from roofline.report.text.estimate_words import FULL_TOO_LARGE, error_share, headline
from roofline.report.text.record import share, shown
from roofline.report.text.study_answers import band, method
from roofline.units import si, significant

FASTER = (
    " Faster: than with all visual tokens, by the predicted time and, in brackets, at the "
    "roofline; tie: the difference is inside the error band; "
    f"{FULL_TOO_LARGE}: all visual tokens do not fit."
)
_WORDS = ("Device", "Quant", "Reducer", "Bound", "Fits")
_SCORE_WORDS = ("LLM", "Trained", "Fits", "Front", "Source", "Why")


def costs(study: Study) -> tuple[Table, ...]:
    """What each prompt costs, all components together."""
    attainable = _has_laws(study)
    title = "Elapsed" if study.inputs["runtime"] else "Attainable"
    compared = any(c.speedup is not None for c in study.prompts)
    rows = []
    for c, who in _identified(study):
        whole = c.estimate.end_to_end
        rows.append(
            who
            | {
                "FLOPs": si(whole.flops, "FLOP"),
                "Traffic": si(whole.memory_access_bytes, "B"),
                "FLOP/B": significant(whole.arithmetic_intensity),
                "Bound": str(whole.bound),
                "Roofline": si(whole.roofline_time_s, "s"),
            }
            | ({title: _predicted(c), "Within": band(whole)} if attainable else {})
            | (
                {
                    "Faster": headline(
                        c.saving,
                        bracketed=attainable,
                        full_fits=not c.unreduced or c.unreduced.fits,
                    )
                }
                if compared
                else {}
            )
        )
    ways = [BY_NAME["runtime"].in_words(way) for way in study.inputs["runtime"] or [None]]
    caption = f"Prefill end to end, {', '.join(ways)}."
    if compared:
        caption += FASTER
    if attainable:
        caption += (
            " Within: if all kernels were off by as much as one in ten is, all to one side; never "
            "below the bound."
        )
    return _named(caption, rows)


def parts(study: Study) -> tuple[Table, ...]:
    """Time of each component, and its share."""
    known = {part: None for c in study.prompts for part in c.estimate.components}
    order = [part for part in COMPONENTS if part in known]
    if len(order) < 2:
        return ()
    rows = []
    for c, who in _identified(study):
        row = dict(who)
        for part in order:
            row[_PARTS[part]] = _part(c.estimate.components.get(part), c.estimate.end_to_end)
        rows.append(row)
    kind = "Attainable" if _has_laws(study) else "Roofline"
    kind = "Elapsed" if study.inputs["runtime"] else kind
    caption = f"{kind} time of each component, and its share of the prefill.{_bounds(study)}"
    return _named(caption, rows)


_PARTS = {"vision": "Vision", "reducer": "Reduction", "connector": "Connector", "llm": "LLM"}


def limits(study: Study) -> tuple[Table, ...]:
    """Where each deployment turns from memory to compute, and where fewer tokens stop paying."""
    deployments = [s for s in study.deployments if s.curve is not None]
    rows = []
    for deployment, who in zip(
        deployments, _without_constants(deployments, _DEPLOYMENT), strict=True
    ):
        assert deployment.curve is not None
        peaks = deployment.curve.device["peaks"]["llm"]
        rows.append(
            who
            | {
                "Matmul peak": _peak(peaks["matmul_flops_per_s"], peaks["matmul_type"]),
                "Bandwidth": si(deployment.curve.device["memory_bytes_per_s"], "B/s"),
                "Ridge point": f"{significant(peaks['ridge_point_flops_per_byte'])} FLOP/B",
                "Memory-bound up to": str(deployment.ridge_tokens),
                "Stops paying at": str(deployment.floor_tokens),
            }
        )
    caption = (
        "Limits. Memory-bound up to: the most visual tokens up to which the LLM's prefill is "
        "bound by memory. Stops paying at: the most with which prefill, end to end, takes at most "
        "5 % longer than with a single one."
    )
    return _named(caption, rows)


def memory(study: Study) -> tuple[Table, ...]:
    """What each prompt occupies, and how many such prompts fit at once."""
    rows = []
    for c, who in _identified(study):
        whole = c.estimate.end_to_end
        rows.append(
            who
            | {
                "Weights": si(whole.weight_bytes, "B"),
                "KV cache": si(whole.kv_cache_bytes, "B"),
                "Activations": si(whole.peak_activation_bytes, "B"),
                "Peak": si(whole.peak_memory_bytes, "B"),
                "Capacity": si(whole.device_memory_bytes, "B"),
                "Fits": "yes" if c.fits else "no",
                "At once": str(c.sequences_that_fit),
            }
        )
    caption = (
        "Memory of weights, KV cache and activations at their peak, in prefill. At once: how many "
        "such prompts or images fit."
    )
    return _named(caption, rows)


def answers(study: Study) -> tuple[Table, ...]:
    """Decode steps, and prompt with answer at each length asked."""
    rows, attainable = [], _has_laws(study)
    prompts = [c for c in study.prompts if c.generation is not None]
    lengths = study.inputs["output_tokens"]
    for c, who in zip(prompts, _without_constants(prompts, _PROMPT), strict=True):
        for length in lengths:
            answer, full = c.answer(length), c.unreduced and c.unreduced.answer(length)
            assert answer is not None
            rows.append(
                who
                | ({"Output": str(length)} if len(lengths) > 1 else {})
                | {
                    "First step": _time(c, c.decode_time_s[0]),
                    "Last step": _time(c, answer.last_step_s),
                    "Prefill": units.share(
                        c.predicted_time_s / answer.predicted_time_s,
                        error_share(c.estimate.end_to_end),
                    ),
                    "Prompt and answer": _time(c, answer.predicted_time_s),
                    "Faster": headline(
                        answer.saving, bracketed=attainable, full_fits=not full or full.fits
                    ),
                    "Memory": si(answer.peak_memory_bytes, "B"),
                    "Fits": "yes" if answer.fits else "no",
                }
            )
    length = " or ".join(map(str, lengths))
    caption = (
        f"An answer of {length} tokens. Prefill: its share of the time of both. Memory: when the "
        f"answer has been written.{_bounds(study)}"
    )
    return _named(caption, rows)


def measurements(records: Sequence[MeasuredRun]) -> tuple[Table, ...]:
    """Spans of each record beside the bound and the prediction."""
    rows = [
        {
            "Record": one.name,
            "Span": span_name,
            "Median": si(span.summary.p50_s, "s"),
            "p10": si(span.summary.p10_s, "s"),
            "p90": si(span.summary.p90_s, "s"),
            "Samples": str(span.summary.count),
            "Roofline": shown(span.roofline_time_s, "s"),
            "Of roof": share(span.roofline_share),
            "Predicted": shown(span.attainable_time_s, "s"),
            "Error": share(span.attainable_error, signed=True),
        }
        for one in records
        for span_name, span in one.record.spans.items()
    ]
    caption = "Measured. Of roof: roofline time over median; error: predicted over median, less 1."
    return _named(caption, rows, ("Span",))


def choices(fronts: Sequence[Front]) -> tuple[Table, ...]:
    """What to take on each benchmark: the cheapest within one point, by each cost."""
    rows = []
    for front in fronts:
        if not front.fitting:
            continue
        rows.append(
            {
                "Benchmark": f"{front.name}, {front.benchmark.metric} ({front.benchmark.unit})",
                "Best": _pick(front.best()),
            }
            | {f"By {_SHORT[key]}": _pick(front.choice(key)) for key in COSTS}
        )
    caption = (
        "The cheapest method within one point of the best, by prefill time and by KV cache; of "
        "those that fit into the device's memory."
    )
    return table(caption, rows, words=("Best", *(f"By {short}" for short in _SHORT.values())))


def candidates(front: Front) -> tuple[Table, ...]:
    """All methods with a score on one benchmark, the cheapest prefill first."""
    fronts = {key: front.pareto(key) for key in COSTS}
    ranked = sorted(front.candidates, key=lambda c: c.prompt.predicted_time_s)
    rows = [
        {
            "Method": one.score.method,
            "LLM": one.score.llm,
            "Trained": one.score.training or "-",
            "Tokens": str(one.prompt.visual_tokens),
            "Score": one.score.printed,
            "Prefill": si(one.prompt.predicted_time_s, "s"),
            "Energy": _energy(one.prompt),
            "KV cache": si(one.cost("kv_cache_bytes"), "B"),
            "Memory": si(one.prompt.estimate.end_to_end.peak_memory_bytes, "B"),
            "Fits": "yes" if one.prompt.fits else "no",
            "Front": ", ".join(_SHORT[key] for key in COSTS if one in fronts[key]) or "-",
            "Source": "; ".join(one.score.sources),
        }
        for one in ranked
    ]
    caption = (
        f"{front.name}, {front.benchmark.metric} ({front.benchmark.unit}), on {front.hardware} in "
        f"{front.quant}. Front: by which costs no other method that fits is better."
    )
    return _named(caption, rows, _SCORE_WORDS)


def left_out() -> tuple[Table, ...]:
    """Methods with a published score and no cost."""
    rows = [
        {"Method": one.method, "LLM": one.llm, "Source": one.source, "Why": one.why}
        for one in unpriced()
    ]
    return _named("Published, but not priced.", rows, _SCORE_WORDS)


_SHORT = {"prefill_time_s": "time", "kv_cache_bytes": "KV cache"}


def _input(name: str) -> Callable[[Deployment], str]:
    return lambda deployment: str(deployment.inputs[name])


def _input_of(name: str) -> Callable[[PricedPrompt], str]:
    return lambda prompt: str(prompt.estimate.inputs[name])


_DEPLOYMENT: dict[str, Callable[[Deployment], str]] = {
    "Model": lambda s: s.model,
    "Device": lambda s: s.hardware,
    "Quant": lambda s: s.quant,
    "Runtime": lambda s: BY_NAME["runtime"].in_cell(s.inputs["runtime"]),
    **{
        axis.title: _input(axis.name)
        for axis in COUNTS
        if axis.name not in ("visual_tokens", "output_tokens")
    },
}
_PROMPT: dict[str, Callable[[PricedPrompt], str]] = {
    "Model": lambda c: c.model,
    "Device": lambda c: c.hardware,
    "Quant": lambda c: c.quant,
    "Runtime": lambda c: BY_NAME["runtime"].in_cell(c.estimate.inputs["runtime"]),
    **{
        axis.title: _input_of(axis.name)
        for axis in COUNTS
        if axis.name not in ("visual_tokens", "output_tokens")
    },
    "Visual": lambda c: str(c.visual_tokens),
    "Reducer": lambda c: c.reducer or "-",
}


_NAMING = {
    *_DEPLOYMENT,
    *_PROMPT,
    *("Output", "Record", "Span", "Method", "LLM", "Trained", "Tokens"),
}
"""Columns that tell a row from the others, where they come first."""


def _named(
    caption: str, rows: Sequence[dict[str, str]], words: Sequence[str] = _WORDS
) -> tuple[Table, ...]:
    """A table whose first columns, as many as say no more than of what a row is, name the row."""
    names = len(list(takewhile(_NAMING.__contains__, rows[0]))) if rows else 1
    return table(caption, rows, words=words, names=names)


def _identified(study: Study) -> list[tuple[PricedPrompt, dict[str, str]]]:
    """Every prompt, and what tells it from the others."""
    found = study.prompts
    return list(zip(found, _without_constants(found, _PROMPT), strict=True))


def _without_constants(
    items: Sequence[Any], columns: Mapping[str, Callable[[Any], str]]
) -> list[dict[str, str]]:
    """What tells each item from the others; what is the same in all is left to the heading."""
    cells = {title: [cell(item) for item in items] for title, cell in columns.items()}
    varying = [title for title, column in cells.items() if len(set(column)) > 1]
    return [
        {title: cells[title][i] for title in varying or list(cells)[:1]} for i in range(len(items))
    ]


def _has_laws(study: Study) -> bool:
    return any(c.has_laws for c in study.prompts)


def _predicted(prompt: PricedPrompt) -> str:
    return si(prompt.predicted_time_s, "s") if prompt.has_laws else "-"


def _peak(per_s: float, data_type: str) -> str:
    return f"{si(per_s, 'OP/s' if data_type.startswith('int') else 'FLOP/s')} {data_type}"


def _bounds(study: Study) -> str:
    """What captions say of `_time`."""
    lawful = all(c.has_laws for c in study.prompts)
    return "" if lawful else " ≥ marks bounds, where a device has no laws."


def _time(prompt: PricedPrompt, time_s: float) -> str:
    return f"{'' if prompt.has_laws else '≥ '}{si(time_s, 's')}"


def _part(part: Totals | None, whole: Totals) -> str:
    if part is None:
        return "-"
    time_s = float(part.predicted_time_s)
    bound = "≥ " if part.attainable_time_s is None else ""
    of_all = units.share(time_s / float(whole.predicted_time_s), error_share(part))
    return f"{bound}{si(time_s, 's')}, {of_all}"


def _energy(prompt: PricedPrompt) -> str:
    """By the device's law, or no more than TDP allows."""
    known, bound = prompt.energy_j, prompt.energy_bound_j
    if known is not None:
        return si(known, "J")
    return "-" if bound is None else f"≤ {si(bound, 'J')}"


def _pick(candidate: Candidate | None) -> str:
    return "-" if candidate is None else f"{candidate.score.printed}, {method(candidate)}"
