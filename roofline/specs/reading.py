"""Files → specs and other structs, or an error that names the file and every bad field at once.

`read_file` is the one way to a file's content, `convert` the one from plain data to a struct.
"""

from __future__ import annotations

import os
import stat
import types
from collections.abc import Iterator, Mapping
from math import inf
from pathlib import Path
from threading import RLock
from typing import Annotated, Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import msgspec

from roofline.errors import InputError, SpecError, shortened
from roofline.specs.sourced import out_of_range, range_of

T = TypeVar("T")

DATA = Path(__file__).resolve().parents[1] / "data"
"""Figures that ship inside the package."""

_CONVERTING = RLock()


def read_file(file: Path) -> bytes:
    """All of a regular file: a pipe would be waited for. Raises SpecError."""
    modified_ns(file)
    try:
        return file.read_bytes()
    except OSError as error:
        raise _unreadable(file, error) from None


def modified_ns(file: Path) -> int:
    """When a regular file was last written. Raises SpecError."""
    try:
        found = file.stat()
    except (OSError, ValueError) as error:
        raise _unreadable(file, error) from None
    if not stat.S_ISREG(found.st_mode):
        folder = stat.S_ISDIR(found.st_mode)
        raise _unreadable(file, OSError(0, "Is a directory" if folder else "No regular file"))
    return found.st_mtime_ns


def _unreadable(file: Path, error: Exception) -> SpecError:
    reason = getattr(error, "strerror", None) or str(error)
    return SpecError(file, [("file", f"cannot be read: {reason}")])


def convert(data: Any, to: Any) -> Any:
    """Plain data as a type of msgspec. Raises msgspec.ValidationError.

    One thread at a time: msgspec learns a type when it first converts to it, and a second thread
    that comes meanwhile may crash the interpreter.
    """
    with _CONVERTING:
        return msgspec.convert(data, to)


def read_yaml(file: Path) -> dict[str, Any]:
    """Read a mapping from a YAML file. Raises SpecError, with the line where the syntax breaks."""
    import yaml

    from roofline.specs.yaml_text import load

    text = read_file(file)
    try:
        data = load(text)
    except yaml.reader.ReaderError as error:
        known = "is not UTF-8 text" if "utf" in str(error.reason) else f"holds {error.reason}"
        raise SpecError(file, [("file", _one_line(known))]) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}" if mark else "file"
        problem = getattr(error, "problem", None) or "unreadable"
        raise SpecError(file, [(where, _one_line(f"is not valid YAML: {problem}"))]) from None
    if not isinstance(data, dict):
        raise SpecError(file, [("file", "expected a mapping of fields")])
    return data


def read_json(file: Path) -> Any:
    """Read what a JSON file holds. Raises SpecError."""
    content = read_file(file)
    try:
        return msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SpecError(file, [("file", f"is not valid JSON: {error}")]) from None


def build(spec_type: type[T], data: Mapping[str, Any], file: object) -> T:
    """Turn plain data into a spec. Raises SpecError listing every fault with its path."""
    try:
        return cast(T, convert(data, spec_type))
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
            convert(data, expected)
        except msgspec.ValidationError as error:
            yield path, _plain(error, data)
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
            if not inner and (wrong := _beyond(hints[field.name], data[field.encode_name])):
                inner = [(f"{here}.value", wrong)]
            sound = sound and not inner
            yield from inner
        elif field.required:
            sound = False
            yield here, f"is missing; expected {_describe(hints[field.name])}"
    if sound:  # each field is fine by itself: what is left is a rule over several
        try:
            convert(data, struct)
        except msgspec.ValidationError as error:
            yield path or "file", _plain(error, data)


def _struct_for(expected: Any, data: Any) -> type[msgspec.Struct] | None:
    """The struct type that `data` is meant to be, seen through optional and tagged unions."""
    if not isinstance(data, dict):
        return None
    options = [_bare(option) for option in (_options(expected))]
    structs = [t for t in options if isinstance(t, type) and issubclass(t, msgspec.Struct)]
    for struct in structs:
        config = struct.__struct_config__
        if len(structs) == 1 or data.get(config.tag_field or "") == config.tag:
            return struct
    return None


def _options(expected: Any) -> tuple[Any, ...]:
    """Members of a union; a type that is none by itself."""
    expected = _bare(expected)
    return get_args(expected) if get_origin(expected) in (Union, types.UnionType) else (expected,)


def _bare(annotated: Any) -> Any:
    """A type without what annotates it."""
    return get_args(annotated)[0] if get_origin(annotated) is Annotated else annotated


def _beyond(expected: Any, data: Any) -> str:
    """What is wrong with a figure that is well formed; empty where its value is plausible."""
    return out_of_range(expected, data["value"]) if range_of(expected) and data else ""


def _describe(expected: Any) -> str:
    expected = _bare(expected) if _struct_for(expected, {}) else expected
    if isinstance(expected, type) and issubclass(expected, msgspec.Struct):
        names = [f.encode_name for f in msgspec.structs.fields(expected) if f.required]
        return f"a mapping with {', '.join(names)}" if names else "a mapping"
    schema = msgspec.json.schema(expected)
    wanted = str(schema.get("type", "a value"))
    if "minimum" in schema:
        wanted = f"{wanted} of {schema['minimum']:g} to {schema['maximum']:g}"
    if "enum" in schema:
        wanted = f"one of {', '.join(map(str, schema['enum']))}"
    return wanted


def _plain(error: msgspec.ValidationError, data: Any) -> str:
    """Msgspec's message, lower-cased, without its path, for ours is complete; with what was given
    and, where that is a number of another kind, the remedy.
    """
    text = str(error).split(" - at `")[0].replace("`", "")
    text = text[0].lower() + text[1:]
    if not isinstance(data, int | float | str) or isinstance(data, bool):
        return _one_line(text)
    if isinstance(data, float) and text == "expected int, got float":
        return text + (f": write {data:.0f}" if abs(data) < 1e15 and data.is_integer() else "")
    if isinstance(data, str) and text.startswith(("expected int, got", "expected float, got")):
        return _one_line(f"{text} {shortened(data)!r}: write digits alone, without quotes")
    given = shortened(data) if isinstance(data, str) else f"{_as_float(data):g}"
    return _one_line(text if ", got " in text else f"{text}, got {given}")


def _as_float(number: float) -> float:
    try:
        return float(number)
    except OverflowError:  # hundreds of digits
        return inf if number > 0 else -inf


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _unknown_field(key: str, known: set[str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(key, known, n=1, cutoff=0.6)
    return "unknown field" + (f"; did you mean {near[0]}?" if near else "")


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def read_marked(
    file: str | os.PathLike[str], mark: str, newest: int, *, noun: str, writer: str
) -> tuple[dict[str, Any], int]:
    """A JSON document of the package's own and the version that its mark says.

    noun, writer: what it is, and what writes such. Raises InputError for what is none, is damaged,
    or was written by a newer version.
    """
    try:
        content = read_file(Path(file))
    except SpecError as error:
        reason = error.faults[0][1].removeprefix("cannot be read: ")
        raise InputError(f"cannot read {shortened(str(file))}: {reason}") from None
    try:
        document = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{file} is no valid JSON ({error}): was it cut off?") from None
    version = document.get(mark) if isinstance(document, dict) else None
    if type(version) is not int or version < 1:
        raise InputError(f"{file} is no {noun}: give a file that {writer} wrote")
    if version > newest:
        raise InputError(
            f"{file} was written by a newer roofline ({noun} format {version}, this one reads up "
            f"to {newest}): upgrade roofline"
        )
    return document, version
