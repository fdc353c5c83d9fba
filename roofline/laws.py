"""Which of a device's laws of attained time goes for which row of cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias, TypeVar

import numpy as np

from roofline.accounting.table import ComponentCost, CostRow
from roofline.costs.ops import AttentionShape, MatmulShape
from roofline.costs.polynomial import Array, Point, Polynomial
from roofline.kernels.attention import attention_seconds
from roofline.kernels.matmul import matmul_seconds
from roofline.kernels.roof import Roof
from roofline.kernels.vector import vector_seconds
from roofline.rates import Rates
from roofline.specs.attained import Attained
from roofline.specs.hardware import Hardware
from roofline.units import MIB, MICRO

Seconds: TypeAlias = Callable[[Point], Array]
_Law = TypeVar("_Law")

_ALIKE = {"fp16": ("bf16",), "bf16": ("fp16",), "int8": ("w8a8", "fp8"), "fp8": ("w8a8",)}
"""Types that tensor cores take at one rate, and names of one kernel."""
_WIDESPREAD = ("bf16", "fp16", "fp32")


class Laws:
    """The laws of a device, as they go for one component."""

    def __init__(
        self, hardware: Hardware, attained: Attained, cost: ComponentCost, rates: Rates
    ) -> None:
        self.attained, self.cost, self.rates = attained, cost, rates
        self.serial = hardware.kind == "cpu"
        """Whether kernels run on what issues them."""
        self._units = hardware.sm_count.value if hardware.sm_count else 1.0
        self._cache_bytes = hardware.l2_cache_mib.value * MIB if hardware.l2_cache_mib else 0.0

    def seconds(self, row: CostRow) -> Seconds | None:
        """Time of one occurrence of a row; None where no law goes for it."""
        roof = Roof(
            flops_per_s=self.rates.flops_per_s(row.unit),
            bytes_per_s=self.rates.memory_bytes_per_s,
            units=self._units,
            cache_bytes=self._cache_bytes,
        )
        if row.unit == "vector":
            return self._vector(row, roof)
        if isinstance(row.shape, MatmulShape):
            return self._matmul(row, row.shape, roof)
        if isinstance(row.shape, AttentionShape):
            return self._attention(row, row.shape, roof)
        return None

    def host_seconds(self, point: Point) -> Array:
        """What the framework takes beside the kernels, over the whole stage."""
        hosts = self.attained.host
        seconds: Array = np.zeros(())
        phases = {row.phase for row in self.cost.rows}
        for phase, runs in (("prefill", np.ones(())), ("decode", point.values["steps"])):
            law = hosts.get("decode" if phase == "decode" else self.cost.component)
            if phase in phases and law:
                seconds = seconds + runs * (law.fixed_us + self.cost.layers * law.layer_us) * MICRO
        return seconds

    def _vector(self, row: CostRow, roof: Roof) -> Seconds:
        laws = self.attained.vector
        law = laws.get(row.kernel) or laws.get(row.kind) or laws["default"]
        traffic, flops = row.traffic, row.amounts.flops + row.amounts.vector_flops
        return lambda point: vector_seconds(
            law, roof, traffic_bytes=point(traffic), flops=point(flops)
        )

    def _matmul(self, row: CostRow, shape: MatmulShape, roof: Roof) -> Seconds:
        laws = self.attained.matmul
        data_type = self.rates.attention_type if row.unit == "attention" else self.rates.matmul_type
        law = laws.get(row.kernel) or _for_type(laws, data_type)
        m, k, n = map(Polynomial.of, (shape.rows, shape.in_features, shape.out_features))
        weights = row.amounts.weight_read_bytes
        arguments = (m, n, k, weights, row.traffic - weights)

        def seconds(values: Iterable[Array]) -> Array:
            rows, columns, inner, weight_bytes, activation_bytes = values
            return matmul_seconds(
                law,
                roof,
                rows,
                columns,
                inner,
                weight_bytes=weight_bytes,
                activation_bytes=activation_bytes,
            )

        lines = [line for argument in arguments if (line := _line(argument, m))]
        if len(lines) < len(arguments):
            return lambda point: seconds(map(point, arguments))

        def of_distinct(point: Point) -> Array:
            # a sweep has few different m, and most matmuls share them
            rows, inverse = point.distinct(m)
            return seconds(rows * slope + offset for slope, offset in lines)[inverse]

        return of_distinct

    def _attention(self, row: CostRow, shape: AttentionShape, roof: Roof) -> Seconds:
        law = _for_type(self.attained.attention, self.rates.attention_type)
        batch, queries, keys = map(Polynomial.of, (shape.batch, shape.queries, shape.keys))
        traffic = row.traffic
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


def _for_type(laws: Mapping[str, _Law], data_type: str) -> _Law:
    """The law of a data type, else that of the likest: efficiencies are shares of its own peak."""
    names = (data_type, *_ALIKE.get(data_type, ()), *_WIDESPREAD)
    return next((laws[name] for name in names if name in laws), next(iter(laws.values())))


def _line(value: Polynomial, variable: Polynomial) -> tuple[float, float] | None:
    """(a, b) with value = a·variable + b; None where it is no such line."""
    offset = value.terms.get((), 0.0)
    monomial, coefficient = next(iter(variable.terms.items()))
    slope = value.terms.get(monomial, 0.0) / coefficient if monomial else 0.0
    return (slope, offset) if variable * slope + offset == value else None
