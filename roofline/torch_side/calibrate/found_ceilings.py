"""Ceilings from measured kernels, and which kernel beats one that it should not.

A ceiling comes from the kernels that are made to reach it. Where another goes beyond, the ceiling
is raised to it, for a roofline has to be a bound; but one of the two was measured wrongly, where
the difference is more than their noise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from roofline.device.kernel_types import COMPUTES_IN, MATMUL_KERNELS
from roofline.errors import InputError
from roofline.torch_side.calibrate.ceilings import MULTIPLY_ADDS
from roofline.torch_side.calibrate.microbench import KernelRow
from roofline.torch_side.load import DTYPES

_LEAST_MARGIN = 0.05
"""By so much kernels of different kinds differ at one ceiling: reads, writes, and both."""
_MOST_LAUNCHES = 4
"""Times the empty kernel's time that a kernel takes beside its bytes: more of it is noise."""


@dataclass(frozen=True)
class FoundCeiling:
    """The most of something per second that was seen."""

    per_s: float
    """FLOPs or bytes."""
    beaten: str = ""
    """Which kernel goes beyond what was made to reach it, by how much; empty where none does."""


def check_ceilings(rows: Sequence[KernelRow], left_out: Mapping[str, str]) -> None:
    """Raise InputError for a ceiling that every device must have and no kernel shows.

    left_out: notes on kernels that did not run, by their names.
    """
    shown_by: Mapping[str, Sequence[object]] = {
        "memory ceiling": [row for row in rows if row.get("level") == "memory"],
        "cache ceiling": _in_two_sizes(rows),
        "launch overhead": [row for row in rows if row["op"] == "launch"],
    }
    for what, kernels in shown_by.items():
        if not kernels:
            kind = what.split()[0]
            why = next((note for name, note in left_out.items() if kind in name.split()), "")
            raise InputError(
                f"this device's {what} could not be measured{why and f' ({why})'}: mend that, "
                "and go on with --resume"
            )


def memory_ceiling(rows: Sequence[KernelRow], cache_bytes: float) -> FoundCeiling:
    """Bytes/s of operands that no cache holds."""

    def cold_bytes(row: KernelRow) -> float:
        return _cold_bytes(row, cache_bytes)

    made = [row for row in rows if row.get("level") == "memory"]
    return _found("memory", made, rows, cold_bytes, lambda row: float(row["bytes"]))


def cache_ceiling(rows: Sequence[KernelRow], *, on_cpu: bool) -> FoundCeiling:
    """Bytes/s of operands that the last-level cache holds, without the launch.

    A CPU's cores have caches of their own before that one, which small operands never leave.
    """
    launch_s = min((row["fastest_s"] for row in rows if row["op"] == "launch"), default=0.0)
    made = [_without_launch(small, large, launch_s) for small, large in _in_two_sizes(rows)]
    others = [row for row in rows if row["op"] == "pointwise" or row.get("level") == "memory"]
    return _found("cache", made, [] if on_cpu else others, lambda row: float(row["bytes"]))


def compute_ceiling(
    rows: Sequence[KernelRow], data_type: str, *, on_cpu: bool
) -> FoundCeiling | None:
    """FLOP/s of matmuls in a data type; None where none ran.

    A CPU's matmuls lay their weights out anew each time, which its attention does not: there that
    shows as well what the units can do.
    """
    kinds = ("matmul", "arithmetic", "attention") if on_cpu else ("matmul", "arithmetic")
    kernels = {name for name, types in COMPUTES_IN.items() if data_type in types} | {data_type}
    narrow = {name for name in kernels if _weighs_less(name)}
    of_type = [row for row in rows if row.get("dtype") in kernels]
    made = [row for row in of_type if row["op"] in kinds and row["dtype"] not in narrow]
    products = any(row["op"] != "attention" for row in made)
    return _found(f"{data_type} compute", made, of_type, _flops) if products else None


