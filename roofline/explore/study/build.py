"""`study`: names in, every estimate that a report needs out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from itertools import product
from typing import Any, TypeAlias, TypeVar

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from roofline import reducers as registry
from roofline.engine.analysis import analyze
from roofline.engine.scenario import DEFAULT_TEXT_TOKENS
from roofline.errors import InputError, UnsupportedModeError
from roofline.explore.study.deployment import Deployment
from roofline.explore.study.priced_prompt import PricedPrompt
from roofline.explore.study.study import MeasuredRun, Study
from roofline.explore.study.tradeoff import Candidate, Front
from roofline.records import published as accuracy
from roofline.records.measurement import spec_hashes
from roofline.specs.catalog import load_hardware, load_model, load_quantization
from roofline.specs.hardware import Hardware
from roofline.specs.models import Lmm, Model

Prompt: TypeAlias = tuple[int | None, str | None]
"""Visual tokens and reducer, each left to the other or to the model where it is None."""
T = TypeVar("T")

DEFAULT_REDUCER = "prumerge"
NO_REDUCER = "none"
DEFAULT_OUTPUT_TOKENS = 256
MOST_OUTPUT_TOKENS = 100_000
"""Each step is priced: longer answers would take minutes, and no model here has the context."""
_LENGTHS = 33


def study(
    models: Sequence[str | Model],
    hardware: Sequence[str | Hardware],
    quants: Sequence[str] = ("fp16",),
    visual_tokens: Sequence[int] = (),
    reducers: Sequence[str] = (),
    *,
    text_tokens: int = DEFAULT_TEXT_TOKENS,
    batch: int = 1,
    output_tokens: int = DEFAULT_OUTPUT_TOKENS,
    attention: str | None = None,
    records: Sequence[MeasuredRun] = (),
    with_accuracy: bool = False,
) -> Study:
    """Price every combination; what the model's images give unreduced comes beside it.

    visual_tokens: of a sequence; left out, as many as is typical of each reducer.
    reducers: names, `none` for fewer tokens without anybody's work; left out, PruMerge where it
        applies. A count of all visual tokens is priced without.
    output_tokens: the longest answer that is looked at.
    records: of `roofline profile`. Where neither visual tokens nor reducers are given, the prompts
        are theirs.
    with_accuracy: whether to hold published accuracies against cost.

    A precision that one of the devices does not have is left out there, and said so.
    Raises InputError for an empty selection or one that makes no sense, and as `analyze` does.
    """
    if not models or not hardware or not quants:
        raise InputError("nothing to report on: give at least one model and one device")
    if not 1 <= output_tokens <= MOST_OUTPUT_TOKENS:
        raise InputError(
            f"output tokens must be a whole number from 1 to {MOST_OUTPUT_TOKENS}, "
            f"not {output_tokens}"
        )
    if wrong := [count for count in visual_tokens if count < 1]:
        raise InputError(f"visual tokens must be whole numbers ≥ 1, not {wrong[0]}")
    for name in reducers:
        _check_reducer(name)
    asked = _Asked(
        prompts=_prompts(visual_tokens, reducers, records),
        options={"text_tokens": text_tokens, "batch": batch, "attention": attention},
        lengths=_lengths(output_tokens),
    )
    model_specs = _distinct(load_model(name) for name in models)
    devices = _distinct(load_hardware(name) for name in hardware)
    modes = list(dict.fromkeys(load_quantization(name).name for name in quants))
    deployments: list[Deployment] = []
    fronts: list[Front] = []
    refused: list[UnsupportedModeError] = []
    scores = accuracy.scores(spec.name for spec in model_specs) if with_accuracy else []
    for device in devices:
        for mode in modes:
            try:
                priced = {spec.name: _deployment(spec, device, mode, asked) for spec in model_specs}
            except UnsupportedModeError as error:
                refused.append(error)
                continue
            deployments += priced.values()
            fronts += _fronts(model_specs, device, mode, scores, asked)
    if not deployments:
        raise refused[0]
    order = {spec.name: place for place, spec in enumerate(model_specs)}
    return Study(
        deployments=tuple(sorted(deployments, key=lambda deployment: order[deployment.model])),
        records=tuple(records),
        fronts=tuple(fronts),
        skipped=tuple(str(error) for error in refused),
        inputs={
            "models": [spec.name for spec in model_specs],
            "hardware": [device.name for device in devices],
            "quants": modes,
            "visual_tokens": _distinct_values(count for count, _ in asked.prompts),
            "reducers": _distinct_values(reducer for _, reducer in asked.prompts),
            "text_tokens": text_tokens,
            "batch": batch,
            "output_tokens": output_tokens,
            "attention": deployments[0].prompts[0].estimate.work.attention,
        },
        specs=spec_hashes([*(part for spec in model_specs for part in _parts(spec)), *devices]),
    )


def _check_reducer(name: str) -> None:
    """Raise InputError for what is neither a reducer nor `none`."""
    if name != NO_REDUCER:
        registry.find(name)


def _prompts(
    visual_tokens: Sequence[int], reducers: Sequence[str], records: Sequence[MeasuredRun]
) -> tuple[Prompt, ...]:
    """All combinations, or what the records ran."""
    runs = [measured.record.inputs for measured in records]
    if runs and not (visual_tokens or reducers):
        return tuple(dict.fromkeys((run.visual_tokens, run.reducer or NO_REDUCER) for run in runs))
    counts: Sequence[int | None] = visual_tokens or [None]
    names: Sequence[str | None] = reducers or [None]
    return tuple(dict.fromkeys(product(counts, names)))


def _distinct_values(values: Iterable[T | None]) -> list[T]:
    return [value for value in dict.fromkeys(values) if value is not None]


def _lengths(most: int) -> NDArray[np.float64]:
    """None, one, … and `most` output tokens, in even ratios; the last step stands alone."""
    return np.unique([0.0, *np.geomspace(1, most, _LENGTHS).round(), most - 1])


class _Asked(Struct, frozen=True, kw_only=True):
    """What is the same in all deployments."""

    prompts: tuple[Prompt, ...]
    options: dict[str, Any]
    lengths: NDArray[np.float64]
    """Of answers, from 0 to the longest."""


def _deployment(model: Model, device: Hardware, mode: str, asked: _Asked) -> Deployment:
    first = _prompt(model, device, mode, asked, None, None, None)
    per_sample = first.estimate.work.unreduced_visual_tokens
    wholes: dict[int, PricedPrompt] = {first.visual_tokens: first} if per_sample else {}
    found: dict[tuple[int, str | None], PricedPrompt] = {}

    def whole(count: int) -> PricedPrompt | None:
        """All visual tokens of as many samples as it takes to have so many."""
        if not per_sample or first.estimate.work.llm is None:
            return None
        full = -(-count // per_sample) * per_sample
        if full not in wholes:
            wholes[full] = _prompt(model, device, mode, asked, full, None, None)
        return wholes[full]

    for count, named in asked.prompts:
        reducer = _reducer(model, count, per_sample, named)
        if count is None and reducer is None:
            one = first
        elif per_sample and count is not None and count % per_sample == 0:
            one = whole(count) or first
        else:
            full = whole(count or 1)
            one = _prompt(model, device, mode, asked, count, reducer, full)
        found.setdefault((one.visual_tokens, one.reducer), one)
    compared = {id(one.whole or one) for one in found.values()}
    before = (one for one in wholes.values() if id(one) in compared)
    rows = list({id(one): one for one in (*before, *found.values())}.values())
    most = max(c.visual_tokens for c in rows)
    curve = None
    if most and first.estimate.work.llm is not None:
        counts = np.arange(1, most + 1)
        curve = analyze(model, device, mode, visual_tokens=counts, **asked.options)
    return Deployment(
        model=model.name,
        hardware=device.name,
        quant=mode,
        prompts=tuple(rows),
        curve=curve,
    )


def _reducer(
    model: Model, count: int | None, per_sample: int | None, named: str | None
) -> str | None:
    """Who leaves a count of visual tokens; None is fewer tokens by themselves."""
    if named is not None:
        return None if named == NO_REDUCER else named
    applies = isinstance(model, Lmm) and (count is None or count < (per_sample or 0))
    return DEFAULT_REDUCER if applies else None


def _prompt(
    model: Model,
    device: Hardware,
    mode: str,
    asked: _Asked,
    visual_tokens: int | None,
    reducer: str | None,
    whole: PricedPrompt | None,
) -> PricedPrompt:
    given = asked.options | {"visual_tokens": visual_tokens, "reducer": reducer}
    prefill = analyze(model, device, mode, **given)
    given |= {"stage": "generate", "output_tokens": asked.lengths}
    return PricedPrompt(
        estimate=prefill,
        generate=partial(analyze, model, device, mode, **given) if prefill.work.llm else None,
        whole=whole,
    )


def _fronts(
    models: Sequence[Model],
    device: Hardware,
    mode: str,
    scores: Sequence[accuracy.Score],
    asked: _Asked,
) -> list[Front]:
    """One front a benchmark, for the models of one device and precision together."""
    specs = {spec.name: spec for spec in models}
    known = accuracy.published().benchmarks
    priced: dict[tuple[str, int | None, str | None], PricedPrompt] = {}
    groups: dict[str, list[Candidate]] = {name: [] for name in known}
    for score in scores:
        prompt = score.visual_tokens, score.reducer
        key = (score.model, *prompt)
        if key not in priced:
            priced[key] = _prompt(specs[score.model], device, mode, asked, *prompt, None)
        groups[score.benchmark].append(Candidate(score, priced[key]))
    return [
        Front(name, known[name], device.name, mode, tuple(candidates))
        for name, candidates in groups.items()
        if candidates
    ]


def _parts(model: Model) -> list[Model]:
    """A model and, of an LMM, the specs that it names."""
    named = [model.vision, model.connector, model.llm] if isinstance(model, Lmm) else []
    return [model, *(load_model(part) for part in named if isinstance(part, str))]


def _distinct(specs: Iterable[Any]) -> list[Any]:
    """One of each name, in order."""
    return list({spec.name: spec for spec in reversed(list(specs))}.values())[::-1]
