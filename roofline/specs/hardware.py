"""A device: its memory, its peak rates per data type, and who says so."""

from typing import Annotated, Literal

from roofline.specs.correction import Correction
from roofline.specs.kernel_laws import ESSENTIAL_FAMILIES, KernelLaws
from roofline.specs.sourced import (
    Name,
    Peak,
    Sourced,
    Spec,
    between,
    check_ranges,
    check_sources,
)
from roofline.units import GIB, GIGA, TERA

DataType = Literal["fp32", "tf32", "fp16", "bf16", "fp8", "fp4", "int8", "int4"]


MatmulPeak = Annotated[Peak | None, between(1e-6, 1e6)]
"""A megaflop to an exaflop a second."""


class MatmulPeaks(Spec, frozen=True):
    """Dense matrix-multiply peaks; a type that is left out has no matmul of its own there.

    16-bit and narrower floats accumulate in fp32. fp32 itself runs at the vector rate unless the
    device has fp32 matrix units and gives `fp32_tflops`.
    """

    fp32_tflops: MatmulPeak = None
    tf32_tflops: MatmulPeak = None
    fp16_tflops: MatmulPeak = None
    bf16_tflops: MatmulPeak = None
    fp8_tflops: MatmulPeak = None
    fp4_tflops: MatmulPeak = None
    int8_tops: MatmulPeak = None
    int4_tops: MatmulPeak = None

    def __post_init__(self) -> None:
        check_ranges(self)


class Hardware(Spec, frozen=True):
    """One device, as the operating system shows it."""

    name: Name
    title: str
    vendor: str
    architecture: str
    kind: Literal["gpu", "cpu"]
    memory_capacity_gib: Annotated[Sourced, between(1e-6, 1e6)]
    memory_bandwidth_gb_per_s: Annotated[Sourced, between(1e-6, 1e7)]
    matmul_peaks: MatmulPeaks
    vector_peak_fp32_tflops: Annotated[Sourced, between(1e-9, 1e6)]
    """General-purpose (CUDA-core, SIMD) fp32 rate: norms, softmax, activations, residuals."""
    sources: dict[str, str]
    aliases: tuple[str, ...] = ()
    nvml_names: tuple[str, ...] = ()
    """Names that NVML and nvidia-smi print for the device."""
    cpu_names: tuple[str, ...] = ()
    """Names that the operating system gives the processor: of a CPU, or of the chip that a GPU is
    part of."""
    compute_capability: str | None = None
    sm_count: Annotated[Sourced | None, between(1, 1e6)] = None
    """Streaming multiprocessors; on a CPU, cores."""
    boost_clock_mhz: Annotated[Sourced | None, between(1, 1e5)] = None
    l2_cache_mib: Annotated[Sourced | None, between(1e-6, 1e6)] = None
    """Last-level cache."""
    l2_bandwidth_gb_per_s: Annotated[Sourced | None, between(1e-6, 1e8)] = None
    """Of data that stay in that cache."""
    launch_overhead_us: Annotated[Sourced | None, between(1e-3, 1e6)] = None
    tdp_w: Annotated[Sourced | None, between(1e-3, 1e6)] = None
    link: Literal["nvlink", "pcie", "xgmi", "ethernet"] | None = None
    """What connects it to others of its kind in a machine."""
    link_bandwidth_gb_per_s: Annotated[Sourced | None, between(1e-3, 1e5)] = None
    """Of all that leaves it by that link, one direction: half of what data sheets print of
    NVLink."""
    kernel_laws: KernelLaws | None = None
    """Laws of the kernels that were measured on the device. A file has them in place, or names the
    JSON file that holds them, relative to itself."""
    laws_from: str | None = None
    """Another device, whose laws go for the kernels that were not measured on this one."""
    correction: Correction | None = None
    """What whole models say of those laws and the file's own."""

    def __hash__(self) -> int:
        """By name: sources and laws are mappings, which have no hash.

        What a device costs is remembered under it: change one with `replace`, never in place.
        """
        return hash(self.name)

    def __post_init__(self) -> None:
        check_ranges(self)
        check_sources(self, self.sources)
        if self.kernel_laws and self.kernel_laws.source not in self.sources:
            raise ValueError(
                f"`sources` lacks what `kernel_laws` cites: {self.kernel_laws.source!r}"
            )
        if self.correction and self.correction.source not in self.sources:
            raise ValueError(f"`sources` lacks what `correction` cites: {self.correction.source!r}")
        if self.correction and not (self.kernel_laws or self.laws_from):
            raise ValueError(
                "`correction` needs laws to correct: give `kernel_laws` or `laws_from`"
            )
        if self.kernel_laws and not self.laws_from:
            for family in ESSENTIAL_FAMILIES:
                if not self.kernel_laws.families.get(family):
                    raise ValueError(
                        f"`kernel_laws` has no law of {family}: name in `laws_from` a device to "
                        "take it from"
                    )

    @property
    def memory_bytes(self) -> float:
        return self.memory_capacity_gib.value * GIB

    @property
    def memory_bytes_per_s(self) -> float:
        return self.memory_bandwidth_gb_per_s.value * GIGA

    @property
    def link_bytes_per_s(self) -> float | None:
        """Bandwidth of the link in one direction; None without one."""
        link = self.link_bandwidth_gb_per_s
        return link.value * GIGA if link else None

    @property
    def vector_flops_per_s(self) -> float:
        return self.vector_peak_fp32_tflops.value * TERA

    def matmul_peak(self, data_type: str) -> Peak | None:
        """The dense matmul peak for a data type, or None where the device has none."""
        unit = "tops" if data_type.startswith("int") else "tflops"
        peak: Peak | None = getattr(self.matmul_peaks, f"{data_type}_{unit}")
        if peak is None and data_type == "fp32":
            vector = self.vector_peak_fp32_tflops
            return Peak(value=vector.value, source=vector.source, engine="vector units")
        return peak
