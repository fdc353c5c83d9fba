"""Specs → files that read back as the same spec."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from roofline.specs.hardware import Hardware
from roofline.specs.kernel_laws import KernelLaws, kernel_laws_section
from roofline.specs.models import Model
from roofline.specs.yaml_text import dump

_LINE_PER_NUMBER = 3
"""Depth at which a file of laws has a line for each entry: a kernel's numbers."""


def hardware_yaml(hardware: Hardware, *, comment: str = "") -> str:
    """The file of a device, its laws in place, without the fields that are as they would be if left
    out.
    """
    return "".join(f"# {line}\n" for line in comment.splitlines()) + dump(as_plain(hardware))


def model_yaml(model: Model) -> str:
    """The file of a model or of a part of one, likewise."""
    return dump(as_plain(model), in_lines=True)


def laws_json(laws: KernelLaws | dict[str, Any]) -> str:
    """A file of laws, which a device's file names in `kernel_laws`, likewise; or of what such a
    file holds.
    """
    return _json(as_plain(laws), depth=0) + "\n"


def _json(value: Any, depth: int) -> str:
    if not isinstance(value, dict) or depth == _LINE_PER_NUMBER:
        return json.dumps(value, ensure_ascii=False)
    indent = " " * (depth + 1)
    entries = (f"{json.dumps(key)}: {_json(inner, depth + 1)}" for key, inner in value.items())
    return "{\n" + ",\n".join(indent + entry for entry in entries) + "\n" + " " * depth + "}"


def as_plain(value: Any) -> Any:
    """Structs as mappings without their defaults and with their tags, sequences as lists."""
    if isinstance(value, KernelLaws):
        return as_plain(kernel_laws_section(value))
    if isinstance(value, msgspec.Struct):
        kind = value.__struct_config__
        tag = {} if kind.tag is None else {str(kind.tag_field): kind.tag}
        return tag | {
            field.encode_name: as_plain(getattr(value, field.name))
            for field in msgspec.structs.fields(value)
            if getattr(value, field.name) not in (field.default, {})
        }
    if isinstance(value, dict):
        return {key: as_plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [as_plain(inner) for inner in value]
    return value
