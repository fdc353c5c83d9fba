"""What is asked, checked and with its specs read: one value, or an array, on every axis."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Mapping
from typing import Any, TypedDict, cast

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import ArrayLike

from roofline import reducers
from roofline.engine.axes import (
    ATTENTIONS,
    AXES,
    BY_NAME,
    COUNTS,
    KERNELS,
    NO_REDUCER,
    STAGES,
    Kernels,
    Stage,
)
from roofline.engine.layout import Layers
from roofline.engine.pictures import DEFAULT_PICTURE, pictures_of, written
from roofline.errors import ScenarioError
from roofline.model.architectures import AttentionKind
from roofline.model.polynomial import Array
from roofline.reducers import Reducer
from roofline.specs.catalog import load_hardware, load_model, load_quantization
from roofline.specs.hardware import Hardware
from roofline.specs.models import Lmm, Model
from roofline.specs.quantization import Quantization
from roofline.specs.runtimes import Runtime, find_runtime

MOST = 10_000_000
"""Largest count of tokens or sequences: beyond it sums would not be exact in float64."""


class Axes(TypedDict, total=False):
    """Keywords of the axes that have defaults, as a caller writes them; `engine.axes` has the rest.

    Counts are numbers or arrays that broadcast.
    """

    text_tokens: ArrayLike | None
    batch: ArrayLike | None
    output_tokens: ArrayLike | None
    pictures: str | Iterable[str] | None
    reducer: str | Reducer | None
    stage: Stage
    runtime: str | Runtime | None
    kernels: Kernels | None
    attention: AttentionKind | None
    accounting: str
    library: str | None
    vision_layers: Layers | None
    llm_layers: Layers | None


class Scenario(Struct, frozen=True, eq=False, kw_only=True):
    """A value on every axis."""

    model: Model
    hardware: Hardware | None
    """None to count only."""
    quant: Quantization
    reducer: Reducer | None
    counts: Mapping[str, Array]
    """float64 arrays that broadcast, by axis; no `visual_tokens` where the model decides."""
    stage: Stage
    pictures: str | None = None
    """What a sample shows, as `pictures_of` reads it; None where all are of one size."""
    attention: AttentionKind | None
    """None where the accounting decides."""
    runtime: Runtime | None = None
    """None for kernels alone."""
    kernels: Kernels | None = None
    """None where the runtime decides."""
    accounting: str
    library: str | None = None
    """None where the runtime decides."""
    vision_layers: Layers | None = None
    llm_layers: Layers | None = None

    @classmethod
    def of(
        cls,
        model: str | Model,
        hardware: str | Hardware | None = None,
        quant: str | Quantization = "fp16",
        *,
        reducer: str | Reducer | None = None,
        pictures: str | Iterable[str] | None = None,
        stage: Stage = "prefill",
        attention: AttentionKind | None = None,
        runtime: str | Runtime | None = None,
        kernels: Kernels | None = None,
        accounting: str = "exact",
        library: str | None = None,
        vision_layers: Layers | None = None,
        llm_layers: Layers | None = None,
        **counts: ArrayLike | None,
    ) -> Scenario:
        """Read the specs that are named, and check.

        Raises UnknownNameError, SpecError; ScenarioError for counts that are not whole, too small
        or large, or do not broadcast, and for what does not go together; TypeError for a keyword
        that is no axis.
        """
        names: dict[str, object] = {
            "model": model,
            "hardware": hardware,
            "quant": quant,
            "reducer": reducer,
            "stage": stage,
            "attention": attention,
            "runtime": runtime,
            "kernels": kernels,
            "accounting": accounting,
            "library": library,
        }
        for name, named in names.items():
            if isinstance(named, Iterable) and not isinstance(named, str):
                raise _several(name, named)
        known: tuple[tuple[str, str | None, tuple[str | None, ...]], ...] = (
            ("stage", stage, STAGES),
            ("attention", attention, (None, *ATTENTIONS)),
            ("kernels", kernels, (None, *KERNELS)),
        )
        for name, value, choices in known:
            if value not in choices:
                listed = ", ".join(BY_NAME[name].choices)
                raise ScenarioError(f"unknown {name} {value!r}: choose one of {listed}")
        if stage == "generate" and counts.get("output_tokens") is None:
            raise ScenarioError(
                "the stage generate needs output tokens: give --output-tokens (output_tokens)"
            )
        for name in counts:
            if name not in BY_NAME or not BY_NAME[name].is_count:
                raise TypeError(f"there is no axis {name!r}: {', '.join(BY_NAME)}")
        checked = {axis.name: checked_count(axis.name, counts.get(axis.name)) for axis in COUNTS}
        spec = load_model(model)
        scenario = cls(
            model=spec,
            hardware=None if hardware is None else load_hardware(hardware),
            quant=load_quantization(quant),
            reducer=None if reducer in (None, NO_REDUCER) else reducers.find(reducer),
            counts={name: array for name, array in checked.items() if array is not None},
            stage=stage,
            pictures=_pictures(spec, pictures),
            attention=attention,
            runtime=find_runtime(runtime) if isinstance(runtime, str) else runtime,
            kernels=kernels,
            accounting=accounting,
            library=library,
            vision_layers=vision_layers,
            llm_layers=llm_layers,
        )
        try:
            scenario.shape  # noqa: B018  # broadcasting is the check
        except ValueError:
            shapes = ", ".join(f"{n} {array.shape}" for n, array in scenario.counts.items())
            raise ScenarioError(f"counts do not broadcast: their shapes are {shapes}") from None
        return scenario

    @property
    def shape(self) -> tuple[int, ...]:
        """Of every figure of its estimate."""
        return np.broadcast_shapes(*(array.shape for array in self.counts.values()))

    def with_counts(self, **counts: ArrayLike) -> Scenario:
        """The same with other counts, by axis. Raises ScenarioError for values that are none."""
        checked = {name: cast(Array, checked_count(name, value)) for name, value in counts.items()}
        return replace(self, counts={**self.counts, **checked})

    @property
    def inputs(self) -> dict[str, Any]:
        """What was asked, by axis: names of specs, counts as plain numbers or nested lists."""
        values: dict[str, Any] = {
            "model": self.model.name,
            "hardware": self.hardware and self.hardware.name,
            "quant": self.quant.name,
            "reducer": self.reducer and self.reducer.label,
            "pictures": self.pictures,
            "stage": self.stage,
            "attention": self.attention,
            "runtime": self.runtime and self.runtime.name,
            "kernels": self.kernels,
            "accounting": self.accounting,
            "library": self.library,
        }
        values |= {name: plain(array) for name, array in self.counts.items()}
        return {axis.name: values.get(axis.name) for axis in AXES}


def _pictures(model: Model, given: str | Iterable[str] | None) -> str | None:
    """What a sample shows: what is given, or one picture to a model that asks how large it is."""
    if given is None:
        if not isinstance(model, Lmm) or model.image_tokens is None:
            return None
        given = written([DEFAULT_PICTURE])
    return written(pictures_of(given))


def _several(name: str, named: Iterable[object]) -> ScenarioError:
    """For a list where one name is expected."""
    remedy = "call once for each"
    if BY_NAME[name].varied:
        remedy = f"`roofline.grid({name}=[…], …)` prices every combination as one frame"
    return ScenarioError(f"{name} takes one name here, not {reprlib.repr(named)}: {remedy}")


def checked_count(name: str, values: ArrayLike | None) -> Array | None:
    """Counts of an axis as an array; None where there are none and no default is.

    Raises ScenarioError for what is no whole number, too small or too large.
    """
    axis = BY_NAME[name]
    if values is None:
        return None if axis.default is None else np.asarray(float(axis.default))
    least = axis.least or 0
    try:
        array = np.asarray(values)
    except ValueError:  # a ragged list
        array = np.asarray(None)
    if array.dtype.kind not in "iuf":  # neither truths nor text, which NumPy would convert
        raise ScenarioError(
            f"{axis.words} must be a whole number from {least} to {MOST:,}, "
            f"not {reprlib.repr(values)}"
        )
    array = array.astype(np.float64)
    wrong = array[~((array >= least) & (array <= MOST) & (array == np.floor(array)))]
    if wrong.size and MOST < wrong.flat[0] < np.inf:
        raise ScenarioError(f"{axis.words} must be at most {MOST:,}, not {wrong.flat[0]:g}")
    if wrong.size:
        raise ScenarioError(f"{axis.words} must be a whole number ≥ {least}, not {wrong.flat[0]:g}")
    return array


_EXACT = 2.0**53
"""Below it every whole number is a float64."""


def plain(value: Any) -> Any:
    """NumPy → JSON: arrays to lists, whole floats to ints, what is not finite to null."""
    if isinstance(value, np.ndarray) and value.ndim:
        if value.dtype.kind == "f" and (np.abs(value) < _EXACT).all() and not (value % 1).any():
            return value.astype(np.int64).tolist()  # counts, of which there may be millions
        return [plain(item) for item in value]
    item = value.item() if isinstance(value, np.generic | np.ndarray) else value
    if isinstance(item, str):
        return str(item)  # NumPy's own are strings to `json` alone
    if isinstance(item, float):
        if not np.isfinite(item):
            return None
        return int(item) if item.is_integer() else item
    return item
