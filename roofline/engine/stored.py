"""Records of the engine as files: plain JSON with a version, read strictly.

A file holds every figure of every component, and the specs in full, parts and borrowed laws
included, so that it says the same on another machine, under another catalog and after an update.
Ops and the comparison are computed from the specs when they are asked for.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from roofline.device.borrowed import laws_of, with_own_laws
from roofline.device.resources import BOUNDS
from roofline.engine.accounting import ACCOUNTINGS
from roofline.engine.axes import BY_NAME
from roofline.engine.energy import FROM_ENERGY, energy_law
from roofline.engine.layout import COMPONENTS
from roofline.engine.parts import LMM_PARTS, in_full
from roofline.engine.price import ELAPSED, FROM_HOST, FROM_LAWS
from roofline.engine.result import Quantities, ReducerFacts, Totals
from roofline.engine.scenario import Scenario
from roofline.errors import InputError, OutputError, SpecError
from roofline.files import check_file, swap_in
from roofline.model.polynomial import Array
from roofline.specs.catalog import mode_in_full
from roofline.specs.hardware import Hardware
from roofline.specs.kernel_laws import kernel_laws_section, read_kernel_laws
from roofline.specs.models import MODEL_KINDS, Lmm, Model
from roofline.specs.quantization import Quantization
from roofline.specs.reading import build, convert, read_marked
from roofline.specs.runtimes import Runtime
from roofline.specs.sourced import PositiveInt
from roofline.version import __version__

FORMAT = 1
_MARK = "roofline_estimate"

_Part = TypeVar("_Part", bound=Quantities)


class EstimateFileError(InputError):
    """A file that is no estimate, is damaged, or was written by a newer version."""


class _StoredScenario(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was asked, with its specs."""

    model: dict[str, Any]
    hardware: dict[str, Any] | None
    quant: dict[str, Any]
    reducer: str | None
    counts: dict[str, Any]
    stage: str
    attention: str | None
    runtime: dict[str, Any] | None
    kernels: str | None
    accounting: str
    library: str | None
    vision_layers: list[tuple[int | float, ...]] | None
    llm_layers: list[tuple[int | float, ...]] | None
    pictures: str | None = None


