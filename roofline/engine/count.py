"""Counts of a component, boiled down to the few polynomials that matter: no device yet."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np

from roofline.model.counted import ComponentCounts, CountedOp
from roofline.model.polynomial import Array, Point, Polynomial, total

COUNTED = (
    "flops",
    "vector_flops",
    "memory_access_bytes",
    "activation_store_bytes",
    "kv_cache_bytes",
    "peak_activation_bytes",
)
"""What is counted of every configuration, in this order."""

_SUMMED: tuple[Callable[[CountedOp], Polynomial], ...] = (
    lambda op: op.amounts.flops,
    lambda op: op.amounts.vector_flops,
    lambda op: op.traffic,
    lambda op: op.amounts.activation_write_bytes,
)


class CountPlan:
    """A component's counts, like terms collected over its ops."""

    outputs: tuple[str, ...] = COUNTED

    def __init__(self, counts: ComponentCounts) -> None:
        self.counts = counts

    @cached_property
    def _sums(self) -> list[tuple[Polynomial, Polynomial]]:
        """Prefill and decode-step totals of the first four quantities of `COUNTED`."""
        prefill, decode = (
            [op for op in self.counts.ops if op.phase == phase] for phase in ("prefill", "decode")
        )
        return [
            (
                total(amount(op) * op.count for op in prefill),
                total(amount(op) * op.count for op in decode),
            )
            for amount in _SUMMED
        ]

    def evaluate(self, point: Point) -> tuple[Array, ...]:
        """The quantities of `outputs` at a point."""
        sums = [over_steps(point, *pair) for pair in self._sums]
        last = point.at(step=point["steps"])
        peak = last.maximum(self.counts.peak_activation_bytes)
        return (*sums, point(self.counts.kv_cache_bytes), peak)


def over_steps(point: Point, once: Polynomial, per_step: Polynomial) -> Array:
    """Add Σ per_step over the decode steps.

    Affine in the step, that is steps × the value at the mean step; a variable that is derived from
    the step (keys in a window, say) makes it anything: then steps are added one by one.
    """
    value = point(once)
    if not per_step:
        return value
    steps = point["steps"]
    if any(name != "step" and point.moves_with(name, "step") for name in per_step.variables):
        return value + summed_over_steps(point, lambda every: [every(per_step)])[0]
    return value + steps * point.at(step=(steps + 1) / 2)(per_step)


CHUNK = 16_384
"""Configurations evaluated at a time: temporaries of this size stay in a core's L2 cache."""


def summed_over_steps(point: Point, amounts: Callable[[Point], list[Array]]) -> list[Array]:
    """Σ over each configuration's decode steps, given an axis of their own, a piece at a time.

    They are added up one after the other, so that a configuration's sum is the same to the last
    bit whatever longer ones stand beside it.
    """
    steps = np.broadcast_to(point["steps"], point.shape)
    sums: list[Array] = []
    piece = max(1, CHUNK // max(1, steps.size))
    longest = int(steps.max(initial=0.0))
    for first in range(1, max(longest, 1) + 1, piece):
        step = np.arange(first, min(first + piece, longest + 1), dtype=np.float64)
        runs = (step <= steps[..., None]).astype(np.float64)
        found = amounts(point.outer(step=step))
        sums = sums or [np.zeros(steps.shape) for _ in found]
        for i, amount in enumerate(found):
            run = np.concatenate([sums[i][..., None], amount * runs], axis=-1)
            sums[i] = np.cumsum(run, axis=-1)[..., -1]
    return sums
