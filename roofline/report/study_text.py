"""A study's answers in sentences: what it costs, what bounds it, what fewer tokens save."""

from __future__ import annotations

from roofline.estimate import Totals
from roofline.record import Record
from roofline.report.document import Block, Bullets, Paragraph
from roofline.study import Candidate, Configuration, Front, Setting, Study
from roofline.units import percent, si, significant

MOST_TOLD, MOST_BRIEF = 6, 24
"""Up to so many settings get a paragraph each, or a line; the tables have the rest."""
_MOST_WAYS = 3
"""To have fewer tokens, that a setting's paragraph lists."""


def answer(study: Study) -> list[Block]:
    """The opening of a report."""
    blocks: list[Block] = []
    said: list[tuple[str, str]] = []
    if len(study.settings) > 1:
        blocks.append(Paragraph(_span(study)))
    if len(study.settings) <= MOST_BRIEF:
        say = told if len(study.settings) <= MOST_TOLD else brief
        said += [(f"{name(setting)}.", say(setting)) for setting in study.settings]
    said += [(f"Measured, {m.name}.", measured(m.record)) for m in study.records]
    fronts = fronts_by_place(study)
    if len(fronts) <= MOST_TOLD:
        agreed: dict[str, list[str]] = {}
        for place, group in fronts.items():
            agreed.setdefault(_choices(group), []).append(place)
        said += [(f"Accuracy, {'; '.join(places)}.", text) for text, places in agreed.items()]
    if said:
        blocks.append(Bullets(tuple(said)))
    return blocks


def name(setting: Setting) -> str:
    """What tells a setting from others."""
    return f"{setting.model} on {setting.hardware}, {setting.quant}"


def told(setting: Setting) -> str:
    """All answers of one setting, in a paragraph."""
    said = (_costs, _saves, _stops, _waits, _grows, _fits)
    sentences = [say(setting) for say in said]
    return " ".join(sentence for sentence in sentences if sentence)


def brief(setting: Setting) -> str:
    """Time and bound before and after, and where fewer tokens stop paying, on one line."""
    first = setting.configurations[0]
    last = min(setting.reduced, key=lambda c: c.time_s, default=None)
    text = f"{si(first.time_s, 's')} ({first.estimate.end_to_end.bound})"
    if last is not None:
        after = last.estimate.end_to_end.bound
        text += f", with {how(last)} {si(last.time_s, 's')} ({after}): {times(last.speedup or 1)}"
    if setting.floor_tokens is not None:
        text += f"; fewer stop paying at {setting.floor_tokens}"
    needed, room = (si(amount, "B") for amount in _memory(last or first))
    return f"{text}." + ("" if (last or first).fits else f" Needs {needed} of {room}.")


def ratio(value: float) -> str:
    """`4.1`, `12.6`, and, where two digits would hide it, `1.04`."""
    return significant(value, 2 if 1.1 <= value < 10 else 3)


def times(speedup: float) -> str:
    """`4.1 times as fast`; a saving that rounds to nothing is none."""
    return "no faster" if float(ratio(speedup)) <= 1 else f"{ratio(speedup)} times as fast"


def how(configuration: Configuration) -> str:
    """Who leaves how many visual tokens: `prumerge at 40 visual tokens`."""
    count = f"{configuration.visual_tokens} visual tokens"
    return f"{configuration.reducer} at {count}" if configuration.reducer else count


def _costs(setting: Setting) -> str:
    """The prompt as it is, or, where nobody knows how many tokens that has, the first asked for."""
    first = setting.whole or setting.configurations[0]
    whole, inputs = first.estimate.end_to_end, first.estimate.inputs
    if "llm" not in first.estimate.components:
        prompt = f"{first.visual_tokens} tokens"
    else:
        visual = f"{first.visual_tokens} visual and " if first.visual_tokens else ""
        prompt = f"{visual}{inputs['text_tokens']} text tokens"
    batch = f" in a batch of {inputs['batch']}" if inputs["batch"] > 1 else ""
    ends = "" if len(first.estimate.components) == 1 else ", end to end"
    return f"Prefill of {prompt}{batch} takes {_duration(first)}{ends}, bound by {whole.bound}."


def _duration(configuration: Configuration) -> str:
    """The bound as such; beside what is expected where that is known."""
    whole = configuration.estimate.end_to_end
    if whole.attainable_time_s is None:
        return f"at least {si(whole.time_s, 's')}"
    return (
        f"{si(configuration.time_s, 's')} ({band(whole)}; {si(whole.time_s, 's')} at the device's "
        "peaks)"
    )


def band(part: Totals) -> str:
    """From where to where the attainable time may lie: `88.1 ms to 104 ms`."""
    low, high = part.attainable_time_low_s, part.attainable_time_high_s
    return "-" if low is None or high is None else f"{si(low, 's')} to {si(high, 's')}"


def _saves(setting: Setting) -> str:
    """All reduced prompts, or the quickest and the slowest of many."""
    reduced = sorted(setting.reduced, key=lambda c: c.time_s)
    if not reduced:
        return ""
    first, last = reduced[0], reduced[-1]
    gain = f"{_gain(first)}, bound by {first.estimate.end_to_end.bound}"
    if len(reduced) > _MOST_WAYS:
        return (
            f"Of {len(reduced)} ways to have fewer, {how(first)} is the fastest: {gain}; the "
            f"slowest is {how(last)}: {_gain(last)}."
        )
    if len(reduced) > 1:
        others = "; ".join(f"with {how(other)} {_gain(other)}" for other in reduced[1:])
        return f"With {how(first)} it takes {gain}; {others}."
    share = first.reducer_share
    if share is None or share >= 1:
        return f"With {how(first)} it takes {gain}."
    own = percent(share)
    return f"With {how(first)} it takes {gain}; of what that saves, reducing takes {own}."


