"""Which of a device's laws of kernel time goes for which op."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
from msgspec.structs import replace

from roofline.device import nearest
from roofline.device.borrowed import borrowing_errors, outside
from roofline.device.kernel_curves import (
    ATTENTION_AXES,
    ROWS,
    AnyAttentionLaw,
    AttentionSizes,
    attention_curve,
    matmul_curve,
    moe_curve,
)
from roofline.device.kernel_types import OperandBytes
from roofline.device.laws.attention import AttentionForm
from roofline.device.laws.matmul import MatmulLaw, batched_matmul_seconds
from roofline.device.laws.moe import MoeLaw
from roofline.device.laws.pointwise import PointwiseLaw, pointwise_seconds
from roofline.device.peaks import ComponentPeaks
from roofline.device.roof import Roof
from roofline.device.sustained import paced
from roofline.model.autocast import CONVOLUTION
from roofline.model.counted import ComponentCounts, CountedOp
from roofline.model.op import AttentionShape, MatmulShape, MoeShape
from roofline.model.polynomial import Array, Point, Polynomial
from roofline.specs.kernel_laws import KernelLaws, Law
from roofline.units import MICRO

TimeFormula: TypeAlias = Callable[[Point], Array]


CONVOLUTION_SHARE = 0.25
"""Rate of PyTorch's convolution of three channels, over the vector units' peak in fp32, before a
matmul's own losses: what the patch embeddings of vision transformers leave over on an RTX 3090
(0.2) and 4090 (0.3), by patches of 32, 16 and 14 pixels (timm `results/`, Apache-2.0)."""


class LawChoice:
    """The laws of a device, as they go for one component."""

    def __init__(
        self,
        kernel_laws: KernelLaws,
        counts: ComponentCounts,
        peaks: ComponentPeaks,
        library: str | None = None,
    ) -> None:
        self.kernel_laws, self.counts, self.peaks = kernel_laws, counts, peaks
        self.library = library
        """Whose kernels run; None where nobody knows."""

    def law(self, op: CountedOp) -> Law | None:
        """The law that goes for an op, with its origin; None where there is none."""
        law: Law | None = None
        if op.unit == "vector":
            law = self._vector_law(op)
        elif isinstance(op.shape, MatmulShape):
            law = self._matmul_law(op)
        elif isinstance(op.shape, AttentionShape) and _attention_sizes(op, op.shape):
            law = self._attention_law(op.shape)
        elif isinstance(op.shape, MoeShape):
            law = self._moe_law(op)
        if law is None or law.origin is not None:
            return law
        return replace(law, origin=self.kernel_laws.origin)

    def error(self, op: CountedOp) -> float:
        """What nine in ten kernels of the library are off an op's law at most, as a share of it; of
        whole models that the device's laws were corrected by, what nine in ten of those are.
        """
        law, correction = self.law(op), self.peaks.hardware.correction
        if law is None:
            return 0.0
        if correction is not None and correction.p90_error_percent is not None:
            kinds = {"tower"} if self.counts.component == "vision" else {op.phase, "answer"}
            if kinds & set(correction.stages):
                return correction.p90_error_percent / 100
        return law.error_percent(self.library) / 100

    def seconds(self, op: CountedOp) -> TimeFormula | None:
        """Time of one occurrence of an op; None where no law goes for it.

        An op that several kernels do pays a launch for each: t = law(op) + (launches − 1) · launch.
        The law of experts has all of theirs.
        """
        once = self._once(op)
        if once is None or op.launches == 1 or isinstance(op.shape, MoeShape):
            return once
        further_s = (op.launches - 1) * self._launch_s
        return lambda point: once(point) + further_s

    @property
    def _launch_s(self) -> float:
        """What a kernel takes that does next to nothing."""
        return self.kernel_laws.of(PointwiseLaw)["default"].launch_us * MICRO

    def _once(self, op: CountedOp) -> TimeFormula | None:
        """The same for an op of one kernel."""
        # a model's weights and cache go through DRAM: other layers' have driven them from the cache
        roof = Roof.under(self.peaks.hardware, self.peaks.flops_per_s(op.unit)).of_dram
        if op.unit == "vector":
            return self._vector(op, roof)
        if isinstance(op.shape, MatmulShape):
            return self._matmul(op, op.shape, roof)
        if isinstance(op.shape, AttentionShape) and _attention_sizes(op, op.shape):
            return self._attention(op, op.shape, roof)
        if isinstance(op.shape, MoeShape):
            return self._experts(op, op.shape, roof)
        return None

    def _vector(self, op: CountedOp, roof: Roof) -> TimeFormula:
        law = self._vector_law(op)
        traffic, flops = op.traffic, op.amounts.flops + op.amounts.vector_flops
        return lambda point: pointwise_seconds(
            law, roof, traffic_bytes=point(traffic), flops=point(flops)
        )

    def _matmul(self, op: CountedOp, shape: MatmulShape, roof: Roof) -> TimeFormula:
        law, sizes = self._matmul_law(op), _sizes(op, shape)
        if sizes is None:
            flops, traffic = op.amounts.flops, op.traffic
            return lambda point: _batched(law, roof, point(flops), point(traffic))
        curve, rows = matmul_curve(law, roof, *sizes), Polynomial.of(shape.rows)
        return lambda point: curve.at(point.mapped(ROWS.places, rows))

    def _attention(self, op: CountedOp, shape: AttentionShape, roof: Roof) -> TimeFormula:
        form, sizes = attention_form(shape), _attention_sizes(op, shape)
        assert sizes is not None  # as `law` has it
        curve = attention_curve(form, self._attention_law(shape), roof, sizes)
        batch, queries, keys = map(Polynomial.of, (shape.batch, shape.queries, shape.keys))
        counts = {
            "decode": (batch, keys),
            "encoder": (batch, queries),
            "prefill": (batch, queries),
            "extension": (batch, queries, keys),
        }[form]
        axes = ATTENTION_AXES[form]

        def seconds(point: Point) -> Array:
            places = (point.mapped(a.places, n) for a, n in zip(axes, counts, strict=True))
            return curve.at(*places)

        return seconds

    def _experts(self, op: CountedOp, shape: MoeShape, roof: Roof) -> TimeFormula | None:
        """By the law of balanced routing, which touches no fewer experts than the op counts."""
        law, mode = self._moe_law(op), self.counts.mode
        if law is None:
            return None
        width = OperandBytes(
            mode.weight_bytes("linear"), mode.activation_bytes, mode.activation_bytes
        )
        sizes = (shape.hidden, shape.intermediate, shape.experts, shape.top_k)
        curve = moe_curve(law, roof, *sizes, width, shape.gated)
        tokens = Polynomial.of(shape.tokens)
        return lambda point: curve.at(point.mapped(ROWS.places, tokens))

    def _moe_law(self, op: CountedOp) -> MoeLaw | None:
        """None for a device whose laws know no experts."""
        if not self.kernel_laws.of(MoeLaw):
            return None
        data_type = self.peaks.matmul_type
        kernels = (op.kernel, data_type) if op.kernel else (data_type,)
        return nearest.moe_law(self.kernel_laws, *kernels)

    def _vector_law(self, op: CountedOp) -> PointwiseLaw:
        laws = self.kernel_laws.of(PointwiseLaw)
        return laws.get(op.kernel) or laws.get(op.kind) or laws["default"]

    def _matmul_law(self, op: CountedOp) -> MatmulLaw:
        data_type = self.peaks.attention_type if op.unit == "attention" else self.peaks.matmul_type
        kernels = (data_type,) if op.kernel in ("", CONVOLUTION) else (op.kernel, data_type)
        law = nearest.matmul_law(self.kernel_laws, *kernels)
        if isinstance(op.shape, MatmulShape) and _sizes(op, op.shape) is None:
            return outside(law, borrowing_errors().other_capability[law.family])
        return self._of_convolution(law, op) if op.kernel == CONVOLUTION else law

    def _of_convolution(self, law: MatmulLaw, op: CountedOp) -> MatmulLaw:
        """The law of a matmul for a convolution of few channels, at what vector units do."""
        rate = CONVOLUTION_SHARE * self.peaks.hardware.vector_flops_per_s
        ratio = min(1.0, rate / self.peaks.flops_per_s(op.unit))
        slow = replace(law, rate_ratio=law.rate_ratio * ratio, lender_rate=1.0)
        return outside(slow, borrowing_errors().other_type[law.family])

    def _attention_law(self, shape: AttentionShape) -> AnyAttentionLaw:
        data_type, form = self.peaks.attention_type, attention_form(shape)
        # an encoder has no cache: its keys are activations
        bits = 16 if form == "encoder" else self.counts.mode.kv_bits
        return nearest.attention_law(
            self.kernel_laws, form, data_type, _cache_type(data_type, bits)
        )


def _cache_type(data_type: str, bits: int) -> str:
    """Of keys and values of so many bits beside queries of a type; eight are taken for fp8."""
    if data_type not in ("bf16", "fp16") or bits >= 16:
        return data_type
    return "fp8" if bits == 8 else f"int{bits}"


def _batched(law: MatmulLaw, roof: Roof, flops: Array, traffic: Array) -> Array:
    """Never below the roofline."""
    seconds = paced(
        law, roof, flops, lambda seen: batched_matmul_seconds(law, seen, flops, traffic)
    )
    least: Array = np.maximum(seconds, roof.seconds(flops, traffic))
    return least


def attention_form(shape: AttentionShape) -> AttentionForm:
    """Which tables of measurements the kernel would be in."""
    queries, keys = Polynomial.of(shape.queries), Polynomial.of(shape.keys)
    if queries == keys:
        return "prefill" if shape.causal else "encoder"
    return "decode" if queries.constant == 1 else "extension"


def _attention_sizes(op: CountedOp, shape: AttentionShape) -> AttentionSizes | None:
    """None where the op moves other bytes than those of queries and keys, of whatever widths."""
    batch, queries, keys = map(Polynomial.of, (shape.batch, shape.queries, shape.keys))
    if queries == keys:
        moved = op.traffic.in_terms_of(batch * queries)
        by_query, by_key = (moved[0], 0.0) if moved else (None, None)
    else:
        by_key, by_query = op.traffic.in_terms_of(batch * keys, batch * queries) or (None, None)
    if by_query is None or by_key is None:
        return None
    # of a width between those of keys and values: FLOPs are the same
    head_dim = (shape.head_dim + shape.value_size) / 2
    sizes = (shape.heads, shape.kv_heads, head_dim, shape.causal)
    return AttentionSizes(*sizes, by_query, by_key)


class MatmulSizes(NamedTuple):
    """What does not vary of a matmul, as `matmul_curve` takes it."""

    n: float
    k: float
    weight_bytes: float
    row_bytes: float
    fixed_bytes: float


def _sizes(op: CountedOp, shape: MatmulShape) -> MatmulSizes | None:
    """None where more varies than rows: matmuls of attention, kernel by kernel."""
    rows, n, k = map(Polynomial.of, (shape.rows, shape.out_features, shape.in_features))
    weights = op.amounts.weight_read_bytes
    fixed = n.constant, k.constant, weights.constant
    activations = op.traffic - weights
    one = Polynomial({(): 1.0})
    if rows.constant is not None:
        by_rows = (0.0, *(activations.in_terms_of(one) or ()))
    else:
        by_rows = activations.in_terms_of(rows, one) or ()
    numbers = [number for number in (*fixed, *by_rows) if number is not None]
    return MatmulSizes(*numbers) if len(numbers) == len(MatmulSizes._fields) else None
