"""Energy of estimates: held to a naive sum over ops, and to what power can be."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from msgspec.structs import replace

import roofline
from roofline import Estimate, analyze
from roofline.device.borrowed import laws_of
from roofline.device.laws.energy import DENSE, EnergyLaw
from roofline.errors import ScenarioError
from roofline.specs.catalog import load_hardware

MODEL = "llava-1.5-7b"


def law_of(name: str) -> EnergyLaw:
    laws = laws_of(load_hardware(name))
    assert laws is not None
    return laws.of(EnergyLaw)[DENSE]


def naive(estimate: Estimate, component: str, phase: str) -> float:
    """Joules of one phase of a component whose kernels are all that takes time."""
    law, hardware = law_of(str(estimate.inputs["hardware"])), estimate.scenario.hardware
    assert hardware is not None
    assert hardware.tdp_w is not None
    ops = [op for op in estimate.ops if (op.component, op.phase) == (component, phase)]
    seconds = sum(float(op.attainable_time_s) for op in ops if op.attainable_time_s is not None)
    if not seconds:
        return 0.0
    memory = sum(float(op.resource_times_s.get("dram", 0.0)) for op in ops)
    compute = sum(float(op.resource_times_s.get("tensor", 0.0)) for op in ops)
    more = (law.memory_share * memory + law.compute_share * compute) / seconds
    more /= (1 + (more / (1 - law.idle_share)) ** 4) ** 0.25
    return hardware.tdp_w.value * seconds * (law.idle_share + more)


@pytest.mark.parametrize("hardware", ["h100-sxm", "b200"])
@pytest.mark.parametrize("stage", ["prefill", "decode", "generate"])
def test_it_is_the_law_of_each_phase_of_each_component(hardware: str, stage: str) -> None:
    answer = {"output_tokens": 7} if stage == "generate" else {}
    estimate = analyze(MODEL, hardware, stage=stage, batch=4, **answer)  # type: ignore[arg-type]

    parts = {
        name: sum(naive(estimate, name, phase) for phase in ("prefill", "decode"))
        for name in estimate.components
    }
    for name, part in estimate.components.items():
        assert part.energy_j == pytest.approx(parts[name], rel=1e-9)
    assert estimate.end_to_end.energy_j == pytest.approx(sum(parts.values()), rel=1e-9)


def test_the_host_waits_at_idle_power() -> None:
    alone, eager = (analyze(MODEL, "h100-sxm", stage="decode", runtime=r) for r in (None, "eager"))
    one, other = alone.end_to_end, eager.end_to_end

    assert one.energy_j is not None
    assert other.energy_j is not None
    waits_s = other.predicted_time_s - one.predicted_time_s
    assert waits_s > 0
    idle_w = law_of("h100-sxm").idle_share * 700
    assert other.energy_j - one.energy_j == pytest.approx(idle_w * waits_s, rel=1e-6)
    assert other.power_w == pytest.approx(other.energy_j / other.predicted_time_s)


@pytest.mark.parametrize("runtime", [None, "eager"])
def test_what_the_time_may_be_off_counts_at_idle_power(
    runtime: Literal["eager"] | None,
) -> None:
    """Of kernels and host together, where both are known; of one phase and one component."""
    step = analyze("llama-2-7b", "h100-sxm", stage="decode", visual_tokens=0, runtime=runtime)
    whole, law = step.end_to_end, law_of("h100-sxm")

    assert whole.energy_j is not None
    off_s = whole.attainable_error_s
    if runtime is not None:
        assert whole.elapsed_time_low_s is not None
        assert whole.elapsed_time_high_s is not None
        sides = whole.predicted_time_s - whole.elapsed_time_low_s, whole.elapsed_time_high_s
        off_s = max(sides[0], sides[1] - whole.predicted_time_s)
        assert off_s > whole.attainable_error_s
    own = law.p90_error_percent / 100 * whole.energy_j
    assert whole.energy_error_j == pytest.approx(own + law.idle_share * 700 * off_s)


@pytest.mark.parametrize("hardware", ["h100-sxm", "b200", "gb200"])
@pytest.mark.parametrize("runtime", [None, "vllm"])
def test_power_is_between_idle_and_tdp_and_energy_rises_with_tokens(
    hardware: str, runtime: str | None
) -> None:
    tokens = np.arange(8, 577, 8)
    whole = analyze(MODEL, hardware, visual_tokens=tokens, runtime=runtime).end_to_end

    assert whole.energy_j is not None
    assert whole.power_w is not None
    assert whole.energy_bound_j is not None
    assert whole.device_tdp_w is not None
    assert (whole.energy_j <= whole.energy_bound_j).all()
    assert (whole.power_w >= 0.99 * law_of(hardware).idle_share * whole.device_tdp_w).all()
    assert (np.diff(whole.energy_j) > 0).all()


def test_an_answer_takes_more_the_longer_it_is() -> None:
    lengths = np.arange(0, 50)
    whole = analyze(MODEL, "h100-sxm", stage="generate", output_tokens=lengths).end_to_end
    prefill = analyze(MODEL, "h100-sxm").end_to_end

    assert whole.energy_j is not None
    assert (np.diff(whole.energy_j) > 0).all()
    assert whole.energy_j[0] == pytest.approx(prefill.energy_j)


def test_null_without_a_law_and_the_bound_stays() -> None:
    whole = analyze(MODEL, "a100-80gb").end_to_end.to_dict()

    assert whole["energy_j"] is whole["energy_error_j"] is whole["power_w"] is None
    assert whole["energy_bound_j"] == pytest.approx(400 * whole["attainable_time_s"])


def test_nothing_is_known_without_a_tdp() -> None:
    device = replace(load_hardware("h100-sxm"), tdp_w=None)
    whole = analyze(MODEL, device).end_to_end

    assert whole.energy_j is None
    assert whole.energy_bound_j is None


def test_a_relative_borrows_with_a_wider_error() -> None:
    own, borrowed = analyze(MODEL, "h100-sxm"), analyze(MODEL, "gh200")
    shares = []
    for estimate in (own, borrowed):
        whole = estimate.end_to_end
        assert whole.energy_j is not None
        assert whole.energy_error_j is not None
        shares.append(float(whole.energy_error_j) / float(whole.energy_j))
    assert shares[0] < shares[1]
    assert own.device["energy"]["origin"] == "fitted"
    assert borrowed.device["energy"]["origin"] == "typical"


@pytest.mark.parametrize("hardware", ["h100-sxm", "a100-80gb"])
def test_it_comes_back_from_a_file(hardware: str, tmp_path: Path) -> None:
    estimate = analyze(MODEL, hardware, visual_tokens=[1, 40, 576], runtime="vllm")
    estimate.save(tmp_path / "estimate.json")

    assert roofline.load(tmp_path / "estimate.json").to_dict() == estimate.to_dict()


def test_frames_have_it() -> None:
    frame = analyze(MODEL, "h100-sxm", visual_tokens=[40, 576]).to_frame()
    assert frame[["energy_j", "power_w", "energy_bound_j"]].notna().all().all()

    grid = roofline.grid(MODEL, ["h100-sxm", "v100"], output_tokens=64)
    assert grid["prefill_energy_j"].notna().tolist() == [True, False]
    assert (grid["answer_energy_j"] > grid["prefill_energy_j"]).tolist() == [True, False]


def test_it_is_explained() -> None:
    explained = str(analyze(MODEL, "h100-sxm").explain("energy"))
    assert "TDP (fitted)\n" in explained
    assert "\n700 W  NVIDIA H100" in explained.partition("Sources")[2]
    assert "TDP (typical)\n" in str(analyze(MODEL, "h200").explain("energy"))
    assert "of TDP idle" in explained
    assert "700 W TDP ×" in explained
    assert "of TDP idle" not in str(analyze(MODEL, "v100").explain("energy"))
    with pytest.raises(ScenarioError, match="give hardware"):
        roofline.count(MODEL).explain("energy")
