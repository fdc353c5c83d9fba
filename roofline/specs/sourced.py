"""Numbers that carry their source, and the bibliography they refer to."""

from collections.abc import Iterator
from math import inf
from typing import Annotated, Any

import msgspec

Positive = Annotated[float, msgspec.Meta(ge=1e-12, le=1e12)]
"""A number above 0 that no rounding and no product makes infinite."""
TokenId = Annotated[int, msgspec.Meta(ge=0, le=10**9)]
Epsilon = Annotated[float, msgspec.Meta(gt=0, le=1)]
"""What keeps a norm from dividing by zero."""
PositiveInt = Annotated[int, msgspec.Meta(ge=1, le=10**9)]
SmallInt = Annotated[int, msgspec.Meta(ge=1, le=10**4)]
"""Of layers, images, heads: what there are some dozens of."""
Width = Annotated[int, msgspec.Meta(ge=1, le=10**6)]
"""Of a hidden state, or a side in pixels."""
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]*$")]
"""What something is asked for by."""


def between(least: float, most: float) -> msgspec.Meta:
    """Annotates a field of a `Sourced` with the plausible range of its value, in its unit.

    Far beyond what is built: a figure outside is a slip of the unit or of the pen.
    """
    return msgspec.Meta(
        extra_json_schema={"properties": {"value": {"minimum": least, "maximum": most}}}
    )


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


def range_of(annotation: Any) -> tuple[float, float] | None:
    """The range that `between` has put on a field; None where there is none."""
    for meta in getattr(annotation, "__metadata__", ()):
        value = (meta.extra_json_schema or {}).get("properties", {}).get("value")
        if value is not None:
            return value["minimum"], value["maximum"]
    return None


def out_of_range(annotation: Any, value: float) -> str:
    """What is wrong with the value of a field; empty where nothing is."""
    least, most = range_of(annotation) or (-inf, inf)
    return "" if least <= value <= most else f"expected {least:g} to {most:g}, got {value:g}"


def check_ranges(spec: Spec) -> None:
    """Raise ValueError for figures of a spec outside the ranges of their fields."""
    for name, annotation in type(spec).__annotations__.items():
        figure = getattr(spec, name, None)
        if isinstance(figure, Sourced) and (wrong := out_of_range(annotation, figure.value)):
            raise ValueError(f"`{name}.value`: {wrong}")
