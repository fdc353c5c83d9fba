"""How long a mixture-of-experts MLP takes on a device: `moe_time`.

>>> import roofline
>>> layer = roofline.moe_time("h100", [1, 512], hidden=2048, intermediate=768, experts=128, top_k=8)
>>> layer.roofline_time_s.shape
(2,)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from roofline.device.borrowed import laws_of
from roofline.device.kernel_curves import moe_curve
from roofline.device.kernel_times import KernelTime, by_sizes, kernel_time
from roofline.device.kernel_types import (
    COMPUTES_IN,
    MATMUL_KERNELS,
    OTHER_NAMES,
    KernelType,
    kernel_roof,
)
from roofline.device.laws.moe import MoeLaw, moe_flops, touched_experts
from roofline.device.nearest import moe_law
from roofline.device.sizes import sizes_of
from roofline.errors import ScenarioError
from roofline.model.polynomial import Array
from roofline.specs.catalog import load_hardware
from roofline.specs.hardware import Hardware


def moe_time(
    hardware: str | Hardware,
    tokens: ArrayLike,
    hidden: ArrayLike,
    intermediate: ArrayLike,
    experts: ArrayLike,
    top_k: ArrayLike,
    dtype: KernelType = "bf16",
    *,
    gated: bool = True,
) -> KernelTime:
    """The MLP of one mixture-of-experts layer: each token to `top_k` of `experts`, routed evenly.

    An expert is gate and up [hidden, intermediate] and down [intermediate, hidden], without gate if
    not `gated`; under tensor parallelism `intermediate` is the share of one device. Arrays
    broadcast. T tokens touch min(experts, T·top_k) experts. The bound counts their weights, what
    tokens bring and take away, and 6·T·top_k·hidden·intermediate FLOPs (4 without gate); what stays
    between the matmuls it takes for free. The router is not in it.

    dtype: fp32, bf16, fp16, fp8, fp4 (nvfp4), w8a8 (int8), w8a16 or w4a16; the law of another type
    is taken for one that was not measured, and then called typical.

    Raises UnknownNameError, SpecError, UnsupportedModeError for a type that the device has no
    peak for, ScenarioError for sizes that are not above zero and for other types.
    """
    device, kernel = load_hardware(hardware), OTHER_NAMES.get(dtype, dtype)
    if kernel not in MATMUL_KERNELS:
        raise ScenarioError(f"no experts in {dtype!r}: choose one of {', '.join(MATMUL_KERNELS)}")
    shape = sizes_of(
        tokens=tokens, hidden=hidden, intermediate=intermediate, experts=experts, top_k=top_k
    )
    tokens, hidden, intermediate, experts, top_k = shape
    if np.any(top_k > experts):
        raise ScenarioError("top_k must not be above experts: a token goes to each once")
    width, roof = MATMUL_KERNELS[kernel], kernel_roof(device, kernel)
    touched = touched_experts(tokens, experts, top_k)
    weights = width.weight * (2 + gated) * touched * hidden * intermediate
    activations = (width.input + width.output) * tokens * hidden
    bound = roof.seconds(moe_flops(*shape, gated=gated), weights + activations)
    laws = laws_of(device)
    if laws is None or not laws.of(MoeLaw):
        return KernelTime(bound[()])
    law = moe_law(laws, kernel, *COMPUTES_IN.get(kernel, ()))

    def seconds(tokens: Array, *sizes: float) -> Array:
        hidden, intermediate, experts, top_k = sizes
        fixed = (hidden, intermediate, experts, top_k, width, gated)
        return moe_curve(law, roof, *fixed)(tokens)

    return kernel_time(bound, by_sizes(seconds, (tokens,), shape[1:]), law, laws)
