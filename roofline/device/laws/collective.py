"""Attainable time of a collective: all-reduce, all-gather, reduce-scatter or all-to-all of a node.

A latency that grows with every doubling of the devices, and bytes over the device's link, slower
for small messages and, as far as the fabric between many devices is shared, for many devices. The
time falls with neither bytes nor devices, and is never below what bus bandwidth allows.

Latency and bandwidth of a message: Hockney, "The communication challenge for MPP", 1994. Sizes and
bus bandwidth: NVIDIA nccl-tests, doc/PERFORMANCE.md.
"""

from typing import ClassVar

import numpy as np

from roofline.device.roof import FloatOrArray
from roofline.model.polynomial import Array
from roofline.specs.kernel_laws import Fraction, Law, NonNegative, register_laws
from roofline.specs.sourced import Positive
from roofline.units import MICRO

TRAVERSALS = {"all_reduce": 2, "all_gather": 1, "reduce_scatter": 1, "alltoall": 1}
"""Times that (n − 1) / n of the message pass a device's link, by op."""
ADDS = ("all_reduce", "reduce_scatter")
"""Ops that add up elements, beside moving them."""
CUSTOM = "-custom"
"""Ends the key of laws of serving frameworks' own kernels, which replace NCCL's within a node."""


class CollectiveLaw(Law, frozen=True):
    """Numbers of `collective_seconds`, for one op of one library."""

    family: ClassVar[str] = "collective"
    latency_us: NonNegative
    """Time of a message of no size between two devices, in µs."""
    doubling_us: NonNegative
    """Added to that with each doubling of the devices, in µs."""
    bandwidth_fraction: Fraction
    """Share of the link's bandwidth that large messages attain between two devices."""
    devices_power: NonNegative
    """Power of (devices / 2) that the time of a byte goes with."""
    half_speed_bytes: Positive
    """Size of a message that attains half of that bandwidth."""
    half_speed_power: NonNegative
    """How sharply the bandwidth falls for smaller ones."""
    narrow_slowdown: NonNegative = 0.0
    """Extra time of a byte, relative, where elements of one byte are added up."""

    @property
    def terms(self) -> str:
        """`6.2 µs, 4.6 µs a doubling of devices + bytes at up to 84 % of the link's bandwidth`"""
        return (
            f"{self.latency_us:.3g} µs, {self.doubling_us:.3g} µs a doubling of devices + bytes at "
            f"up to {100 * self.bandwidth_fraction:.0f} % of the link's bandwidth"
        )


@register_laws(CollectiveLaw)
def collective_seconds(
    law: CollectiveLaw,
    op: str,
    devices: FloatOrArray,
    message_bytes: FloatOrArray,
    *,
    link_bytes_per_s: float,
    narrow: bool | Array = False,
) -> Array:
    """Seconds of an op over `devices`, two or more, as `message_bytes` of nccl-tests; arguments
    broadcast. `narrow`: whether elements have one byte.

    t = max(l + d·(log₂n − 1) + S·p·(n/2)^e·(1 + (h/S)^q), `bus_seconds`), in s, with n devices, S
    `message_bytes`, p = traversals / 2 / (B·bandwidth_fraction), times 1 + narrow_slowdown where
    narrow elements are added up, and of the law l `latency_us`, d `doubling_us`, e `devices_power`,
    h `half_speed_bytes`, q `half_speed_power`; B the link's bandwidth in B/s, one direction. Where
    q > 1, S·(1 + (h/S)^q) is least at S = h·(q − 1)^(1/q): smaller messages take as long as that.
    """
    devices = np.asarray(devices, dtype=np.float64)
    size = np.asarray(message_bytes, dtype=np.float64)
    slowdown = 1 + law.narrow_slowdown * np.asarray(narrow) if op in ADDS else 1.0
    pace = slowdown * TRAVERSALS[op] / 2 / (link_bytes_per_s * law.bandwidth_fraction)
    latency = law.latency_us + law.doubling_us * (np.log2(devices) - 1)
    power = max(law.half_speed_power, 1.0)
    least: float = law.half_speed_bytes * (power - 1) ** (1 / power)
    padded = np.maximum(size, least)
    small = (law.half_speed_bytes / padded) ** law.half_speed_power
    seconds = latency * MICRO + padded * pace * (devices / 2) ** law.devices_power * (1 + small)
    return np.maximum(seconds, bus_seconds(op, devices, size, link_bytes_per_s=link_bytes_per_s))


def bus_seconds(
    op: str, devices: FloatOrArray, message_bytes: FloatOrArray, *, link_bytes_per_s: float
) -> Array:
    """The bound: S·traversals·(n − 1)/n over the link's bandwidth, in s.

    That is the bus bandwidth of nccl-tests at the link's peak. A switch that adds up in passing
    (NVLink SHARP) needs only S of an all-reduce and may beat it: by 2 % on an H200.
    """
    devices = np.asarray(devices, dtype=np.float64)
    passes = TRAVERSALS[op] * (devices - 1) / devices
    seconds: Array = np.asarray(message_bytes, dtype=np.float64) * passes / link_bytes_per_s
    return seconds


def op_of(kernel: str) -> str:
    """The op of a law's key: `all_reduce` of `all_reduce-custom`."""
    return kernel.removesuffix(CUSTOM)
