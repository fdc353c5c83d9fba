"""A study's answers in sentences: what it costs, what bounds it, what fewer tokens save."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from roofline import units
from roofline.engine.axes import BY_NAME, COUNTS
from roofline.engine.compare import Saving
from roofline.engine.result import Totals
from roofline.explore.study import Candidate, Deployment, Front, PricedPrompt, Study
from roofline.records.measurement import Record
from roofline.report.document import Bullets, DocumentBlock, Paragraph
from roofline.report.text.estimate_words import (
    HOST_ORIGINS,
    ORIGINS,
    at_least,
    error_share,
    ratio,
)
from roofline.units import percent, si

MOST_IN_FULL, MOST_BRIEF = 6, 24
"""Up to so many deployments get a paragraph each, or a line; the tables have the rest."""
_MOST_WAYS = 3
"""To have fewer tokens, that a deployment's paragraph lists."""


def answer(study: Study) -> list[DocumentBlock]:
    """The opening of a report."""
    blocks: list[DocumentBlock] = []
    bullets: list[tuple[str, str]] = []
    if len(study.deployments) > 1:
        blocks.append(Paragraph(_span(study)))
    if len(study.deployments) <= MOST_BRIEF:
        say = in_full if len(study.deployments) <= MOST_IN_FULL else brief
        bullets += [
            (f"{name(deployment, study)}.", say(deployment)) for deployment in study.deployments
        ]
    bullets += [("Left out.", f"{reason}.") for reason in study.skipped]
    bullets += [(f"Measured, {m.name}.", measured(m.record)) for m in study.records]
    agreed: dict[str, list[str]] = {}
    for target, group in fronts_by_target(study).items():
        agreed.setdefault(_choices(group), []).append(target)
    if len(agreed) <= MOST_IN_FULL:
        bullets += [(f"Accuracy, {'; '.join(targets)}.", text) for text, targets in agreed.items()]
    if bullets:
        blocks.append(Bullets(tuple(bullets)))
    return blocks


def name(deployment: Deployment, study: Study) -> str:
    """What tells a deployment from others."""
    where = f"{deployment.model} on {deployment.hardware}"
    way = BY_NAME["runtime"].in_words(deployment.inputs["runtime"])
    runtime = [way] if _runtimes(study) else []
    varying = _counts_that_vary(deployment.inputs, study)
    return ", ".join([where, deployment.quant, *runtime, *varying])


def _runtimes(study: Study) -> bool:
    """Whether the deployments of a study are run by several."""
    return len({one.inputs["runtime"] for one in study.deployments}) > 1


def short_name(deployment: Deployment, study: Study) -> str:
    """Only what differs among the deployments of a study: `h200, batch 8`."""
    given = ("model", "hardware", "quant", "runtime")
    differs = [
        BY_NAME[axis].in_cell(deployment.inputs[axis])
        for axis in given
        if len({one.inputs[axis] for one in study.deployments}) > 1
    ]
    words = [*differs, *_counts_that_vary(deployment.inputs, study)]
    return ", ".join(words) or name(deployment, study)


def _counts_that_vary(inputs: Mapping[str, Any], study: Study) -> list[str]:
    """`batch 8`, of the counts of which a study has several."""
    return [
        axis.in_words(inputs[axis.name])
        for axis in COUNTS
        if axis.name in inputs and len(set(map(str, study.inputs[axis.name]))) > 1
    ]


def in_full(deployment: Deployment) -> str:
    """All answers of one deployment, in a paragraph."""
    groups = deployment.by_unreduced
    if len(groups) > _MOST_WAYS:
        ranked = sorted(groups, key=lambda group: group[0].predicted_time_s)
        groups = [ranked[-1], ranked[0]]
    sentences = [say for full, reduced in groups for say in (_costs(full), _saves(reduced))]
    quickest = min(deployment.prompts, key=lambda c: c.predicted_time_s)
    who = _subject(quickest) if len(deployment.prompts) > 1 else "the prompt"
    sentences += [_stops(deployment), _waits(quickest), _grows(quickest, who), _fits(quickest, who)]
    return " ".join(sentence for sentence in sentences if sentence)


