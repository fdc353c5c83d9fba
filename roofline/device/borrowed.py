"""Borrowed laws: for kernels that nobody measured on a device, those of another, and how far off
they may be.

`laws_from` names the source device, a measured one of the same or the nearest architecture. Laws
hold shares of peak, bandwidth and cache, so they go for the borrowing device's own figures; launch
times are kept. Which errors that makes is known from measured devices that are predicted by each
other's laws (`tools/fit_hardware.py`): smaller for two devices of one compute capability, which run
the same kernels. Of vector ops, which no table of kernels has, `typical_vector` knows.
"""

from functools import lru_cache
from typing import TypeVar

from msgspec.structs import replace

from roofline.device.kernel_types import WIDE
from roofline.device.laws.matmul import MatmulLaw
from roofline.device.laws.pointwise import PointwiseLaw
from roofline.device.sustained import sustained
from roofline.device.typical_vector import typical_vector_laws
from roofline.errors import SpecError
from roofline.specs.catalog import load_hardware, referred, where
from roofline.specs.correction import Correction
from roofline.specs.hardware import Hardware
from roofline.specs.kernel_laws import AnyLaw, KernelLaws, Law, NonNegative, Origin
from roofline.specs.reading import DATA, build, read_json
from roofline.specs.sourced import Spec

LAUNCH_US = 4.0
"""Launch of a device whose file has none, in µs: between the 3 of data-centre and the 8 of old
GPUs."""

LENT = (
    *("matmul", "attention", "decode_attention", "encoder_attention", "moe", "collective"),
    "energy",
)
"""Families whose laws hold shares of a device's own figures, so that they go for a relative."""

BESIDE_MODELS = ("collective", "host", "energy")
"""Families that no model on one device says anything of, nor the rate of its cores."""

HALF = ("bf16", "fp16")
"""Matmuls whose law goes for fp32 where that has none: a device's own before a lent one."""

SAME_CAPABILITY_ONLY = {("moe", "fp8")}
"""Kernels that libraries write for each capability anew: vLLM's fp8 experts on Hopper take four
times as long as the law of another says."""

BORROWING_ERRORS_FILE = DATA / "borrowing_errors.json"

_FittedLaw = TypeVar("_FittedLaw", bound=Law)


class Errors(Spec, frozen=True):
    """A spread of absolute relative errors."""

    median_percent: NonNegative
    """Median of the errors."""
    p90_percent: NonNegative
    """90th percentile of the errors."""


class BorrowingErrors(Spec, frozen=True):
    """How far off laws may be outside what they were fitted to; by family where that is a mapping.

    `tools/fit_hardware.py` measures them: means over devices, or pairs of them.
    """

    same_capability: dict[str, Errors]
    """On another device of one compute capability."""
    other_capability: dict[str, Errors]
    """On a device of another."""
    quantized_matmul: Errors
    """Of w8a8, w8a16 and w4a16 on any other device: libraries differ more in these than devices."""
    other_type: dict[str, Errors]
    """For another data type on the same device, both of 16 bits or more."""
    narrow_type: dict[str, Errors]
    """The same where one of them has fewer."""
    other_phase: dict[str, Errors]
    """Of laws of prefill attention, for kernels of another family."""
    other_library: dict[str, Errors]
    """On kernels of another library on the same device, of 16 bits or more."""
    narrow_other_library: dict[str, Errors]
    """The same of fewer."""


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
        correction=_of_host(hardware.correction),
        sources={**sources, key: laws.source},
    )


def _of_host(correction: Correction | None) -> Correction | None:
    """What is left of one whose factors are in the laws."""
    return correction and replace(correction, rate=1.0, bandwidth=1.0, kernel_us=0.0)


def _laws_of(hardware: Hardware, borrowers: tuple[str, ...]) -> KernelLaws | None:
    """The same; borrowers: names of the devices that borrow from this one, one from the other."""
    if hardware.laws_from is None:
        return _corrected(hardware, _own_laws(hardware))
    source = referred(where(hardware), "laws_from", load_hardware, hardware.laws_from)
    lent = None
    if source.name not in (*borrowers, hardware.name):
        lent = _laws_of(source, (*borrowers, hardware.name))
    if lent is None:
        raise SpecError(
            where(hardware),
            [("laws_from", f"{source.name} has no laws of its own: name a device that has")],
        )
    return _corrected(hardware, _with_borrowed(hardware, source, lent))


def _corrected(hardware: Hardware, laws: KernelLaws | None) -> KernelLaws | None:
    """With what whole models say of them."""
    if laws is None or hardware.correction is None:
        return laws
    return _with_correction(laws, hardware.correction)


@lru_cache(maxsize=128)
def _with_correction(laws: KernelLaws, correction: Correction) -> KernelLaws:
    families = {
        family: {kernel: _law_with(law, correction) for kernel, law in kernels.items()}
        for family, kernels in laws.families.items()
        if family not in BESIDE_MODELS
    }
    return laws.updated(**families)


def _law_with(law: AnyLaw, correction: Correction) -> AnyLaw:
    """Rate and bandwidth as factors, kernel_us with the launch."""
    assert isinstance(law, Law)  # of those beside models, some are none
    changes = {
        "rate_ratio": law.rate_ratio * correction.rate,
        "bandwidth_ratio": law.bandwidth_ratio * correction.bandwidth,
    }
    launch: float = getattr(law, "launch_us", 0.0)
    if hasattr(law, "launch_us") and correction.kernel_us:
        changes["launch_us"] = launch + correction.kernel_us
    return replace(law, **changes)