def _gain(configuration: Configuration) -> str:
    """`50.2 ms, 2.8 times as fast`."""
    return f"{si(configuration.time_s, 's')}, {times(configuration.speedup or 1)}"


def _stops(setting: Setting) -> str:
    """Where the LLM waits for its weights, and where fewer tokens stop paying."""
    ridge, floor = setting.ridge_tokens, setting.floor_tokens
    if ridge is None or floor is None:
        return ""
    most = int(setting.visual_tokens[-1])
    if ridge >= most:
        bound = f"The LLM is bound by memory at all counts up to {most}"
    elif ridge:
        bound = f"The LLM is bound by memory up to {ridge} visual tokens"
    else:
        bound = "The LLM is bound by compute whatever the count"
    if floor >= most:
        return f"{bound}; fewer visual tokens hardly help: all of them cost less than 5 % of time."
    low = [c.visual_tokens for c in setting.reduced if c.visual_tokens < floor]
    gain = f", so that {max(low)} gain little over {floor}" if low else ""
    return (
        f"{bound}; fewer stop paying at {floor}: there, prefill takes at most 5 % longer than "
        f"with a single one{gain}."
    )


def _waits(setting: Setting) -> str:
    """Where the framework takes longer to issue kernels than the device to run them."""
    first = min(setting.configurations, key=lambda c: c.time_s)
    host_s = first.estimate.end_to_end.host_time_s
    if host_s is None or not host_s > first.time_s:
        return ""
    return (
        f"Eager PyTorch takes {si(host_s, 's')} to issue the kernels of {how(first)}, longer than "
        "the device takes to run them: there fewer tokens help with CUDA graphs alone."
    )


def _grows(setting: Setting) -> str:
    """What is left of the saving when an answer has been written."""
    first = min(setting.configurations, key=lambda c: c.time_s)
    if first.generation is None:
        return ""
    step, total = si(first.decode_time_s[-1], "s"), si(first.generation_time_s[-1], "s")
    length = int(first.output_tokens[-1])
    text = f"With an answer of {length} tokens it takes {total}"
    if first.whole is None:
        return f"{text}, {step} a decode step."
    whole = first.whole
    return (
        f"{text}, {times(float(whole.generation_time_s[-1] / first.generation_time_s[-1]))}: a "
        f"decode step takes {step}, {si(whole.decode_time_s[-1], 's')} with all visual tokens."
    )


def _fits(setting: Setting) -> str:
    first = min(setting.configurations, key=lambda c: c.time_s)
    amount = " of ".join(si(size, "B") for size in _memory(first))
    if not first.fits:
        return f"It does not fit: it needs {amount}."
    room = f"It needs {amount}; {first.sequences_that_fit} such prompts fit at once"
    return room + (f", {first.whole.sequences_that_fit} without reduction." if first.whole else ".")


def _memory(configuration: Configuration) -> tuple[float, float]:
    """What is needed and what is there, in bytes."""
    whole = configuration.estimate.end_to_end
    return float(whole.peak_memory_bytes), float(whole.device_memory_bytes)


def _span(study: Study) -> str:
    """The whole grid in two sentences."""
    by_time = sorted(study.configurations, key=lambda c: c.time_s)
    first, last = by_time[0], by_time[-1]
    text = (
        f"{len(by_time)} configurations: prefill takes from {si(first.time_s, 's')} "
        f"({_full(first)}) to {si(last.time_s, 's')} ({_full(last)})."
    )
    gains = sorted((c for c in by_time if c.speedup is not None), key=lambda c: c.speedup or 0)
    if gains:
        least, most = gains[0], gains[-1]
        text += (
            f" Fewer visual tokens make it {times(least.speedup or 1)} ({_full(least)}) to "
            f"{times(most.speedup or 1)} ({_full(most)})."
        )
    if crowded := [c for c in by_time if not c.fits]:
        text += f" {len(crowded)} of them do not fit into the device's memory."
    return text


def _full(configuration: Configuration) -> str:
    c = configuration
    return f"{c.model} on {c.hardware}, {c.quant}, {how(c)}"


def measured(record: Record) -> str:
    """What a record says of the whole run, beside the bound and the prediction."""
    given, whole = record.inputs, record.whole
    device = record.environment.get("device", given.device)
    reducer = f" with {given.reducer}" if given.reducer else ""
    text = (
        f"{given.model}{reducer}, {given.visual_tokens} visual tokens, {given.stage}, "
        f"{given.quant}, {given.mode}, on {device}: {si(whole.summary.p50_s, 's')}"
    )
    if whole.roofline_share is not None:
        text += f", {percent(whole.roofline_share)} of the roof"
    if whole.attainable_error is not None:
        text += f"; predicted {percent(whole.attainable_error, signed=True)}"
    return text + "."


def fronts_by_place(study: Study) -> dict[str, list[Front]]:
    """Fronts of all benchmarks by device and precision."""
    groups: dict[str, list[Front]] = {}
    for front in study.fronts:
        groups.setdefault(f"{front.hardware}, {front.quant}", []).append(front)
    return groups


def _choices(fronts: list[Front]) -> str:
    """The cheapest method within one point of the best, benchmark by benchmark."""
    chosen = (
        f"{front.name} {method(choice)} ({choice.score.printed}, best {front.best().score.printed})"
        for front in fronts
        if (choice := front.choice("prefill_time_s")) is not None
    )
    return f"Quickest prefill within one point of the best: {'; '.join(chosen)}."


def method(candidate: Candidate) -> str:
    """`PruMerge+ at 144 tokens`, with the LLM's size where it is told."""
    score = candidate.score
    tokens = candidate.configuration.visual_tokens
    return f"{score.method} at {tokens} tokens, {score.llm}"