def brief(deployment: Deployment) -> str:
    """Time and bound before and after, and where fewer tokens stop paying, on one line."""
    first, *others = deployment.pair
    last = others[0] if others else None
    text = f"{duration(first)} ({first.estimate.end_to_end.bound})"
    if last is not None:
        after = last.estimate.end_to_end.bound
        text += f", with {how(last)} {duration(last)} ({after}): {faster(last.saving)}"
    if deployment.floor_tokens is not None:
        text += f"; fewer stop paying at {deployment.floor_tokens}"
    needed, room = (si(amount, "B") for amount in _memory(last or first))
    text += "." if (last or first).fits else f". Needs {needed} of {room}."
    return text + ("" if last is None or first.fits else " Without reduction it does not fit.")


def duration(prompt: PricedPrompt) -> str:
    """Of the prefill: `42.6 ms`, and `at least 15.7 ms` where kernels are at the roofline."""
    return _at_least(prompt, prompt.predicted_time_s)


def _at_least(prompt: PricedPrompt, seconds: float) -> str:
    known = prompt.has_laws and not at_least(prompt.estimate.end_to_end)
    return si(seconds, "s") if known else f"at least {si(seconds, 's')}"


def faster(saving: Saving | None) -> str:
    """`4.1 times as fast (7.9 at the roofline)`; a saving that rounds to nothing is none."""
    if saving is None or saving.speedup is None:
        return "no faster"
    if saving.tie:
        return "a tie inside the error band"
    text = times(float(saving.speedup))
    if saving.roofline_speedup is None or saving.speedup is saving.roofline_speedup:
        return text
    return f"{text} ({ratio(float(saving.roofline_speedup))} at the roofline)"


def times(speedup: float) -> str:
    """`4.1 times as fast`; a saving that rounds to nothing is none."""
    return "no faster" if float(ratio(speedup)) <= 1 else f"{ratio(speedup)} times as fast"


def how(prompt: PricedPrompt) -> str:
    """Who leaves how many visual tokens: `prumerge at 40 visual tokens`."""
    if not prompt.visual_tokens:
        return "text alone"
    count = f"{prompt.visual_tokens} visual tokens"
    return f"{prompt.reducer} at {count}" if prompt.reducer else count


def _costs(one: PricedPrompt) -> str:
    """A prompt as it is."""
    inputs, parts = one.estimate.inputs, one.estimate.components
    batch = f" in a batch of {inputs['batch']}" if inputs["batch"] > 1 else ""
    if "llm" not in parts:
        prompt = f"Encoding an image of {one.visual_tokens} tokens{batch}"
    else:
        counts = [(one.visual_tokens, "visual"), (inputs["text_tokens"], "text")]
        tokens = " and ".join(f"{count} {kind}" for count, kind in counts if count)
        prompt = f"Prefill of {tokens} tokens{batch}"
    ends = "" if len(parts) == 1 else ", end to end"
    bound = one.estimate.end_to_end.bound
    return f"{prompt} takes {duration(one)}{_basis(one)}{ends}, bound by {bound}."


def _basis(prompt: PricedPrompt) -> str:
    """Error and origin of a predicted time, the runtime's part in it, and the bound."""
    whole, device = prompt.estimate.end_to_end, prompt.estimate.device
    laws, host = device["kernel_laws"], device.get("host")
    parts = []
    if whole.attainable_time_s is not None and laws is not None:
        parts += [band(whole), ORIGINS[laws["origin"]]]
    if whole.elapsed_time_s is not None and whole.host_time_s is not None and host is not None:
        runtime, host_s = prompt.estimate.inputs["runtime"], si(whole.host_time_s, "s")
        parts.append(f"{host_s} of {runtime}'s host, {HOST_ORIGINS[host['origin']]}")
    bound = f"{si(whole.roofline_time_s, 's')} at the device's peaks"
    return f" ({', '.join(parts)}; {bound})" if parts else ""


def band(part: Totals) -> str:
    """From where to where the predicted time may lie: `88.1 ms to 104 ms`; a lower end alone where
    kernels are at the roofline.
    """
    if at_least(part):
        return f"≥ {si(part.predicted_time_s, 's')}"
    low, high = part.predicted_time_low_s, part.predicted_time_high_s
    return "-" if low is None or high is None else f"{si(low, 's')} to {si(high, 's')}"


