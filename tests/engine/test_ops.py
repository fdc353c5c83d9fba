"""Costs × device → time and bound of each op, and of their sum, by hand."""

from __future__ import annotations

from typing import Any

import pytest
from made_up import device, figure, peaks
from toy import toy

from roofline import analyze
from roofline.engine.price import KernelGroup
from roofline.errors import UnsupportedModeError
from roofline.model.polynomial import Point, Polynomial

GIBI = 2**30

# Prefill of 2 visual and 3 text tokens in fp16 (2 bytes): matmul ns, vector ns, elements moved.
# Reads + writes + weights; a matmul-class op takes max(FLOPs / 2, vector FLOPs, bytes) ns, a
# vector op max(vector FLOPs, bytes) ns.
PREFILL = {
    # 3 rows of the embedding, written
    "embed_tokens": (1, 0, 0, 24 + 24),
    # [5, 4]: outer product of 5·2, cosine and sine of 20 each; 40 written
    "rotary_emb": (1, 0, 10 + 40, 40),
    # [5, 8] → [5, 8] with a weight of 8, 4 FLOPs an element
    "input_layernorm": (2, 0, 160, 40 + 40 + 8),
    # [5, 8] @ [8, 8] → [5, 8]
    "q_proj": (2, 640, 0, 40 + 64 + 40),
    # [5, 8] @ [8, 4] → [5, 4], to the KV cache
    "v_proj": (2, 320, 0, 40 + 32 + 20),
    "k_proj": (2, 320, 0, 40 + 32 + 20),
    # q 40, k 20, cosines and sines 2·20 → q 40, k 20; 3 FLOPs for each of 60
    "apply_rotary_pos_emb": (2, 0, 180, 40 + 20 + 40 + 40 + 20),
    # scores [2, 5, 5] = 50: 2·50·4 FLOPs twice, 5 vector FLOPs each; q 40, K and V 2·20, out 40
    "attention": (2, 800, 250, 40 + 40 + 40),
    "o_proj": (2, 640, 0, 40 + 64 + 40),
    "attention_residual": (2, 0, 40, 40 + 40 + 40),
    "post_attention_layernorm": (2, 0, 160, 40 + 40 + 8),
    # [5, 8] @ [8, 16] → [5, 16]
    "gate_proj": (2, 1280, 0, 40 + 128 + 80),
    "up_proj": (2, 1280, 0, 40 + 128 + 80),
    # 5 FLOPs for each of 80
    "act_fn": (2, 0, 400, 80 + 80 + 80),
    # [5, 16] @ [16, 8] → [5, 8]
    "down_proj": (2, 1280, 0, 80 + 128 + 40),
    "mlp_residual": (2, 0, 40, 40 + 40 + 40),
    "norm": (1, 0, 160, 40 + 40 + 8),
    # the last position only: [1, 8] @ [8, 10] → [1, 10]
    "lm_head": (1, 160, 0, 8 + 80 + 10),
}


def nanoseconds(flops: float, vector_flops: float, moved: float) -> float:
    return max(flops / 2, vector_flops, 2 * moved)


@pytest.mark.parametrize("op", PREFILL)
def test_time_of_an_op_by_hand(op: str) -> None:
    count, flops, vector_flops, moved = PREFILL[op]
    (found,) = [row for row in toy().ops if row.name == op]

    assert found.count == count
    assert found.flops == count * flops
    assert found.vector_flops == count * vector_flops
    assert found.memory_access_bytes == count * 2 * moved
    time = nanoseconds(flops, vector_flops, moved)
    assert found.roofline_time_s == pytest.approx(count * time * 1e-9, rel=1e-14)
    computes = max(flops / 2, vector_flops) >= 2 * moved
    assert found.bound == ("compute" if computes else "memory")


@pytest.mark.parametrize("op", PREFILL)
def test_time_at_each_resource_by_hand(op: str) -> None:
    count, flops, vector_flops, moved = PREFILL[op]
    (found,) = [row for row in toy().ops if row.name == op]

    expected = {"tensor": flops / 2, "vector": vector_flops, "dram": 2 * moved}
    assert found.resource_times_s == {
        name: pytest.approx(count * ns * 1e-9, rel=1e-14) for name, ns in expected.items() if ns
    }


def test_totals_by_hand() -> None:
    estimate = toy()
    whole = estimate.llm
    time = sum(n * nanoseconds(*amounts) for n, *amounts in PREFILL.values())
    computing = sum(
        n * nanoseconds(f, v, m) for n, f, v, m in PREFILL.values() if max(f / 2, v) >= 2 * m
    )

    assert {row.name for row in estimate.ops} == set(PREFILL)
    assert whole.flops == sum(n * flops for n, flops, _, _ in PREFILL.values())
    assert whole.vector_flops == sum(n * v for n, _, v, _ in PREFILL.values())
    moved = sum(n * 2 * m for n, _, _, m in PREFILL.values())
    assert whole.memory_access_bytes == moved
    assert whole.arithmetic_intensity == whole.flops / moved
    assert whole.roofline_time_s == pytest.approx(time * 1e-9, rel=1e-14)
    assert whole.bound_times_s == {"compute": pytest.approx(computing * 1e-9, rel=1e-14)}
    assert 2 * computing > time
    assert whole.bound == "compute"


def test_memory_by_hand() -> None:
    whole = toy().llm

    # a layer: q, o 64 each, k, v 32 each, MLP 3·128, norms 2·8; the last norm 8, two tables 10·8
    assert whole.weight_bytes == 2 * (2 * (2 * 64 + 2 * 32 + 3 * 128 + 16) + 8 + 2 * 80)
    # K and V of 1 head of 4, 2 layers, 5 tokens
    assert whole.kv_cache_bytes == 2 * (2 * 4 * 2 * 5)
    # act_fn: hidden 40, angles 40, gate, up and activated 80 each
    assert whole.peak_activation_bytes == 2 * (40 + 40 + 3 * 80)
    assert whole.peak_memory_bytes == 2704 + 160 + 640


