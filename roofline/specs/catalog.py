"""The catalog: names, aliases and files → specs.

A name is looked up in the folders of `ROOFLINE_PATH` (separated like `PATH`), then among the specs
that ship with the package. A folder may hold YAML files of devices and models, or `hardware/` and
`models/`; files of quantization modes lie in `quantization/`.
"""

from __future__ import annotations

import os
import reprlib
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, cast, get_args

import msgspec
from msgspec.structs import fields

from roofline.errors import InputError, SpecError, UnknownNameError
from roofline.specs.hardware import Hardware
from roofline.specs.kernel_laws import AnyLaw, read_kernel_laws, section_type
from roofline.specs.models import (
    MODEL_KINDS,
    LanguageModel,
    MlpConnector,
    Model,
    VisionEncoder,
    kind_of,
)
from roofline.specs.quantization import MODES, SIXTEEN_BIT, Quantization, written_out
from roofline.specs.reading import (
    DATA,
    build,
    faults_of,
    modified_ns,
    read_file,
    read_json,
    read_yaml,
)

Folder = Literal["hardware", "models"]
SEARCH_PATH_VARIABLE = "ROOFLINE_PATH"

_Component = TypeVar("_Component", LanguageModel, VisionEncoder, MlpConnector)
_Named = TypeVar("_Named")
_Spec = TypeVar("_Spec")


def one_name(kind: str, name: object) -> str:
    """A name or path as text. Raises InputError for anything else, such as a list of names."""
    if isinstance(name, str | os.PathLike):
        return os.fspath(name)
    raise InputError(f"{kind} is one name, path or spec at a time, not {reprlib.repr(name)}")


def load_hardware(name: str | Hardware) -> Hardware:
    """A device by name, alias or YAML file. Raises UnknownNameError, SpecError."""
    if isinstance(name, Hardware):
        return name
    file = _find("hardware", one_name("hardware", name))
    modified = modified_ns(file)
    laws = _device_data(file, modified).get("kernel_laws")
    if not isinstance(laws, str):
        return _load_hardware(file, modified)
    laws_file = file.parent / laws
    if not laws_file.is_file():
        raise SpecError(file, [("kernel_laws", f"names {laws_file}, which does not exist")])
    return _load_hardware(file, modified, laws_file, modified_ns(laws_file))


def load_model(name: str | Model) -> Model:
    """A model or a part of one by name, alias or YAML file. Raises UnknownNameError, SpecError."""
    if isinstance(name, msgspec.Struct):  # of a user's own kind, too
        return name
    file = _find("models", one_name("model", name))
    return _load_model(file, modified_ns(file))


_read_from: dict[int, tuple[Any, Path]] = {}
"""By identity, since a spec of a user's kind need not have a hash."""


def _noted(spec: _Spec, file: Path) -> _Spec:
    _read_from[id(spec)] = spec, file
    return spec


def where(spec: Hardware | Model | Quantization) -> str:
    """Where a spec stands, for an error: its file, or its name where it was made here."""
    if id(spec) in _read_from:
        return str(_read_from[id(spec)][1])
    kind = {Hardware: "hardware", Quantization: "quantization mode"}.get(type(spec), "model")
    return f"{kind} {spec.name}"


def distinct(specs: Iterable[_Spec]) -> list[_Spec]:
    """Each once, in order. Raises InputError for two that share a name: no table tells them apart.

    Names of the catalog are case-blind, and so are these.
    """
    found: dict[str, Any] = {}
    for spec in specs:
        name = spec.name  # type: ignore[attr-defined]  # every spec has one
        known: Any = found.setdefault(name.lower(), spec)
        if known is not spec and known != spec:
            raise InputError(
                f"{where(known)} and {where(cast(Any, spec))} are both named {name}: give each a "
                "name of its own"
            )
    return list(found.values())


def referred(spec: str, field: str, load: Callable[[Any], _Named], name: Any) -> _Named:
    """What a field of a spec refers to. Raises SpecError where it names nothing."""
    try:
        return load(name)
    except SpecError:  # of the file that is referred to, which it names
        raise
    except InputError as error:
        raise SpecError(spec, [(field, str(error))]) from None


def load_component(spec: str | Model, expected: type[_Component]) -> _Component:
    """A part of an LMM, by name or written out. Raises SpecError if it is of another kind."""
    model = load_model(spec)
    if not isinstance(model, expected):
        raise SpecError(
            where(model),
            [("kind", f"expected {kind_of(expected)}, got {kind_of(model)}")],
        )
    return model


def load_quantization(name: str | Quantization) -> Quantization:
    """A mode by name, in a YAML file, or any `wXaYkvZ` written out.

    Raises UnknownNameError, SpecError.
    """
    if isinstance(name, Quantization):
        return name
    name = one_name("quantization mode", name)
    if _is_file(name):
        return _load_quantization(Path(name), modified_ns(Path(name)))
    wanted = name.lower()
    mode = MODES.find(wanted) if wanted in MODES else _users_mode(wanted)
    mode = mode or _shipped_modes().get(wanted) or written_out(wanted, _shipped_modes())
    if mode is None:
        remedy = (
            "or write it out as wXaYkvZ with 1 to 32 bits each, such as w4a8kv8, or give a YAML "
            "file of your own"
        )
        raise UnknownNameError("quantization mode", name, quantization_modes(), remedy)
    return mode


