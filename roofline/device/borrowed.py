"""Laws for kernels that nobody measured on a device: typical ones, and what they may be off.

`laws_from` names a measured device of the same or the nearest architecture. Its laws hold
shares of peak, bandwidth and cache, so they go for the device's own figures; launch times are kept.
Which errors that makes is known from measured devices that are predicted by each other's laws
(`tools/fit_catalogue.py`): smaller for two devices of one compute capability, which run the same
kernels. Vector ops that were not measured take a launch and `VECTOR_BANDWIDTH` of the DRAM's.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TypeVar

from msgspec.structs import replace

from roofline.errors import SpecError
from roofline.specs.catalog import load_hardware
from roofline.specs.hardware import Hardware
from roofline.specs.kernel_laws import KernelLaws, Law, NonNegative, PointwiseLaw
from roofline.specs.reading import DATA, build, read_yaml
from roofline.specs.sourced import Spec

VECTOR_BANDWIDTH = 0.8
"""Share of DRAM bandwidth that elementwise kernels attain: an assumption, from what copies and
triads of arrays usually reach on GPUs (80 to 90 %)."""

LAUNCH_US = 4.0
"""Launch of a device whose file has none: between the 3 µs of data-centre and 8 µs of old GPUs."""

CARRY_OVER = DATA / "carry_over.yaml"

_Law = TypeVar("_Law", bound=Law)


class Errors(Spec, frozen=True):
    """Of absolute relative errors, the median and the 90th percentile."""

    median_percent: NonNegative
    p90_percent: NonNegative


class BorrowingErrors(Spec, frozen=True):
    """Errors of laws that go for another device than theirs."""

    matmul: Errors
    attention: Errors


class CarryOver(Spec, frozen=True):
    """What typical laws may be off."""

    same_capability: BorrowingErrors
    """Between devices of one compute capability."""
    other_capability: BorrowingErrors
    quantized_matmul: Errors
    """Of w8a8, w8a16 and w4a16, between any two: libraries differ more in these than devices."""
    vector: Errors
    """Of vector ops that were not measured, on the one device where somebody else measured them."""


@lru_cache(maxsize=1)
def carry_over() -> CarryOver:
    """The errors that ship."""
    return build(CarryOver, read_yaml(CARRY_OVER), CARRY_OVER)


def laws_of(hardware: Hardware) -> KernelLaws | None:
    """The laws of a device, with typical ones for kernels that its file has none for.

    `source` is spelled out. None where the file has neither laws nor `laws_from`. Raises
    UnknownNameError, SpecError for an `laws_from` that leads nowhere.
    """
    return _laws_of(hardware, ())


def _laws_of(hardware: Hardware, askers: tuple[str, ...]) -> KernelLaws | None:
    laws = hardware.kernel_laws
    if laws is not None:
        laws = replace(laws, source=hardware.sources[laws.source])
    if hardware.laws_from is not None:
        lent = _lent(hardware, (*askers, hardware.name))
        laws = lent if laws is None else _completed(laws, lent)
    if laws is None or "default" in laws.pointwise:
        return laws
    return replace(laws, pointwise={"default": _vector_law(hardware), **laws.pointwise})


def _lent(hardware: Hardware, askers: tuple[str, ...]) -> KernelLaws:
    """The laws of the device that `laws_from` names, as they go for this one."""
    assert hardware.laws_from is not None
    lender = load_hardware(hardware.laws_from)
    laws = None if lender.name in askers else _laws_of(lender, askers)
    if laws is None:
        raise SpecError(
            f"hardware {hardware.name}",
            [("laws_from", f"{lender.name} has no laws of its own: name a device that has")],
        )
    same = hardware.compute_capability == lender.compute_capability is not None
    known = carry_over()
    errors = known.same_capability if same else known.other_capability
    return replace(
        laws,
        origin="typical",
        matmul={
            name: _typical(law, known.quantized_matmul if quantizes(name) else errors.matmul)
            for name, law in laws.matmul.items()
        },
        attention={name: _typical(law, errors.attention) for name, law in laws.attention.items()},
        pointwise={},
        host={},
    )


def _typical(law: _Law, errors: Errors) -> _Law:
    """A law of another device; one that is yet another's there keeps the errors it has."""
    if law.origin == "typical":
        return law
    return replace(
        law,
        origin="typical",
        median_error_percent=errors.median_percent,
        p90_error_percent=errors.p90_percent,
    )


def quantizes(kernel: str) -> bool:
    """Whether weights or inputs of a matmul kernel are quantized: w8a8, w8a16, w4a16."""
    return kernel.startswith("w")


def _completed(laws: KernelLaws, lent: KernelLaws) -> KernelLaws:
    return replace(
        laws,
        matmul={**laws.matmul, **{k: v for k, v in lent.matmul.items() if k not in laws.matmul}},
        attention=laws.attention or lent.attention,
    )


def _vector_law(hardware: Hardware) -> PointwiseLaw:
    """The law of a vector op that nobody measured."""
    launch, errors = hardware.launch_overhead_us, carry_over().vector
    return PointwiseLaw(
        rows=0,
        origin="typical",
        median_error_percent=errors.median_percent,
        p90_error_percent=errors.p90_percent,
        launch_us=launch.value if launch else LAUNCH_US,
        bandwidth_gb_per_s=VECTOR_BANDWIDTH * hardware.memory_bandwidth_gb_per_s.value,
    )
