"""What a device has that an op can wait for: units that compute, memories and links that move.

An op takes as long as its slowest resource (Williams et al. 2009, extended to any number of roofs);
that one binds it. A further resource is an entry here, a figure of the device's spec, and an op
that asks for an amount of it (`Op.elsewhere`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias, get_args

from msgspec import Struct

from roofline.errors import UnsupportedModeError
from roofline.registry import Registry
from roofline.specs.hardware import Hardware
from roofline.specs.sourced import Sourced

Bound: TypeAlias = Literal["compute", "link", "memory"]
"""What an op is said to be bound by."""
BOUNDS: tuple[Bound, ...] = get_args(Bound)
"""Of roofs that are equally high the first counts."""


class Resource(Struct, frozen=True):
    """One roof."""

    name: str
    bound: Bound
    """The word for an op that waits for it."""
    per_s: Callable[[Hardware], float | None]
    """FLOP/s or bytes/s of a device; None of one that does not have it."""
    title: str = ""
    """In tables and explanations."""
    unit: str = "B"
    """What it does: FLOP, or B."""
    figure: Callable[[Hardware], Sourced | None] = lambda hardware: None
    """The figure of the device's file that `per_s` is from."""

    def rate(self, hardware: Hardware) -> float:
        """The same. Raises UnsupportedModeError for a device without."""
        rate = self.per_s(hardware)
        if rate is None:
            raise UnsupportedModeError(f"{hardware.name} has no {self.name}, which this run needs")
        return rate


def _by_data_type(hardware: Hardware) -> float | None:
    """The peak depends on the type that a component computes in: `ComponentPeaks` knows it."""
    return None


RESOURCES: Registry[Resource] = Registry("resource")
for _resource in (
    Resource("tensor", "compute", _by_data_type, "Matmul units", "FLOP"),
    Resource(
        "vector",
        "compute",
        lambda hardware: hardware.vector_flops_per_s,
        "Vector units",
        "FLOP",
        lambda hardware: hardware.vector_peak_fp32_tflops,
    ),
    Resource(
        "dram",
        "memory",
        lambda hardware: hardware.memory_bytes_per_s,
        "DRAM",
        figure=lambda hardware: hardware.memory_bandwidth_gb_per_s,
    ),
):
    RESOURCES.register(_resource.name, _resource)
