"""A grid: every combination of models, devices, precisions, reducers and counts, a row each."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import ArrayLike, NDArray

from roofline import reducers
from roofline.engine.axes import ANSWER_TOKENS, COUNTS, NO_REDUCER, Kernels, combinations
from roofline.engine.compare import Saving, ratio, saving
from roofline.engine.estimate import Estimate
from roofline.engine.layout import COMPONENTS
from roofline.engine.result import Totals
from roofline.engine.scenario import Scenario, checked_count
from roofline.errors import InputError, ScenarioError, UnsupportedModeError
from roofline.model.architectures import AttentionKind
from roofline.model.polynomial import Array
from roofline.reducers import Reducer
from roofline.specs.catalog import load_hardware, load_model, load_quantization
from roofline.specs.hardware import Hardware
from roofline.specs.models import Model
from roofline.specs.quantization import Quantization

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")
OneOrMore: TypeAlias = T | Iterable[T]
Columns: TypeAlias = dict[str, NDArray[Any]]

_MOST_SAID = 3
"""Reasons in a warning; `left_out` has all."""
_TRUTHS = ("fits", "full_fits", "ttft_tie", "answer_tie")
"""Columns of truths, some of which may not be known."""


def grid(
    model: OneOrMore[str | Model],
    hardware: OneOrMore[str | Hardware],
    quant: OneOrMore[str | Quantization] = "fp16",
    reducer: OneOrMore[str | Reducer | None] = None,
    visual_tokens: ArrayLike | None = None,
    *,
    text_tokens: ArrayLike | None = None,
    batch: ArrayLike | None = None,
    output_tokens: ArrayLike = ANSWER_TOKENS,
    attention: AttentionKind | None = None,
    runtime: OneOrMore[str | None] = None,
    kernels: OneOrMore[Kernels | None] = None,
    accounting: str = "exact",
    library: OneOrMore[str | None] = None,
) -> pd.DataFrame:
    """Price every combination, prompt and answer apart: one row each, sorted as given.

    model, hardware, quant, reducer: names, files or specs, one or several; `none` or None is no
        reducer.
    visual_tokens: one or several counts; left out, what each reducer keeps by default, and all of
        them without one.
    output_tokens: lengths of the answer.
    runtime, kernels, library: as of `analyze`, one or several; None is its default.

    Columns are the axes, then, end to end and by predicted time (elapsed under a runtime, else
    attainable where the device has laws, else the roofline, which stands beside it):

    ttft_s: until the first token, the whole prefill; and of that `vision_time_s`, …, `llm_time_s`.
    time_per_output_token_s: mean over the answer; output_tokens_per_s: of all sequences together.
    answer_time_s: prompt and answer.
    prefill_energy_j, answer_energy_j: empty where the device has no law of energy.
    …_low_s, …_high_s: between which nine in ten kernels leave it.
    prefill_bound, decode_bound: what the larger share of roofline time waits for.
    kv_cache_bytes, peak_memory_bytes, fits: when all has been written.
    ttft_speedup, answer_speedup, …_saving: over the unreduced prompt, which has
        `full_visual_tokens`; …_tie: the difference is inside the error band.

    What cannot be together is left out: a warning says so, `frame.attrs["left_out"]` has the
    reasons. Raises as `analyze` does, and if nothing is left.
    """
    names: dict[str, list[Any]] = {
        "model": _named(model, load_model, "models"),
        "hardware": _named(hardware, load_hardware, "devices"),
        "quant": _named(quant, load_quantization, "precisions"),
        "reducer": _reducers(reducer),
        "runtime": _each(runtime),
        "kernels": _each(kernels),
        "library": _each(library),
    }
    empty = next((name for name, values in names.items() if not values), None)
    if empty is not None:
        raise InputError(f"{empty} names nothing: give at least one")
    given = {"visual_tokens": visual_tokens, "text_tokens": text_tokens, "batch": batch}
    counts = {name: _counts(name, values) for name, values in given.items()}
    lengths = _counts("output_tokens", output_tokens)
    asked = {name: values for name, values in counts.items() if values is not None}
    assert lengths is not None  # it has a default
    flat = [values.ravel() for values in np.meshgrid(*asked.values(), indexing="ij")]
    refused: list[_Refused] = []
    tables: list[Columns] = []
    prompts: dict[str, Any] = dict(zip(asked, flat, strict=True))
    for combination in combinations(names):
        scenario = Scenario.of(
            **combination,
            **prompts,
            attention=attention,
            accounting=accounting,
        )
        priced, impossible = _priced(scenario)
        tables += [_rows(prefill, lengths) for prefill in priced]
        refused += impossible
    if not tables:
        raise refused[0].error
    frame = _frame(tables)
    reasons = tuple(dict.fromkeys(str(each.error) for each in refused))
    frame.attrs["left_out"] = reasons
    if refused:
        left = lengths.size * sum(each.prompts for each in refused)
        warnings.warn(_left_out(left, left + len(frame), reasons), stacklevel=2)
    return frame


class _Refused(Struct, frozen=True):
    """Why some prompts cannot be."""

    error: ScenarioError | UnsupportedModeError
    prompts: int


def _listed(values: Any) -> list[Any]:
    """One value or several, as a list."""
    single = values is None or isinstance(values, str | Struct) or not isinstance(values, Iterable)
    return [values] if single else list(values)


def _each(values: Any) -> list[Any]:
    """One value or several, each once."""
    return list(dict.fromkeys(_listed(values)))


def _named(values: Any, load: Callable[[Any], Any], what: str) -> list[Any]:
    """Specs, each once. Raises InputError for two of one name, which no row could tell apart."""
    specs: dict[str, Any] = {}
    for value in _listed(values):
        spec = load(value)
        if specs.setdefault(spec.name, spec) != spec:
            raise InputError(f"two different {what} are called {spec.name}: rename one")
    return list(specs.values())


def _reducers(values: Any) -> list[Reducer | None]:
    """Each once. Raises as `reducers.find`."""
    found = [
        None if each in (None, NO_REDUCER) else reducers.find(each) for each in _listed(values)
    ]
    return list({each and each.label: each for each in found}.values())


def _counts(name: str, values: ArrayLike | None) -> Array | None:
    """Each once, in order; the default where none are given. Raises ScenarioError."""
    checked = checked_count(name, values)
    if checked is None:
        return None
    if checked.ndim > 1 or not checked.size:
        raise ScenarioError(f"a grid takes {name} as a number or several in a row, at least one")
    return np.array(list(dict.fromkeys(np.atleast_1d(checked).tolist())))


def _priced(scenario: Scenario) -> tuple[list[Estimate], list[_Refused]]:
    """The prefill of all prompts that can be, in order, and why others cannot."""
    (size,) = scenario.shape
    try:
        return [Estimate.of(scenario)], []
    except UnsupportedModeError as error:
        return [], [_Refused(error, size)]
    except ScenarioError as error:
        if size == 1:
            return [], [_Refused(error, size)]
    priced: list[Estimate] = []
    refused: list[_Refused] = []
    for half in (slice(size // 2), slice(size // 2, size)):
        counts = {name: array[half] for name, array in scenario.counts.items() if array.ndim}
        found, impossible = _priced(replace(scenario, counts={**scenario.counts, **counts}))
        priced += found
        refused += impossible
    return priced, refused


def _rows(prefill: Estimate, lengths: Array) -> Columns:
    """A row for each prompt and length of the answer, the lengths next to each other."""
    shape = (*prefill.shape, lengths.size)
    scenario = prefill.scenario
    counts = {
        name: np.broadcast_to(array, prefill.shape)[:, None]
        for name, array in scenario.counts.items()
    } | {"output_tokens": lengths[None, :]}
    answered = "llm" in prefill.components
    whole = prefill
    if answered:
        whole = Estimate.of(replace(scenario, stage="generate", counts=counts))
    columns: dict[str, Any] = {
        "model": prefill.inputs["model"],
        "hardware": prefill.inputs["hardware"],
        "quant": prefill.inputs["quant"],
        "reducer": prefill.inputs["reducer"] or NO_REDUCER,
        **{axis.name: counts[axis.name].astype(int) for axis in COUNTS},
        **{name: prefill.inputs[name] or "none" for name in ("attention", "runtime", "kernels")},
        "accounting": prefill.inputs["accounting"],
        "library": prefill.inputs["library"] or "any",
        **_first_token(prefill),
        **_answer(prefill.end_to_end, whole.end_to_end, counts, answered=answered),
        **_memory(whole.end_to_end),
        **_savings(prefill, whole),
    }
    return {name: _spread(value, shape) for name, value in columns.items()}


def _spread(value: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    """One value, or one for each prompt, or for each prompt and length, over all rows."""
    array = np.asarray(np.nan if value is None else value)
    if array.dtype.kind == "U":
        array = array.astype(object)
    return np.broadcast_to(array[:, None] if array.ndim == 1 else array, shape).ravel()


def _first_token(prefill: Estimate) -> dict[str, Any]:
    whole, parts = prefill.end_to_end, prefill.components
    return {
        "ttft_s": whole.predicted_time_s,
        "ttft_low_s": whole.predicted_time_low_s,
        "ttft_high_s": whole.predicted_time_high_s,
        "ttft_roofline_s": whole.roofline_time_s,
        "prefill_energy_j": whole.energy_j,
        **{
            f"{name}_time_s": parts[name].predicted_time_s if name in parts else 0.0
            for name in COMPONENTS
        },
        "prefill_bound": whole.bound,
        "prefill_flops": whole.flops,
        "prefill_memory_access_bytes": whole.memory_access_bytes,
    }


def _answer(
    prefill: Totals, whole: Totals, counts: Mapping[str, Array], *, answered: bool
) -> dict[str, Any]:
    """What follows the first token; nothing of a model without an LLM, or of an empty answer."""
    if not answered:
        return dict.fromkeys(_ANSWER)
    lengths = np.where(counts["output_tokens"] > 0, counts["output_tokens"], np.nan)
    decode = replace(
        whole,
        roofline_time_s=whole.roofline_time_s - prefill.roofline_time_s[:, None],
        bound_times_s={
            word: time - prefill.bound_times_s[word][:, None]
            for word, time in whole.bound_times_s.items()
        },
    )
    step_s = (whole.predicted_time_s - prefill.predicted_time_s[:, None]) / lengths
    bound = np.where(np.isnan(lengths), np.full(1, None), decode.bound.astype(object))
    values = (
        step_s,
        decode.roofline_time_s / lengths,
        counts["batch"] / step_s,
        bound,
        whole.predicted_time_s,
        whole.predicted_time_low_s,
        whole.predicted_time_high_s,
        whole.roofline_time_s,
        whole.energy_j,
    )
    return dict(zip(_ANSWER, values, strict=True))


_ANSWER = (
    "time_per_output_token_s",
    "time_per_output_token_roofline_s",
    "output_tokens_per_s",
    "decode_bound",
    "answer_time_s",
    "answer_time_low_s",
    "answer_time_high_s",
    "answer_time_roofline_s",
    "answer_energy_j",
)


def _memory(whole: Totals) -> dict[str, Any]:
    names = ("weight_bytes", "kv_cache_bytes", "peak_memory_bytes", "device_memory_bytes", "fits")
    return {name: getattr(whole, name) for name in names}


def _savings(prefill: Estimate, whole: Estimate) -> dict[str, Any]:
    """Against all visual tokens; 1 where nothing is reduced, empty if nobody knows from what."""
    if prefill.unreduced_visual_tokens is None or "llm" not in prefill.components:
        return dict.fromkeys(_SAVINGS)
    full, full_whole = prefill.unreduced() or prefill, whole.unreduced() or whole
    first: Saving = saving(full.end_to_end, prefill.end_to_end)
    answer: Saving = saving(full_whole.end_to_end, whole.end_to_end)
    kv_bytes = full_whole.end_to_end.kv_cache_bytes, whole.end_to_end.kv_cache_bytes
    values = (
        full.scenario.counts["visual_tokens"],
        full_whole.end_to_end.fits,
        first.speedup,
        first.roofline_speedup,
        first.tie,
        answer.speedup,
        answer.roofline_speedup,
        answer.tie,
        first.flops_saving,
        ratio(*kv_bytes),
        answer.peak_memory_saving,
    )
    return dict(zip(_SAVINGS, values, strict=True))


_SAVINGS = (
    "full_visual_tokens",
    "full_fits",
    "ttft_speedup",
    "ttft_roofline_speedup",
    "ttft_tie",
    "answer_speedup",
    "answer_roofline_speedup",
    "answer_tie",
    "prefill_flops_saving",
    "kv_cache_saving",
    "peak_memory_saving",
)


def _frame(tables: Sequence[Columns]) -> pd.DataFrame:
    import pandas as pd

    columns: dict[str, Any] = {
        name: np.concatenate([table[name] for table in tables]) for name in tables[0]
    }
    for name in _TRUTHS:
        known = columns[name].astype(float)
        columns[name] = np.where(np.isnan(known), None, known.astype(object) == 1)
    types = dict.fromkeys(_TRUTHS, "boolean") | {"full_visual_tokens": "Int64"}
    return pd.DataFrame(columns).astype(types)


def _left_out(left: int, of: int, reasons: Sequence[str]) -> str:
    said = "; ".join(reasons[:_MOST_SAID])
    more = len(reasons) - _MOST_SAID
    rest = f'; and {more} more reasons in `attrs["left_out"]`' if more > 0 else ""
    return f"left out {left:,} of {of:,} combinations: {said}{rest}"
