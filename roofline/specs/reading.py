"""YAML text → spec, or an error that names every bad field at once."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
import yaml

from roofline.errors import SpecError

T = TypeVar("T")

DATA = Path(__file__).resolve().parents[1] / "data"
"""Figures that ship inside the package."""

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _StrictLoader(_Loader):  # type: ignore[misc]  # the C loader has no stubs
    """YAML's safe loader, but a key given twice is an error instead of a silent overwrite."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key.value, str):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key must be a plain word", key.start_mark
                )
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} is given twice", key.start_mark
                )
            seen.add(key.value)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


def read_yaml(file: Path) -> dict[str, Any]:
    """Read a mapping from a YAML file. Raises SpecError, with the line where the syntax breaks."""
    try:
        with file.open("rb") as stream:
            data = yaml.load(stream, Loader=_StrictLoader)
    except OSError as error:
        raise SpecError(file, [("file", f"cannot be read: {error.strerror}")]) from None
    except UnicodeDecodeError:
        raise SpecError(file, [("file", "is not UTF-8 text")]) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}" if mark else "file"
        problem = getattr(error, "problem", None) or getattr(error, "reason", "unreadable")
        raise SpecError(file, [(where, f"is not valid YAML: {problem}")]) from None
    except (TypeError, ValueError) as error:  # a value that only looks like a date, an odd key
        raise SpecError(file, [("file", f"is not valid YAML: {error}")]) from None
    if not isinstance(data, dict):
        raise SpecError(file, [("file", "expected a mapping of fields")])
    return data


def read_json(file: Path) -> Any:
    """Read what a JSON file holds. Raises SpecError."""
    try:
        return msgspec.json.decode(file.read_bytes())
    except OSError as error:
        raise SpecError(file, [("file", f"cannot be read: {error.strerror}")]) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SpecError(file, [("file", f"is not valid JSON: {error}")]) from None


def build(spec_type: type[T], data: Mapping[str, Any], file: object) -> T:
    """Turn plain data into a spec. Raises SpecError listing every fault with its path."""
    try:
        return msgspec.convert(data, spec_type)
    except msgspec.ValidationError as error:
        faults = faults_of(spec_type, data) or [("file", str(error))]
        raise SpecError(file, faults) from None


def faults_of(spec_type: type[Any], data: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Every fault of plain data that should be a spec, with its path; none if it is one."""
    return list(_faults(spec_type, data, ""))


def _faults(expected: Any, data: Any, path: str) -> Iterator[tuple[str, str]]:
    """Walk type and data side by side and yield a fault per field that does not fit."""
    if get_origin(expected) is dict and isinstance(data, dict):
        _, value = get_args(expected)
        for key, inner in data.items():
            yield from _faults(value, inner, _join(path, str(key)))
        return
    struct = _struct_for(expected, data)
    if struct is None:
        try:
            msgspec.convert(data, expected)
        except msgspec.ValidationError as error:
            yield path, _plain(error)
        return
    info = msgspec.structs.fields(struct)
    hints = get_type_hints(struct, include_extras=True)
    tag_field = struct.__struct_config__.tag_field
    known = {field.encode_name for field in info} | ({tag_field} if tag_field else set())
    sound = True
    for key in data:
        if key not in known:
            sound = False
            yield _join(path, str(key)), _unknown_field(str(key), known)
    for field in info:
        here = _join(path, field.encode_name)
        if field.encode_name in data:
            inner = list(_faults(hints[field.name], data[field.encode_name], here))
            sound = sound and not inner
            yield from inner
        elif field.required:
            sound = False
            yield here, f"is missing; expected {_describe(hints[field.name])}"
    if sound:  # each field is fine by itself: what is left is a rule over several
        try:
            msgspec.convert(data, struct)
        except msgspec.ValidationError as error:
            yield path or "file", _plain(error)


def _struct_for(expected: Any, data: Any) -> type[msgspec.Struct] | None:
    """The struct type that `data` is meant to be, seen through optional and tagged unions."""
    if not isinstance(data, dict):
        return None
    options = (
        get_args(expected) if get_origin(expected) in (Union, types.UnionType) else (expected,)
    )
    structs = [t for t in options if isinstance(t, type) and issubclass(t, msgspec.Struct)]
    for struct in structs:
        config = struct.__struct_config__
        if len(structs) == 1 or data.get(config.tag_field or "") == config.tag:
            return struct
    return None


def _describe(expected: Any) -> str:
    if isinstance(expected, type) and issubclass(expected, msgspec.Struct):
        names = [f.encode_name for f in msgspec.structs.fields(expected) if f.required]
        return f"a mapping with {', '.join(names)}" if names else "a mapping"
    schema = msgspec.json.schema(expected)
    wanted = str(schema.get("type", "a value"))
    if "exclusiveMinimum" in schema:
        wanted = f"{wanted} > {schema['exclusiveMinimum']}"
    if "enum" in schema:
        wanted = f"one of {', '.join(map(str, schema['enum']))}"
    return wanted


def _plain(error: msgspec.ValidationError) -> str:
    """Msgspec's message, lower-cased, without its path: ours is complete."""
    text = str(error).split(" - at `")[0].replace("`", "")
    return text[0].lower() + text[1:]


def _unknown_field(key: str, known: set[str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(key, known, n=1, cutoff=0.6)
    return "unknown field" + (f"; did you mean {near[0]}?" if near else "")


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