@pytest.mark.parametrize(("capacity", "fits"), [(3504, True), (3503, False)])
def test_fits_up_to_the_last_byte(capacity: int, fits: bool) -> None:
    small = device(memory_capacity_gib=figure(capacity / GIBI))

    assert toy(hardware=small).end_to_end.fits == fits


@pytest.mark.parametrize(
    ("bandwidth", "bound"), [(1e-6, "memory"), (1, "compute"), (1e6, "compute")]
)
def test_bound_follows_the_bandwidth(bandwidth: float, bound: str) -> None:
    estimate = toy(hardware=device(memory_bandwidth_gb_per_s=figure(bandwidth)))

    assert estimate.llm.bound == estimate.end_to_end.bound == bound


def test_time_at_the_two_ends_of_the_roofline() -> None:
    slow, fast = (
        toy(hardware=device(memory_bandwidth_gb_per_s=figure(b))).llm for b in (1e-6, 1e6)
    )

    assert slow.roofline_time_s == pytest.approx(slow.memory_access_bytes / 1e3, rel=1e-12)
    computing = sum(n * max(f / 2, v) for n, f, v, _ in PREFILL.values())
    moving = 48 * 2 * 1e-6  # embed_tokens computes nothing: its bytes at 10^6 GB/s
    assert fast.roofline_time_s == pytest.approx((computing + moving) * 1e-9, rel=1e-12)


@pytest.mark.parametrize(("compute", "memory", "computing"), [(4, 4, 12), (5, 4, 15), (3, 4, 0)])
def test_a_tie_counts_as_compute(compute: float, memory: float, computing: float) -> None:
    # three occurrences, each as long as the slower of the two
    roofs = ((Polynomial.of(compute),), (Polynomial.of(memory),))
    times = KernelGroup("prefill", 3, roofs, None, 0.0).time(Point({}))

    assert (times.roofline, *times.bound) == (3 * max(compute, memory), computing)


def test_a_matmul_and_its_vector_work_overlap() -> None:
    # attention: 800 FLOPs at 2 GFLOP/s are 400 ns, 250 vector FLOPs at 0.1 GFLOP/s 2500 ns
    slow = device(vector_peak_fp32_tflops=figure(0.0001))
    (row,) = [row for row in toy(hardware=slow).ops if row.name == "attention"]

    assert row.roofline_time_s == pytest.approx(2 * 2500e-9, rel=1e-14)
    assert row.bound == "compute"


def times(estimate: Any) -> dict[str, float]:
    return {row.name: row.roofline_time_s for row in estimate.ops}


def test_attention_may_run_at_another_peak_than_linear_layers() -> None:
    both = device(matmul_peaks=peaks(fp16_tflops=0.002, int8_tops=1000.0))
    estimate = toy(hardware=both, quant="w8a8kv16")
    ran_at, found = estimate.device["peaks"]["llm"], times(estimate)

    assert (ran_at["matmul_type"], ran_at["attention_type"]) == ("int8", "fp16")
    assert found["attention"] == pytest.approx(2 * 400e-9, rel=1e-14)  # 800 FLOPs at 2 GFLOP/s
    # linear layers are bound by bytes now: [5, 8] @ [8, 8] → [5, 8], one byte each
    assert found["q_proj"] == pytest.approx(2 * (40 + 64 + 40) * 1e-9, rel=1e-14)


def test_llm_viewer_runs_vector_ops_at_the_matmul_peak() -> None:
    # softmax of scores [2, 5, 5]: 5·50 FLOPs at 2 GFLOP/s are 125 ns, 2·2·50 bytes 200 ns
    estimate = toy(accounting="llm-viewer", hardware=device(vector_peak_fp32_tflops=figure(1e-9)))

    assert times(estimate)["softmax"] == pytest.approx(2 * 200e-9, rel=1e-14)
    assert estimate.llm.vector_flops == 0


@pytest.mark.parametrize(
    ("hardware", "quant", "served", "refused"),
    [
        ("v100", "bf16", ("fp32", "fp16", "int8", "int4", "w8a16", "w4a16"), ("bf16", "fp8")),
        ("a100", "fp8", ("fp32", "fp16", "bf16", "int8", "int4", "w8a16", "w4a16"), ("fp8",)),
    ],
)
def test_an_unsupported_mode_lists_those_that_are_served(
    hardware: str, quant: str, served: tuple[str, ...], refused: tuple[str, ...]
) -> None:
    with pytest.raises(UnsupportedModeError, match=f"has no {quant} peak") as caught:
        analyze("vicuna-7b", hardware, quant=quant)

    offered = str(caught.value).split("it serves ")[1].split(", ")
    assert set(served) == set(offered)
    assert not set(refused) & set(offered)
    for mode in served:
        analyze("vicuna-7b", hardware, quant=mode)


def test_a_convention_that_knows_fewer_types_is_what_is_in_the_way() -> None:
    """The chip computes int8 in fp16; LLM-Viewer computes it in int8 or not at all."""
    analyze("vicuna-7b", "apple-m2-max", "int8", attention="eager")

    with pytest.raises(UnsupportedModeError) as caught:
        analyze("vicuna-7b", "apple-m2-max", "int8", accounting="llm-viewer")
    assert str(caught.value) == (
        "apple-m2-max has no int8 peak, which this accounting computes int8 in"
    )
