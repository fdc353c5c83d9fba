"""The record of a measurement: versioned JSON that knows neither torch nor any renderer.

Raw samples are what counts. Statistics and what was achieved are derived from them; they stand in
the file for other readers, and are derived anew when it is loaded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, cast

import msgspec
from msgspec import Meta, Struct

from roofline.engine.axes import AXES, COUNTS
from roofline.engine.scenario import MOST
from roofline.errors import InputError, shortened
from roofline.model.architectures import AttentionKind
from roofline.records.statistics import Summary, summarize
from roofline.specs.hardware import Hardware
from roofline.specs.models import Model
from roofline.specs.reading import convert, read_marked

FORMAT = 2
_MARK = "roofline_record"
WHOLE = "whole"
"""Name of the span that covers a run from its beginning to its end, without marks in between."""

Seconds = Annotated[float, Meta(ge=0, le=1e9)]
Amount = Annotated[float, Meta(ge=0, le=1e36)]
"""Of FLOPs, bytes or joules, or of so many a second."""
Reading = Annotated[float, Meta(ge=-1e6, le=1e12)]
"""Of a sensor."""
Times = Annotated[int, Meta(ge=0, le=10**12)]
Fact = str | Annotated[int, Meta(ge=-(2**53), le=2**53)] | Reading | bool | None
Facts = dict[str, Fact]

_SHORTEST_S = 1e-15
"""No clock tells less: a sample is 0 or longer."""


class RecordError(InputError):
    """A file that is no record, is damaged, or was written by another version."""


class TimedSpan(Struct, frozen=True, kw_only=True, dict=True):
    """One timed part of a run: a component, its decode steps together, or the whole."""

    samples_s: Annotated[list[Seconds], Meta(min_length=1)]
    flops: Amount | None = None
    """What the analysis counts for it; None where nobody has a formula."""
    memory_access_bytes: Amount | None = None
    roofline_time_s: Seconds | None = None
    """No kernel is faster, at the device's peaks; None without a spec of the device."""
    attainable_time_s: Seconds | None = None
    """What this device's own calibration expects; None without one."""

    def __post_init__(self) -> None:
        if wrong := [sample for sample in self.samples_s if 0 < sample < _SHORTEST_S]:
            raise RecordError(f"a sample of {wrong[0]:g} s is shorter than any clock tells")

    @cached_property
    def summary(self) -> Summary:
        return summarize(self.samples_s)

    @property
    def flops_per_s(self) -> float | None:
        return self._per_median(self.flops)

    @property
    def bytes_per_s(self) -> float | None:
        return self._per_median(self.memory_access_bytes)

    @property
    def roofline_share(self) -> float | None:
        """Roofline time / median time: 1 is the roof itself."""
        return self._per_median(self.roofline_time_s)

    @property
    def attainable_error(self) -> float | None:
        """Predicted / median − 1: negative where the prediction is too fast."""
        ratio = self._per_median(self.attainable_time_s)
        return None if ratio is None else ratio - 1

    def to_dict(self) -> dict[str, Any]:
        """Fields, and what follows from them."""
        derived = ("flops_per_s", "bytes_per_s", "roofline_share", "attainable_error")
        document: dict[str, Any] = msgspec.to_builtins(self)
        document["statistics"] = msgspec.to_builtins(self.summary)
        return document | {name: getattr(self, name) for name in derived}

    def _per_median(self, amount: float | None) -> float | None:
        median_s = self.summary.p50_s
        return None if amount is None or not median_s else amount / median_s


class HostOverhead(Struct, frozen=True, kw_only=True):
    """How busy the device is, and what keeps it from being busier."""

    busy_s: Seconds
    """Time in which some kernel was seen to run."""
    wall_s: Annotated[float, Meta(ge=_SHORTEST_S, le=1e9)]
    kernels: Times
    verdict: str
    """By that time, or by the roofline, which no kernel is faster than, where it is longer."""

    @property
    def busy_share(self) -> float:
        return self.busy_s / self.wall_s


