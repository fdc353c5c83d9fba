"""What a device sustains of its peaks under load, beside another: power, clock, accumulate rate.

A law holds shares of a device's peaks. Two things make them another's. A card with less power for
each SM and clock runs at a lower clock under load, below the boost clock that its peak is stated
at. And where tensor cores run at a part of their rate, as GeForce cards' do to accumulate in fp32,
all else that a kernel does takes as long as it did beside fewer multiplications.
"""

from __future__ import annotations

from collections.abc import Callable
from math import log2

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from roofline.device.kernel_types import COMPUTES_IN, DATA_TYPES
from roofline.device.roof import FloatOrArray, Roof
from roofline.model.polynomial import Array
from roofline.specs.hardware import Hardware
from roofline.specs.kernel_laws import Law
from roofline.units import GIGA, MEGA, TERA

LOWEST_VOLTAGE_W_PER_GHZ = 1.0
"""Power of an SM for each GHz below which a chip of these generations cannot lower its voltage: an
assumption between the L40S, 0.95, and the 57 W that an L4's SMs get, 0.48: half its clock."""

BOARD_W, BOARD_SHARE = 15.0, 0.2
"""Power that no SM gets (memory that idles, regulators, leakage): so many W, or that share of a
small board's TDP. An assumption: of an L4's 72 W."""

IDLE_TENSOR_POWER = 0.2
"""Power of an SM whose tensor cores rest, over that of one whose tensor cores do their best: an
assumption, held by GeForce cards, which at half their tensor rate keep their clock, and by the A40,
half of an A100's SM in a clock, which attains the same share of its peak (Microsoft Vidur)."""

PROCESS_POWER = {"8.6": 1.3, "8.7": 1.3}
"""Power for the same work, over that of TSMC's 7 and 5 nm, by compute capability: chips made in
Samsung's 8 nm. An assumption, between what an A40 and an RTX 3090 make of an A100's laws."""


class Sustained(Struct, frozen=True):
    """Of one device beside another whose laws it borrows, for one kernel."""

    rate_ratio: float
    """Share of the peak that it sustains, over the lender's."""
    lender_rate: float
    """How many times as fast its tensor cores would be at the lender's share of their full rate; at
    least 1."""


def sustained(borrower: Hardware, lender: Hardware, kernel: str) -> Sustained:
    """What a device sustains of its peak for a kernel or data type, beside the lender.

    rate_ratio = g(w) / g(w_lender), g(w) = min(w^⅓, w), w in `LOWEST_VOLTAGE_W_PER_GHZ`:
    w = (TDP − board) / (SMs · boost clock · need · process), with need = `IDLE_TENSOR_POWER` +
    (1 − `IDLE_TENSOR_POWER`) · r for tensor cores that do r times the lender's FLOPs in a clock.
    Dynamic power goes with the cube of the clock as long as voltage follows it, and with the clock
    where voltage is as low as it gets. The cube root gives an A100 PCIe 0.90 of the SXM's share,
    where matmuls attain 0.93 (Bekman, ml-engineering: 0.81 against 0.87 of the peak). At most 1
    unless tensor cores run at a part of their full rate, as GeForce cards' do that accumulate in
    fp32: those wait for no power. 1 where a file lacks one of the figures.
    """
    shares = [_tensor_share(device, kernel) for device in (borrower, lender)]
    more = 2.0 ** max(0, round(log2(shares[1] / shares[0])))
    rates = [_flops_per_clock(device, kernel) for device in (borrower, lender)]
    relative = 1.0
    if rates[0] and rates[1] and kernel != "fp32":
        relative = min(1.0, 2.0 ** round(log2(rates[0] / rates[1])))  # clocks aside
    powers = [_power_per_clock(borrower, relative), _power_per_clock(lender, 1.0)]
    if powers[0] is None or powers[1] is None:
        return Sustained(1.0, more)
    clocks = [min(w ** (1 / 3), w) for w in (p / LOWEST_VOLTAGE_W_PER_GHZ for p in powers if p)]
    ratio = clocks[0] / clocks[1]
    return Sustained(ratio if more > 1 else min(1.0, ratio), more)


def paced(law: Law, roof: Roof, flops: FloatOrArray, seconds: Callable[[Roof], Array]) -> Array:
    """`seconds` of a law under the roofs of a device that sustains more or less than its own did.

    t = seconds(P·rate_ratio·lender_rate, B·bandwidth_ratio) + F / (P·rate_ratio)·(1 −
    1/lender_rate), in s, with F `flops`, the peak P in FLOP/s and the DRAM bandwidth B in B/s of
    `roof`: the kernel that ran on the lender, whose multiplications take `lender_rate` as long.
    """
    peak = roof.flops_per_s * law.rate_ratio
    seen = replace(
        roof,
        flops_per_s=peak * law.lender_rate,
        bytes_per_s=roof.bytes_per_s * law.bandwidth_ratio,
    )
    if law.lender_rate == 1:
        return seconds(seen)
    further = np.asarray(flops, dtype=np.float64) / peak * (1 - 1 / law.lender_rate)
    return np.asarray(seconds(seen) + further)


def _peak_flops(device: Hardware, kernel: str) -> float | None:
    for data_type in COMPUTES_IN.get(kernel, (kernel,)):
        peak = device.matmul_peak(data_type) if data_type in DATA_TYPES else None
        if peak is not None:
            return peak.value * TERA
    return None


def _flops_per_clock(device: Hardware, kernel: str) -> float | None:
    """Of an SM, at the peak for a kernel."""
    peak, units, clock = _peak_flops(device, kernel), device.sm_count, device.boost_clock_mhz
    if peak is None or units is None or clock is None:
        return None
    return peak / (units.value * clock.value * MEGA)


def _power_per_clock(device: Hardware, relative: float) -> float | None:
    """W for each SM and GHz, as far as tensor cores of that relative rate need it."""
    tdp, units, clock = device.tdp_w, device.sm_count, device.boost_clock_mhz
    if tdp is None or units is None or clock is None:
        return None
    watts = tdp.value - min(BOARD_W, BOARD_SHARE * tdp.value)
    need = IDLE_TENSOR_POWER + (1 - IDLE_TENSOR_POWER) * relative
    need *= PROCESS_POWER.get(device.compute_capability or "", 1.0)
    return watts / (units.value * clock.value * MEGA / GIGA * need)


def _tensor_share(device: Hardware, kernel: str) -> float:
    """Rate of the tensor cores in fp16, over half of that in int8: 1 but for cards that accumulate
    at a part of it.
    """
    half, whole = _peak_flops(device, "fp16"), _peak_flops(device, "int8")
    if half is None or whole is None or kernel in ("w8a8", "int8", "fp32"):
        return 1.0
    return min(1.0, 2 * half / whole)
