"""How long an answer takes, step by step and with its prompt, and how a reducer's gain fades."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from roofline.explore.study import Deployment, PricedPrompt, Study
from roofline.report.charts.chart import (
    LegendEntry,
    Panel,
    PanelAxis,
    PanelChart,
    Series,
    listed,
    numbers,
)
from roofline.report.charts.device_panels import DevicePanels, device_panels
from roofline.report.charts.naming import deployment_name, prompt_name
from roofline.report.charts.registry import ReportChart, ReportSection, register
from roofline.report.charts.scales import matched
from roofline.units import si

NAME, TITLE = "answer", "Decode steps and whole answers"
NOT_REDUCED = "no prompt has fewer visual tokens"
GAINS = {
    "gain": "",
    "tie": "tie: inside the error band",
    "unfit": "over a prompt that does not fit",
}
"""Roles of what a reducer gains, and what sets them apart, for the legend."""


def applies(study: Study) -> bool:
    """Whether any of the models can answer, and is to say more than a word: a line has two ends."""
    return bool(_answering(study))


def answer_chart(study: Study) -> PanelChart:
    """A row of panels for each model and precision; the gain where any prompt is reduced."""
    shown = device_panels(_answering(study))
    with_gain = any(deployment.reduced for deployment in shown.deployments)
    columns = 3 if with_gain else 2
    rows = [panel for title, row in shown.rows for panel in _row(title, row, with_gain)]
    return PanelChart(
        name=NAME,
        title=TITLE,
        alt=_alt(study),
        panels=matched(rows, columns),
        columns=columns,
        legend=tuple(_legend(shown)),
        left_out=shown.left_out,
    )


def _answering(study: Study) -> list[Deployment]:
    return [
        deployment
        for deployment in study.deployments
        if max(deployment.prompts[0].output_tokens, default=0) > 1
    ]


def _alt(study: Study) -> str:
    """Time of the longest answer in every deployment, before and after."""
    phrases = []
    for deployment in _answering(study):
        times = [
            f"{si(prompt.generation_time_s[-1], 's')} with {prompt_name(prompt)}"
            for prompt in deployment.pair
        ]
        phrases.append(f"{deployment_name(deployment)}: {', '.join(times)}")
    return (
        "Time of a decode step, time of prompt and answer, and how many times as fast fewer visual "
        "tokens make it, over output tokens. Prompt and "
        f"{study.inputs['output_tokens'][-1]} output tokens: {listed(phrases)}."
    )


def _row(title: str, deployments: Sequence[Deployment], with_gain: bool) -> Iterator[Panel]:
    """Of steps, of whole answers and, where any prompt of the page is reduced, of the gain."""
    longest = float(deployments[0].prompts[0].output_tokens[-1])
    tokens = PanelAxis(label="output tokens", scale="log", limits=(1, longest))
    found = [series for deployment in deployments for series in _series(deployment)]

    def of(*roles: str) -> tuple[Series, ...]:
        return tuple(series for series in found if series.role in roles)

    yield Panel(
        title=title,
        x=tokens,
        y=PanelAxis(label="time of a decode step", unit="s", scale="log"),
        series=of("step"),
    )
    yield Panel(
        x=tokens,
        y=PanelAxis(label="prompt and answer", unit="s", scale="log"),
        series=of("answer", "bound"),
    )
    if with_gain:
        yield Panel(
            x=tokens,
            y=PanelAxis(label="times as fast", limits=(1.0, None)),
            series=of(*GAINS),
            empty_because="" if of(*GAINS) else NOT_REDUCED,
        )


def _series(deployment: Deployment) -> Iterator[Series]:
    """What is predicted; the bound of prompt and answer where it is something else."""
    for prompt in deployment.pair:
        lengths, times = prompt.output_tokens, prompt.generation_time_s
        made = partial(
            Series,
            of=deployment.hardware,
            variant=prompt_name(prompt),
            reduced=prompt.unreduced is not None,
        )
        x = numbers(lengths[1:])
        # a step's time is the mean of some: it stands in their middle
        middles = numbers((lengths[:-1] + 1 + lengths[1:]) / 2)
        yield made(role="step", x=middles, y=numbers(prompt.decode_time_s))
        yield made(role="answer", x=x, y=numbers(times[1:]))
        if prompt.has_laws and prompt.generation is not None:
            bound_s = prompt.generation.end_to_end.roofline_time_s
            yield made(role="bound", x=x, y=numbers(bound_s[1:]))
        for role, gain in _gains(prompt):
            yield made(role=role, x=x, y=gain[1:])


def _gains(prompt: PricedPrompt) -> Iterator[tuple[str, tuple[float | None, ...]]]:
    """How many times as fast at every length, by how much it means; gaps where another role has it.

    `tie` inside the error band, `unfit` where all visual tokens do not fit, else `gain`; each line
    begins where the one before ends.
    """
    saving, full = prompt.answer_saving, prompt.unreduced.generation if prompt.unreduced else None
    if saving is None or saving.speedup is None or full is None:
        return
    speedup = np.asarray(saving.speedup, dtype=float)
    tie = np.zeros(speedup.shape, bool) if saving.tie is None else np.asarray(saving.tie)
    fits = np.broadcast_to(full.end_to_end.fits, speedup.shape)
    for role, has in (("gain", ~tie & fits), ("tie", tie), ("unfit", ~tie & ~fits)):
        if has.any():
            joined = has | np.append(False, has[:-1])
            yield (
                role,
                tuple(v if h else None for v, h in zip(numbers(speedup), joined, strict=True)),
            )


def _legend(shown: DevicePanels) -> Iterator[LegendEntry]:
    yield from shown.legend
    reduced = {prompt_name(one.pair[1]) for one in shown.deployments if one.reduced}
    if reduced:
        which = reduced.pop() if len(reduced) == 1 else "the quickest way"
        yield LegendEntry(role="reduced", label=f"fewer visual tokens: {which}")
    yield LegendEntry(role="whole", label="all visual tokens")
    if any(deployment.prompts[0].has_laws for deployment in shown.deployments):
        yield LegendEntry(role="bound", label="roofline bound")
    found = {role for one in shown.deployments for p in one.pair for role, _ in _gains(p)}
    for role, label in GAINS.items():
        if label and role in found:
            yield LegendEntry(role=role, label=label)


register(
    ReportChart(
        name=NAME, title=TITLE, section=ReportSection.ANSWERS, applies=applies, of=answer_chart
    )
)
