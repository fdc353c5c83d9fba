"""Accountings: conventions of what an op costs, each a file here that registers itself.

`exact` is what PyTorch's counter and a traced model say. The others are conventions of published
numbers, kept so that those can be reproduced.
"""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from roofline.engine.layout import Layout
from roofline.model.architectures import AttentionKind
from roofline.model.counted import ComponentCounts
from roofline.registry import Registry
from roofline.specs.quantization import Quantization


class CountComponents(Protocol):
    """Count each component that the convention knows, at the widths of a mode.

    Raises ScenarioError for what it has no formula for.
    """

    def __call__(self, layout: Layout, mode: Quantization) -> list[ComponentCounts]: ...


class Accounting(Struct, frozen=True):
    """One convention."""

    count: CountComponents
    attention: AttentionKind = "flash"
    """What it takes unless asked for another."""
    has_laws: bool = False
    """Whether its ops are kernels whose attainable time laws can tell."""
    takes_reducers: bool = False
    """Whether it counts what a reducer leaves and does."""


ACCOUNTINGS: Registry[Accounting] = Registry("accounting", __name__)
