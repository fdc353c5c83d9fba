"""Which of a device's laws of kernel time goes for which op."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

import numpy as np
from msgspec.structs import replace

from roofline.device.laws.attention import AttentionLaw, attention_seconds
from roofline.device.laws.matmul import MatmulLaw, matmul_seconds
from roofline.device.laws.pointwise import PointwiseLaw, pointwise_seconds
from roofline.device.peaks import ComponentPeaks
from roofline.device.roof import FloatOrArray, Roof
from roofline.model.counted import ComponentCounts, CountedOp
from roofline.model.op import AttentionShape, MatmulShape
from roofline.model.polynomial import Array, Point, Polynomial, all_equal
from roofline.specs.kernel_laws import KernelLaws, Law
from roofline.units import MICRO

TimeFormula: TypeAlias = Callable[[Point], Array]
_Law = TypeVar("_Law")

_SIMILAR_TYPES = {"fp16": ("bf16",), "bf16": ("fp16",), "int8": ("w8a8", "fp8"), "fp8": ("w8a8",)}
"""Types that tensor cores take at one rate, and names of one kernel."""
_WIDESPREAD = ("bf16", "fp16", "fp32")
_MOST_KNOWN = 4096
"""Matmuls of one shape that are remembered at a time."""


class LawChoice:
    """The laws of a device, as they go for one component."""

    def __init__(
        self, kernel_laws: KernelLaws, counts: ComponentCounts, peaks: ComponentPeaks
    ) -> None:
        self.kernel_laws, self.counts, self.peaks = kernel_laws, counts, peaks
        self._known: dict[Any, float] = {}
        """Times of matmuls of one shape: totals, a table of ops and every decode step ask for the
        same ones."""

    def law(self, op: CountedOp) -> Law | None:
        """The law that goes for an op, with its origin; None where there is none."""
        law: Law | None = None
        if op.unit == "vector":
            law = self._vector_law(op)
        elif isinstance(op.shape, MatmulShape):
            law = self._matmul_law(op)
        elif isinstance(op.shape, AttentionShape):
            law = self._attention_law()
        if law is None or law.origin is not None:
            return law
        return replace(law, origin=self.kernel_laws.origin)

    def seconds(self, op: CountedOp) -> TimeFormula | None:
        """Time of one occurrence of an op; None where no law goes for it.

        An op that several kernels do pays a launch for each: t = law(op) + (launches − 1) · launch.
        """
        once = self._once(op)
        if once is None or op.launches == 1:
            return once
        further_s = (op.launches - 1) * self._launch_s
        return lambda point: once(point) + further_s

    @property
    def _launch_s(self) -> float:
        """What a kernel takes that does next to nothing."""
        return self.kernel_laws.of(PointwiseLaw)["default"].launch_us * MICRO

    def _once(self, op: CountedOp) -> TimeFormula | None:
        """The same for an op of one kernel."""
        roof = Roof.under(self.peaks.hardware, self.peaks.flops_per_s(op.unit))
        if op.unit == "vector":
            return self._vector(op, roof)
        if isinstance(op.shape, MatmulShape):
            return self._matmul(op, op.shape, roof)
        if isinstance(op.shape, AttentionShape):
            return self._attention(op, op.shape, roof)
        return None

    def _vector(self, op: CountedOp, roof: Roof) -> TimeFormula:
        law = self._vector_law(op)
        traffic, flops = op.traffic, op.amounts.flops + op.amounts.vector_flops
        return lambda point: pointwise_seconds(
            law, roof, traffic_bytes=point(traffic), flops=point(flops)
        )

    def _matmul(self, op: CountedOp, shape: MatmulShape, roof: Roof) -> TimeFormula:
        law = self._matmul_law(op)
        m, k, n = map(Polynomial.of, (shape.rows, shape.in_features, shape.out_features))
        weights = op.amounts.weight_read_bytes
        arguments = (m, n, k, weights, op.traffic - weights)

        def seconds(numbers: Sequence[FloatOrArray]) -> Array:
            m, n, k, weight_bytes, activation_bytes = numbers
            bytes_moved = {"weight_bytes": weight_bytes, "activation_bytes": activation_bytes}
            return matmul_seconds(law, roof, m, n, k, **bytes_moved)

        def memoized(point: Point) -> Array:
            numbers = [np.asarray(point(argument)) for argument in arguments]
            if not all(map(all_equal, numbers)):
                return seconds(numbers)
            one = [number.flat[0] for number in numbers]
            key = (law, *one)
            known = self._known.get(key)
            if known is None:
                if len(self._known) >= _MOST_KNOWN:
                    self._known.clear()
                known = self._known[key] = float(seconds(one))
            return np.broadcast_to(known, np.broadcast_shapes(*map(np.shape, numbers)))

        return memoized

    def _attention(self, op: CountedOp, shape: AttentionShape, roof: Roof) -> TimeFormula:
        law = self._attention_law()
        batch, queries, keys = map(Polynomial.of, (shape.batch, shape.queries, shape.keys))
        traffic = op.traffic
        return lambda point: attention_seconds(
            law,
            roof,
            point(batch),
            point(queries),
            point(keys),
            shape.heads,
            shape.kv_heads,
            shape.head_dim,
            causal=shape.causal,
            traffic_bytes=point(traffic),
        )

    def _vector_law(self, op: CountedOp) -> PointwiseLaw:
        laws = self.kernel_laws.of(PointwiseLaw)
        return laws.get(op.kernel) or laws.get(op.kind) or laws["default"]

    def _matmul_law(self, op: CountedOp) -> MatmulLaw:
        laws = self.kernel_laws.of(MatmulLaw)
        data_type = self.peaks.attention_type if op.unit == "attention" else self.peaks.matmul_type
        return laws.get(op.kernel) or for_type(laws, data_type)

    def _attention_law(self) -> AttentionLaw:
        return for_type(self.kernel_laws.of(AttentionLaw), self.peaks.attention_type)


def for_type(laws: Mapping[str, _Law], data_type: str) -> _Law:
    """The law of a data type, else that of the likest: efficiencies are shares of its own peak."""
    names = (data_type, *_SIMILAR_TYPES.get(data_type, ()), *_WIDESPREAD)
    return next((laws[name] for name in names if name in laws), next(iter(laws.values())))