def _saves(reduced: Sequence[PricedPrompt]) -> str:
    """All prompts that were reduced, or the quickest and the slowest of many."""
    if not reduced:
        return ""
    ranked = sorted(reduced, key=lambda c: c.predicted_time_s)
    first, last = ranked[0], ranked[-1]
    gain = f"{_gain(first)}, bound by {first.estimate.end_to_end.bound}"
    if len(ranked) > _MOST_WAYS:
        return (
            f"Of {len(ranked)} ways to have fewer, {how(first)} is the fastest: {gain}; the "
            f"slowest is {how(last)}: {_gain(last)}."
        )
    if len(ranked) > 1:
        others = "; ".join(f"with {how(other)} {_gain(other)}" for other in ranked[1:])
        return f"With {how(first)} it takes {gain}; {others}."
    share = first.reducer_share
    if share is None or share >= 1:
        return f"With {how(first)} it takes {gain}."
    own = first.estimate.components["reducer"]
    taken = units.share(share, error_share(own))
    return f"With {how(first)} it takes {gain}; of what that saves, reducing takes {taken}."


def _gain(prompt: PricedPrompt) -> str:
    """`50.2 ms, 2.8 times as fast`."""
    return f"{duration(prompt)}, {faster(prompt.saving)}"


def _stops(deployment: Deployment) -> str:
    """Where the LLM waits for its weights, or the host, and where fewer tokens stop paying."""
    ridge, floor = deployment.ridge_tokens, deployment.floor_tokens
    if ridge is None or floor is None:
        return ""
    if launch := deployment.launch_bound_tokens:
        most = int(deployment.visual_tokens[-1])
        where = "At all counts" if launch >= most else f"Up to {launch} visual tokens"
        waits = f"{where} the LLM waits for the host that issues its kernels"
        return f"{waits}: fewer make the prefill no faster."
    most = int(deployment.visual_tokens[-1])
    if ridge >= most:
        bound = f"The LLM is bound by memory at all counts up to {most}"
    elif ridge:
        bound = f"The LLM is bound by memory up to {ridge} visual tokens"
    else:
        bound = "The LLM is bound by compute whatever the count"
    if floor >= most:
        return f"{bound}; fewer visual tokens hardly help: all of them cost less than 5 % of time."
    low = [c.visual_tokens for c in deployment.reduced if c.visual_tokens < floor]
    gain = f", so that {max(low)} are hardly faster than {floor}" if low else ""
    return (
        f"{bound}; fewer stop paying at {floor}: there, prefill takes at most 5 % longer than "
        f"with a single one{gain}."
    )


def _waits(one: PricedPrompt) -> str:
    """Where the host takes longer to issue kernels than the device to run them."""
    whole = one.estimate.end_to_end
    host_s, runtime = whole.host_time_s, one.estimate.inputs["runtime"]
    if host_s is None or runtime not in (None, "eager") or not host_s > whole.kernel_time_s:
        return ""
    return (
        f"Eager PyTorch takes {si(host_s, 's')} to issue the kernels of {how(one)}, longer than "
        "the device takes to run them: there fewer tokens help with CUDA graphs alone."
    )


def _subject(one: PricedPrompt) -> str:
    """`prumerge at 40 visual tokens`, `the prompt of 40 visual tokens`."""
    return how(one) if one.reducer else f"the prompt of {one.visual_tokens} visual tokens"


def _grows(one: PricedPrompt, who: str) -> str:
    """What is left of the saving when an answer has been written."""
    answer = one.answer()
    if answer is None:
        return ""
    step, total = _at_least(one, answer.last_step_s), _at_least(one, answer.predicted_time_s)
    length = answer.output_tokens
    text = f"With an answer of {length} token{'s' if length > 1 else ''}, {who} takes {total}"
    full = one.unreduced.answer() if one.unreduced else None
    if full is None:
        return f"{text}; its last decode step {step}."
    text += (
        f", {faster(answer.saving)}: the last decode step takes {step}, "
        f"{si(full.last_step_s, 's')} with all visual tokens."
    )
    if not full.fits:
        text += f" With those it does not fit: {si(full.peak_memory_bytes, 'B')}."
    return text


