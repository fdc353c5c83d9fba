"""Energy of kernels: power that is there anyway, and what memory and arithmetic add to it.

Idle power goes by the time that passes; beyond it a byte out of DRAM and a FLOP of the matmul units
cost the same whenever they happen. Near the power limit a device lowers its clock and voltage, so
that power flattens there. Shares are of the TDP, so that a law carries over to a relative.

Energy as a sum of constants for time, FLOPs and bytes: Choi, Bedard, Fowler, Vuduc, "A roofline
model of energy", IPDPS 2013.
"""

from typing import ClassVar

import numpy as np

from roofline.device.roof import FloatOrArray
from roofline.model.polynomial import Array
from roofline.specs.kernel_laws import Law, NonNegative, Share, register_laws

DENSE = "dense"
"""Kernel of the law of models without experts."""


def moe_kernel(data_type: str) -> str:
    """That of mixtures of experts whose matmuls are of such a type."""
    return f"moe-{data_type}"


class EnergyLaw(Law, frozen=True):
    """Numbers of `energy_joules`, for models of one kind. All are shares of the device's TDP."""

    family: ClassVar[str] = "energy"
    idle_share: Share
    """Power of a device that waits."""
    memory_share: NonNegative
    """Power that DRAM adds at its full bandwidth."""
    compute_share: NonNegative
    """Power that matmul units add at their dense peak."""
    busy_share: NonNegative = 0.0
    """Power that kernels add in time that neither memory nor matmul units account for."""

    @property
    def terms(self) -> str:
        """`20 % of TDP idle + 59 % at full bandwidth + 285 % at the peak, at most TDP`"""
        busy = f" + {self.busy_share:.0%} while kernels wait" if self.busy_share else ""
        text = (
            f"{self.idle_share:.0%} of TDP idle + {self.memory_share:.0%} at full bandwidth"
            f" + {self.compute_share:.0%} at the peak{busy}, at most TDP"
        )
        return text.replace("%", " %")


@register_laws(EnergyLaw)
def energy_joules(
    law: EnergyLaw,
    tdp_w: float,
    *,
    elapsed_s: FloatOrArray,
    kernel_s: FloatOrArray,
    memory_s: FloatOrArray,
    compute_s: FloatOrArray,
) -> Array:
    """Joules of kernels on one device; arguments broadcast.

    E = TDP·(i·t + D / (1 + (D / ((1 − i)·t_k))⁴)^¼), D = m·t_m + c·t_c + b·max(t_k − t_m − t_c, 0),
    with t `elapsed_s` the time that passes, t_k `kernel_s` of it in which kernels run, t_m
    `memory_s` their bytes over the DRAM's bandwidth, t_c `compute_s` their matmul FLOPs over the
    dense peak of their data type, all in s; i, m, c and b the law's shares. Power never exceeds
    TDP, and never falls below i·TDP.
    """
    kernels = np.asarray(kernel_s, dtype=np.float64)
    more = law.memory_share * memory_s + law.compute_share * compute_s
    if law.busy_share:
        more = more + law.busy_share * np.maximum(kernels - memory_s - compute_s, 0.0)
    room = (1.0 - law.idle_share) * kernels
    ratio = np.square(np.divide(more, room, out=np.zeros(np.shape(room + more)), where=room > 0))
    dynamic = more / np.sqrt(np.sqrt(1.0 + np.square(ratio)))
    joules: Array = tdp_w * (law.idle_share * np.asarray(elapsed_s, dtype=np.float64) + dynamic)
    return joules
