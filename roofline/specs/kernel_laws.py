"""What good kernels attain on a device: fitted laws of kernel time, and who measured what.

A law holds a few hundred numbers at most. Its family (matmul, attention, …) is a module of
`roofline.device.laws`, which declares the numbers and turns them into seconds, and is found by name
in `LAW_FAMILIES`: a new family is a new module, there or in a plugin. Fractions and ratios are of
the device's own dense peak, DRAM bandwidth or cache, so that a law carries over to a relative of
the device.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from types import GenericAlias
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, TypeVar

import msgspec
from msgspec.structs import replace

from roofline.registry import Registry
from roofline.specs.reading import build
from roofline.specs.sourced import Positive, Spec

Fraction = Annotated[float, msgspec.Meta(ge=1e-9, le=1)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
NonNegative = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
Logarithm = Annotated[float, msgspec.Meta(ge=-100, le=100)]

UNTRUSTED = "untrusted: "
"""How a doubt begins that is about all of a result, a law's `conditions` among them."""
UNSTATED = "not stated"
"""Conditions of a measurement that says nothing of them."""

Origin = Literal["measured", "fitted", "typical"]
"""Measured on this machine, fitted from public measurements, or typical for the architecture."""


class AnyLaw(Spec, frozen=True):
    """Base of every law: the numbers that a family's `seconds` takes."""

    family: ClassVar[str]
    """Name of the family, which is the key of its laws in a device's file."""

    @property
    def terms(self) -> str:
        """What it adds up, with its numbers, in words."""
        return ""


class Law(AnyLaw, frozen=True, kw_only=True):
    """A law fitted to measured kernels, and what it says of its own fit."""

    rows: Annotated[int, msgspec.Meta(ge=0, le=10**12)]
    """Measured kernels that it was fitted to; 0 where nobody measured any."""
    median_error_percent: NonNegative
    """Median of the absolute errors on whole shapes that a fit made for this purpose did not
    see."""
    p90_error_percent: NonNegative
    """90th percentile of the same errors."""
    library: str = ""
    """Library and version whose kernels these were; empty where nobody measured any."""
    median_other_library_error_percent: NonNegative | None = None
    """Median of the absolute errors on the same device's kernels of libraries that the law was not
    fitted to; None where only one was measured."""
    p90_other_library_error_percent: NonNegative | None = None
    """90th percentile of the same errors."""
    origin: Origin | None = None
    """Where the law comes from, if from elsewhere than the device's other laws."""
    rate_ratio: Positive = 1.0
    """Share of the peak that the device sustains, over what the law's own device does."""
    bandwidth_ratio: Positive = 1.0
    """The same of the DRAM bandwidth."""
    lender_rate: Annotated[float, msgspec.Meta(ge=1, le=1e3)] = 1.0
    """FLOPs of an SM in a clock at the peak of the law's own device, over this one's."""

    def error_percent(self, library: str | None = None) -> float:
        """What nine in ten kernels are off it at most: of `library`, by its name with or without
        a version, if it was fitted to that one; else the wider of its own error and others'.
        """
        other = self.p90_other_library_error_percent
        if other is None or (library and is_of(library, self.library)):
            return self.p90_error_percent
        return max(other, self.p90_error_percent)


def is_of(name: str, library: str) -> bool:
    """Whether a library such as `vllm 0.24.0` or `vLLM, by Vidur` is meant by a name: `vLLM`.

    Hyphens do not count: `trt-llm`, the runtime, runs kernels of `trtllm`.
    """
    plain = str.maketrans({",": " ", "-": None})
    wanted, known = (text.lower().translate(plain).split() for text in (name, library))
    return bool(wanted) and known[: len(wanted)] == wanted


class LawFamily(NamedTuple):
    """One kind of kernel."""

    law_type: type[AnyLaw]
    """The numbers of a law of the family."""
    seconds: Callable[..., Any]
    """`seconds(law, …)` of a kernel, of energy its joules; further arguments are those of the
    family."""


LAW_FAMILIES: Registry[LawFamily] = Registry("family of laws", package="roofline.device.laws")
"""By name, as in the files of devices."""

ESSENTIAL_FAMILIES = ("matmul", "attention")
"""Families without which no model can be timed."""

Coefficient = Annotated[float, msgspec.Meta(ge=-1e6, le=1e6)]


