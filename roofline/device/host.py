"""What the host does beside the kernels, by the way of running, and what both take together.

The host issues kernels (eager, compiled), replays a graph, or schedules a server's step. Where it
works ahead of the device (`Runtime.overlaps`) the longer of both counts, else the sum.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from msgspec import Struct

from roofline.device.laws.host import HostLaw, host_seconds
from roofline.model.counted import ComponentCounts, Phase
from roofline.model.op import AttentionShape
from roofline.model.polynomial import Array, Point
from roofline.specs.hardware import Hardware
from roofline.specs.kernel_laws import KernelLaws, Origin
from roofline.specs.runtimes import Range, Runtime, ServerStep
from roofline.units import MICRO


class Interval(Struct, frozen=True):
    """Seconds, and between what they lie."""

    value: Array
    low: Array
    high: Array

    def __add__(self, other: Interval) -> Interval:
        return Interval(self.value + other.value, self.low + other.low, self.high + other.high)

    def __mul__(self, factor: Array | float) -> Interval:
        return Interval(self.value * factor, self.low * factor, self.high * factor)

    def longer(self, other: Interval) -> Interval:
        """The longer of both, end by end."""
        return Interval(
            np.maximum(self.value, other.value),
            np.maximum(self.low, other.low),
            np.maximum(self.high, other.high),
        )


def interval(seconds: Array | float) -> Interval:
    """A time that is known to the digit."""
    value = np.asarray(seconds, dtype=np.float64)
    return Interval(value, value, value)


NOTHING = interval(0.0)


class Host(Struct, frozen=True):
    """The host of one component: the way of running, and the device's own measurements of it."""

    runtime: Runtime | None
    """None: kernels alone; the host is known where it was measured."""
    laws: dict[str, HostLaw]
    """Measured on this machine, by component and `decode`; of eager PyTorch."""
    step: ServerStep | None
    """Of a server, for this device."""
    serial: bool
    """Whether kernels run on what issues them: a CPU."""
    attention: Literal["flash", "eager"]
    further_us: float = 0.0
    """More of each pass under a runtime, by whole models on the device."""

    @classmethod
    def of(
        cls,
        runtime: Runtime | None,
        hardware: Hardware,
        laws: KernelLaws | None,
        attention: Literal["flash", "eager"] = "flash",
    ) -> Host:
        """A device's, under a runtime."""
        serial = hardware.kind == "cpu"
        eager = runtime is None or runtime.name == "eager" or (serial and not runtime.steps)
        measured = laws.of(HostLaw) if laws and eager else {}
        step = server_step(runtime, hardware) if runtime else None
        further = hardware.correction.step_us if hardware.correction else 0.0
        return cls(runtime, measured, step, serial, attention, further)

    @property
    def known(self) -> bool:
        """Whether anybody knows what the host takes."""
        return self.runtime is not None or self.serial or bool(self.laws)

    @property
    def in_kernels(self) -> bool:
        """Whether its time is part of the attainable one: a CPU issues what it computes."""
        return self.serial and (self.runtime is None or bool(self.laws))

    @property
    def by_launches(self) -> bool:
        """Whether its time is counted kernel by kernel."""
        return self.runtime is not None and self.runtime.launch_us is not None and not self.laws

    @property
    def origin(self) -> Origin | None:
        """Where its figures come from; None where nobody knows them."""
        if self.runtime is None or self.laws:
            return "measured" if self.laws else None
        return "fitted" if self.step is not None and self.step.hardware else "typical"

    @property
    def source(self) -> str:
        """What they rest on."""
        if self.runtime is None or self.laws:
            return "measured on this machine"
        if self.step is None:
            return self.runtime.source
        return f"{self.runtime.source}; on {self.step.hardware or 'all devices together'}"

    def seconds(self, counts: ComponentCounts, phase: Phase, point: Point) -> Interval:
        """Of all passes of a phase."""
        runs, waiting = _runs(phase, point), self.waiting(counts, phase, point)
        if self.runtime is None or self.laws:
            return interval(self._measured(counts, phase)) * runs + waiting
        further = interval(self.further_us * MICRO if counts.layers else 0.0)
        if self.runtime.steps:
            return (self._step(counts, point) + further) * runs
        return (self._launching(self.runtime, counts, phase) + further) * runs + waiting

    def waiting(self, counts: ComponentCounts, phase: Phase, point: Point) -> Interval:
        """Round trips of all passes: waits · wait_us, a part of `seconds` beside no kernel.

        What issues its own kernels never waits for them, nor does a server's step for its own.
        """
        waits = waits_of(counts, phase)
        if not waits or self.serial:
            return NOTHING
        law = self.laws.get("reducer")
        if law is not None and law.wait_us:
            each = interval(law.wait_us * MICRO)
        else:
            each = _seconds(self.runtime.wait_us if self.runtime else None)
        return each * float(waits) * _runs(phase, point)

    def issues(self, counts: ComponentCounts, phase: Phase) -> int:
        """Kernels of one pass under the runtime, which there must be."""
        assert self.runtime is not None
        return launches(self.runtime, counts, phase, self.attention)

    def together(self, kernels: Interval, host: Interval, waiting: Interval) -> Interval:
        """What a phase takes from begin to end.

        A host that works ahead lets the longer count, but for its waits: there the device has run
        dry, and takes up its work a round trip later.
        """
        if self.runtime is not None and self.runtime.overlaps and not self.serial:
            return (kernels + waiting).longer(host)
        return kernels + host

    def _measured(self, counts: ComponentCounts, phase: Phase) -> Array | float:
        """By the machine's own laws; nothing of what it was not measured for."""
        law = self.laws.get("decode" if phase == "decode" else counts.component)
        if law is None:
            return 0.0
        seconds = host_seconds(law, counts.layers, own_launches(counts, phase))
        reducer = self.laws.get("reducer")
        each_s = reducer.launch_s if reducer else 0.0
        return seconds + each_s * IN_PIECES * counts.materialised_layers

    def _launching(self, runtime: Runtime, counts: ComponentCounts, phase: Phase) -> Interval:
        """Launches · launch_us + pass_us."""
        launch, one = _seconds(runtime.launch_us), _seconds(runtime.pass_us)
        return launch * self.issues(counts, phase) + one

    def _step(self, counts: ComponentCounts, point: Point) -> Interval:
        """fixed_us + batch · (sequence_us + grouped_sequence_us where key heads are shared).

        A step of a server is one of the LLM: tower and connector run inside it.
        """
        if self.step is None or counts.component != "llm":
            return NOTHING
        each = _seconds(self.step.sequence_us)
        if _shares_keys(counts):
            each = each + _seconds(self.step.grouped_sequence_us)
        return _seconds(self.step.fixed_us) + each * point["batch"]