class _StoredDevice(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The device's figures that an estimate rests on."""

    name: str
    title: str
    memory_bytes: float
    memory_bytes_per_s: float
    vector_flops_per_s: float
    peaks: dict[str, dict[str, str | float]]
    kernel_laws: dict[str, str] | None
    host: dict[str, str] | None
    energy: dict[str, str] | None


class _StoredEstimate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file's fields, behind its mark."""

    version: str
    """Of the package that priced it."""
    inputs: dict[str, Any]
    device: _StoredDevice | None
    """None of counts on no device."""
    main: str
    unreduced_visual_tokens: PositiveInt | None
    reducer: ReducerFacts | None
    components: dict[str, dict[str, Any]]
    end_to_end: dict[str, Any]
    scenario: _StoredScenario


def document(fields: dict[str, Any]) -> dict[str, Any]:
    """The JSON document of a record's fields."""
    scenario = _in_full(fields["scenario"])
    stored = {
        "version": __version__,
        "inputs": fields["inputs"],
        "device": fields.get("device"),
        "main": fields["main"],
        "unreduced_visual_tokens": fields["unreduced_visual_tokens"],
        "reducer": fields["reducer"] and msgspec.to_builtins(fields["reducer"]),
        "components": {name: _figures(part) for name, part in fields["components"].items()},
        "end_to_end": _figures(fields["end_to_end"]),
        "scenario": {
            "model": msgspec.to_builtins(scenario.model),
            "hardware": scenario.hardware and _hardware_fields(scenario.hardware),
            "quant": msgspec.to_builtins(scenario.quant),
            "reducer": scenario.reducer and scenario.reducer.label,
            "counts": {name: _plain(array) for name, array in scenario.counts.items()},
            "stage": scenario.stage,
            "attention": scenario.attention,
            "runtime": scenario.runtime and msgspec.to_builtins(scenario.runtime),
            "kernels": scenario.kernels,
            "accounting": scenario.accounting,
            "library": scenario.library,
            "pictures": scenario.pictures,
            "vision_layers": _layers(scenario.vision_layers),
            "llm_layers": _layers(scenario.llm_layers),
        },
    }
    return {_MARK: FORMAT, **stored}


def _in_full(scenario: Scenario) -> Scenario:
    """With specs that refer to no others. Raises UnknownNameError, SpecError."""
    return replace(
        scenario,
        model=in_full(scenario.model),
        hardware=scenario.hardware and with_own_laws(scenario.hardware),
        quant=mode_in_full(scenario.quant),
    )


def write(fields: dict[str, Any], file: str | os.PathLike[str], *, force: bool = False) -> None:
    """Write a record's fields to a file, all of them or nothing.

    Raises OutputError for a file that holds something, unless forced, or cannot be written;
    UnknownNameError and SpecError for what a spec refers to and is gone.
    """
    if 0 in fields["scenario"].shape:
        raise OutputError("an estimate of no configuration holds no figures to save")
    import json  # not needed by a command that only prints

    try:
        text = json.dumps(document(fields), indent=1, allow_nan=False, ensure_ascii=False)
    except ValueError:
        raise OutputError("an estimate with figures that are not finite is not saved") from None
    check_file(str(file), force=force, remedy="force=True to replace it")
    swap_in({Path(file): f"{text}\n".encode()})


def read(file: str | os.PathLike[str]) -> dict[str, Any]:
    """A record's fields as `write` got them; no `device` of counts. Raises EstimateFileError."""
    try:
        data, _ = read_marked(file, _MARK, FORMAT, noun="estimate", writer="`estimate.save`")
        del data[_MARK]
    except InputError as error:
        raise EstimateFileError(str(error)) from None
    try:
        stored: _StoredEstimate = convert(data, _StoredEstimate)
        scenario = _scenario(stored.scenario)
        if (stored.device is None) != (scenario.hardware is None):
            raise InputError("`device` and `scenario.hardware` go together")
        if stored.inputs != scenario.inputs:
            raise InputError("`inputs` and `scenario` do not say the same")
        kind = Quantities if stored.device is None else Totals
        shape = scenario.shape
        fields: dict[str, Any] = {
            "inputs": stored.inputs,
            "main": stored.main,
            "unreduced_visual_tokens": stored.unreduced_visual_tokens,
            "reducer": stored.reducer,
            "components": {
                _component(name): _part(kind, part, shape, f"components.{name}")
                for name, part in stored.components.items()
            },
            "end_to_end": _part(kind, stored.end_to_end, shape, "end_to_end"),
            "scenario": scenario,
        }
        if stored.main not in fields["components"]:
            raise InputError(f"`main` names {stored.main!r}, which is no component")
        _check_unknown(fields)
    except msgspec.ValidationError as error:
        raise EstimateFileError(f"{file} is a damaged estimate: {error}") from None
    except SpecError as error:
        faults = "; ".join(f"{path}: {text}" for path, text in error.faults)
        raise EstimateFileError(f"{file} is a damaged estimate: {error.file}: {faults}") from None
    except InputError as error:
        raise EstimateFileError(f"{file} cannot be read: {error}") from None
    if stored.device is None:
        return fields
    return fields | {"device": msgspec.to_builtins(stored.device)}


def _scenario(stored: _StoredScenario) -> Scenario:
    """Checked as one that is typed. Raises SpecError, and what `Scenario.of` raises."""
    for name in stored.counts:
        if name not in BY_NAME or not BY_NAME[name].is_count:
            raise InputError(f"`scenario.counts.{name}` is no count")
    return Scenario.of(
        _model(stored.model),
        None if stored.hardware is None else _hardware(stored.hardware),
        build(Quantization, stored.quant, "scenario.quant"),
        reducer=stored.reducer,
        stage=stored.stage,  # type: ignore[arg-type]  # which is checked
        attention=stored.attention,  # type: ignore[arg-type]
        runtime=None
        if stored.runtime is None
        else build(Runtime, stored.runtime, "scenario.runtime"),
        kernels=stored.kernels,  # type: ignore[arg-type]
        accounting=stored.accounting,
        library=stored.library,
        pictures=stored.pictures,
        vision_layers=stored.vision_layers,  # type: ignore[arg-type]
        llm_layers=stored.llm_layers,  # type: ignore[arg-type]
        **{name: _array(value, f"scenario.counts.{name}") for name, value in stored.counts.items()},
    )


def _model(data: dict[str, Any]) -> Model:
    """Of any kind, with parts of any kind: a spec in a file has parts of those that ship alone."""
    kind = MODEL_KINDS.find(str(data.get("kind")))
    if not issubclass(kind, Lmm):
        model: Any = build(kind, data, "scenario.model")
        return model  # type: ignore[no-any-return]  # kinds of users are models, too
    parts, names = {}, {}
    for field in LMM_PARTS:
        part = data.get(field)
        if isinstance(part, dict):
            part_kind = MODEL_KINDS.find(str(part.get("kind")))
            parts[field] = build(part_kind, part, f"scenario.model.{field}")
            names[field] = str(part.get("name"))
    return in_full(replace(build(kind, data | names, "scenario.model"), **parts))


def _hardware_fields(hardware: Hardware) -> dict[str, Any]:
    """As in a file of the device that has its laws in place."""
    fields: dict[str, Any] = msgspec.to_builtins(replace(hardware, kernel_laws=None))
    laws = hardware.kernel_laws
    section = None if laws is None else msgspec.to_builtins(kernel_laws_section(laws))
    return fields | {"kernel_laws": section}


def _hardware(data: dict[str, Any]) -> Hardware:
    laws = data.get("kernel_laws")
    if laws is not None:
        laws = read_kernel_laws(laws, "scenario.hardware.kernel_laws")
    return build(Hardware, data | {"kernel_laws": laws}, "scenario.hardware")


def _layers(layers: Any) -> list[list[Any]] | None:
    return None if layers is None else [[_plain(number) for number in group] for group in layers]


def _figures(part: Quantities) -> dict[str, Any]:
    """Its fields; seconds by bound as a mapping."""
    fields = {name: getattr(part, name) for name in part.__struct_fields__}
    return {
        name: {word: _plain(time) for word, time in value.items()}
        if isinstance(value, dict)
        else _plain(value)
        for name, value in fields.items()
    }


def _part(kind: type[_Part], data: dict[str, Any], shape: tuple[int, ...], where: str) -> _Part:
    """The opposite. Raises InputError for figures that are missing, too many, or of odd shape."""
    names = kind.__struct_fields__
    if data.keys() != set(names):
        odd = sorted(data.keys() ^ set(names))[0]
        raise InputError(f"`{where}.{odd}` is {'unknown' if odd in data else 'missing'}")

    def figure(value: Any, path: str, expected: tuple[int, ...] = shape) -> Array:
        array = _array(value, path)
        if array.shape != expected:
            raise InputError(f"`{path}` has the shape {array.shape}, not {expected}")
        if (array < 0).any():
            raise InputError(f"`{path}` is below 0")
        return array[()]  # a plain number, as where it was priced

    fields: dict[str, Any] = {}
    for name in names:
        value, path = data[name], f"{where}.{name}"
        if name == "bound_times_s":
            known = BOUNDS[:-1]  # memory's is what is left
            if not isinstance(value, dict) or not {known[0]} <= value.keys() <= set(known):
                raise InputError(f"`{path}` must be seconds by {' and '.join(known)}")
            fields[name] = {word: figure(time, f"{path}.{word}") for word, time in value.items()}
        elif value is None and name in (*_MAY_BE_UNKNOWN, "device_tdp_w"):
            fields[name] = None
        elif name.startswith("device_"):
            fields[name] = float(figure(value, path, ()))
        else:
            fields[name] = figure(value, path)
    return kind(**fields)


def _component(name: str) -> str:
    if name not in COMPONENTS:
        raise InputError(f"`components.{name}` is none of {', '.join(COMPONENTS)}")
    return name


def _check_unknown(fields: dict[str, Any]) -> None:
    """Raise InputError unless what is unknown of one part is of all, and what laws tell is known
    where the device has laws alone.
    """
    scenario: Scenario = fields["scenario"]
    if scenario.hardware is None:
        return
    has_laws = ACCOUNTINGS.find(scenario.accounting).has_laws and laws_of(scenario.hardware)
    has_energy = energy_law(scenario.hardware, laws_of(scenario.hardware)) is not None
    parts = {f"components.{name}": part for name, part in fields["components"].items()}
    parts["end_to_end"] = fields["end_to_end"]
    for name in _MAY_BE_UNKNOWN:
        unknown = {part: getattr(each, name) is None for part, each in parts.items()}
        expected = not has_laws
        if name in ELAPSED:
            expected = scenario.runtime is None
        elif name == "host_time_s":
            expected = scenario.runtime is None and unknown["end_to_end"]
        elif name in FROM_ENERGY:
            expected = not has_laws or not has_energy
        for part, is_unknown in unknown.items():
            if is_unknown != expected:
                known = "null" if is_unknown else "known"
                raise InputError(f"`{part}.{name}` is {known}, which does not go with the rest")


_MAY_BE_UNKNOWN = (*FROM_LAWS, *FROM_HOST, *FROM_ENERGY)


def _plain(value: Any) -> Any:
    """A number, or nested lists: exact, since JSON writes as many digits as a float64 has."""
    array = None if value is None else np.asarray(value)
    return None if array is None else array.tolist()


def _array(value: Any, path: str) -> Array:
    """Raises InputError for what is no number or no nested lists of numbers."""
    try:
        array = np.asarray(value)
    except ValueError:  # ragged
        array = np.asarray(None)
    if array.dtype.kind not in "iuf" or not np.isfinite(array).all():
        raise InputError(f"`{path}` must be a number or nested lists of numbers")
    return array.astype(np.float64)
