"""Energy of kernels, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from msgspec.structs import replace

from roofline.device.laws.energy import EnergyLaw, energy_joules

FIT = {"rows": 10, "median_error_percent": 4.0, "p90_error_percent": 10.0}
LAW = EnergyLaw(**FIT, idle_share=0.2, memory_share=0.5, compute_share=2.0)
TDP_W = 100.0


def naive(law: EnergyLaw, elapsed: float, kernels: float, memory: float, compute: float) -> float:
    """The equation of the docstring, one configuration at a time."""
    more = law.memory_share * memory + law.compute_share * compute
    more += law.busy_share * max(kernels - memory - compute, 0.0)
    room = (1 - law.idle_share) * kernels
    if more:
        more /= math.pow(1 + math.pow(more / room, 4), 0.25)
    return TDP_W * (law.idle_share * elapsed + more)


def joules(law: EnergyLaw, elapsed: object, kernels: object, memory: object, compute: object):  # type: ignore[no-untyped-def]
    spans = {"elapsed_s": elapsed, "kernel_s": kernels, "memory_s": memory, "compute_s": compute}
    return energy_joules(law, TDP_W, **spans)  # type: ignore[arg-type]


def test_far_below_the_limit_power_adds_up() -> None:
    # 20 W for 3 s, and 50 W for the tenth of a second that memory would take at its full bandwidth
    assert joules(LAW, 3.0, 2.0, 0.1, 0.0) == pytest.approx(60 + 5, rel=1e-4)


def test_it_is_the_equation() -> None:
    rng = np.random.default_rng(7)
    for law in (LAW, replace(LAW, busy_share=0.3)):
        kernels = rng.uniform(0.1, 2, 50)
        elapsed, memory = kernels + rng.uniform(0, 1, 50), kernels * rng.uniform(0, 1, 50)
        compute = (kernels - memory) * rng.uniform(0, 1, 50)
        found = joules(law, elapsed, kernels, memory, compute)
        expected = list(map(naive, [law] * 50, elapsed, kernels, memory, compute))
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_power_stays_between_idle_and_tdp() -> None:
    memory, compute = np.meshgrid(np.linspace(0, 1, 21), np.linspace(0, 1, 21))
    power_w = joules(LAW, 1.0, 1.0, memory, compute)
    assert (power_w >= 20).all()
    assert (power_w <= TDP_W).all()
    assert (np.diff(power_w, axis=0) >= 0).all()
    assert (np.diff(power_w, axis=1) >= 0).all()


def test_what_waits_draws_idle_power() -> None:
    working, waiting = joules(LAW, 1.0, 1.0, 0.5, 0.1), joules(LAW, 3.0, 1.0, 0.5, 0.1)
    assert waiting - working == pytest.approx(2 * 20)


def test_nothing_takes_no_energy() -> None:
    assert joules(LAW, 0.0, 0.0, 0.0, 0.0) == 0.0


def test_what_it_adds_up_in_words() -> None:
    assert LAW.terms == "20 % of TDP idle + 50 % at full bandwidth + 200 % at the peak, at most TDP"
    assert "+ 30 % while kernels wait" in replace(LAW, busy_share=0.3).terms
