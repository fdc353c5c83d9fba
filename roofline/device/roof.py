"""The two roofs of a device for one data type, and what a kernel fills."""

from __future__ import annotations

from typing import TypeAlias

import msgspec
import numpy as np

from roofline.errors import UnsupportedModeError
from roofline.model.polynomial import Array
from roofline.specs.hardware import Hardware
from roofline.units import GIGA, MEGA, MIB, TERA

FloatOrArray: TypeAlias = float | Array

CACHE_BYTES_PER_CLOCK = 64
"""What an SM reads from the last-level cache in a clock: Jia et al., arXiv:1804.06826, table 3.1
(Volta); NVIDIA gives the same for its later chips.
"""


class Roof(msgspec.Struct, frozen=True):
    """What bounds a kernel from below."""

    flops_per_s: float
    """Dense peak of the data type that the kernel computes in."""
    bytes_per_s: float
    """DRAM bandwidth."""
    units: float
    """SMs of a GPU, cores of a CPU; 1 where the file gives none."""
    cache_bytes: float
    """Last-level cache; 0 where the file gives none."""
    cache_bytes_per_s: float = 0.0
    """Bandwidth of what lies there; 0 counts all traffic as the DRAM's."""
    all_from_dram: bool = False
    """Whether nothing lies there."""

    @classmethod
    def of(cls, hardware: Hardware, data_type: str) -> Roof:
        """The device's roofs for `data_type`. Raises UnsupportedModeError without a peak for it."""
        peak = hardware.matmul_peak(data_type)
        if peak is None:
            raise UnsupportedModeError(f"{hardware.name} has no {data_type} matmul peak")
        return cls.under(hardware, peak.value * TERA)

    @classmethod
    def under(cls, hardware: Hardware, flops_per_s: float) -> Roof:
        """The device's roofs where that is the peak."""
        cores, cache = hardware.sm_count, hardware.l2_cache_mib
        return cls(
            flops_per_s=flops_per_s,
            bytes_per_s=hardware.memory_bytes_per_s,
            units=cores.value if cores else 1.0,
            cache_bytes=cache.value * MIB if cache else 0.0,
            cache_bytes_per_s=_cache_bytes_per_s(hardware),
        )

    @property
    def of_dram(self) -> Roof:
        """The same for operands that no earlier kernel has left in the cache."""
        return msgspec.structs.replace(self, all_from_dram=True)

    @property
    def of_one_kernel(self) -> Roof:
        """The same for a kernel that runs again and again, as those that laws were fitted to."""
        return msgspec.structs.replace(self, all_from_dram=False)

    def seconds(self, flops: FloatOrArray, traffic_bytes: FloatOrArray) -> Array:
        """The bound: the slower of computing and traffic, each at its peak.

        t = max(F / P, (T − c) / B + c / B_cache), in s: of the traffic T as many bytes c as the
        last-level cache holds may lie there from an earlier kernel; c = 0 under `of_dram`.
        """
        traffic = np.asarray(traffic_bytes, dtype=np.float64)
        moving = traffic / self.bytes_per_s
        if self.cache_bytes_per_s > self.bytes_per_s and not self.all_from_dram:
            saved = 1 / self.bytes_per_s - 1 / self.cache_bytes_per_s
            moving = moving - np.minimum(traffic, self.cache_bytes) * saved
        return np.maximum(np.asarray(flops, dtype=np.float64) / self.flops_per_s, moving)


def _cache_bytes_per_s(hardware: Hardware) -> float:
    """Of the device's file, else what its SMs can ask for; 0 where neither is known."""
    known, units, clock = (
        hardware.l2_bandwidth_gb_per_s,
        hardware.sm_count,
        hardware.boost_clock_mhz,
    )
    if known is not None:
        return known.value * GIGA
    if hardware.kind != "gpu" or units is None or clock is None:
        return 0.0
    return units.value * CACHE_BYTES_PER_CLOCK * clock.value * MEGA
