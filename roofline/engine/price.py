"""Costs × device → time, bound and memory: the roofline itself (Williams et al. 2009).

An op takes as long as the slower of its computing and its DRAM traffic, each at the device's peak:
no kernel is faster. Rows of cost are merged into as few polynomials as the device tells apart, and
those are evaluated over the scenario in chunks, so that memory stays bounded for any sweep.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from roofline.device.law_choice import Laws, Seconds
from roofline.device.peaks import Rates
from roofline.engine.memo import MemoTable
from roofline.engine.scenario import Scenario
from roofline.model.counted import ComponentCost, CostRow, Phase
from roofline.model.polynomial import Array, Point, Polynomial, total

CHUNK = 16_384
"""Configurations evaluated at a time: temporaries of this size stay in a core's L2 cache."""

EVALUATED = (
    "flops",
    "vector_flops",
    "memory_access_bytes",
    "activation_store_bytes",
    "kv_cache_bytes",
    "peak_activation_bytes",
    "time_s",
    "compute_bound_time_s",
    "attainable_time_s",
    "attainable_error_s",
    "host_time_s",
)
"""What is evaluated for every configuration, in this order; all else is derived from it."""
FROM_LAWS = ("attainable_time_s", "attainable_error_s", "host_time_s")
"""Those that mean nothing for a device without laws of attained time."""