class NewLength(Struct, frozen=True, kw_only=True):
    """The LLM's prefill of a prompt so long, the first time in a process and the next time."""

    tokens: Times
    first_s: Seconds
    again_s: Seconds


class Achieved(Struct, frozen=True):
    """An op as it ran beside what the analysis expects of it; None where one of the two is not."""

    component: str
    name: str
    kind: str
    count: Times
    kernels: Times
    measured_time_s: Seconds | None
    """Of its kernels on the device, all occurrences together."""
    host_time_s: Seconds | None
    """Of the host inside the op's own calls, measured as well."""
    roofline_time_s: Seconds | None
    flops_per_s: Amount | None = None
    bytes_per_s: Amount | None = None
    share_of_roof: Amount | None = None
    """Roofline time / measured time: 1 is as fast as the device can be."""


class Snapshot(Struct, frozen=True, kw_only=True):
    """The device at one moment; None is what could not be read."""

    taken_at_s: Reading
    """By the clock of the telemetry: only differences count."""
    sm_clock_mhz: Reading | None = None
    memory_clock_mhz: Reading | None = None
    max_sm_clock_mhz: Reading | None = None
    power_w: Reading | None = None
    """As NVML averages it: over up to a second on some devices."""
    power_limit_w: Reading | None = None
    temperature_c: Reading | None = None
    utilization_percent: Reading | None = None
    """Share of NVML's last sampling period in which some kernel ran."""
    throttle: list[str] | None = None
    """What holds the clocks down; empty where nothing does."""
    idle: bool | None = None
    """Clocks are low because nothing runs."""
    other_processes: Times | None = None
    """Others that compute on the device; not read by background sampling."""


class Telemetry(Struct, frozen=True, kw_only=True):
    """What the device said of itself; empty where nobody can ask it."""

    device: Facts | None = None
    """Its name, driver and limits."""
    before: Snapshot | None = None
    during: list[Snapshot] = []
    after: Snapshot | None = None
    energy_j: Amount | None = None
    """Of one run of the stage."""


RUN = ("mode", "attention", "checkpoint", "image", "device", "seed")
"""What is set of a run beside its scenario; `checkpoint` is None for random weights, `image`
None for noise, `attention` the implementation in transformers."""


def priced_attention(kernels: str) -> AttentionKind:
    """What the analysis calls attention by these kernels of transformers: sdpa and flash keep no
    probabilities in memory.
    """
    return "eager" if kernels == "eager" else "flash"


ANALYSIS = ("pictures", "accounting", "runtime", "kernels", "library")
"""Axes that are of the analysis alone: a run has its `mode`."""

_INPUT_TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys((axis.name for axis in AXES if axis.name not in ANALYSIS), (str,)),
    **dict.fromkeys(RUN, (str,)),
    **dict.fromkeys((*(axis.name for axis in COUNTS), "seed"), (int,)),
    **dict.fromkeys(("reducer", "hardware", "checkpoint", "image"), (str, type(None))),
}
"""Types of what a record needs to say of its run."""
_WORDS = {str: "a name", int: "a whole number", type(None): "null"}


