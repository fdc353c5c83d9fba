"""Architectures: functions from a spec to blocks, found by the kind that the spec says it is.

An architecture is one file here, which registers itself. Parameters, traffic, lifetimes and memory
follow from the blocks; nobody counts them a second time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol, TypeAlias

from msgspec import Struct

from roofline.model.block import Block, LayerGroup
from roofline.model.polynomial import Derived, Number
from roofline.registry import Registry
from roofline.specs.models.image_tokens import View

AttentionKind: TypeAlias = Literal["flash", "eager"]


class Prefill(Protocol):
    """Run a prompt through an LLM: all of a group's tokens are queries, and keys of its layers."""

    def __call__(
        self,
        llm: Any,
        groups: Sequence[LayerGroup],
        *,
        batch: Number,
        text_tokens: Number,
        attention: AttentionKind,
    ) -> tuple[Block, ...]: ...


class Decode(Protocol):
    """Run one token a sequence against what the groups left in the cache and `step` tokens more.

    `step` counts the new token itself: it is 1 in the first step.
    """

    def __call__(
        self,
        llm: Any,
        groups: Sequence[LayerGroup],
        *,
        batch: Number,
        step: Number,
        attention: AttentionKind,
    ) -> tuple[Block, ...]: ...


class Pass(Struct, frozen=True):
    """Pictures of one shape on their way through a tower."""

    view: View
    images: Number
    """How many there are of the whole batch."""
    groups: tuple[LayerGroup, ...]
    """What each block sees, class token included."""


class Encode(Protocol):
    """Run pictures of one or several shapes through as many blocks as the groups have layers.

    Matmuls run over the rows of all passes at once; attention runs for each length by itself.
    Blocks behind those are there, idle: they are loaded.
    normed: whether the features are those behind the tower's last norm.
    """

    def __call__(
        self, vision: Any, passes: Sequence[Pass], *, attention: AttentionKind, normed: bool
    ) -> tuple[Block, ...]: ...


class Feed(Struct, frozen=True):
    """Features of pictures of one shape, as a connector gets them."""

    view: View
    images: Number
    """How many there are of the whole batch."""
    features: int
    """Rows of each that come from the tower."""
    tokens: int
    """Rows of each that come out of the connector."""
    rows: Number
    """Rows of the whole batch that come out: of all pictures, or what is left of them."""

    @property
    def rows_in(self) -> Number:
        """Those that `rows` are made of, where each is made of as many."""
        return self.rows * (self.features / self.tokens)


def rows_out(feeds: Sequence[Feed]) -> Number:
    """Rows of the prompt that come out of a connector."""
    return sum((feed.rows for feed in feeds), 0.0)


class Connect(Protocol):
    """Turn [rows, in] of visual features into [rows, out] of the prompt."""

    def __call__(
        self, connector: Any, feeds: Sequence[Feed], *, in_features: int, out_features: int
    ) -> tuple[Block, ...]: ...


class Cached(Protocol):
    """Elements in the KV cache behind a prompt and so many decode steps."""

    def __call__(
        self, llm: Any, groups: Sequence[LayerGroup], *, batch: Number, steps: Number
    ) -> Number: ...


class DerivedVariables(Protocol):
    """Variables of an LLM's formulas that are no polynomials in the axes."""

    def __call__(
        self,
        llm: Any,
        groups: Sequence[LayerGroup],
        *,
        batch: Number,
        step: Number,
        steps: Number,
    ) -> tuple[Derived, ...]: ...


class LanguageArchitecture(Struct, frozen=True):
    """An LLM."""

    prefill: Prefill
    decode: Decode
    cached: Cached
    derived: DerivedVariables | None = None
    """None where there are no such variables."""


_HERE = "roofline.model.architectures"
LANGUAGE_MODELS: Registry[LanguageArchitecture] = Registry("architecture of an LLM", _HERE)
VISION_ENCODERS: Registry[Encode] = Registry("architecture of a vision encoder", _HERE)
CONNECTORS: Registry[Connect] = Registry("architecture of a connector", _HERE)
"""By the `kind` of the spec."""


def kind_of(spec: Any) -> str:
    """What a spec's file has as `kind`."""
    return str(spec.__struct_config__.tag)
