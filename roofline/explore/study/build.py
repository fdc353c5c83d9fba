"""`study`: names in, every estimate that a report needs out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from itertools import product
from typing import Any, TypeAlias, TypeVar

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from roofline import reducers
from roofline.engine.analysis import analyze
from roofline.engine.axes import ANSWER_TOKENS, BY_NAME, COUNTS, NO_REDUCER, VARIED, combinations
from roofline.engine.estimate import Estimate
from roofline.engine.layout import all_visual_tokens
from roofline.engine.scenario import checked_count
from roofline.errors import InputError, ScenarioError, UnsupportedModeError
from roofline.explore.study.deployment import Deployment
from roofline.explore.study.priced_prompt import PricedPrompt
from roofline.explore.study.study import MeasuredRun, Study
from roofline.explore.study.tradeoff import Candidate, Front
from roofline.records import published
from roofline.records.measurement import spec_hashes
from roofline.specs.catalog import distinct, load_hardware, load_model, load_quantization
from roofline.specs.models import Lmm, Model
from roofline.specs.runtimes import find_runtime

Prompt: TypeAlias = tuple[int | None, str | None]
"""Visual tokens and reducer, each left to the other or to the model where it is None."""
T = TypeVar("T")

DEFAULT_REDUCER = "prumerge"
MOST_OUTPUT_TOKENS = 100_000
"""Each step is priced: longer answers would take minutes, and no model here has the context."""
_LENGTHS = 33


def study(
    *,
    records: Sequence[MeasuredRun] = (),
    with_accuracy: bool = False,
    attention: str | None = None,
    kernels: str | None = None,
    library: str | None = None,
    pictures: str | Iterable[str] | None = None,
    **axes: Any,
) -> Study:
    """Price every combination; what the model's images give unreduced comes beside it.

    Axes are those of `analyze`, each a value or a sequence of values: model, hardware, quant,
    visual_tokens, reducer, text_tokens, batch, output_tokens, runtime; of attention, kernels,
    library and pictures one for all.

    visual_tokens: of a sequence; left out, each reducer's default.
    reducer: names, `none` for fewer tokens without anybody's work; left out, PruMerge where it
        applies. A count of all visual tokens is priced without.
    output_tokens: lengths of the answers that are looked at, up to the longest.
    records: of `roofline profile`. Where neither visual tokens nor reducers are given, the prompts
        are theirs.
    with_accuracy: whether to hold published accuracies against cost.

    What cannot be together is left out, and said so: a precision that one of the devices does not
    have, a reducer beside a model that is no LMM.
    Raises InputError for an empty selection or one that makes no sense, and as `analyze` does.
    """
    one_for_all = {
        "attention": attention,
        "kernels": kernels,
        "library": library,
        "pictures": pictures or None,
    }
    given = {axis.name: _listed(axes.pop(axis.name, None)) for axis in VARIED}
    if axes:
        raise TypeError(f"there is no axis {next(iter(axes))!r}: {', '.join(given)}")
    lacking = [BY_NAME[name] for name in ("model", "hardware") if not given[name]]
    if lacking:
        options = " and ".join(axis.option for axis in lacking)
        what = " and ".join(f"no {axis.name}" for axis in lacking)
        raise InputError(f"nothing to report on: {what} is named; give {options}")
    lengths = tuple(sorted(given.pop("output_tokens") or [ANSWER_TOKENS]))
    for axis in VARIED:
        if axis.name in given and axis.default is not None:
            given[axis.name] = given[axis.name] or [axis.default]
    for length in lengths:
        if not 1 <= length <= MOST_OUTPUT_TOKENS:
            raise InputError(
                f"output tokens must be a whole number from 1 to {MOST_OUTPUT_TOKENS}, not {length}"
            )
    for axis in COUNTS:
        for value in given.get(axis.name, ()):
            checked_count(axis.name, value)
    for name in given["reducer"]:
        if name != NO_REDUCER:
            reducers.find(name)
    prompts = _prompts(given["visual_tokens"], given["reducer"], records)
    given["model"] = distinct(load_model(name) for name in given["model"])
    given["hardware"] = distinct(load_hardware(name) for name in given["hardware"])
    given["quant"] = distinct(load_quantization(name) for name in given["quant"])
    given["runtime"] = [
        find_runtime(one) if isinstance(one, str) else one for one in given["runtime"]
    ]
    scores = published.scores(m.name for m in given["model"]) if with_accuracy else []
    deployed = {n: v for n, v in given.items() if n not in ("visual_tokens", "reducer")}
    deployments: list[Deployment] = []
    fronts: list[Front] = []
    refused: list[InputError] = []
    unserved: set[tuple[str, str]] = set()
    for combination in combinations(deployed):
        target = combination["hardware"].name, combination["quant"].name
        if target in unserved:
            continue
        try:
            request = _DeploymentRequest(prompts, combination | one_for_all, lengths)
            deployment, impossible = _deployment(request)
        except UnsupportedModeError as error:
            refused.append(error)
            unserved.add(target)
            continue
        refused += impossible
        if deployment:
            deployments.append(deployment)
    if not deployments:
        raise refused[0]
    if scores:
        devices = {n: v for n, v in deployed.items() if n != "model"}
        for combination in combinations(devices):
            if (combination["hardware"].name, combination["quant"].name) not in unserved:
                request = _DeploymentRequest(prompts, combination | one_for_all, lengths)
                fronts += _fronts(given["model"], scores, request)
    return Study(
        deployments=tuple(deployments),
        records=tuple(records),
        fronts=tuple(fronts),
        skipped=tuple(dict.fromkeys(map(str, refused))),
        inputs={
            **{
                name: [getattr(value, "name", value) for value in values]
                for name, values in deployed.items()
            },
            "output_tokens": list(lengths),
            "visual_tokens": _distinct_values(count for count, _ in prompts),
            "reducer": _distinct_values(reducer for _, reducer in prompts),
            **{
                name: values
                for name in one_for_all
                if (
                    values := _distinct_values(
                        one.prompts[0].estimate.inputs[name] for one in deployments
                    )
                )
                or name != "pictures"  # which a model of one size has not
            },
        },
        specs=spec_hashes(
            [*(part for spec in given["model"] for part in _parts(spec)), *given["hardware"]]
        ),
    )


def _listed(values: Any) -> list[Any]:
    """One value or several, each once, as a list."""
    if values is None:
        return []
    single = isinstance(values, str | Struct) or not isinstance(values, Iterable)
    return list(dict.fromkeys([values] if single else values))


def _prompts(
    visual_tokens: Sequence[int], reducers: Sequence[str], records: Sequence[MeasuredRun]
) -> tuple[Prompt, ...]:
    """All combinations, or what the records ran."""
    runs = [measured.record.inputs for measured in records]
    if runs and not (visual_tokens or reducers):
        return tuple(
            dict.fromkeys((run["visual_tokens"], run["reducer"] or NO_REDUCER) for run in runs)
        )
    counts: Sequence[int | None] = visual_tokens or [None]
    names: Sequence[str | None] = reducers or [None]
    return tuple(dict.fromkeys(product(counts, names)))


def _distinct_values(values: Iterable[T | None]) -> list[T]:
    return [value for value in dict.fromkeys(values) if value is not None]


def _curve(lengths: Sequence[int]) -> NDArray[np.float64]:
    """None, one, … and the most output tokens, in even ratios; last steps stand alone."""
    even = np.geomspace(1, max(lengths), _LENGTHS).round()
    return np.unique([0.0, *even, *lengths, *(length - 1 for length in lengths)])


class _DeploymentRequest(Struct, frozen=True):
    """What a deployment is asked."""

    prompts: tuple[Prompt, ...]
    axes: dict[str, Any]
    """All but visual tokens, reducer and output tokens."""
    lengths: tuple[int, ...]
    """Of answers."""

    def estimate(self, visual_tokens: Any, reducer: str | None, **changes: Any) -> Estimate:
        """Of a prompt of the prefill."""
        return analyze(**self.axes, **changes, visual_tokens=visual_tokens, reducer=reducer)

    def prompt(
        self, visual_tokens: int | None, reducer: str | None, unreduced: PricedPrompt | None
    ) -> PricedPrompt:
        """Priced, compared with `unreduced`."""
        prefill = self.estimate(visual_tokens, reducer)
        generate = partial(
            self.estimate,
            visual_tokens,
            reducer,
            stage="generate",
            output_tokens=_curve(self.lengths),
        )
        return PricedPrompt(
            estimate=prefill,
            generate=generate if "llm" in prefill.components else None,
            unreduced=unreduced,
        )


def _deployment(request: _DeploymentRequest) -> tuple[Deployment | None, list[ScenarioError]]:
    """With the prompts that can be, if any, and why others cannot."""
    impossible: list[ScenarioError] = []
    first = request.prompt(None, None, None)
    model, per_sample = request.axes["model"], first.estimate.unreduced_visual_tokens
    has_llm = "llm" in first.estimate.components
    fulls: dict[int, PricedPrompt] = {first.visual_tokens: first} if per_sample else {}
    found: dict[tuple[int, str | None], PricedPrompt] = {}

    def unreduced(count: int, reducer: str | None) -> PricedPrompt | None:
        """What a prompt of so many is compared with."""
        if not per_sample or not has_llm or not count:
            return None
        tokens = all_visual_tokens(np.asarray(count), per_sample, reduced=reducer is not None)
        full = int(tokens)
        if full not in fulls:
            fulls[full] = request.prompt(full, None, None)
        return fulls[full]

    for count, named in request.prompts:
        reducer = _reducer(model, count, per_sample, named)
        if count is None and reducer is None:
            one = first
        elif reducer is None and per_sample and has_llm and count and count % per_sample == 0:
            one = unreduced(count, None) or first
        else:
            try:
                one = request.prompt(
                    count, reducer, unreduced(1 if count is None else count, reducer)
                )
            except ScenarioError as error:
                impossible.append(error)
                continue
        found.setdefault((one.visual_tokens, one.reducer), one)
    if not found:
        return None, impossible
    compared = {id(one.unreduced or one) for one in found.values()}
    before = (one for one in fulls.values() if id(one) in compared)
    rows = list({id(one): one for one in (*before, *found.values())}.values())
    most = max(prompt.visual_tokens for prompt in rows)
    curve = request.estimate(np.arange(1, most + 1), None) if most and has_llm else None
    names = {"runtime": None} | {
        name: getattr(value, "name", value) for name, value in request.axes.items()
    }
    for name in ("attention", "kernels", "library", "pictures"):
        del names[name]
    return Deployment(inputs=names, prompts=tuple(rows), curve=curve), impossible


def _reducer(
    model: Model, count: int | None, per_sample: int | None, named: str | None
) -> str | None:
    """Who leaves a count of visual tokens; None is fewer tokens by themselves."""
    if named is not None:
        return None if named == NO_REDUCER else named
    if not isinstance(model, Lmm):
        return None
    assert per_sample is not None  # every LMM tells
    return DEFAULT_REDUCER if count is None or 0 < count < per_sample else None


def _fronts(
    models: Sequence[Model], scores: Sequence[published.Score], request: _DeploymentRequest
) -> list[Front]:
    """One front a benchmark, for the models of one device and precision together."""
    specs = {spec.name: spec for spec in models}
    known = published.published().benchmarks
    priced: dict[tuple[str, int | None, str | None], PricedPrompt] = {}
    groups: dict[str, list[Candidate]] = {name: [] for name in known}
    for score in scores:
        prompt = score.visual_tokens, score.reducer
        key = (score.model, *prompt)
        if key not in priced:
            own = _DeploymentRequest(
                request.prompts, request.axes | {"model": specs[score.model]}, request.lengths
            )
            priced[key] = own.prompt(*prompt, None)
        groups[score.benchmark].append(Candidate(score, priced[key]))
    inputs = {n: getattr(value, "name", value) for n, value in request.axes.items()}
    return [
        Front(name, known[name], inputs["hardware"], inputs["quant"], inputs, tuple(candidates))
        for name, candidates in groups.items()
        if candidates
    ]


def _parts(model: Model) -> list[Model]:
    """A model and, of an LMM, the specs that it names."""
    named = [model.vision, model.connector, model.llm] if isinstance(model, Lmm) else []
    return [model, *(load_model(part) for part in named if isinstance(part, str))]
