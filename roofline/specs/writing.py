"""Specs → YAML that reads back as the same spec."""

from __future__ import annotations

from typing import Any

import msgspec
import yaml

from roofline.specs.hardware import Hardware
from roofline.specs.kernel_laws import KernelLaws


def hardware_yaml(hardware: Hardware, *, comment: str = "") -> str:
    """The file of a device, without the fields that are as they would be if left out."""
    return "".join(f"# {line}\n" for line in comment.splitlines()) + _dumped(_lean(hardware))


def attained_yaml(attained: KernelLaws) -> str:
    """The section `kernel_laws` of a device's file, likewise."""
    return _dumped({"kernel_laws": _lean(attained)})


def _dumped(value: Any) -> str:
    text = yaml.safe_dump(
        value, sort_keys=False, allow_unicode=True, default_flow_style=None, width=100
    )
    return str(text)


def _lean(value: Any) -> Any:
    """Structs as mappings without their defaults, sequences as lists."""
    if isinstance(value, msgspec.Struct):
        return {
            field.encode_name: _lean(getattr(value, field.name))
            for field in msgspec.structs.fields(value)
            if getattr(value, field.name) not in (field.default, {})
        }
    if isinstance(value, dict):
        return {key: _lean(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_lean(inner) for inner in value]
    return value
