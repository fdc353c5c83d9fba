"""Measured kernels: what a table has to hold, and what no kernel can have done."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from roofline.device.roof import Roof
from roofline.errors import InputError, shortened
from roofline.model.polynomial import Array
from roofline.specs.kernel_laws import Law
from roofline.specs.reading import convert
from roofline.units import MILLI

_Law = TypeVar("_Law", bound=Law)

LEAST_ROWS = 20
"""Fewer measurements say nothing about a law's numbers."""

FASTER_THAN_ROOF = 1.10
"""A kernel that beats its roof by more was measured, counted or labelled wrongly."""

SLOWEST = 1e3
"""A table whose median time is beyond this multiple of the roofline is in another unit."""

HELD_OUT = 4
"""One shape in so many is held out to measure the law's error."""

AS_MANY = 0.85
"""Libraries with at least that share of the rows that any has are measured equally well."""

FEW_SHAPES = 12
"""Of so many or fewer, each is held out in turn."""


WHERE = "measured in"
"""A column that says which row of which file a measurement is."""


def place(rows: Mapping[str, Any], index: int) -> str:
    """A measurement, in words."""
    return str(rows[WHERE][index]) if WHERE in rows else f"row {index} of the measurements"


class FitError(InputError):
    """Measurements that no law can be fitted to."""


def of_one_source(rows: Mapping[str, Any]) -> Mapping[str, Any]:
    """The rows of the `source` with most of them, where the table has such a column.

    Two libraries are two laws: fitted together they give one that neither keeps to.
    """
    return by_library(rows)[0]


def by_library(
    rows: Mapping[str, Any], preferred: str = ""
) -> tuple[Mapping[str, Any], Mapping[str, Any] | None]:
    """The rows of one library, and those of all others; None where there are no others.

    A library is what the column `source` names. The one is that whose name starts with `preferred`,
    if there is such; else the first of those with about as many rows as any, `AS_MANY`, in its
    newest version.
    """
    if "source" not in rows:
        return rows, None
    names = np.asarray(rows["source"], dtype=str)
    sources, first, counts = np.unique(names, return_index=True, return_counts=True)
    if sources.size < 2:
        return rows, None
    wanted = np.array([bool(preferred) and name.startswith(preferred) for name in sources])
    counts = np.where(wanted, counts, 0) if wanted.any() else counts
    many = counts >= AS_MANY * counts.max()
    name = _name_and_version(sources[many][first[many].argmin()])[0]
    versions = [source for source in sources[many] if _name_and_version(source)[0] == name]
    one = names == max(versions, key=_name_and_version)
    arrays = {str(name): np.asarray(rows[name]) for name in rows}
    own, others = ({name: value[mask] for name, value in arrays.items()} for mask in (one, ~one))
    return own, others


def _name_and_version(source: str) -> tuple[str, list[int]]:
    """A library and its version, whose numbers compare as numbers: 2.9 is before 2.27."""
    return source.partition(" ")[0], [int(number) for number in re.findall(r"\d+", source)]


def library_name(rows: Mapping[str, Any]) -> str:
    """What the column `source` says of rows of one library; empty without."""
    return str(rows["source"][0]) if "source" in rows and len(rows["source"]) else ""


def columns(rows: Mapping[str, Any], names: Sequence[str], least: int = LEAST_ROWS) -> list[Array]:
    """Columns as float64 arrays, the times in seconds. Raises FitError naming what is wrong."""
    missing = [name for name in names if name not in rows]
    if missing:
        have = ", ".join(map(str, rows)) or "none"
        raise FitError(f"measurements lack the columns {', '.join(missing)}; there are {have}")
    values = []
    for name in names:
        try:
            value = np.asarray(rows[name], dtype=np.float64)
        except (TypeError, ValueError):
            odd = next(i for i, cell in enumerate(rows[name]) if not _is_number(cell))
            raise FitError(
                f"{place(rows, odd)} has {name} {shortened(str(rows[name][odd]))!r}, no number"
            ) from None
        bad = np.flatnonzero(~((value >= 1e-12) & (value <= 1e18)))
        if bad.size:
            raise FitError(
                f"{place(rows, int(bad[0]))} has {name} {value[bad[0]]:g}; "
                "remove it or measure again, every number must be above zero and no more than 1e18"
            )
        values.append(value * MILLI if name == "time_ms" else value)
    if values[0].size < least:
        raise FitError(f"{values[0].size} measurements are too few for a fit; give {least} or more")
    return values