def _fits(one: PricedPrompt, who: str) -> str:
    """What is needed of the memory, by the prompt and with its answer."""
    needed, room = (si(size, "B") for size in _memory(one))
    beside = ""
    if one.unreduced and not one.unreduced.fits:
        beside = f" With all visual tokens it does not fit: {si(_memory(one.unreduced)[0], 'B')}."
    if not one.fits:
        return f"It does not fit: it needs {needed} of {room}.{beside}"
    at_once, answer = one.sequences_that_fit, one.answer()
    if answer is None:
        return f"It needs {needed} of {room}; {at_once} such images fit at once."
    before = f", {one.unreduced.sequences_that_fit} without reduction" if one.unreduced else ""
    text = f"Before the answer, {who} needs {needed} of {room}; "
    text += f"{at_once} such prompts fit at once{before}.{beside}"
    if not answer.fits:
        text += f" With the answer it does not fit: {si(answer.peak_memory_bytes, 'B')}."
    return text


def _memory(prompt: PricedPrompt) -> tuple[float, float]:
    """What is needed and what is there, in bytes."""
    whole = prompt.estimate.end_to_end
    return float(whole.peak_memory_bytes), float(whole.device_memory_bytes)


def _span(study: Study) -> str:
    """The whole grid in two sentences."""
    priced = [
        (deployment, prompt) for deployment in study.deployments for prompt in deployment.prompts
    ]
    full = {id(prompt): f"{name(where, study)}, {how(prompt)}" for where, prompt in priced}
    by_time = sorted(study.prompts, key=lambda c: c.predicted_time_s)
    first, last = by_time[0], by_time[-1]
    text = (
        f"{len(by_time)} prompts: prefill takes from {duration(first)} "
        f"({full[id(first)]}) to {duration(last)} ({full[id(last)]})."
    )
    reduced = [c for c in by_time if c.speedup is not None]
    comparable = [c for c in reduced if c.has_laws] or reduced  # no bounds among expectations
    ties = [c for c in comparable if c.tie]
    if gains := sorted((c for c in comparable if not c.tie), key=lambda c: c.speedup or 0):
        least, most = gains[0], gains[-1]
        least_text, most_text = (
            f"{times(c.speedup or 1)} ({full[id(c)]}{_over(c)})" for c in (least, most)
        )
        text += f" Fewer visual tokens make it {least_text} to {most_text}."
    if ties:
        text += f" Of {len(ties)} with fewer the difference is inside the error band."
    if crowded := [c for c in by_time if not c.fits]:
        text += f" {len(crowded)} of them do not fit into the device's memory."
    return text


def _over(reduced: PricedPrompt) -> str:
    """Said where what a saving is over does not fit."""
    unfit = reduced.unreduced is not None and not reduced.unreduced.fits
    return ", over a prompt that does not fit" if unfit else ""


def measured(record: Record) -> str:
    """What a record says of the whole run, beside the bound and the prediction."""
    given, whole = record.inputs, record.whole
    device = record.environment.get("device", given["device"])
    reducer = f" with {given['reducer']}" if given["reducer"] else ""
    text = (
        f"{given['model']}{reducer}, {given['visual_tokens']} visual tokens, {given['stage']}, "
        f"{given['quant']}, {given['mode']}, on {device}: {si(whole.summary.p50_s, 's')}"
    )
    if whole.roofline_share is not None:
        text += f", {percent(whole.roofline_share)} of the roof"
    if whole.attainable_error is not None:
        text += f"; predicted {percent(whole.attainable_error, signed=True)}"
    return text + "."


def fronts_by_target(study: Study) -> dict[str, list[Front]]:
    """Fronts of all benchmarks by device, precision, and the counts that vary."""
    groups: dict[str, list[Front]] = {}
    for front in study.fronts:
        words = [front.hardware, front.quant, *_counts_that_vary(front.inputs, study)]
        groups.setdefault(", ".join(words), []).append(front)
    return groups


def _choices(fronts: list[Front]) -> str:
    """The cheapest method within one point of the best, benchmark by benchmark."""
    chosen = [
        f"{front.name} {method(choice)} ({choice.score.printed}, best {best.score.printed})"
        for front in fronts
        if (best := front.best()) and (choice := front.choice("prefill_time_s"))
    ]
    if not chosen:
        return "None of the models fits into the device's memory."
    return f"Quickest prefill within one point of the best that fits: {'; '.join(chosen)}."


def method(candidate: Candidate) -> str:
    """`PruMerge+ at 144 tokens, Vicuna-7B`."""
    score = candidate.score
    return f"{score.method} at {candidate.prompt.visual_tokens} tokens, {score.llm}"