def mode_outside_llm(mode: Quantization) -> Quantization:
    """The mode of vision tower and connector where a mode quantizes only the LLM.

    Raises SpecError where `outside_llm` names none.
    """
    if mode.outside_llm is None:
        return mode
    outside = referred(where(mode), "outside_llm", load_quantization, mode.outside_llm)
    if outside.activation_bits == 16:  # either of the two 16-bit types will do
        outside = msgspec.structs.replace(outside, compute=SIXTEEN_BIT)
    return outside


def mode_in_full(mode: Quantization) -> Quantization:
    """The same with the mode outside the LLM in place. Raises SpecError likewise."""
    if mode.outside_llm is None:
        return mode
    return msgspec.structs.replace(mode, outside_llm=mode_outside_llm(mode))


def quantization_modes() -> dict[str, Quantization]:
    """The named modes by lower-case name: registered ones before those of the search path, and
    these before what ships.

    Files of the search path that cannot be read are left out, with a warning.
    """
    modes = dict(_shipped_modes())
    for file in reversed(_mode_files()):
        try:
            mode = _load_quantization(file, modified_ns(file))
        except SpecError as error:
            _warn_left_out(error)
        else:
            modes[mode.name.lower()] = mode
    return modes | {name: MODES.find(name) for name in MODES.names()}


@lru_cache(maxsize=1)
def _shipped_modes() -> dict[str, Quantization]:
    file = DATA / "quantization.yaml"
    return {
        name: build(Quantization, {"name": name, **fields}, file)
        for name, fields in read_yaml(file).items()
    }


@lru_cache(maxsize=256)
def _load_quantization(file: Path, modified_ns: int) -> Quantization:
    return _noted(build(Quantization, read_yaml(file), file), file)


def _mode_files() -> list[Path]:
    """Files of modes on the search path, in order of precedence."""
    return [
        file for root in _user_folders() for file in sorted((root / "quantization").glob("*.yaml"))
    ]


def _users_mode(name: str) -> Quantization | None:
    """A mode of the search path. Raises SpecError for a file of that name that cannot be read."""
    for file in _mode_files():
        try:
            mode = _load_quantization(file, modified_ns(file))
        except SpecError:
            if file.stem.lower() == name:
                raise
        else:
            if mode.name.lower() == name:
                return mode
    return None


def all_hardware() -> list[Hardware]:
    """Every device in the catalog, by name; of two with one name the first on the path counts.

    Files of the search path that cannot be read are left out, with a warning.
    """
    return _all("hardware", load_hardware)


def all_models() -> list[Model]:
    """Every model in the catalog, likewise."""
    return _all("models", load_model)


def _all(folder: Folder, load: Callable[[str], Any]) -> list[Any]:
    named: dict[str, Any] = {}
    for file in _files(folder):
        try:
            spec = load(str(file))
        except SpecError as error:
            _warn_left_out(error)
        else:
            named.setdefault(spec.name, spec)
    return sorted(named.values(), key=lambda spec: str(spec.name))


def _warn_left_out(error: SpecError) -> None:
    """Once for each file and fault: a catalog is looked through again and again."""
    if error.line not in _warned:
        _warned.add(error.line)
        warnings.warn(f"left out: {error.line}", stacklevel=4)


_warned: set[str] = set()


@lru_cache(maxsize=256)
def _device_data(file: Path, modified_ns: int) -> dict[str, Any]:
    return read_yaml(file)


@lru_cache(maxsize=256)
def _load_hardware(
    file: Path, modified_ns: int, laws_file: Path | None = None, laws_modified_ns: int = 0
) -> Hardware:
    """A device whose laws stand in its own file, or in another."""
    data = dict(_device_data(file, modified_ns))
    section = data.pop("kernel_laws", None)
    if laws_file is not None:
        data["kernel_laws"] = read_kernel_laws(read_json(laws_file), laws_file)
    elif section is not None:
        try:
            data["kernel_laws"] = read_kernel_laws(section, file)
        except SpecError as error:  # name the faults of the rest of the file, too
            inside = [
                ("kernel_laws" if path == "file" else f"kernel_laws.{path}", fault)
                for path, fault in error.faults
            ]
            raise SpecError(file, [*faults_of(Hardware, data), *inside]) from None
    return _noted(build(Hardware, data, file), file)


@lru_cache(maxsize=256)
def _load_model(file: Path, modified_ns: int) -> Model:
    data = read_yaml(file)
    tag = str(data.get("kind"))
    if tag not in MODEL_KINDS.names():
        raise SpecError(
            file, [("kind", f"expected one of {', '.join(sorted(MODEL_KINDS.names()))}")]
        )
    model: Any = build(MODEL_KINDS.find(tag), data, file)
    return _noted(model, file)  # type: ignore[no-any-return]  # kinds of users are models, too