def vector_ceiling(rows: Sequence[KernelRow], *, of_matmuls: bool) -> FoundCeiling | None:
    """FLOP/s in fp32 outside matrix units; None where nothing shows it.

    of_matmuls: whether fp32 matmuls compute there, too, as they do but on devices that have matrix
    units for fp32.
    """
    in_fp32 = [row for row in rows if row.get("dtype") == "fp32"]
    chains = [row for row in in_fp32 if row.get("function") == MULTIPLY_ADDS]
    kinds = ("matmul", "arithmetic") if of_matmuls else ()
    products = [row for row in in_fp32 if row["op"] in kinds]
    made = chains or products
    return _found("vector", made, products, _flops) if made else None


def _found(
    what: str,
    made: Sequence[KernelRow],
    others: Sequence[KernelRow],
    amount: Callable[[KernelRow], float],
    own_amount: Callable[[KernelRow], float] | None = None,
) -> FoundCeiling:
    """The best of what is made to reach the ceiling, or of the others where those go beyond."""
    own_amount = own_amount or amount
    best = max(made, key=lambda row: own_amount(row) / row["fastest_s"])
    own = own_amount(best) / best["fastest_s"]
    other = max(others, key=lambda row: amount(row) / row["fastest_s"], default=best)
    rate = amount(other) / other["fastest_s"]
    if rate <= own:
        return FoundCeiling(own)
    margin = max(_LEAST_MARGIN, best["noise"] + other["noise"])
    if rate <= (1 + margin) * own:
        return FoundCeiling(rate)
    beyond = f"{_name(other)} beats the {what} ceiling by {100 * (rate / own - 1):.0f} %"
    return FoundCeiling(rate, beyond)


def _in_two_sizes(rows: Sequence[KernelRow]) -> list[tuple[KernelRow, KernelRow]]:
    """Of each op in the cache the smaller and the larger, where both ran."""
    cached = [row for row in rows if row.get("level") == "cache"]
    by_op = [
        sorted((row for row in cached if row["op"] == op), key=lambda row: float(row["bytes"]))
        for op in dict.fromkeys(row["op"] for row in cached)
    ]
    return [(some[0], some[-1]) for some in by_op if len(some) > 1]


def _without_launch(small: KernelRow, large: KernelRow, launch_s: float) -> KernelRow:
    """The larger, in the time that its bytes take: t(b) = launch + b / bandwidth, twice."""
    share = small["bytes"] / large["bytes"]
    fixed_s = (small["fastest_s"] - share * large["fastest_s"]) / (1 - share)
    fixed_s = min(max(fixed_s, 0.0), _MOST_LAUNCHES * launch_s, large["fastest_s"] / 2)
    return {**large, "fastest_s": large["fastest_s"] - fixed_s}


def _cold_bytes(row: KernelRow, cache_bytes: float) -> float:
    """Bytes that a kernel cannot have found in a cache."""
    match row["op"]:
        case "matmul":
            return float(MATMUL_KERNELS[row["dtype"]].weight * row["n"] * row["k"])
        case "attention" if row["tokens"] < row["keys"]:
            cached = row["batch_size"] * row["keys"] * row["num_heads"] * row["head_dim"]
            return float(2 * DTYPES[row["dtype"]].itemsize * cached)
        case _:
            return float(row.get("bytes", 0)) - cache_bytes


def _flops(row: KernelRow) -> float:
    """What a matmul or attention computes, hidden scores left out."""
    match row["op"]:
        case "matmul":
            return float(2 * row["m"] * row["n"] * row["k"])
        case "attention":
            queries = row["tokens"]
            pairs = queries * row["keys"] - row["causal"] * queries * (queries - 1) / 2
            return float(4 * row["batch_size"] * row["num_heads"] * row["head_dim"] * pairs)
        case _:
            return float(row.get("flops", 0))


def _weighs_less(kernel: str) -> bool:
    width = MATMUL_KERNELS.get(kernel)
    return width is not None and width.weight < width.input


def _name(row: KernelRow) -> str:
    """A kernel in words: its columns but for what was measured."""
    measured = ("time_s", "fastest_s", "noise", "disturbed", "replay_share")
    return " ".join(str(value) for column, value in row.items() if column not in measured)
