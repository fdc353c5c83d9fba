"""The two roofs of a device for one data type, and what a kernel fills."""

from __future__ import annotations

from typing import TypeAlias

import msgspec
import numpy as np

from roofline.errors import UnsupportedModeError
from roofline.model.polynomial import Array
from roofline.specs.hardware import Hardware
from roofline.units import MIB, TERA

FloatOrArray: TypeAlias = float | Array


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
        )

    def seconds(self, flops: FloatOrArray, traffic_bytes: FloatOrArray) -> Array:
        """The bound: the slower of computing and DRAM traffic, each at its peak."""
        return np.maximum(
            np.asarray(flops, dtype=np.float64) / self.flops_per_s,
            np.asarray(traffic_bytes, dtype=np.float64) / self.bytes_per_s,
        )
