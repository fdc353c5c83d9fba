"""Which of a device's peaks a component's kernels run at."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from roofline.device.resources import RESOURCES
from roofline.errors import UnsupportedModeError
from roofline.model.counted import ComponentCounts
from roofline.model.op import Unit
from roofline.specs.catalog import quantization_modes
from roofline.specs.hardware import DataType, Hardware
from roofline.specs.quantization import Quantization
from roofline.specs.sourced import Peak, Sourced
from roofline.units import TERA


class ComponentPeaks(Struct, frozen=True):
    """The peaks of a device that a component runs at."""

    matmul_type: DataType
    matmul: Peak
    attention_type: DataType
    attention: Peak
    vector_flops_per_s: float
    memory_bytes_per_s: float
    hardware: Hardware

    def flops_per_s(self, unit: Unit) -> float:
        """Matmul-class FLOP/s of an op that runs on `unit`."""
        if unit == "vector":
            return self.vector_flops_per_s
        return (self.matmul if unit == "matmul" else self.attention).value * TERA

    def per_s(self, resource: str, unit: Unit) -> float:
        """What a resource does a second for an op that runs on `unit`: FLOPs or bytes.

        Raises UnsupportedModeError for a resource that the device does not have.
        """
        if resource == "tensor":
            return self.flops_per_s(unit)
        if resource == "vector":
            return self.vector_flops_per_s
        return RESOURCES.find(resource).rate(self.hardware)

    def data_type(self, unit: Unit) -> DataType:
        """That matrices are multiplied in on `unit`."""
        return self.attention_type if unit == "attention" else self.matmul_type

    def figure(self, resource: str, unit: Unit) -> Sourced | None:
        """What the device's file says that `per_s` is from; None where it says nothing."""
        peak = self.attention if unit == "attention" else self.matmul
        at_matmul_peak = self.vector_flops_per_s != self.hardware.vector_flops_per_s
        if resource == "tensor" or (resource == "vector" and at_matmul_peak):
            return peak
        return RESOURCES.find(resource).figure(self.hardware)

    @property
    def ridge_point(self) -> float:
        """FLOP/B above which a matmul is bound by compute."""
        return self.flops_per_s("matmul") / self.memory_bytes_per_s


def component_peaks(hardware: Hardware, counts: ComponentCounts, mode: str) -> ComponentPeaks:
    """The first type of each preference list that the device has. Raises UnsupportedModeError."""
    matmul_type, matmul = _first_peak(hardware, counts.matmul_types, mode)
    attention_type, attention = _first_peak(hardware, counts.attention_types, mode)
    vector = hardware.vector_flops_per_s if counts.vector_peak else matmul.value * TERA
    return ComponentPeaks(
        matmul_type,
        matmul,
        attention_type,
        attention,
        vector,
        hardware.memory_bytes_per_s,
        hardware,
    )


def served_type(hardware: Hardware, mode: Quantization) -> DataType | None:
    """What linear layers of a mode compute in on a device; None where it cannot run."""
    for types in (mode.attention_types, mode.compute):
        best = next((t for t in types if hardware.matmul_peak(t) is not None), None)
        if best is None:
            return None
    return best


def _first_peak(hardware: Hardware, types: Iterable[DataType], mode: str) -> tuple[DataType, Peak]:
    for data_type in types:
        peak = hardware.matmul_peak(data_type)
        if peak is not None:
            return data_type, peak
    served = [
        name
        for name, known in quantization_modes().items()
        if any(hardware.matmul_peak(t) for t in known.compute)
    ]
    lacking = f"{hardware.name} has no {' or '.join(types)} peak, which"
    if mode in served:  # the exact accounting would have found a wider type
        raise UnsupportedModeError(f"{lacking} this accounting computes {mode} in")
    raise UnsupportedModeError(f"{lacking} {mode} computes in; it serves {', '.join(served)}")