@lru_cache(maxsize=128)
def _own_laws(hardware: Hardware) -> KernelLaws | None:
    """Those of the file, with what they are off on other libraries where nobody measured that."""
    laws = hardware.kernel_laws
    if laws is None:
        return None
    laws = replace(laws, source=hardware.sources[laws.source])
    known = borrowing_errors()
    families: dict[str, dict[str, AnyLaw]] = {}
    for family, kernels in laws.families.items():
        found = families[family] = dict(kernels)
        for kernel, law in kernels.items():
            if isinstance(law, Law):
                wide = kernel in WIDE or family == "collective"
                # nobody measured another library's decode from a narrow cache: at least as far off
                errors = None if wide else known.narrow_other_library.get(family)
                errors = errors or known.other_library.get(family)
                origin = law.origin or laws.origin
                found[kernel] = _for_other_libraries(law, errors, origin)
    return _with_vector_law(hardware, laws.updated(**families))


def _for_other_libraries(law: Law, errors: Errors | None, origin: Origin) -> Law:
    """On one's own machine kernels are those of the library that is used there."""
    known = law.p90_other_library_error_percent is not None
    if known or errors is None or origin != "fitted":
        return law
    return replace(
        law,
        median_other_library_error_percent=errors.median_percent,
        p90_other_library_error_percent=errors.p90_percent,
    )


@lru_cache(maxsize=128)
def _with_borrowed(hardware: Hardware, source: Hardware, lent: KernelLaws) -> KernelLaws:
    """A device's own laws, and those of the source device for kernels that it has none of."""
    borrowed, own = _borrowed(hardware, source, lent), _own_laws(hardware)
    if own is None:
        return _with_vector_law(hardware, borrowed)
    families = {
        family: {**kernels, **own.families.get(family, {})}
        for family, kernels in borrowed.families.items()
    }
    return own.updated(**families)


def _with_vector_law(hardware: Hardware, laws: KernelLaws) -> KernelLaws:
    """With laws of the vector ops that nobody measured."""
    if "default" in laws.of(PointwiseLaw):
        return laws
    launch = hardware.launch_overhead_us
    typical = typical_vector_laws(hardware, launch.value if launch else LAUNCH_US)
    return laws.updated(pointwise={**typical, **laws.of(PointwiseLaw)})


def _borrowed(hardware: Hardware, source: Hardware, laws: KernelLaws) -> KernelLaws:
    """The laws of the source device, as they go for this one."""
    same = hardware.compute_capability == source.compute_capability is not None
    known = borrowing_errors()
    errors = known.same_capability if same else known.other_capability
    lent: dict[str, dict[str, AnyLaw]] = {}
    for family in LENT:
        if family == "collective" and (hardware.link != source.link or hardware.link is None):
            continue  # of another kind of link they are off by more than they say
        lent[family] = {
            kernel: _typical(
                law if family in BESIDE_MODELS else _adapted(law, hardware, source, kernel),
                known.quantized_matmul if quantizes(kernel) else errors[family],
            )
            for kernel, law in laws.families.get(family, {}).items()
            if isinstance(law, Law) and (same or (family, kernel) not in SAME_CAPABILITY_ONLY)
        }
    matmuls, own = laws.of(MatmulLaw), hardware.kernel_laws
    half = next((name for name in HALF if name in matmuls), None)
    stands_in = own is None or not any(name in own.of(MatmulLaw) for name in HALF)
    if stands_in and half and "fp32" not in matmuls:
        law = _typical(_adapted(matmuls[half], hardware, source, "fp32"), errors[MatmulLaw.family])
        lent[MatmulLaw.family]["fp32"] = outside(law, known.other_type[MatmulLaw.family])
    return replace(laws, origin="typical", families=lent)


def _adapted(law: _FittedLaw, hardware: Hardware, source: Hardware, kernel: str) -> _FittedLaw:
    """A law of the source device as this one sustains it."""
    here = sustained(hardware, source, kernel)
    return replace(
        law,
        rate_ratio=law.rate_ratio * here.rate_ratio,
        lender_rate=law.lender_rate * here.lender_rate,
    )


def _typical(law: Law, errors: Errors) -> Law:
    """A law of the source device with the errors of borrowing; one that it has borrowed itself
    keeps the errors it has.
    """
    if law.origin == "typical":
        return law
    return outside(law, errors)


def outside(law: _FittedLaw, errors: Errors) -> _FittedLaw:
    """A law for kernels that it was not fitted to, with the errors that this was measured to
    make. It is no nearer to other libraries' kernels than it was where it was fitted.
    """
    others_median = law.median_other_library_error_percent or 0.0
    others_p90 = law.p90_other_library_error_percent or 0.0
    return replace(
        law,
        origin="typical",
        median_error_percent=max(law.median_error_percent, errors.median_percent),
        p90_error_percent=max(law.p90_error_percent, errors.p90_percent),
        median_other_library_error_percent=max(others_median, errors.median_percent),
        p90_other_library_error_percent=max(others_p90, errors.p90_percent),
    )


def quantizes(kernel: str) -> bool:
    """Whether weights or inputs of a matmul kernel are quantized: w8a8, w8a16, w4a16."""
    return kernel.startswith("w")
