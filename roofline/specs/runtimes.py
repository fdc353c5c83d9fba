"""Ways of running a model: what the host does beside the kernels, as figures with their sources.

`data/runtimes.yaml` has the ways, `data/server_steps.json` what steps of servers add to kernels,
which `tools/fit_runtimes.py` fits to measured answers. Neither is read before a runtime is named.
"""

from functools import lru_cache
from typing import Annotated, Literal

import msgspec

from roofline.errors import UnknownNameError
from roofline.specs.kernel_laws import NonNegative
from roofline.specs.reading import DATA, build, read_json, read_yaml
from roofline.specs.sourced import Spec

RUNTIMES_FILE = DATA / "runtimes.yaml"
SERVER_STEPS_FILE = DATA / "server_steps.json"

_Count = Annotated[int, msgspec.Meta(ge=0, le=10**6)]


class Range(Spec, frozen=True):
    """A figure and between what it lies on most machines; its unit is the suffix of its key."""

    value: NonNegative
    low: NonNegative
    high: NonNegative
    source: str = ""
    """Key of the file's `sources`; empty where the whole file has one."""
    note: str = ""

    def __post_init__(self) -> None:
        if not self.low <= self.value <= self.high:
            raise ValueError(f"{self.value:g} is not between {self.low:g} and {self.high:g}")


class Launches(Spec, frozen=True):
    """Kernels that Hugging Face's classes issue in one pass of a component."""

    architecture: str
    """`kind` of the component's spec."""
    phase: Literal["prefill", "decode"]
    """Of which pass."""
    attention: Literal["flash", "eager"]
    """Kernels of attention."""
    fixed: _Count
    """Whatever the layers."""
    layer: _Count
    """In each layer."""


class ServerStep(Spec, frozen=True):
    """What a server adds to the kernels of a step, on one device's machine."""

    hardware: str
    """Name of the device that it was measured on; empty for all of them together."""
    compute_capability: str
    """Devices of the same one take this law, unless they have their own."""
    rows: _Count
    """Measured answers that it was fitted to."""
    fixed_us: Range
    """Of every step: schedule, prepare inputs, replay, sample."""
    sequence_us: Range
    """Of each sequence of a step: sample, detokenize, keep its books."""
    grouped_sequence_us: Range
    """More of each sequence where query heads share key heads: part the server's own kernels."""
    mean_error_percent: NonNegative
    """Mean absolute error of answers of lengths that a fit made for this purpose did not see."""


class ServerSteps(Spec, frozen=True):
    """The laws of all servers."""

    source: str
    """Whose measurements these are."""
    conditions: str
    """What was fitted, and with which kernels' laws."""
    steps: dict[str, tuple[ServerStep, ...]]
    """By runtime; the one of no device goes for all others."""


class Runtime(Spec, frozen=True):
    """One way of running."""

    name: str
    """What `--runtime` calls it."""
    title: str
    """In words."""
    kernels: Literal["unfused", "fused"]
    """Whether q, k and v are one matmul, gate and up another, and norms take the add before."""
    overlaps: bool
    """Whether the host works ahead of the device: the longer of both counts, else the sum."""
    pass_us: Range | None = None
    """Of each pass of a component, in µs."""
    launch_us: Range | None = None
    """Of each kernel, in µs."""
    wait_us: Range | None = None
    """Of each number that the host reads back, in µs: from an idle device to the next launch."""
    launches: tuple[Launches, ...] = ()
    """Kernels of a pass where they are more than the analysis has ops."""
    steps: tuple[ServerStep, ...] = ()
    """What a server's step adds."""
    library: str | None = None
    """Whose kernels run, where it has its own: as tables of measurements call it."""
    source: str = ""
    """What its figures rest on, spelled out; of a file's runtime empty."""

    @property
    def figures(self) -> tuple[Range, ...]:
        """Those that there are, each of which cites a source."""
        known = (self.launch_us, self.pass_us, self.wait_us)
        return tuple(figure for figure in known if figure is not None)


class _RuntimesFile(Spec, frozen=True):
    """Content of `RUNTIMES_FILE`."""

    runtimes: tuple[Runtime, ...]
    sources: dict[str, str]

    def __post_init__(self) -> None:
        for runtime in self.runtimes:
            for figure in runtime.figures:
                if figure.source not in self.sources:
                    raise ValueError(
                        f"`sources` lacks {figure.source!r}, which {runtime.name} cites"
                    )


@lru_cache(maxsize=1)
def runtimes() -> dict[str, Runtime]:
    """All that ship, by name, with the steps of servers. Raises SpecError for damaged files."""
    content = build(_RuntimesFile, read_yaml(RUNTIMES_FILE), RUNTIMES_FILE)
    servers = build(ServerSteps, read_json(SERVER_STEPS_FILE), SERVER_STEPS_FILE)
    known = {}
    for runtime in content.runtimes:
        steps = servers.steps.get(runtime.name, ())
        cited = dict.fromkeys(content.sources[figure.source] for figure in runtime.figures)
        source = servers.source if steps else "; ".join(cited)
        known[runtime.name] = msgspec.structs.replace(runtime, steps=steps, source=source)
    return known


def find_runtime(name: str) -> Runtime:
    """The runtime of that name. Raises UnknownNameError."""
    known = runtimes()
    if name not in known:
        raise UnknownNameError("runtime", name, known)
    return known[name]
