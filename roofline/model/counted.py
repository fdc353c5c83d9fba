"""What a model needs, counted and not yet priced: polynomials in the scenario's variables.

FLOPs, bytes and memory of ops at the widths of a quantization mode, on no device.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Literal

from msgspec import Struct

from roofline.model.op import Op, OpKind, OpShape, Unit
from roofline.model.polynomial import Polynomial, total
from roofline.specs.hardware import DataType
from roofline.specs.quantization import Quantization

Phase = Literal["prefill", "decode"]


class Amounts(Struct, frozen=True):
    """FLOPs and DRAM bytes of one occurrence of an op."""

    flops: Polynomial
    vector_flops: Polynomial
    weight_read_bytes: Polynomial
    activation_read_bytes: Polynomial
    activation_write_bytes: Polynomial
    kv_read_bytes: Polynomial
    kv_write_bytes: Polynomial


AMOUNTS = Amounts.__struct_fields__
TRAFFIC = tuple(name for name in AMOUNTS if name.endswith("_bytes"))


class CountedOp(Struct, frozen=True, dict=True):
    """One distinct op: what it costs each time, and how often it runs in its phase.

    In the phase `decode` amounts are those of the step that the variable `step` counts, and
    affine in it; `count` is per step.
    """

    name: str
    kind: OpKind
    unit: Unit
    phase: Phase
    count: int
    amounts: Amounts
    layers: str = ""
    shape: OpShape | None = None
    """Of a matmul, a fused attention kernel or experts."""
    kernel: str = ""
    """Name of one that is unlike others of its kind: a linear w4a16, a norm rms_norm."""
    launches: int = 1
    """Kernels that one occurrence issues."""
    elsewhere: Mapping[str, Polynomial] = {}
    """Amounts at resources beside tensor and vector units and DRAM."""
    elements: Op | None = None
    """What it was counted from, where a convention has no formula of its own."""
    waits: int = 0
    """Times that the host waits for a result of one occurrence."""

    @cached_property  # each law, resource and energy asks anew
    def traffic(self) -> Polynomial:
        """DRAM bytes of one occurrence, all kinds together."""
        return total(getattr(self.amounts, name) for name in TRAFFIC)

    @cached_property
    def amounts_at(self) -> dict[str, Polynomial]:
        """What one occurrence asks of each resource: FLOPs of units, bytes of memories and links.

        Units work side by side; what a vector op computes with matrices, vector units do.
        """
        amounts = self.amounts
        if self.unit == "vector":
            work = {"vector": amounts.flops + amounts.vector_flops}
        else:
            work = {"tensor": amounts.flops, "vector": amounts.vector_flops}
        return {**work, "dram": self.traffic, **self.elsewhere}


class ComponentCounts(Struct, frozen=True, eq=False):
    """All ops of one component at one stage, and what it keeps in memory."""

    component: str
    mode: Quantization
    """Whose widths these are."""
    ops: tuple[CountedOp, ...]
    weight_bytes: float
    kv_cache_bytes: Polynomial
    """At the end of the stage."""
    peak_activation_bytes: tuple[Polynomial, ...]
    """Candidates: the peak is the largest of them at the last step."""
    matmul_types: tuple[DataType, ...]
    attention_types: tuple[DataType, ...]
    layers: int = 0
    """Transformer layers that one pass runs through."""
    architecture: str = ""
    """`kind` of the component's spec; empty of a reducer."""
    materialised_layers: int = 0
    """Of those layers, as many as need the probabilities of attention in memory (`LayerGroup`)."""
    vector_peak: bool = True
    """False: vector ops run at the matmul peak too (a convention of others, kept to show it)."""