class Record(Struct, frozen=True, kw_only=True):
    """One run of `roofline profile`."""

    roofline_record: int = FORMAT
    created: str
    """Date and time, UTC, ISO 8601."""
    complete: bool
    """False where the run was interrupted: what had been measured by then is here."""
    inputs: dict[str, Any]
    """What was run, defaults filled in, files by their names alone: the axes of its scenario and
    `RUN`. Visual tokens are those that reached the LLM, or as many as a reducer inside it was to
    keep; `hardware` is the spec that the run is compared with."""
    specs: dict[str, str]
    """Name of each spec that went in → SHA-256 of its content."""
    environment: Facts
    """Versions and machine."""
    spans: dict[str, TimedSpan]
    """Components in order, all decode steps of a run as `decode`, and `whole`."""
    peak_memory_bytes: Amount | None = None
    """Of an eager run in a mode of CUDA graphs, else of a run as it was timed, by the device's
    allocator; None where that keeps no count."""
    graph_memory_bytes: Amount | None = None
    """What CUDA graphs made the allocator reserve beside that; None in other modes."""
    attention_kernels: dict[str, list[str]] = {}
    """Fused kernels of attention that an eager run went to, by component; `math` is PyTorch's own
    without one. Components that call none are left out."""
    new_length: NewLength | None = None
    """None where lengths are captured or filled up, and where there was no time to look."""
    telemetry: Telemetry = Telemetry()
    host: HostOverhead | None = None
    ops: list[Achieved] = []
    """Time per op of the analysis, on request."""
    estimate: dict[str, Any] | None = None
    """`roofline analyze` of the same scenario, run by its mode (a graph: kernels alone). None
    without a spec of the device."""
    warnings: list[str] = []
    """What spoils the figures."""
    notes: list[str] = []
    """What could not be measured, and the like."""

    @property
    def axes(self) -> dict[str, Any]:
        """Its scenario, as the analysis takes it."""
        values = {axis.name: self.inputs[axis.name] for axis in AXES if axis.name not in ANALYSIS}
        return values | {"attention": priced_attention(self.inputs["attention"])}

    def __post_init__(self) -> None:
        if WHOLE not in self.spans:
            raise RecordError(f"`spans` lacks `{WHOLE}`")
        if lacking := [name for name in _INPUT_TYPES if name not in self.inputs]:
            raise RecordError(f"`inputs` lacks {', '.join(lacking)}")
        for name, types in _INPUT_TYPES.items():
            if type(self.inputs[name]) not in types:
                words = " or ".join(_WORDS[known] for known in types)
                raise RecordError(
                    f"`inputs.{name}` is {words}, not {shortened(repr(self.inputs[name]))}"
                )
        for axis in COUNTS:
            count = self.inputs[axis.name]
            if not (axis.least or 0) <= count <= MOST:
                raise RecordError(
                    f"`inputs.{axis.name}` is {axis.least} to {MOST:,}, not {shortened(str(count))}"
                )

    @property
    def whole(self) -> TimedSpan:
        return self.spans[WHOLE]

    @property
    def components(self) -> dict[str, TimedSpan]:
        """Spans but for the whole."""
        return {name: span for name, span in self.spans.items() if name != WHOLE}

    def to_dict(self) -> dict[str, Any]:
        """Fields, and what follows from the samples."""
        spans = {name: span.to_dict() for name, span in self.spans.items()}
        document: dict[str, Any] = msgspec.to_builtins(self)
        return document | {"spans": spans}

    def to_json(self) -> bytes:
        """The file's content."""
        return msgspec.json.format(msgspec.json.encode(self.to_dict()), indent=1) + b"\n"


def load_record(file: str | Path) -> Record:
    """Read a record. Raises RecordError."""
    try:
        document, version = read_marked(
            file, _MARK, FORMAT, noun="record", writer="`roofline profile -o`"
        )
    except InputError as error:
        raise RecordError(str(error)) from None
    if version < FORMAT:
        raise RecordError(
            f"{file} was written by an older roofline (record format {version}, this one reads "
            f"{FORMAT}): measure again"
        )
    try:
        return cast(Record, convert(document, Record))
    except msgspec.ValidationError as error:
        raise RecordError(f"{file} is a damaged record: {error}") from None


def spec_hashes(specs: Iterable[Model | Hardware]) -> dict[str, str]:
    """SHA-256 of each spec's content by its name, whatever file or formatting it came from."""
    return {
        spec.name: hashlib.sha256(msgspec.json.encode(spec, order="sorted")).hexdigest()
        for spec in specs
    }
