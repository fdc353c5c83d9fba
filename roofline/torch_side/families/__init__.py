"""Families of Hugging Face models by name, and by what a loaded model says of itself.

Each registers itself from its own file; users `register` theirs. Nothing else in
`torch_side` knows a model class, or what the modules in a model are called.
"""

from __future__ import annotations

from typing import Any

from roofline.registry import Registry
from roofline.torch_side.families.base import Family, FamilyError

__all__ = ["Family", "FamilyError", "families", "family_of", "register"]

families: Registry[Family] = Registry("family of models", __name__)


def register(*entries: Family) -> None:
    """Make families of your own known by their names; an earlier one of a name gives way."""
    for family in entries:
        families.register(family.name, family)


def family_of(model: Any) -> Family:
    """The family of a loaded model. Raises FamilyError for classes that no family knows."""
    kind = getattr(getattr(model, "config", None), "model_type", None)
    for family in families:
        if family.model_type == kind and family.is_whole(model):
            return family
    known = ", ".join(family.model_type for family in families)
    raise FamilyError(
        f"{type(model).__name__} is of no known family: give a whole model whose config has one "
        f"of the model types {known}"
    )
