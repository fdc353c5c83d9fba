"""Counts × device → time and bound: the roofline itself (Williams et al. 2009).

An op takes as long as the slowest of the resources that it uses, each at the device's peak: no
kernel is faster that takes its operands from DRAM. Ops are merged into as few polynomials as the
device tells apart, and those are evaluated over the scenario in chunks, so that memory stays
bounded for any sweep.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property, reduce
from typing import Any, Protocol

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from roofline.device.host import NOTHING, Host, Interval, interval
from roofline.device.law_choice import LawChoice, TimeFormula
from roofline.device.peaks import ComponentPeaks
from roofline.device.resources import BOUNDS, RESOURCES, Bound
from roofline.engine.count import CHUNK, CountPlan, summed_over_steps
from roofline.engine.energy import FROM_ENERGY, phase_energies
from roofline.model.counted import ComponentCounts, CountedOp, Phase
from roofline.model.polynomial import Array, Derived, Point, Polynomial, upper_envelope

FROM_LAWS = ("attainable_time_s", "attainable_error_s")
"""Quantities that mean nothing for a device without laws of kernel time."""
ELAPSED = ("elapsed_time_s", "elapsed_time_low_s", "elapsed_time_high_s")
"""Quantities that mean nothing without a runtime."""
FROM_HOST = ("host_time_s", *ELAPSED)
"""Quantities that may be known, or not, on any device."""


class KernelTimes(Struct, frozen=True):
    """Seconds over all occurrences of some kernels."""

    roofline: Array
    bound: tuple[Array, ...]
    """Of those, in kernels that each bound of the plan holds, but for the last one."""
    attainable: Array | None
    """By the device's law; None without one."""


class KernelGroup(Struct, frozen=True):
    """Ops of one time: `count` × the slowest of their resources, in seconds."""

    phase: Phase
    count: int
    roofs: tuple[tuple[Polynomial, ...], ...]
    """Seconds at each resource, by what they are bound by: the slowest counts."""
    attainable: TimeFormula | None
    """What the device's law says instead; None where it has none."""
    error: float
    """What nine in ten kernels are off it at most, as a share of it."""

    def time(self, point: Point) -> KernelTimes:
        """Over all occurrences of the stage."""
        if self.phase == "prefill":
            return self._times(point, self.count)
        if not any(point.moves_with(name, "step") for name in self.variables):
            return self._times(point, self.count * point["steps"])

        def each(every: Point) -> list[Array]:
            times = self._times(every, self.count)
            known = () if times.attainable is None else (times.attainable,)
            return [times.roofline, *times.bound, *known]

        roofline, *sums = summed_over_steps(point, each)
        attainable = None if self.attainable is None else sums.pop()
        return KernelTimes(roofline, tuple(sums), attainable)

    def _times(self, point: Point, weight: Array | float) -> KernelTimes:
        roofs = [reduce(np.maximum, map(point, seconds)) for seconds in self.roofs]
        slowest = reduce(np.maximum, roofs)
        time = slowest * weight
        bound, held = [], None
        for roof in roofs[:-1]:  # of roofs that are equally high the first counts
            holds = roof >= slowest
            first = holds if held is None else holds & ~held
            held = holds if held is None else held | holds
            bound.append(time * first)
        known = None if self.attainable is None else self.attainable(point) * weight
        return KernelTimes(time, tuple(bound), known)

    @property
    def variables(self) -> tuple[str, ...]:
        """Everything that its time depends on."""
        names = {n for seconds in self.roofs for one in seconds for n in one.variables}
        return tuple(sorted(names))


