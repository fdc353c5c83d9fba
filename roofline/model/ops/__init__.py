"""Ops: the formula layer. Pure functions from shapes to what one kernel computes and moves.

`rows` is always batch × tokens. Matmul-class FLOPs follow `torch.utils.flop_counter`: 2 per
multiply-accumulate, attention dense, biases free. Vector FLOPs count one per elementary operation
(add, multiply, max, exp, divide, square root) and per element; see the constants.
"""

from roofline.model.ops.attention import (
    SOFT_CAP_FLOPS,
    SOFTMAX_FLOPS,
    eager_attention,
    flash_attention,
)
from roofline.model.ops.matmul import linear
from roofline.model.ops.moe import expert_mlps, routing, weighed
from roofline.model.ops.pointwise import (
    LAYER_NORM_FLOPS,
    POINTWISE_FLOPS,
    RMS_NORM_FLOPS,
    ROTARY_FLOPS,
    activation,
    added_positions,
    embedding,
    gated_activation,
    layer_norm,
    norm,
    residual,
    rms_norm,
    rotary,
    rotary_table,
    scale,
    weighted_norm,
)

__all__ = [
    "LAYER_NORM_FLOPS",
    "POINTWISE_FLOPS",
    "RMS_NORM_FLOPS",
    "ROTARY_FLOPS",
    "SOFTMAX_FLOPS",
    "SOFT_CAP_FLOPS",
    "activation",
    "added_positions",
    "eager_attention",
    "embedding",
    "expert_mlps",
    "flash_attention",
    "gated_activation",
    "layer_norm",
    "linear",
    "norm",
    "residual",
    "rms_norm",
    "rotary",
    "rotary_table",
    "routing",
    "scale",
    "weighed",
    "weighted_norm",
]
