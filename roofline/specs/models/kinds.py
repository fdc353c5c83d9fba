"""Kinds of models by the tag that a file gives as `kind`: each spec registers itself."""

from __future__ import annotations

from roofline.registry import Registry
from roofline.specs.sourced import Spec

MODEL_KINDS: Registry[type[Spec]] = Registry("kind of model", "roofline.specs.models")


def kind_of(spec: type[Spec] | Spec) -> str:
    """The tag of a spec: what its files give as `kind`."""
    return str(spec.__struct_config__.tag)


def register_kind(spec: type[Spec]) -> None:
    """Make a spec known by its tag."""
    MODEL_KINDS.register(kind_of(spec), spec)
