"""Prompts, deployments and studies of which a test chose every figure: what is said of them.

Scenarios are real, those of a toy; times, bytes and FLOPs are whatever the test says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import toy
from msgspec.structs import replace
from numpy.typing import ArrayLike

from roofline.engine.compare import Comparison, compare
from roofline.engine.estimate import Estimate
from roofline.engine.result import OpTotals, ReducerFacts, Totals
from roofline.explore.study import Candidate, Deployment, Front, PricedPrompt, Study
from roofline.records.published import Benchmark, Score

GB = 1e9
LAWS = {"origin": "fitted", "source": "s", "date": "2026-01-01", "conditions": "c"}


@lru_cache
def _base(kind: str) -> Estimate:
    if kind == "vision":
        return toy.toy(toy.lmm().vision, visual_tokens=None)
    return toy.toy(toy.lmm() if kind == "lmm" else toy.llm())


def totals(roofline_s: ArrayLike, attainable_s: ArrayLike | None = None, **given: Any) -> Totals:
    """10 GB of weights, 2 of KV cache and 1 of activations on 100 GB; 500 TFLOP, 20 GB moved.

    error_s: of the attainable time. compute_s: of the roofline time, in ops bound by compute; the
    rest is bound by memory. By default all of it.
    """
    figures: dict[str, Any] = {
        "flops": 500e12,
        "vector_flops": 3e12,
        "memory_access_bytes": 20 * GB,
        "activation_store_bytes": 4 * GB,
        "weight_bytes": 10 * GB,
        "kv_cache_bytes": 2 * GB,
        "peak_activation_bytes": 1 * GB,
        "host_time_s": None,
        "device_memory_bytes": 100 * GB,
    }
    compute_s = given.pop("compute_s", roofline_s)
    error_s = given.pop("error_s", None)
    chosen = figures | given
    arrays: dict[str, Any] = {
        name: None
        if value is None
        else np.broadcast_to(np.asarray(value, float), np.shape(roofline_s))
        for name, value in chosen.items()
    }
    return Totals(
        **(arrays | {"device_memory_bytes": float(chosen["device_memory_bytes"])}),
        roofline_time_s=np.asarray(roofline_s, float),
        bound_times_s={"compute": np.asarray(compute_s, float)},
        attainable_time_s=None if attainable_s is None else np.asarray(attainable_s, float),
        attainable_error_s=None if error_s is None else np.asarray(error_s, float),
    )


def op(component: str, name: str, kind: str, roofline_s: float, **given: Any) -> OpTotals:
    """One op of a prefill; 10 GFLOP and 1 GB read, all of it weights, unless told otherwise."""
    figures: dict[str, Any] = {
        "phase": "prefill",
        "layers": "",
        "count": np.asarray(1.0),
        "launches": np.int64(1),
        "flops": np.asarray(10e9),
        "vector_flops": np.asarray(0.0),
        "weight_read_bytes": np.asarray(1e9),
        **dict.fromkeys(
            ("activation_read_bytes", "activation_write_bytes", "kv_read_bytes", "kv_write_bytes"),
            np.asarray(0.0),
        ),
        "resource_times_s": {},
        "attainable_time_s": None,
        "attainable_error_s": None,
        "attainable_origin": None,
        "bound": np.asarray("memory"),
    }
    return OpTotals(
        component=component,
        name=name,
        kind=kind,
        roofline_time_s=np.asarray(roofline_s),
        **(figures | given),
    )


def reduced_by(label: str, usual: int = 7, *, settles_count: bool = False) -> ReducerFacts:
    """A reducer that usually leaves so many tokens of an image."""
    return ReducerFacts(label, label, "features", usual, "section 3", "stated", settles_count)


def estimated(
    whole: Totals,
    *,
    kind: str = "lmm",
    reducer: ReducerFacts | None = None,
    components: Mapping[str, Totals] | None = None,
    device: Mapping[str, Any] | None = None,
    ops: Sequence[OpTotals] = (),
    comparison: Any = None,
    counts: Mapping[str, ArrayLike] | None = None,
    **inputs: Any,
) -> Estimate:
    """`whole` end to end. inputs: what it says that it was asked, by axis."""
    base = _base(kind)
    scenario = base.scenario.with_counts(**(counts or {}))
    chosen = {"model": "m", "hardware": "d", "text_tokens": 40, "visual_tokens": 100} | inputs
    figures = base.device | {
        "name": chosen["hardware"],
        "memory_bytes": whole.device_memory_bytes,
        "kernel_laws": None if whole.attainable_time_s is None else LAWS,
    }
    found = replace(
        base,
        inputs=base.inputs | {"reducer": reducer and reducer.label} | chosen,
        components=components or dict.fromkeys(base.components, whole),
        end_to_end=whole,
        reducer=reducer,
        device=figures | dict(device or {}),
        scenario=scenario,
    )
    found.__dict__.update(ops=ops, comparison=comparison)
    return found


def prompt(
    visual_tokens: int,
    whole: Totals,
    *,
    reducer: str | None = None,
    unreduced: PricedPrompt | None = None,
    answers: Mapping[int, Totals] | None = None,
    at_once: int = 5,
    **given: Any,
) -> PricedPrompt:
    """Priced; answers: length → totals of prompt and answer, from length 0 on."""
    facts = None if reducer is None else reduced_by(reducer)
    chosen = {"visual_tokens": visual_tokens, "reducer": facts} | given
    made = PricedPrompt(estimate=estimated(whole, **chosen), generate=None, unreduced=unreduced)
    generation = None
    if answers is not None:
        generation = estimated(
            _stacked(list(answers.values())), counts={"output_tokens": list(answers)}, **chosen
        )
    made.__dict__.update(generation=generation, sequences_that_fit=at_once)
    return made


def lawless(visual_tokens: int, roofline_s: float, **given: Any) -> PricedPrompt:
    """Priced at the roofline alone; some of `given` is of its totals."""
    names = ("weight_bytes", "kv_cache_bytes", "compute_s", "host_time_s")
    figures = {n: given.pop(n) for n in names if n in given}
    return prompt(visual_tokens, totals(roofline_s, **figures), **given)


def ways(*times_s: float, whole_s: float = 1.2, **given: Any) -> Deployment:
    """100 visual tokens in 1.2 s, and reducers r0, r1, … that leave 20, 21, … of them."""
    whole = lawless(100, whole_s, **given)
    reduced = (
        lawless(20 + i, roofline_s, reducer=f"r{i}", unreduced=whole, **given)
        for i, roofline_s in enumerate(times_s)
    )
    return deployed(whole, *reduced)


def _stacked(parts: Sequence[Totals]) -> Totals:
    """Totals of several lengths as arrays."""
    first = parts[0]
    stacked = {
        name: None if value is None else np.array([getattr(part, name) for part in parts])
        for name in first.__struct_fields__
        if not isinstance(value := getattr(first, name), float | dict)
    }
    compute = np.array([part.bound_times_s["compute"] for part in parts])
    return replace(first, **stacked, bound_times_s={"compute": compute})


def deployed(
    *prompts: PricedPrompt,
    ridge: int | None = None,
    floor: int = 1,
    most: int = 100,
    along: Totals | None = None,
) -> Deployment:
    """A curve to `most` visual tokens: bound by memory up to `ridge`, as quick as one to `floor`.

    Without a ridge, no curve. along: totals of 1, 2, … visual tokens that a test made itself.
    """
    curve = None
    if along is not None:
        tokens = np.arange(1, np.size(along.roofline_time_s) + 1)
        curve = estimated(along, counts={"visual_tokens": tokens})
    elif ridge is not None:
        tokens = np.arange(1, most + 1)
        roofline_s = np.where(tokens <= floor, 1.0, 2.0)
        compute_s = np.where(tokens <= ridge, 0.0, roofline_s)
        whole = totals(roofline_s, compute_s=compute_s)
        curve = estimated(whole, counts={"visual_tokens": tokens})
    inputs = {
        name: value
        for name, value in prompts[0].estimate.inputs.items()
        if name in ("model", "hardware", "quant", "text_tokens", "batch", "runtime")
    }
    return Deployment(inputs=inputs, prompts=prompts, curve=curve)


def studied(*deployments: Deployment, **given: Any) -> Study:
    """A study of these; inputs: what was asked, of the axes that have several values."""
    names = ("model", "hardware", "quant", "text_tokens", "batch")
    prompts = [p for deployment in deployments for p in deployment.prompts]
    chosen: dict[str, Any] = {
        name: list(dict.fromkeys(deployment.inputs[name] for deployment in deployments))
        for name in names
    }
    lengths = {int(max(p.output_tokens)) for p in prompts if p.output_tokens.size}
    chosen["output_tokens"] = sorted(lengths)
    counts = {p.visual_tokens: None for p in prompts}
    inputs = chosen | {"visual_tokens": list(counts), "reducer": [], "attention": "flash"}
    inputs |= {"runtime": [], "kernels": "unfused"}
    fields: dict[str, Any] = {"inputs": inputs, "specs": {}} | given
    return Study(deployments=deployments, **fields)


def candidate(method: str, score: float, one: PricedPrompt, **given: Any) -> Candidate:
    """A published score of a method, and what it costs."""
    fields: dict[str, Any] = {
        "benchmark": "B",
        "llm": "An-LLM",
        "model": one.model,
        "reducer": one.reducer,
        "visual_tokens": one.visual_tokens,
        "training": "",
        "printed": f"{score:.1f}",
        "sources": ("table 1, row 2",),
    }
    return Candidate(Score(method=method, value=score, **(fields | given)), one)


def front_of(*candidates: Candidate, name: str = "B", **given: Any) -> Front:
    """Of a benchmark from 0 to 100 %, where a point is a point."""
    unit: dict[str, Any] = {"metric": "accuracy", "unit": "%", "full_marks": 100.0}
    benchmark = Benchmark(**unit, higher_is_better=True)
    inputs: dict[str, Any] = {"hardware": "d", "quant": "fp16", "text_tokens": 40, "batch": 1}
    inputs |= given
    return Front(name, benchmark, inputs["hardware"], inputs["quant"], inputs, candidates)


def against(
    full: Totals,
    reduced: Totals,
    *,
    visual_tokens: int = 100,
    components: Mapping[str, Totals] | None = None,
) -> Comparison:
    """A prompt that is as `reduced` says, with these components, against that of all tokens."""
    parts = dict(components or {"llm": reduced})
    return compare(np.asarray(float(visual_tokens)), ({"llm": full}, full), (parts, reduced))
