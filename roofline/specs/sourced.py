"""Numbers that carry their source, and the bibliography they refer to."""

from collections.abc import Iterator
from typing import Annotated

import msgspec

Positive = Annotated[float, msgspec.Meta(gt=0, le=1e30)]  # finite, too
PositiveInt = Annotated[int, msgspec.Meta(gt=0)]


class Spec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of everything read from YAML: immutable, and strict about its keys.

    Modules of specs do not import `annotations` from `__future__`: msgspec would evaluate every
    field's at each start, which takes longer than reading the file.
    """


class Sourced(Spec, frozen=True):
    """A sourced number; its unit is the suffix of the key that holds it."""

    value: Positive
    source: str
    """Key of the file's `sources` that vouches for the value."""
    note: str = ""


class Peak(Sourced, frozen=True):
    """A dense peak rate, and what in the device delivers it."""

    engine: str = "tensor cores"
    sparse: Positive | None = None
    """The same rate with 2:4 structured sparsity, as vendors like to print it."""


def sourced_figures(spec: object, prefix: str = "") -> Iterator[tuple[str, Sourced]]:
    """Yield every `Sourced` inside a spec with its dotted path, depth first."""
    if isinstance(spec, Sourced):
        yield prefix, spec
    elif isinstance(spec, msgspec.Struct):
        for field in spec.__struct_fields__:
            yield from sourced_figures(
                getattr(spec, field), f"{prefix}.{field}" if prefix else field
            )


def check_sources(spec: object, sources: dict[str, str]) -> None:
    """Raise ValueError when a figure cites a source that the file does not list."""
    missing = [
        f"{path} cites {f.source!r}" for path, f in sourced_figures(spec) if f.source not in sources
    ]
    if missing:
        raise ValueError(f"`sources` lacks what is cited: {'; '.join(missing)}")
