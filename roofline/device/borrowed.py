"""Borrowed laws: for kernels that nobody measured on a device, those of another, and how far off
they may be.

`laws_from` names the source device, a measured one of the same or the nearest architecture. Laws
hold shares of peak, bandwidth and cache, so they go for the borrowing device's own figures; launch
times are kept. Which errors that makes is known from measured devices that are predicted by each
other's laws (`tools/fit_hardware.py`): smaller for two devices of one compute capability, which run
the same kernels. Vector ops that were not measured take a launch and `VECTOR_BANDWIDTH` of the
DRAM's.
"""

from functools import lru_cache
from typing import TypeVar

from msgspec.structs import replace

from roofline.device.laws.attention import AttentionLaw
from roofline.device.laws.matmul import MatmulLaw
from roofline.device.laws.pointwise import PointwiseLaw
from roofline.errors import SpecError
from roofline.specs.catalog import load_hardware, referred, where
from roofline.specs.hardware import Hardware
from roofline.specs.kernel_laws import KernelLaws, Law, NonNegative
from roofline.specs.reading import DATA, build, read_json
from roofline.specs.sourced import Spec

VECTOR_BANDWIDTH = 0.8
"""Share of DRAM bandwidth that elementwise kernels attain: an assumption, from what copies and
triads of arrays usually reach on GPUs (80 to 90 %)."""

LAUNCH_US = 4.0
"""Launch of a device whose file has none, in µs: between the 3 of data-centre and the 8 of old
GPUs."""

BORROWING_ERRORS_FILE = DATA / "borrowing_errors.json"

_FittedLaw = TypeVar("_FittedLaw", bound=Law)


class Errors(Spec, frozen=True):
    """A spread of absolute relative errors."""

    median_percent: NonNegative
    """Median of the errors."""
    p90_percent: NonNegative
    """90th percentile of the errors."""


class CapabilityErrors(Spec, frozen=True):
    """Errors of laws on devices of one relation to the source device."""

    matmul: Errors
    """Errors of matmul laws, of kernels whose operands are not quantized."""
    attention: Errors
    """Errors of attention laws."""


class BorrowingErrors(Spec, frozen=True):
    """How far off borrowed laws may be."""

    same_capability: CapabilityErrors
    """Errors between devices of one compute capability."""
    other_capability: CapabilityErrors
    """Errors between devices of two compute capabilities."""
    quantized_matmul: Errors
    """Errors of w8a8, w8a16 and w4a16 between any two devices: libraries differ more in these than
    devices."""
    vector: Errors
    """Errors of the law of vector ops that were not measured, on the one device where somebody else
    measured them."""


@lru_cache(maxsize=1)
def borrowing_errors() -> BorrowingErrors:
    """The errors that ship."""
    return build(BorrowingErrors, read_json(BORROWING_ERRORS_FILE), BORROWING_ERRORS_FILE)


def laws_of(hardware: Hardware) -> KernelLaws | None:
    """The laws of a device, with borrowed ones for kernels that its file has none for.

    `source` is spelled out. None where the file has neither laws nor `laws_from`. Raises
    SpecError for a `laws_from` that leads nowhere.
    """
    return _laws_of(hardware, borrowers=())


def with_own_laws(hardware: Hardware) -> Hardware:
    """The same device with those laws as its own, and none to borrow. Raises SpecError likewise."""
    laws = laws_of(hardware)
    if hardware.laws_from is None or laws is None:
        return hardware
    own, sources = hardware.kernel_laws, hardware.sources
    key = own.source if own else "laws"
    while own is None and key in sources:
        key += "-borrowed"
    return replace(
        hardware,
        kernel_laws=replace(laws, source=key),
        laws_from=None,
        sources={**sources, key: laws.source},
    )


def _laws_of(hardware: Hardware, borrowers: tuple[str, ...]) -> KernelLaws | None:
    """The same; borrowers: names of the devices that borrow from this one, one from the other."""
    laws = hardware.kernel_laws
    if laws is not None:
        laws = replace(laws, source=hardware.sources[laws.source])
    if hardware.laws_from is not None:
        borrowed = _borrowed(hardware, (*borrowers, hardware.name))
        laws = borrowed if laws is None else _completed(laws, borrowed)
    if laws is None or "default" in laws.of(PointwiseLaw):
        return laws
    return laws.updated(pointwise={"default": _vector_law(hardware), **laws.of(PointwiseLaw)})


def _borrowed(hardware: Hardware, borrowers: tuple[str, ...]) -> KernelLaws:
    """The laws of the source device, as they go for this one."""
    assert hardware.laws_from is not None
    source = referred(where(hardware), "laws_from", load_hardware, hardware.laws_from)
    laws = None if source.name in borrowers else _laws_of(source, borrowers)
    if laws is None:
        raise SpecError(
            where(hardware),
            [("laws_from", f"{source.name} has no laws of its own: name a device that has")],
        )
    same = hardware.compute_capability == source.compute_capability is not None
    known = borrowing_errors()
    errors = known.same_capability if same else known.other_capability
    matmul = {
        kernel: _typical(law, known.quantized_matmul if quantizes(kernel) else errors.matmul)
        for kernel, law in laws.of(MatmulLaw).items()
    }
    attention = {
        kernel: _typical(law, errors.attention) for kernel, law in laws.of(AttentionLaw).items()
    }
    families = {MatmulLaw.family: matmul, AttentionLaw.family: attention}
    return replace(laws, origin="typical", families=families)


def _typical(law: _FittedLaw, errors: Errors) -> _FittedLaw:
    """A law of the source device with the errors of borrowing; one that it has borrowed itself
    keeps the errors it has.
    """
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


def _completed(laws: KernelLaws, borrowed: KernelLaws) -> KernelLaws:
    """A device's own laws, and borrowed ones of other matmuls, and of attention if it has none."""
    return laws.updated(
        matmul=laws.of(MatmulLaw)
        | {
            kernel: law
            for kernel, law in borrowed.of(MatmulLaw).items()
            if kernel not in laws.of(MatmulLaw)
        },
        attention=laws.of(AttentionLaw) or borrowed.of(AttentionLaw),
    )


def _vector_law(hardware: Hardware) -> PointwiseLaw:
    """The law of a vector op that nobody measured."""
    launch, errors = hardware.launch_overhead_us, borrowing_errors().vector
    return PointwiseLaw(
        rows=0,
        origin="typical",
        median_error_percent=errors.median_percent,
        p90_error_percent=errors.p90_percent,
        launch_us=launch.value if launch else LAUNCH_US,
        bandwidth_gb_per_s=VECTOR_BANDWIDTH * hardware.memory_bandwidth_gb_per_s.value,
    )
