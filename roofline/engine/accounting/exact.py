"""`exact`, the default: every kernel reads its inputs and writes its outputs once.

FLOPs equal those of PyTorch's `FlopCounterMode` to the last one; `model.fusions.FUSIONS` lists what
is one kernel. Widths come from the quantization mode, tensor by tensor.
"""

from __future__ import annotations

from functools import lru_cache

from roofline.engine.accounting import ACCOUNTINGS, Accounting
from roofline.engine.components import Component
from roofline.engine.layout import Layout
from roofline.model.block import live_elements, parameters
from roofline.model.counted import Amounts, ComponentCounts, CountedOp
from roofline.model.op import WEIGHT_ROLES, Op
from roofline.model.polynomial import Polynomial, total, upper_envelope
from roofline.specs.catalog import mode_outside_llm
from roofline.specs.quantization import Quantization

_MEMO_SIZE = 64
"""Components that are not counted again."""


def count(layout: Layout, mode: Quantization) -> list[ComponentCounts]:
    """Each component at its own widths: of the LLM those of the mode, elsewhere what it leaves."""
    outside = mode_outside_llm(mode) if layout.llm else mode
    return [_counted(part, mode if part.in_llm else outside) for part in layout.components]


@lru_cache(maxsize=_MEMO_SIZE)
def _counted(component: Component, mode: Quantization) -> ComponentCounts:
    running = {
        phase: [block for block in blocks if not block.idle]
        for phase, blocks in component.phases.items()
    }
    ops = tuple(
        CountedOp(
            op.name,
            op.kind,
            op.unit,
            phase,
            block.count,
            _amounts(op, mode),
            block.label,
            op.shape,
            _kernel(op, mode),
            op.launches,
            {name: Polynomial.of(amount) for name, amount in op.elsewhere.items()},
            op,
            op.waits,
        )
        for phase, blocks in running.items()
        for block in blocks
        for op in block.ops
    )
    peaks = upper_envelope(
        live * mode.activation_bytes
        for blocks in running.values()
        for live in live_elements(blocks)
    )
    cached = component.cached_elements
    return ComponentCounts(
        component.name,
        mode,
        ops,
        component.copies * _weight_bytes(component, mode),
        Polynomial({}) if cached is None else mode.kv_bytes * cached,
        tuple(peaks),
        mode.compute,
        mode.attention_types,
        component.layers,
        component.architecture,
        component.materialised_layers,
    )


def resident(component: Component, mode: Quantization) -> list[tuple[str, float, float]]:
    """Parameters as loaded, but for copies: their role, elements, bytes an element."""
    held = parameters(component.loaded)
    rows = [(role, held.matrices.get(role, 0.0), mode.weight_bytes(role)) for role in WEIGHT_ROLES]
    return [*rows, ("norms, biases", held.vectors, mode.vector_bytes)]


def _weight_bytes(component: Component, mode: Quantization) -> float:
    """All parameters as loaded, at the width that the mode has for their role."""
    return sum(elements * width for _, elements, width in resident(component, mode))


def _kernel(op: Op, mode: Quantization) -> str:
    if op.unit == "matmul" and op.role == "linear":
        return mode.weight_only_kernel or op.function
    return op.function


def _amounts(op: Op, mode: Quantization) -> Amounts:
    weights = op.weights * mode.weight_bytes(op.role) + op.vectors * mode.vector_bytes
    return Amounts(
        flops=Polynomial.of(op.flops),
        vector_flops=Polynomial.of(op.vector_flops),
        weight_read_bytes=Polynomial.of(weights),
        activation_read_bytes=total(op.reads.values()) * mode.activation_bytes,
        activation_write_bytes=total(op.writes.values()) * mode.activation_bytes,
        kv_read_bytes=Polynomial.of(op.kv_reads * mode.kv_bytes),
        kv_write_bytes=Polynomial.of(op.kv_writes * mode.kv_bytes),
    )


ACCOUNTINGS.register("exact", Accounting(count, has_laws=True, takes_reducers=True))