def check_corrections(corrections: tuple[float, ...], needed: int) -> None:
    """Raise ValueError unless there are as many as a law has basis functions, or none."""
    if len(corrections) not in (0, needed):
        raise ValueError(f"`corrections` holds {len(corrections)} numbers: give {needed}, or none")


LawType = TypeVar("LawType", bound=AnyLaw)
_Seconds = TypeVar("_Seconds", bound=Callable[..., Any])


def register_laws(law_type: type[AnyLaw]) -> Callable[[_Seconds], _Seconds]:
    """Decorate the function that turns laws of `law_type` into seconds, or joules: registers the
    family.
    """

    def register(seconds: _Seconds) -> _Seconds:
        LAW_FAMILIES.register(law_type.family, LawFamily(law_type, seconds))
        return seconds

    return register


class KernelLaws(Spec, frozen=True):
    """The laws of one device; `roofline.device.borrowed` has those that are left out."""

    origin: Origin
    """Where the laws come from that say nothing else themselves."""
    source: str
    """Key of the file's `sources`."""
    date: str
    """When the kernels were measured."""
    conditions: str
    """Software, threads, mode: what the measurement ran on."""
    families: dict[str, dict[str, AnyLaw]]
    """Family → kernel → law. The kernels of a matmul are fp32, bf16, fp16, fp8, fp4, w8a8, w8a16
    and w4a16; of attention, data types, with that of the cache if it is another (bf16-fp8kv); of
    pointwise, kinds of op (norm, rotary, …) and `default`; of host, components (vision, reducer,
    connector, llm) and `decode`; of energy, kinds of models."""

    def __hash__(self) -> int:
        """As that of the device: mappings have none."""
        return hash((self.source, self.date))

    def of(self, law_type: type[LawType]) -> dict[str, LawType]:
        """The laws of one family by kernel; empty where there are none."""
        laws: dict[str, Any] = self.families.get(law_type.family, {})
        return laws

    @property
    def doubt(self) -> str:
        """Why the laws are not to be trusted; empty where nothing speaks against them."""
        return self.conditions.partition(UNTRUSTED)[2]

    @property
    def libraries(self) -> tuple[str, ...]:
        """Whose kernels laws were fitted to, each once."""
        laws = (law for kernels in self.families.values() for law in kernels.values())
        named = (law.library for law in laws if isinstance(law, Law) and law.library)
        return tuple(dict.fromkeys(named))

    def updated(self, **families: Mapping[str, AnyLaw]) -> "KernelLaws":
        """With other laws of the families named, each as a whole."""
        laws = self.families | {name: dict(kernels) for name, kernels in families.items()}
        return replace(self, families=laws)


def read_kernel_laws(section: Any, file: object) -> KernelLaws:
    """The laws that a section `kernel_laws` or a file of laws holds.

    Raises SpecError with every fault, a family that nobody registered among them.
    """
    content = build(section_type(), section, file)
    # in their order there, so that a file is written as it was read
    families = {name: getattr(content, name) for name in section if name in LAW_FAMILIES}
    return KernelLaws(
        origin=content.origin,
        source=content.source,
        date=content.date,
        conditions=content.conditions,
        families={name: laws for name, laws in families.items() if laws},
    )


def kernel_laws_section(laws: KernelLaws) -> dict[str, Any]:
    """The opposite: what `read_kernel_laws` takes, laws still as structs."""
    header = {name: getattr(laws, name) for name in _SectionHeader.__struct_fields__}
    return header | laws.families


class _SectionHeader(Spec, frozen=True):
    """What a section says beside its laws."""

    origin: Origin
    source: str
    date: str
    conditions: str


def section_type() -> Any:
    """The struct of a section: a field for each registered family."""
    return _section_type(LAW_FAMILIES.names())


@lru_cache(maxsize=4)
def _section_type(families: tuple[str, ...]) -> Any:
    fields: list[Any] = [
        (
            name,
            GenericAlias(dict, (str, LAW_FAMILIES.find(name).law_type)),
            msgspec.field(default_factory=dict),
        )
        for name in families
    ]
    own = {"__doc__": "Laws of one device, by family and kernel.", "__post_init__": _not_empty}
    return msgspec.defstruct(KernelLaws.__name__, fields, bases=(_SectionHeader,), namespace=own)


def _not_empty(section: Any) -> None:
    if not any(getattr(section, name) for name in LAW_FAMILIES.names()):
        raise ValueError(f"`kernel_laws` needs laws of {' or '.join(LAW_FAMILIES.names())}")