class PricePlan:
    """A component's counts on a device, boiled down to the polynomials that matter."""

    def __init__(
        self,
        counts: ComponentCounts,
        peaks: ComponentPeaks,
        laws: LawChoice | None = None,
        host: Host | None = None,
    ) -> None:
        self.counts, self.peaks, self.laws = counts, peaks, laws
        self.host = host if host is not None and host.known else None
        """None where nobody knows what it takes."""
        self.count_plan = CountPlan(counts)
        self.energies = phase_energies(peaks, laws.kernel_laws if laws else None, counts.ops)
        """By phase; None where no law is known."""
        used = {RESOURCES.find(name).bound for op in counts.ops for name in op.amounts_at}
        self.bounds = tuple(b for b in BOUNDS if b in used or b in ("compute", "memory"))
        """What its ops may be bound by, memory last."""
        bound_times = (f"{bound}_bound_time_s" for bound in self.bounds[:-1])
        hosted = FROM_HOST[: 1 if self.host.runtime is None else None] if self.host else ()
        self.outputs = (
            *self.count_plan.outputs,
            "roofline_time_s",
            *bound_times,
            *FROM_LAWS,
            *hosted,
            *(FROM_ENERGY if self.energies is not None else ()),
        )

    def resource_times(self, op: CountedOp) -> dict[str, Polynomial]:
        """Seconds of one occurrence at each resource."""
        return {
            name: amount / self.peaks.per_s(name, op.unit)
            for name, amount in op.amounts_at.items()
            if amount
        }

    def kernel(self, op: CountedOp) -> KernelGroup:
        """The time of an op."""
        return self._kernel(op, self._roofs(op))

    def _roofs(self, op: CountedOp) -> tuple[tuple[Polynomial, ...], ...]:
        roofs: dict[Bound, list[Polynomial]] = {bound: [] for bound in self.bounds}
        for name, seconds in self.resource_times(op).items():
            roofs[RESOURCES.find(name).bound].append(seconds)
        return tuple(tuple(upper_envelope(each)) or (Polynomial({}),) for each in roofs.values())

    def _kernel(self, op: CountedOp, roofs: tuple[tuple[Polynomial, ...], ...]) -> KernelGroup:
        error = self.laws.error(op) if self.laws else 0.0
        return KernelGroup(op.phase, op.count, roofs, self._attainable(op), error)

    def _attainable(self, op: CountedOp) -> TimeFormula | None:
        """What the device's laws say of one occurrence; None for a device without any.

        They know of DRAM and of units that compute: what waits for something else takes at least
        that, and an op that no law goes for its roofline.
        """
        if self.laws is None:
            return None
        law, times = self.laws.seconds(op), self.resource_times(op)
        waits = [seconds for name, seconds in times.items() if law is None or name in op.elsewhere]
        if law is None:
            return lambda point: point.maximum(waits)
        if not waits:
            return law
        return lambda point: np.maximum(law(point), point.maximum(waits))

    @cached_property
    def _kernels(self) -> list[KernelGroup]:
        """One group for all ops of a phase that take the same time; its law is looked up once."""
        merged: dict[Any, KernelGroup] = {}
        for op in self.counts.ops:
            roofs, weights = self._roofs(op), op.amounts.weight_read_bytes
            law = self.laws and (op.kind, op.unit, op.shape, op.kernel, op.launches, weights)
            key = (op.phase, roofs, law)  # all that laws look at
            known = merged.get(key)
            merged[key] = (
                replace(known, count=known.count + op.count) if known else self._kernel(op, roofs)
            )
        return list(merged.values())

    def evaluate(self, point: Point) -> tuple[Array, ...]:
        """The quantities of `outputs` at a point."""
        nothing = np.zeros(())
        unknown = nothing if self.laws else np.full((), np.nan)
        bound = [nothing for _ in self.bounds[:-1]]
        phases: dict[Phase, tuple[Array, Array, Array]] = {}
        for kernel in self._kernels:
            times = kernel.time(point)
            bound = [sum_ + more for sum_, more in zip(bound, times.bound, strict=True)]
            bare, known, wrong = phases.get(kernel.phase, (nothing, unknown, unknown))
            if times.attainable is not None:
                known, wrong = known + times.attainable, wrong + kernel.error * times.attainable
            phases[kernel.phase] = bare + times.roofline, known, wrong
        hosted, elapsed, energy = [nothing, nothing], NOTHING, [nothing, nothing]
        for phase, sums in phases.items():
            took, error = sums[1:]
            if self.host is not None:
                host = self.host.seconds(self.counts, phase, point)
                # what computes also issues: one waits for the other
                hosted[self.host.in_kernels] = hosted[self.host.in_kernels] + host.value
                waiting = self.host.waiting(self.counts, phase, point)
                together = self.host.together(self._band(*sums), host, waiting)
                elapsed = elapsed + together
                if self.host.runtime is not None:
                    took = together.value
                    error = np.maximum(together.high - took, took - together.low)
            if self.energies is not None:
                joules = self.energies[phase].joules(point, sums[1], error, took)
                energy = [sum_ + more for sum_, more in zip(energy, joules, strict=True)]
        summed = [sum(each, nothing) for each in zip(*phases.values(), strict=True)]
        roofline, attainable, error = summed or (nothing,) * 3
        values = [*self.count_plan.evaluate(point), roofline, *bound, attainable + hosted[1], error]
        if self.host is not None:
            values.append(hosted[0])
            if self.host.runtime is not None:
                values += [elapsed.value, elapsed.low, elapsed.high]
        return (*values, *(energy if self.energies is not None else ()))

    def _band(self, roofline: Array, attainable: Array, error: Array) -> Interval:
        """Attainable with its error, never below the roofline; that itself without laws."""
        if self.laws is None:
            return interval(roofline)
        low = np.maximum(attainable - error, np.minimum(attainable, roofline))
        return Interval(attainable, low, attainable + error)


class Plan(Protocol):
    """What can be evaluated: counts alone, or counts and times."""

    counts: ComponentCounts
    outputs: tuple[str, ...]

    def evaluate(self, point: Point) -> tuple[Array, ...]: ...


def evaluate(
    plans: Sequence[Plan], counts: Mapping[str, Array], derived: Iterable[Derived]
) -> list[dict[str, Array]]:
    """For each plan its outputs by name, each of the counts' broadcast shape."""
    names, axes, derived = tuple(counts), tuple(counts.values()), tuple(derived)
    outputs = sum(len(plan.outputs) for plan in plans)
    chunks = np.nditer(
        (*axes, *([None] * outputs)),  # type: ignore[arg-type]  # the stubs know no allocation
        flags=["external_loop", "buffered", "zerosize_ok"],
        op_flags=[["readonly"]] * len(axes) + [["writeonly", "allocate"]] * outputs,  # type: ignore[arg-type]
        op_dtypes=[np.float64] * (len(axes) + outputs),
        buffersize=CHUNK,
    )
    with chunks:
        for arrays in chunks:
            point = Point(dict(zip(names, arrays[: len(axes)], strict=True)), derived)
            values = [value for plan in plans for value in plan.evaluate(point)]
            for target, value in zip(arrays[len(axes) :], values, strict=True):
                target[...] = value
        results = iter(chunks.operands[len(axes) :])
    return [{name: next(results) for name in plan.outputs} for plan in plans]
