"""What the host adds by each way of running: launches × µs, replays, steps of servers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from made_up import LAWS, device
from msgspec.structs import replace
from toy import llm, lmm

import roofline
from roofline.device.host import server_step
from roofline.device.laws.host import HostLaw
from roofline.engine.estimate import Estimate
from roofline.errors import ScenarioError, UnknownNameError
from roofline.specs.runtimes import Range, Runtime, ServerStep, find_runtime, runtimes
from roofline.units import MICRO

EAGER, SERVER = find_runtime("eager"), find_runtime("vllm")


def step(hardware: str, capability: str, fixed_us: float) -> ServerStep:
    def exactly(value: float) -> Range:
        return Range(value=value, low=value / 2, high=value * 2)

    return ServerStep(
        hardware=hardware,
        compute_capability=capability,
        rows=1,
        fixed_us=exactly(fixed_us),
        sequence_us=exactly(10.0),
        grouped_sequence_us=exactly(3.0),
        mean_error_percent=1.0,
    )


def priced(model: Any = "llava-1.5-7b", hardware: Any = "h100-sxm", **given: Any) -> Estimate:
    return roofline.analyze(model, hardware, **given)


def launch_us(runtime: Runtime) -> float:
    assert runtime.launch_us is not None
    return runtime.launch_us.value


def test_eager_pays_for_each_kernel_that_hugging_face_issues() -> None:
    """LLaVA-1.5-7B: 23 blocks of 14 kernels and 5; 32 layers of 40 and 23 or, in a step, 22."""
    found = priced(runtime="eager", stage="generate", output_tokens=10)
    hosts = {name: part.host_time_s for name, part in found.components.items()}

    one = launch_us(EAGER) * MICRO
    assert hosts["vision"] == pytest.approx((23 * 14 + 5) * one) == pytest.approx(327 * one)
    assert hosts["connector"] == pytest.approx(4 * one)
    assert hosts["llm"] == pytest.approx((1303 + 10 * 1302) * one)
    assert found.end_to_end.host_time_s == pytest.approx((327 + 4 + 1303 + 13020) * one)


def test_a_reducers_own_launches_are_those_of_its_ops() -> None:
    found = priced(runtime="eager", reducer="prumerge", visual_tokens=40)
    own = [op for op in found.ops if op.component == "reducer"]

    launches = sum(float(op.count * op.launches) for op in own)
    expected = launches * launch_us(EAGER) * MICRO
    assert found.components["reducer"].host_time_s == pytest.approx(expected)


def test_phase_by_phase_the_longer_counts_and_ends_follow_ends() -> None:
    whole = priced(runtime="eager", stage="generate", output_tokens=10)
    prefill = priced(runtime="eager")
    assert EAGER.launch_us is not None

    ends = ("elapsed_time_low_s", "elapsed_time_s", "elapsed_time_high_s")
    kernels = ("attainable_time_low_s", "attainable_time_s", "attainable_time_high_s")
    launch = EAGER.launch_us
    for end, kernel, each in zip(
        ends, kernels, (launch.low, launch.value, launch.high), strict=True
    ):
        host = 1303 * each * MICRO
        found = getattr(prefill.llm, end)
        assert found == pytest.approx(max(getattr(prefill.llm, kernel), host))
        decode = getattr(whole.llm, kernel) - getattr(prefill.llm, kernel)
        steps = 10 * 1302 * each * MICRO
        if end != "elapsed_time_low_s":  # whose kernels are held above the roofline, both together
            assert getattr(whole.llm, end) == pytest.approx(found + max(decode, steps))
        parts = prefill.components.values()
        assert getattr(prefill.end_to_end, end) == pytest.approx(
            sum(getattr(p, end) for p in parts)
        )


def test_a_graph_adds_one_replay_a_pass() -> None:
    found = priced(runtime="cuda-graph", stage="generate", output_tokens=10)
    replay = find_runtime("cuda-graph").pass_us
    assert replay is not None

    assert found.end_to_end.host_time_s == pytest.approx((3 + 10) * replay.value * MICRO)
    for part in found.components.values():
        assert part.elapsed_time_s == pytest.approx(part.attainable_time_s + part.host_time_s)


def test_compiled_code_launches_the_ops_of_the_analysis() -> None:
    found, compiled = priced(runtime="compile").llm, find_runtime("compile")
    assert compiled.pass_us is not None

    launches = 2 + 32 * 14 + 2  # by hand: embedding, table; 14 ops a layer; norm, lm_head
    expected = launches * launch_us(compiled) + compiled.pass_us.value
    assert found.host_time_s == pytest.approx(expected * MICRO)


@pytest.mark.parametrize(("kv_heads", "each_us"), [(2, 10.0), (1, 13.0)])
def test_a_servers_step_has_a_fixed_time_and_one_a_sequence(kv_heads: int, each_us: float) -> None:
    server = replace(SERVER, steps=(step("", "", 100.0),))
    model = llm(num_attention_heads=2, num_key_value_heads=kv_heads)
    found = priced(
        model,
        device(kernel_laws=None),
        runtime=server,
        stage="generate",
        output_tokens=[1, 5],
        batch=[1, 4],
    ).llm

    steps = np.array([2.0, 6.0])
    expected_us = steps * (100 + np.array([1, 4]) * each_us)
    assert found.host_time_s == pytest.approx(expected_us * MICRO)
    assert found.elapsed_time_s == pytest.approx(found.kernel_time_s + found.host_time_s)
    assert found.elapsed_time_high_s == pytest.approx(  # no laws: nothing else is uncertain
        found.kernel_time_s + 2 * expected_us * MICRO
    )


def test_tower_and_connector_run_inside_a_servers_step() -> None:
    found = priced(runtime="vllm").components
    assert found["vision"].host_time_s == found["connector"].host_time_s == 0
    assert found["llm"].host_time_s > 0


def test_a_device_takes_its_own_law_then_that_of_its_capability_then_any() -> None:
    server = replace(
        SERVER, steps=(step("x", "9.0", 1.0), step("y", "9.0", 2.0), step("", "", 3.0))
    )
    given = {"y": "9.0", "z": "9.0", "w": "8.9", "v": None}
    found = {
        name: server_step(server, device(name=name, compute_capability=capability))
        for name, capability in given.items()
    }
    fixed = {name: one and one.fixed_us.value for name, one in found.items()}
    assert fixed == {"y": 2.0, "z": 1.0, "w": 3.0, "v": 3.0}


def test_origins_say_who_measured() -> None:
    origins = {
        hardware: priced("llama-2-7b", hardware, runtime="vllm").device["host"]["origin"]
        for hardware in ("h100-sxm", "h200", "l40s")
    }
    assert origins == {"h100-sxm": "fitted", "h200": "fitted", "l40s": "typical"}
    assert priced(runtime="eager").device["host"]["origin"] == "typical"
    assert priced().device["host"] is None


def test_servers_run_fused_kernels_unless_told_otherwise() -> None:
    kernels = {
        (runtime, given): priced(runtime=runtime, kernels=given).inputs["kernels"]
        for runtime in (None, "eager", "vllm")
        for given in (None, "unfused", "fused")
    }
    assert kernels[None, None] == kernels["eager", None] == kernels["vllm", "unfused"] == "unfused"
    assert kernels["vllm", None] == kernels["eager", "fused"] == "fused"


def test_small_batches_decode_quicker_with_fused_kernels() -> None:
    apart, together = (
        priced("llama-2-7b", "a100-80gb", stage="decode", kernels=k).llm.attainable_time_s
        for k in ("unfused", "fused")
    )
    assert together < apart  # type: ignore[operator]


def test_what_is_not_there_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="unknown runtime 'vlm': did you mean vllm"):
        priced(runtime="vlm")
    with pytest.raises(ScenarioError, match="unknown kernels"):
        priced(kernels="welded")
    with pytest.raises(ScenarioError, match="llm-viewer accounting knows no runtimes"):
        priced("vicuna-7b", runtime="eager", accounting="llm-viewer")
    with pytest.raises(ScenarioError, match="runtime takes one name"):
        priced(runtime=["eager", "vllm"])


def test_without_laws_kernels_take_their_roofline() -> None:
    bare = device(kernel_laws=None)
    found = priced(lmm(), bare, runtime="cuda-graph").end_to_end

    assert found.attainable_time_s is None
    assert found.elapsed_time_s == pytest.approx(found.roofline_time_s + found.host_time_s)


def test_a_measured_host_goes_for_eager_alone() -> None:
    measured = {"llm": HostLaw(fixed_us=7.0, layer_us=1.0)}
    calibrated = device(kernel_laws=LAWS.updated(host=measured))
    eager, compiled = (priced(llm(), calibrated, runtime=r).llm for r in ("eager", "compile"))

    layers = llm().num_hidden_layers
    assert eager.host_time_s == pytest.approx((7 + layers) * MICRO)
    assert compiled.host_time_s != eager.host_time_s


@pytest.mark.parametrize("name", runtimes())
def test_more_tokens_never_take_less(name: str) -> None:
    found = priced(runtime=name, visual_tokens=np.arange(1, 600, 7)).end_to_end
    assert found.elapsed_time_s is not None
    assert found.elapsed_time_low_s is not None
    assert found.elapsed_time_high_s is not None

    assert (np.diff(found.elapsed_time_s) >= -1e-12).all()
    assert (found.elapsed_time_low_s <= found.elapsed_time_s).all()
    assert (found.elapsed_time_s <= found.elapsed_time_high_s).all()
    assert (found.elapsed_time_s >= found.kernel_time_s).all()