def _find(folder: Folder, name: str) -> Path:
    """The file that a user means: a path, a file named so, or one whose aliases hold the name."""
    if _is_file(name):
        return Path(name)
    if os.sep in name and os.path.lexists(name):
        raise InputError(f"{name} is no spec: name a regular file that ends in .yaml")
    wanted = name.lower()
    # Nearly always: found without listing and reading a folder, which takes as long as an analysis.
    if not _user_folders():
        usual = _usual(folder, wanted)
        if usual.stem == wanted and _is_there(usual):
            return usual
        known = _known_aliases.get((folder, wanted))
        if known is not None and _is_there(known[0]) and modified_ns(known[0]) == known[1]:
            return known[0]
    for files in _files_by_root(folder):
        for file in files:
            if file.stem.lower() == wanted:
                return file
        for file in files:  # a file that does not even contain the name need not be parsed
            if wanted in _text(file) and wanted in _names(file):
                if file.parent == _shipped(folder):
                    _known_aliases[folder, wanted] = file, modified_ns(file)
                return file
    named = [names for file in _files(folder) if (names := _names(file))]
    raise UnknownNameError(
        "hardware" if folder == "hardware" else "model",
        name,
        {first for first, *_ in named},
        f"or give a YAML file of your own, or a folder of them in {SEARCH_PATH_VARIABLE}",
        aliases={alias for _, *others in named for alias in others},
    )


_known_aliases: dict[tuple[Folder, str], tuple[Path, int]] = {}
"""Files that ship by the aliases that led to them, and when they were changed last."""


def _is_file(name: str) -> bool:
    """Whether a user means a file, by its ending."""
    return name.endswith((".yaml", ".yml"))


@lru_cache(maxsize=256)
def _usual(folder: Folder, wanted: str) -> Path:
    """Where a spec of that name would be that ships."""
    return _shipped(folder) / f"{wanted}.yaml"


def _is_there(file: Path) -> bool:
    try:
        return file.is_file()
    except OSError:  # the name is too long for one
        return False


def _text(file: Path) -> str:
    """What a file says, lower-cased; nothing, where it cannot be read."""
    try:
        return read_file(file).decode(errors="replace").lower()
    except SpecError:
        return ""


def _names(file: Path) -> list[str]:
    """Name and aliases, lower-cased; none of a broken file, which is reported when asked for."""
    try:
        data = read_yaml(file)
    except SpecError:
        return []
    aliases = data.get("aliases")
    names = [data.get("name", file.stem), *(aliases if isinstance(aliases, list) else ())]
    return [str(name).lower() for name in names]


def _files(folder: Folder) -> Iterator[Path]:
    """Spec files of one kind, in order of precedence."""
    return chain.from_iterable(_files_by_root(folder))


def _files_by_root(folder: Folder) -> Iterator[list[Path]]:
    """The same, apart for each folder of the search path and for what ships."""
    for root in _user_folders():
        yield [
            *sorted((root / folder).glob("*.yaml")),
            *(file for file in sorted(root.glob("*.yaml")) if _may_be(folder, file)),
        ]
    yield sorted(_shipped(folder).glob("*.yaml"))


def _may_be(folder: Folder, file: Path) -> bool:
    """Whether a file is of that kind. A broken one may be: it is reported when it is asked for."""
    try:
        kind = str(read_yaml(file).get("kind"))
    except SpecError:
        return True
    return kind in _kinds(folder) or not any(kind in _kinds(each) for each in get_args(Folder))


def _user_folders() -> list[Path]:
    value = os.environ.get(SEARCH_PATH_VARIABLE, "")
    folders = [Path(part).expanduser() for part in value.split(os.pathsep) if part]
    for folder in folders:
        if not folder.is_dir():
            raise SpecError(folder, [(SEARCH_PATH_VARIABLE, "names a folder that does not exist")])
    return folders


@lru_cache(maxsize=2)
def _shipped(folder: Folder) -> Path:
    """In a wheel the folders lie inside the package; in a checkout, beside it."""
    packaged = DATA / folder
    return packaged if packaged.is_dir() else DATA.parents[1] / folder


def _kinds(folder: Folder) -> tuple[str, ...]:
    """What a folder's files give as `kind`."""
    if folder == "models":
        return MODEL_KINDS.names()
    return get_args(next(f.type for f in fields(Hardware) if f.name == "kind"))


def json_schema(folder: Folder) -> dict[str, Any]:
    """The JSON Schema of a folder's files, for editors."""
    if folder == "models":
        models: Any = Union[tuple(MODEL_KINDS)]  # noqa: UP007  # of a list known when run
        return msgspec.json.schema(models)
    device, section = msgspec.json.schema(Hardware), msgspec.json.schema(section_type())
    definitions = device["$defs"] | section["$defs"]
    del definitions[AnyLaw.__name__]  # stands for whatever is registered
    laws = definitions[Hardware.__name__]["properties"]["kernel_laws"]
    laws["anyOf"].append({"type": "string"})
    return device | {"$defs": definitions}
