"""Laws with round numbers, for tests of what takes a law."""

from __future__ import annotations

from typing import Any

import numpy as np
from msgspec.structs import replace

from roofline.device.laws import Roof, moe_seconds
from roofline.device.laws.collective import CollectiveLaw
from roofline.device.laws.moe import ROWS_NODES, TOUCHED_NODES, MoeLaw, touched_experts

FIT: dict[str, Any] = {"rows": 1, "median_error_percent": 0.0, "p90_error_percent": 0.0}
ROOF = Roof(flops_per_s=1e14, bytes_per_s=1e12, units=100, cache_bytes=4e7)
LINK = 4.5e11
COLLECTIVE = CollectiveLaw(
    **FIT,
    latency_us=6.0,
    doubling_us=4.0,
    bandwidth_fraction=0.8,
    devices_power=0.5,
    half_speed_bytes=2e6,
    half_speed_power=0.5,
    narrow_slowdown=0.1,
)
MOE = MoeLaw(
    **FIT,
    launch_us=10.0,
    row_ns=0.5,
    expert_ns=5.0,
    efficiency=0.6,
    least_rows=16.0,
    fill_k=100.0,
    step_ns=2.0,
    bandwidth_fraction=0.8,
    activation_passes=1.5,
    unaligned_slowdown=0.4,
)
CURVED_MOE = replace(
    MOE,
    rows_curve=tuple(0.05 * i for i in range(len(ROWS_NODES))),
    touched_curve=tuple(0.03 * i for i in range(len(TOUCHED_NODES))),
    rows_tilt=(0.2, -0.3, 0.1, 0.4),
    touched_tilt=(-2.0, 3.0, 1.0, 0.5),
    shape_corrections=(0.1, -0.2, 0.05, 0.1, 0.0),
)


def experts_seconds(law: MoeLaw, tokens: Any, *shape: float, gated: bool = True) -> Any:
    """Of a layer (hidden, intermediate, experts, top_k) in 16 bit under `ROOF`."""
    hidden, intermediate, experts, top_k = shape
    touched = touched_experts(tokens, experts, top_k)
    return moe_seconds(
        law,
        ROOF,
        tokens,
        *shape,
        weight_bytes=2 * (2 + gated) * touched * hidden * intermediate,
        activation_bytes=4 * np.asarray(tokens, dtype=float) * hidden,
        gated=gated,
    )
