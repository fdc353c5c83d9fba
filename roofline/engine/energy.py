"""Energy of a component on its device: the law of energy, fed with counts and times."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from roofline.device.laws.energy import DENSE, EnergyLaw, energy_joules
from roofline.device.peaks import ComponentPeaks
from roofline.engine.count import over_steps
from roofline.model.counted import CountedOp, Phase
from roofline.model.polynomial import Array, Point, Polynomial, total
from roofline.specs.hardware import Hardware
from roofline.specs.kernel_laws import KernelLaws

FROM_ENERGY = ("energy_j", "energy_error_j")
"""Quantities that mean nothing for a device without a law of energy."""


class PhaseEnergy(Struct, frozen=True):
    """What a phase of a component draws."""

    law: EnergyLaw
    tdp_w: float
    phase: Phase
    memory: Polynomial
    """Seconds of its bytes at the DRAM's bandwidth: in all, or of a decode step."""
    compute: Polynomial
    """Seconds of its matmul FLOPs at their dense peaks, likewise."""

    def joules(
        self, point: Point, kernel_s: Array, error_s: Array, elapsed_s: Array
    ) -> tuple[Array, Array]:
        """Energy and its error, of kernels that take so long with that error.

        The error is what nine in ten models are off the law, and idle power for the error of time.
        """
        memory_s, compute_s = (self._seconds(point, once) for once in (self.memory, self.compute))
        energy_j = energy_joules(
            self.law,
            self.tdp_w,
            elapsed_s=elapsed_s,
            kernel_s=kernel_s,
            memory_s=memory_s,
            compute_s=compute_s,
        )
        own = self.law.p90_error_percent / 100 * energy_j
        return energy_j, own + self.law.idle_share * self.tdp_w * error_s

    def _seconds(self, point: Point, amount: Polynomial) -> Array:
        nothing = Polynomial({})
        prefill = self.phase == "prefill"
        return over_steps(point, *((amount, nothing) if prefill else (nothing, amount)))


def energy_law(hardware: Hardware, laws: KernelLaws | None) -> EnergyLaw | None:
    """The law that goes for a device; None where there is none, or no TDP for it to be a share of.

    Models with experts have other laws: none of those that are analyzed has any.
    """
    if laws is None or hardware.tdp_w is None:
        return None
    return laws.of(EnergyLaw).get(DENSE)


def phase_energies(
    peaks: ComponentPeaks, laws: KernelLaws | None, ops: Sequence[CountedOp]
) -> dict[Phase, PhaseEnergy] | None:
    """By phase; None where no law is known."""
    law, tdp_w = energy_law(peaks.hardware, laws), peaks.hardware.tdp_w
    if law is None or tdp_w is None:
        return None
    found = {}
    for phase in dict.fromkeys(op.phase for op in ops):
        own = [op for op in ops if op.phase == phase]
        memory, compute = (
            total(
                op.amounts_at[resource] * (op.count / peaks.per_s(resource, op.unit))
                for op in own
                if resource in op.amounts_at
            )
            for resource in ("dram", "tensor")
        )
        found[phase] = PhaseEnergy(law, tdp_w.value, phase, memory, compute)
    return found
