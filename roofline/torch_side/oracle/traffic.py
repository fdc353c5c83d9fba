"""From kernels to bytes and lifetimes: shapes of the trace in, nothing of the cost formulas.

A kernel reads, once, what was made outside it, and writes, once, what is read outside it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from roofline.model.counted import TRAFFIC
from roofline.torch_side.oracle.fusion import Grouping, Key
from roofline.torch_side.oracle.trace import Call, Region, Trace


@dataclass(frozen=True)
class KernelTraffic:
    """Bytes that a kernel moves, storage by storage."""

    name: str
    reads: Mapping[int, int]
    writes: Mapping[int, int]


@dataclass(frozen=True)
class Traffic:
    """What a trace moves under a grouping."""

    trace: Trace
    kernels: tuple[KernelTraffic, ...]

    def table(self) -> dict[str, dict[str, int]]:
        """Bytes by kernel name and column, over all layers."""
        rows: dict[str, Counter[str]] = {}
        for kernel in self.kernels:
            row = rows.setdefault(kernel.name, Counter(dict.fromkeys(("count", *TRAFFIC), 0)))
            row["count"] += 1
            for storage, size in kernel.reads.items():
                row[f"{_family(self.trace, storage)}_read_bytes"] += size
            for storage, size in kernel.writes.items():
                row[f"{_family(self.trace, storage)}_write_bytes"] += size
        return {name: dict(row) for name, row in rows.items()}

    def total(self) -> int:
        """All bytes moved."""
        return sum(row[column] for row in self.table().values() for column in TRAFFIC)

    @property
    def causal(self) -> bool:
        """Whether the kernels can run in this order: none reads what a later one writes first."""
        first: dict[int, int] = {}
        for time, kernel in reversed(list(enumerate(self.kernels))):
            first.update(dict.fromkeys(kernel.writes, time))
        return all(
            first.get(storage, -1) < time
            for time, kernel in enumerate(self.kernels)
            for storage in kernel.reads
        )

    def peak(self) -> int:
        """Bytes of activations at the fullest moment.

        A tensor lives from the kernel that writes it (if none does, from the first that reads it)
        to the last that reads it. Of what comes from outside only the part that is read counts.
        """
        first: dict[int, int] = {}
        last: dict[int, int] = {}
        arrived = Counter[int]()
        for time, kernel in enumerate(self.kernels):
            for storage in (*kernel.reads, *kernel.writes):
                first.setdefault(storage, time)
                last[storage] = time
            for storage, size in kernel.reads.items():
                if storage not in self.trace.producers:
                    arrived[storage] = max(arrived[storage], size)
        alive = Counter[int]()
        for storage, birth in first.items():
            if self.trace.storages[storage].kind == "activation":
                size = arrived.get(storage, self.trace.storages[storage].nbytes)
                for time in range(birth, last[storage] + 1):
                    alive[time] += size
        return max(alive.values())


def measure(trace: Trace, grouping: Grouping) -> Traffic:
    """Price each kernel of a grouping."""
    arriving = {key: _from_outside(calls) for key, calls in grouping.kernels.items()}
    readers: dict[int, set[Key]] = {}
    for key, regions in arriving.items():
        for region in regions:
            readers.setdefault(region.storage, set()).add(key)
    kernels = []
    for key, calls in grouping.kernels.items():
        leaving = [
            region
            for call in calls
            for region in call.writes
            if key not in grouping.fused
            or readers.get(region.storage, set()) - {key}
            or region.storage in trace.outputs
            or trace.storages[region.storage].kind == "kv"
        ]
        kernel = KernelTraffic(key[1], _sizes(trace, arriving[key]), _sizes(trace, leaving))
        if kernel.reads or kernel.writes:
            kernels.append(kernel)
    return Traffic(trace, tuple(kernels))


def _from_outside(calls: Iterable[Call]) -> list[Region]:
    """What the calls read before any of them has written it."""
    made: set[int] = set()
    regions: list[Region] = []
    for call in calls:
        regions += (region for region in call.reads if region.storage not in made)
        made.update(region.storage for region in call.writes)
    return regions


def _sizes(trace: Trace, regions: Iterable[Region]) -> dict[int, int]:
    """Bytes touched of each storage: all distinct regions but those that are part of another; what
    else overlaps counts twice, but at most all of it.
    """
    distinct: dict[int, dict[Any, Region]] = {}
    for region in regions:
        distinct.setdefault(region.storage, {})[region.layout] = region
    sizes = {}
    for storage, parts in distinct.items():
        whole = [
            r for r in parts.values() if not any(_is_part(r, other) for other in parts.values())
        ]
        sizes[storage] = min(sum(r.nbytes for r in whole), trace.storages[storage].nbytes)
    return sizes


def _is_part(region: Region, other: Region) -> bool:
    """Whether a region is a slice of another's rows: `rotate_half` looks at each half by itself."""
    (offset, shape, strides), (start, whole, whole_strides) = region.layout, other.layout
    if not shape or strides != whole_strides or shape[:-1] != whole[:-1] or shape == whole:
        return False
    behind = offset - start
    inside: bool = strides[-1] == 1 and 0 <= behind <= whole[-1] - shape[-1]
    return inside


def _family(trace: Trace, storage: int) -> str:
    kind = trace.storages[storage].kind
    return "weight" if kind == "parameter" else kind