class Kernel(Struct, frozen=True):
    """Rows of one cost: `count` × the larger of computing and memory traffic, in seconds."""

    phase: Phase
    count: int
    compute: tuple[Polynomial, ...]
    """Times on units that work side by side: the slowest counts."""
    memory: Polynomial
    attained: Seconds | None = None
    """What the device's law says instead; None where it has none."""
    error: float = 0.0
    """What nine in ten kernels are off it at most, as a share of it."""

    def time(self, point: Point) -> tuple[Array, Array, Array]:
        """Seconds over all occurrences, how many of them are bound by compute, seconds attained."""
        if self.phase == "prefill":
            return self._times(point, self.count)
        steps = point.values["steps"]
        if not any(p.depends_on("step") for p in (*self.compute, self.memory)):
            return self._times(point, self.count * steps)
        # Each step reads a longer cache: steps get an axis of their own, a piece at a time. They
        # are added up one after the other, so that a configuration's sum is the same to the last
        # bit whatever longer ones stand beside it.
        every = Point({name: value[..., None] for name, value in point.values.items()})
        sums = np.zeros((3, *steps.shape))
        piece = max(1, CHUNK // max(1, steps.size))
        longest = int(steps.max(initial=0.0))
        for first in range(1, longest + 1, piece):
            step = np.arange(first, min(first + piece, longest + 1), dtype=np.float64)
            weight = self.count * (step <= steps[..., None]).astype(np.float64)
            for i, times in enumerate(self._times(every.at(step=step), weight)):
                run = np.concatenate([sums[i][..., None], times], axis=-1)
                sums[i] = np.cumsum(run, axis=-1)[..., -1]
        return sums[0], sums[1], sums[2]

    def _times(self, point: Point, weight: Array | float) -> tuple[Array, Array, Array]:
        compute, memory = point.maximum(self.compute), point(self.memory)
        time = np.maximum(compute, memory) * weight
        attained = np.broadcast_to(np.nan, np.shape(time))
        if self.attained is not None:
            attained = self.attained(point) * weight
        return time, time * (compute >= memory), attained

    @property
    def variables(self) -> tuple[str, ...]:
        """Everything that its time depends on."""
        monomials = (m for p in (*self.compute, self.memory) for m in p.terms)
        return tuple(sorted({name for monomial in monomials for name in monomial}))


class Plan:
    """A component's cost on a device, boiled down to the polynomials that matter."""

    def __init__(self, cost: ComponentCost, rates: Rates, laws: Laws | None = None) -> None:
        self.cost = cost
        self.rates = rates
        self.laws = laws

    def kernel(self, row: CostRow) -> Kernel:
        """The time of a row."""
        amounts, rate = row.amounts, self.rates.flops_per_s(row.unit)
        if row.unit == "vector":
            compute = [(amounts.flops + amounts.vector_flops) / rate]
        else:
            compute = [amounts.flops / rate, amounts.vector_flops / self.rates.vector_flops_per_s]
        memory = row.traffic / self.rates.memory_bytes_per_s
        attained = self.laws.seconds(row) if self.laws else None
        law = self.laws.law(row) if self.laws else None
        error = law.p90_error_percent / 100 if law else 0.0
        return Kernel(row.phase, row.count, tuple(p for p in compute if p), memory, attained, error)

    @cached_property
    def _kernels(self) -> list[Kernel]:
        """One kernel for all rows of a phase that take the same time."""
        merged: dict[Any, Kernel] = {}
        for row in self.cost.rows:
            kernel = self.kernel(row)
            law = self.laws and (row.shape or row.kind, row.kernel)
            key = (kernel.phase, kernel.compute, kernel.memory, law)
            known = merged.get(key)
            merged[key] = replace(kernel, count=kernel.count + known.count) if known else kernel
        return list(merged.values())

    @cached_property
    def _bounds(self) -> list[Kernel]:
        """The same without laws."""
        return [replace(kernel, attained=None) for kernel in self._kernels]

    @cached_property
    def _attained(self) -> list[MemoTable]:
        """Seconds attained, and what they may be off, of kernels that share their variables."""
        groups: dict[Any, list[Kernel]] = {}
        for kernel in self._kernels if self.laws else ():
            names = kernel.variables
            if kernel.phase == "decode":  # what differs from step to step is computed as it comes
                names = () if "step" in names else (*names, "steps")
            groups.setdefault(names, []).append(kernel)
        return [MemoTable(names, partial(_attained, group)) for names, group in groups.items()]

    @cached_property
    def _sums(self) -> list[tuple[Polynomial, Polynomial]]:
        """Prefill and decode-step totals of the first four quantities of `EVALUATED`."""
        amounts: list[Callable[[CostRow], Polynomial]] = [
            lambda row: row.amounts.flops,
            lambda row: row.amounts.vector_flops,
            lambda row: row.traffic,
            lambda row: row.amounts.activation_write_bytes,
        ]
        prefill, decode = (
            [row for row in self.cost.rows if row.phase == phase] for phase in ("prefill", "decode")
        )
        return [
            (
                total(amount(row) * row.count for row in prefill),
                total(amount(row) * row.count for row in decode),
            )
            for amount in amounts
        ]

    def evaluate(self, point: Point) -> tuple[Array, ...]:
        """The quantities of `EVALUATED` at a point."""
        sums = [over_steps(point, *pair) for pair in self._sums]
        times = [kernel.time(point) for kernel in self._bounds]
        time, compute_bound = (sum((each[i] for each in times), np.zeros(())) for i in range(2))
        attained, error = np.zeros(()), np.zeros(())
        for group in self._attained:
            more, off = group(point)
            attained, error = attained + more, error + off
        host: Array = np.full((), np.nan)
        if self.laws:
            host = self.laws.host_seconds(point)
            if self.laws.serial:  # what computes also issues: one waits for the other
                attained, host = attained + host, np.zeros(())
        return (*sums, *self.memory(point), time, compute_bound, attained, error, host)

    def memory(self, point: Point) -> tuple[Array, Array]:
        """Bytes of the KV cache and of activations at their peak, when the stage ends."""
        last = point.at(step=point.values["steps"])
        return point(self.cost.kv_cache_bytes), last.maximum(self.cost.peak_activation_bytes)


def _attained(kernels: Sequence[Kernel], point: Point) -> tuple[Array, Array]:
    """Seconds attained by all of them, and what nine in ten are off at most."""
    seconds, off = np.zeros(()), np.zeros(())
    for kernel in kernels:
        attained = kernel.time(point)[2]
        seconds, off = seconds + attained, off + kernel.error * attained
    return seconds, off


def over_steps(point: Point, once: Polynomial, per_step: Polynomial) -> Array:
    """Add Σ per_step over the decode steps; affine in the step, it is steps × the mean step."""
    value = point(once)
    if per_step:
        steps = point.values["steps"]
        value = value + steps * point.at(step=(steps + 1) / 2)(per_step)
    return value


class Prompt(Struct, frozen=True):
    """How a model's prompt is made up: what turns a scenario into variables of the formulas."""

    images_per_sample: int
    tokens_per_sample: int | None
    """Visual tokens of one sample before reduction; None: the model has no images."""

    def point(self, visual: Array, text: Array, batch: Array, steps: Array) -> Point:
        """A prompt with more visual tokens than a sample gives holds several samples."""
        samples = (
            np.ceil(visual / self.tokens_per_sample) if self.tokens_per_sample else 0.0 * visual
        )
        return Point(
            {
                "visual": visual,
                "text": text,
                "prompt": visual + text,
                "batch": batch,
                "images": batch * np.maximum(samples, 1.0) * self.images_per_sample,
                "steps": steps,
            }
        )


def evaluate(plans: Sequence[Plan], prompt: Prompt, scenario: Scenario) -> list[list[Array]]:
    """For each plan the quantities of `EVALUATED`, each of the scenario's shape."""
    axes = scenario.axes
    outputs = len(plans) * len(EVALUATED)
    chunks = np.nditer(
        (*axes, *([None] * outputs)),  # type: ignore[arg-type]  # the stubs know no allocation
        flags=["external_loop", "buffered", "zerosize_ok"],
        op_flags=[["readonly"]] * len(axes) + [["writeonly", "allocate"]] * outputs,  # type: ignore[arg-type]
        op_dtypes=[np.float64] * (len(axes) + outputs),
        buffersize=CHUNK,
    )
    with chunks:
        for arrays in chunks:
            point = prompt.point(*arrays[: len(axes)])
            values = [value for plan in plans for value in plan.evaluate(point)]
            for target, value in zip(arrays[len(axes) :], values, strict=True):
                target[...] = value
        results = list(chunks.operands[len(axes) :])
    width = len(EVALUATED)
    return [results[i : i + width] for i in range(0, outputs, width)]