IN_PIECES = 2
"""Launches more of attention in pieces, QKᵀ, softmax and PV, as reducers do it that need its
probabilities."""


def launches(
    runtime: Runtime, counts: ComponentCounts, phase: Phase, attention: Literal["flash", "eager"]
) -> int:
    """Kernels that one pass of a component issues: fixed + layers · layer, by its architecture.

    Of one that the runtime knows nothing of, such as a reducer, the launches of its ops.
    """
    by_attention = {
        known.attention: known
        for known in runtime.launches
        if (known.architecture, known.phase) == (counts.architecture, phase)
    }
    known = by_attention.get(attention)
    if known is None:
        return own_launches(counts, phase)
    in_pieces = counts.materialised_layers  # the same whatever attention the others have
    piecewise = by_attention.get("flash", known).layer + IN_PIECES
    return known.fixed + known.layer * (counts.layers - in_pieces) + piecewise * in_pieces


def own_launches(counts: ComponentCounts, phase: Phase) -> int:
    """Of the ops, as the analysis has them."""
    return sum(op.count * op.launches for op in counts.ops if op.phase == phase)


def waits_of(counts: ComponentCounts, phase: Phase) -> int:
    """Times that one pass waits for a number that is read back."""
    return sum(op.count * op.waits for op in counts.ops if op.phase == phase)


def _runs(phase: Phase, point: Point) -> Array:
    """Passes of a phase."""
    return point["steps"] if phase == "decode" else np.ones(())


def _shares_keys(counts: ComponentCounts) -> bool:
    """Whether several query heads share a key head."""
    shapes = (op.shape for op in counts.ops if isinstance(op.shape, AttentionShape))
    return any(shape.heads != shape.kv_heads for shape in shapes)


def server_step(runtime: Runtime, hardware: Hardware) -> ServerStep | None:
    """The law of a device's steps: its own, that of one of its compute capability, or any."""
    by_name = {step.hardware: step for step in runtime.steps}
    same = (
        step
        for step in runtime.steps
        if step.hardware and step.compute_capability == hardware.compute_capability
    )
    return by_name.get(hardware.name) or next(same, None) or by_name.get("")


def _seconds(figure: Range | None) -> Interval:
    if figure is None:
        return NOTHING
    ends = (figure.value, figure.low, figure.high)
    return Interval(*(np.asarray(end * MICRO) for end in ends))