def _is_number(cell: Any) -> bool:
    try:
        float(cell)
    except (TypeError, ValueError):
        return False
    return True


def check_physics(
    roof: Roof,
    seconds: Array,
    flops: Array,
    traffic_bytes: Array,
    *,
    speed_up: float = 1.0,
    rows: Mapping[str, Any] | None = None,
) -> None:
    """Raise FitError where a time beats the device's peak, or DRAM with what its cache cannot hold.

    speed_up: how many times as fast as the peak the kernel may compute. rows: those of the table,
        which say where each was measured.
    """
    compute = flops / (roof.flops_per_s * speed_up) / seconds
    memory = traffic_bytes / roof.bytes_per_s / seconds
    # what the cache holds it may serve, from one run of a kernel to the next
    uncached = (traffic_bytes - roof.cache_bytes) / roof.bytes_per_s / seconds
    memory = np.where(uncached <= FASTER_THAN_ROOF, 0.0, memory)
    for share, what in ((compute, "FLOP/s"), (memory, "DRAM bandwidth")):
        worst = int(share.argmax())
        if share[worst] > FASTER_THAN_ROOF:
            raise FitError(
                f"{place(rows or {}, worst)} takes {seconds[worst] / MILLI:.4g} ms, "
                f"{share[worst]:.2f} times the device's peak {what}; "
                "check the hardware file, the data type and the unit of time"
            )
    slower = np.median(seconds / roof.seconds(flops, traffic_bytes))
    if slower > SLOWEST:
        raise FitError(
            f"half of the measurements take over {slower:.0f} times the roofline; "
            "time_ms must be in milliseconds"
        )


def held_out(*shape: Array) -> list[NDArray[np.bool_]]:
    """Sets of rows to hold out from a fit, each of whole shapes.

    Of many shapes one in `HELD_OUT`, by a hash of the shape, so that a table's order, length and
    other columns do not matter; of few each in turn; none of a single one.
    """
    inverse, digests = _hashed(*shape)
    if len(digests) > FEW_SHAPES:
        out = np.array([digest[0] % HELD_OUT == 0 for digest in digests])
        if out.any():
            return [out[inverse]]
    return [inverse == i for i in range(len(digests))] if len(digests) > 1 else []


def in_turn(*shape: Array) -> list[NDArray[np.bool_]]:
    """`HELD_OUT` such sets that every shape is in one of, for tables too small to trust a single
    quarter; as of `held_out` where there are few shapes.
    """
    inverse, digests = _hashed(*shape)
    if len(digests) <= FEW_SHAPES:
        return held_out(*shape)
    turn = np.array(digests).argsort().argsort() % HELD_OUT
    return [turn[inverse] == i for i in range(HELD_OUT)]


def _hashed(*shape: Array) -> tuple[NDArray[np.intp], list[bytes]]:
    """Which shape each row has, and the shapes' hashes."""
    keys, inverse = np.unique(np.stack(shape, axis=-1), axis=0, return_inverse=True)
    texts = ("x".join(f"{v:g}" for v in key) for key in keys)
    return inverse.ravel(), [hashlib.sha256(text.encode()).digest() for text in texts]


def errors_percent(
    predicted_s: Sequence[Array], measured_s: Sequence[Array], of: str = "error"
) -> dict[str, float]:
    """Median and 90th percentile of the absolute relative error, as fields of a law.

    of: `error`, or `other_library_error`. Raises FitError without any rows: then nothing was held
    out.
    """
    if not predicted_s:
        raise FitError("all measurements are of one shape; give several, to measure the error by")
    errors = 100 * np.abs(np.concatenate(predicted_s) / np.concatenate(measured_s) - 1)
    return {
        f"median_{of}_percent": round(float(np.median(errors)), 2),
        f"p90_{of}_percent": round(float(np.quantile(errors, 0.9)), 2),
    }


def rounded(law: _Law) -> _Law:
    """The law with four significant digits: more are not known."""

    def short(value: Any) -> Any:
        if isinstance(value, float):
            return float(f"{value:.4g}")
        if isinstance(value, dict):
            return {key: short(inner) for key, inner in value.items()}
        return [short(inner) for inner in value] if isinstance(value, list | tuple) else value

    return cast(_Law, convert(short(msgspec.to_builtins(law)), type(law)))
