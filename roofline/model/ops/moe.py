"""A mixture of experts: who goes where, and the experts' MLPs."""

from __future__ import annotations

from roofline.model.op import MoeShape, Op
from roofline.model.ops.pointwise import POINTWISE_FLOPS
from roofline.model.polynomial import Number
from roofline.specs.models import HiddenAct

ROUTING_FLOPS = 6  # softmax as in attention; a comparison
WEIGHING_FLOPS = 2  # each expert's result times its weight, added up
EXPERT_LAUNCHES = 5
"""Sort tokens by expert; two grouped matmuls and the activation between; weigh and add up."""


def routing(name: str, logits: str, target: str, *, tokens: Number, experts: int, top_k: int) -> Op:
    """Logits [tokens, experts] → numbers and weights of the largest, [tokens, top_k] each."""
    return Op(
        name,
        "routing",
        "vector",
        reads={logits: tokens * experts},
        writes={target: 2 * tokens * top_k},
        vector_flops=ROUTING_FLOPS * tokens * experts,
        launches=2,  # softmax, top-k
    )


def expert_mlps(
    name: str,
    source: str,
    routes: str,
    target: str,
    *,
    shape: MoeShape,
    touched: Number,
    function: HiddenAct,
    bias: bool,
) -> Op:
    """[tokens, hidden] → the same, through `top_k` experts each: 2 FLOPs a weight and choice.

    Of the weights those of `touched` experts are read. Rows between the matmuls,
    [tokens · top_k, …], lie in memory while it runs; their traffic is not counted, as no law of a
    roofline needs it (Gale et al., MegaBlocks, arXiv:2211.15841, has them stay in blocks).
    """
    rows = shape.tokens * shape.top_k
    inner = (1 + shape.gated) * shape.intermediate
    biases = (inner + shape.hidden) * bias
    scratch = rows * (shape.hidden + inner + shape.intermediate)
    activation = (POINTWISE_FLOPS[function] + shape.gated) * rows * shape.intermediate
    return Op(
        name,
        "experts",
        "matmul",
        reads={source: shape.tokens * shape.hidden, routes: 2 * rows},
        writes={target: shape.tokens * shape.hidden},
        resident={f"{name}_rows": scratch},
        flops=shape.flops,
        vector_flops=activation + WEIGHING_FLOPS * rows * shape.hidden + biases * rows,
        weights=touched * shape.expert_elements,
        resident_weights=float(shape.experts * shape.expert_elements),
        vectors=touched * biases,
        resident_vectors=float(shape.experts * biases),
        shape=shape,
        launches=EXPERT_LAUNCHES,
    )


def weighed(name: str, gate: str, branch: str, *, rows: Number, width: int) -> Op:
    """σ(gate) · branch, [rows, 1] by [rows, width]."""
    return Op(
        name,
        "activation",
        "vector",
        reads={gate: rows, branch: rows * width},
        writes={branch: rows * width},
        vector_flops=POINTWISE_FLOPS["silu"] * rows + rows * width,
    )
