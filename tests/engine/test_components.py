"""How components are put together into the price of a whole prompt, worked out on the page.

A toy LMM: a vision tower of width 12, a connector to width 8 and an LLM of width 8, run on two
images. Every op is written out in elements; every width in bytes and every peak stands in `MODES`.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import pytest
import toy
from made_up import device, figure, peaks

from roofline import analyze
from roofline.specs.models import Lmm

Part = Literal["vision", "reducer", "connector", "llm"]
BATCH, VISUAL = 2, 4


def component(estimate: Any, part: Part) -> Any:
    """Accessors of the estimate are spelled here alone."""
    return estimate.components[part]


def whole(estimate: Any) -> Any:
    return estimate.end_to_end


def bound_s(totals: Any) -> float:
    return float(totals.roofline_time_s)


class Op(NamedTuple):
    """One op of the table, all in elements: activations read and written, weights, KV."""

    count: int
    unit: Literal["linear", "attention", "vector"]
    flops: float
    vector_flops: float
    read: float
    written: float
    matrix: float = 0
    vectors: float = 0
    """Biases, norm weights, position embeddings."""
    head: float = 0
    """Rows of the embedding, or the lm_head."""
    kv: float = 0
    """Keys and values read from and written to the cache."""


# 3 × 3 patches of 4 × 4 pixels in 3 channels and a class token: 10 tokens an image, 20 rows. Heads
# of 4, three of them: scores [2, 3, 10, 10]. Two of the three blocks run (feature layer −2).
VISION = [
    Op(1, "linear", 2 * 18 * 48 * 12, 0, 18 * 48, 18 * 12, matrix=48 * 12),  # patches
    Op(1, "vector", 0, 240, 18 * 12, 240, vectors=120 + 12),  # class token and positions
    Op(1, "vector", 0, 7 * 240, 240, 240, vectors=24),  # LayerNorm: weight and bias
    Op(2, "vector", 0, 7 * 240, 240, 240, vectors=24),
    Op(6, "linear", 2 * 20 * 144, 240, 240, 240, matrix=144, vectors=12),  # q, k, v
    Op(2, "attention", 2 * (2 * 600 * 4), 5 * 600, 3 * 240, 240),
    Op(2, "linear", 2 * 20 * 144, 240, 240, 240, matrix=144, vectors=12),  # out
    Op(2, "vector", 0, 240, 480, 240),  # residual
    Op(2, "vector", 0, 7 * 240, 240, 240, vectors=24),
    Op(2, "linear", 2 * 20 * 240, 400, 240, 400, matrix=240, vectors=20),  # fc1
    Op(2, "vector", 0, 5 * 400, 400, 400),  # quick GELU
    Op(2, "linear", 2 * 20 * 240, 240, 400, 240, matrix=240, vectors=12),  # fc2
    Op(2, "vector", 0, 240, 480, 240),
]
# [8, 12] → [8, 8] → [8, 8]: the four visual tokens of each of two sequences
CONNECTOR = [
    Op(1, "linear", 2 * 8 * 96, 64, 96, 64, matrix=96, vectors=8),
    Op(1, "vector", 0, 5 * 64, 64, 64),
    Op(1, "linear", 2 * 8 * 64, 64, 64, 64, matrix=64, vectors=8),
]


def prefill(text: int) -> list[Op]:
    """The LLM: two layers, two heads of 4 that share one KV head, n tokens in each sequence."""
    n = VISUAL + text
    x, kv, inner = 8 * 2 * n, 4 * 2 * n, 16 * 2 * n
    scores = 2 * 2 * n * n
    return [
        Op(1, "vector", 0, 0, 0, 2 * text * 8, head=2 * text * 8),  # text tokens looked up
        Op(1, "vector", 0, 2.5 * 4 * n, 0, 2 * 4 * n),  # cosines and sines, of all sequences
        Op(2, "vector", 0, 4 * x, x, x, vectors=8),  # RMSNorm
        Op(2, "linear", 2 * 2 * n * 64, 0, x, x, matrix=64),  # q
        Op(2, "linear", 2 * 2 * n * 32, 0, x, kv, matrix=32),  # k
        Op(2, "linear", 2 * 2 * n * 32, 0, x, 0, matrix=32, kv=kv),  # v, into the cache
        Op(2, "vector", 0, 3 * (x + kv), x + kv + 2 * 4 * n, x, kv=kv),  # rotation of q and k
        Op(2, "attention", 2 * (2 * scores * 4), 5 * scores, x, x, kv=2 * kv),
        Op(2, "linear", 2 * 2 * n * 64, 0, x, x, matrix=64),  # o
        Op(4, "vector", 0, x, 2 * x, x),  # both residuals
        Op(2, "vector", 0, 4 * x, x, x, vectors=8),
        Op(4, "linear", 2 * 2 * n * 128, 0, x, inner, matrix=128),  # gate, up
        Op(2, "vector", 0, 5 * inner, 2 * inner, inner),  # SwiGLU
        Op(2, "linear", 2 * 2 * n * 128, 0, inner, x, matrix=128),  # down
        Op(1, "vector", 0, 4 * x, x, x, vectors=8),
        Op(1, "linear", 2 * 2 * 80, 0, 2 * 8, 2 * 10, head=80),  # logits of the last position
    ]


def decode(text: int) -> list[Op]:
    """One token of each of two sequences, against n in the cache and itself."""
    keys = VISUAL + text + 1
    scores, cached = 2 * 2 * keys, 2 * 2 * keys * 4
    return [
        Op(1, "vector", 0, 0, 0, 16, head=16),
        Op(1, "vector", 0, 2.5 * 4, 0, 8),
        Op(2, "vector", 0, 64, 16, 16, vectors=8),
        Op(2, "linear", 4 * 64, 0, 16, 16, matrix=64),
        Op(2, "linear", 4 * 32, 0, 16, 8, matrix=32),
        Op(2, "linear", 4 * 32, 0, 16, 0, matrix=32, kv=8),
        Op(2, "vector", 0, 3 * 24, 16 + 8 + 8, 16, kv=8),
        Op(2, "attention", 2 * (2 * scores * 4), 5 * scores, 16, 16, kv=cached),
        Op(2, "linear", 4 * 64, 0, 16, 16, matrix=64),
        Op(4, "vector", 0, 16, 32, 16),
        Op(2, "vector", 0, 64, 16, 16, vectors=8),
        Op(4, "linear", 4 * 128, 0, 16, 32, matrix=128),
        Op(2, "vector", 0, 5 * 32, 64, 32),
        Op(2, "linear", 4 * 128, 0, 32, 16, matrix=128),
        Op(1, "vector", 0, 64, 16, 16, vectors=8),
        Op(1, "linear", 4 * 80, 0, 16, 20, head=80),
    ]


class Widths(NamedTuple):
    """Bytes an element, and the peaks of linear layers and of attention in FLOP/s."""

    matrix: float
    activation: float
    kv: float
    head: float
    vectors: float
    linear: float
    attention: float


VECTOR, FP16, INT8, INT4 = 1.1e9, 2.3e9, 4.7e9, 9.1e9
BYTES_PER_S = 1.9e9
HALF = Widths(2, 2, 2, 2, 2, FP16, FP16)
FULL = Widths(4, 4, 4, 4, 4, VECTOR, VECTOR)
"""Without matrix units for it, fp32 runs on the vector units."""
MODES: dict[str, tuple[Widths, Widths]] = {
    "fp16": (HALF, HALF),
    "fp32": (FULL, FULL),
    "int8": (HALF, Widths(1, 1, 1, 1, 1, INT8, INT8)),
    "int4": (HALF, Widths(0.5, 0.5, 0.5, 0.5, 0.5, INT4, INT4)),
    # a 16-bit scale for 128 weights; in w4a16 a 4-bit zero point too
    "w8a16": (HALF, Widths(1 + 2 / 128, 2, 2, 2, 2, FP16, FP16)),
    "w4a16": (HALF, Widths(0.5 + 2.5 / 128, 2, 2, 2, 2, FP16, FP16)),
    # linear layers compute at the wider of weights and activations, attention of those and the KV
    "w4a8kv16": (HALF, Widths(0.5, 1, 2, 0.5, 0.5, INT8, FP16)),
    "w8a4kv4": (HALF, Widths(1, 0.5, 0.5, 1, 1, INT8, INT4)),
    "w32a32kv8": (FULL, Widths(4, 4, 1, 4, 4, VECTOR, VECTOR)),
}
"""Mode → widths of vision tower and connector, widths of the LLM."""


def moved(op: Op, widths: Widths) -> float:
    return (
        widths.activation * (op.read + op.written)
        + widths.matrix * op.matrix
        + widths.vectors * op.vectors
        + widths.head * op.head
        + widths.kv * op.kv
    )


def seconds(op: Op, widths: Widths) -> float:
    """The slowest of the matrix units, the vector units and memory."""
    peak = {"linear": widths.linear, "attention": widths.attention, "vector": VECTOR}[op.unit]
    return max(op.flops / peak, op.vector_flops / VECTOR, moved(op, widths) / BYTES_PER_S)


def added_up(parts: list[tuple[list[Op], Widths]]) -> dict[str, float]:
    every = [(op, widths) for ops, widths in parts for op in ops]
    return {
        "flops": sum(op.count * op.flops for op, _ in every),
        "vector_flops": sum(op.count * op.vector_flops for op, _ in every),
        "memory_access_bytes": sum(op.count * moved(op, widths) for op, widths in every),
        "activation_store_bytes": sum(op.count * op.written * w.activation for op, w in every),
        "time_s": sum(op.count * seconds(op, widths) for op, widths in every),
    }


def resident(outside: Widths, inside: Widths, towers: int) -> float:
    """Weights as loaded: the third block and the last norm of the tower too, which never run."""
    block = 4 * 144 + 2 * 240, 4 * 12 + 20 + 12 + 2 * 24
    vision = (3 * block[0] + 48 * 12) * outside.matrix
    vision += (3 * block[1] + 12 + 120 + 24 + 24) * outside.vectors
    connector = (96 + 64) * outside.matrix + 16 * outside.vectors
    llm = 2 * (2 * 64 + 2 * 32 + 3 * 128) * inside.matrix + 5 * 8 * inside.vectors
    return towers * vision + connector + llm + 2 * 80 * inside.head


def figures(totals: Any) -> dict[str, float]:
    names = (
        "flops",
        "vector_flops",
        "memory_access_bytes",
        "activation_store_bytes",
        "weight_bytes",
        "kv_cache_bytes",
        "peak_activation_bytes",
        "peak_memory_bytes",
    )
    return {name: float(getattr(totals, name)) for name in names} | {"time_s": bound_s(totals)}


DEVICE = device(
    memory_bandwidth_gb_per_s=figure(BYTES_PER_S / 1e9),
    matmul_peaks=peaks(fp16_tflops=FP16 / 1e12, int8_tops=INT8 / 1e12, int4_tops=INT4 / 1e12),
    vector_peak_fp32_tflops=figure(VECTOR / 1e12),
    kernel_laws=None,
)


def lmm(**changes: Any) -> Lmm:
    """A tower of width 12 with 3 heads of 4 beside the toy LLM; its last block but one counts."""
    vision = toy.tower(hidden_size=12, num_attention_heads=3, intermediate_size=20)
    return toy.lmm(**({"vision": vision, "vision_feature_layer": -2} | changes))


def priced(quant: str, text: int, model: Lmm | None = None, **options: Any) -> Any:
    axes = {"visual_tokens": VISUAL, "text_tokens": text, "batch": BATCH} | options
    return analyze(model or lmm(), DEVICE, quant=quant, **axes)


@pytest.mark.parametrize("towers", [1, 2])
@pytest.mark.parametrize("text", [3, 40])
@pytest.mark.parametrize("mode", MODES)
def test_a_prompt_end_to_end(mode: str, text: int, towers: int) -> None:
    outside, inside = MODES[mode]
    n = VISUAL + text
    weights = resident(outside, inside, towers)
    cache = 2 * 2 * 4 * BATCH * n * inside.kv
    # the tower's attention: stream, q, k, v and the attended; the LLM's SwiGLU: stream, angles and
    # three of the inner width. One runs after the other: the larger counts
    live = max(5 * 240 * outside.activation, (16 * n + 8 * n + 3 * 32 * n) * inside.activation)
    wanted = added_up([(VISION, outside), (CONNECTOR, outside), (prefill(text), inside)])
    wanted |= {
        "weight_bytes": weights,
        "kv_cache_bytes": cache,
        "peak_activation_bytes": live,
        "peak_memory_bytes": weights + cache + live,
    }

    found = figures(whole(priced(mode, text, lmm(vision_towers=towers))))

    assert found == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("mode", MODES)
def test_each_component_has_its_own_widths_and_peaks(mode: str) -> None:
    estimate = priced(mode, 3)
    outside, inside = MODES[mode]
    parts: dict[Part, tuple[list[Op], Widths]] = {
        "vision": (VISION, outside),
        "connector": (CONNECTOR, outside),
        "llm": (prefill(3), inside),
    }

    assert set(estimate.components) == set(parts)
    for part, priced_so in parts.items():
        wanted = added_up([priced_so])
        found = figures(component(estimate, part))
        assert {name: found[name] for name in wanted} == pytest.approx(wanted, rel=1e-12), part


@pytest.mark.parametrize("mode", MODES)
def test_a_decode_step_end_to_end(mode: str) -> None:
    """Tower and connector lie in memory and do nothing."""
    outside, inside = MODES[mode]
    found = figures(whole(priced(mode, 3, stage="decode")))
    wanted = added_up([(decode(3), inside)])

    assert {name: found[name] for name in wanted} == pytest.approx(wanted, rel=1e-12)
    assert found["weight_bytes"] == pytest.approx(resident(outside, inside, 1), rel=1e-12)
    assert found["kv_cache_bytes"] == 2 * 2 * 4 * BATCH * (VISUAL + 3 + 1) * inside.kv


def test_a_whole_answer_is_the_prompt_and_its_steps() -> None:
    outside, inside = MODES["w4a16"]
    parts = [(VISION, outside), (CONNECTOR, outside), (prefill(3), inside)]
    parts += [(decode(3 + done), inside) for done in range(4)]
    wanted = added_up(parts)
    found = figures(whole(priced("w4a16", 3, stage="generate", output_tokens=4)))

    assert {name: found[name] for name in wanted} == pytest.approx(wanted, rel=1e-12)


ON_FEATURES = ("prumerge", "visionzip", "divprune", "fastervlm")


@pytest.mark.parametrize("reducer", ON_FEATURES)
@pytest.mark.parametrize("mode", ["int8", "int4", "w4a16", "w4a4kv8"])
def test_a_reducer_of_visual_features_works_in_their_16_bits(reducer: str, mode: str) -> None:
    options = {"reducer": reducer, "visual_tokens": None}
    plain, quantized = (
        figures(component(priced(quant, 3, **options), "reducer")) for quant in ("fp16", mode)
    )

    assert plain["memory_access_bytes"] > 0
    assert quantized == plain


def test_a_reducer_inside_the_llm_works_at_its_widths() -> None:
    """What FastV does itself touches activations alone: a quarter of the bytes in 4 bits."""
    model = "llava-1.5-7b"
    plain, narrow = (
        component(analyze(model, DEVICE, quant=quant, reducer="fastv"), "reducer")
        for quant in ("fp16", "int4")
    )

    assert plain.memory_access_bytes > 0
    assert narrow.memory_access_bytes == plain.memory_access_bytes / 4


@pytest.mark.parametrize("reducer", [*ON_FEATURES, "fastv", "tome", "evit"])
@pytest.mark.parametrize("hardware", ["h100", "v100"])
def test_the_reducer_is_part_of_the_whole(reducer: str, hardware: str) -> None:
    estimate = analyze("llava-1.5-7b", hardware, quant="w4a16", reducer=reducer, batch=2)
    parts = list(estimate.components.values())
    names = ("flops", "vector_flops", "memory_access_bytes", "weight_bytes", "attainable_time_s")

    assert set(estimate.components) == {"vision", "reducer", "connector", "llm"}
    for name in names:
        total = sum(float(getattr(part, name)) for part in parts)
        assert getattr(whole(estimate), name) == pytest.approx(total, rel=1e-12)
    assert bound_s(whole(estimate)) == pytest.approx(sum(map(bound_s, parts)), rel=1e-12)
    peaks = [float(part.peak_activation_bytes) for part in parts]
    assert whole(estimate).peak_activation_bytes == max(peaks)


@pytest.mark.parametrize("mode", ["w4a16", "int4", "int8"])
@pytest.mark.parametrize("hardware", ["h100", "a100-80gb"])
def test_a_quantized_llm_leaves_the_tower_as_fast_as_in_16_bit(mode: str, hardware: str) -> None:
    """By the device's laws too, which tell a w4a16 kernel from a 16-bit one."""
    parts: tuple[Part, ...] = ("vision", "connector")
    narrow, wide = (analyze("llava-1.5-7b", hardware, quant=quant) for quant in (mode, "bf16"))

    for part in parts:
        one, other = component(narrow, part), component(wide, part)
        assert one.attainable_time_s == pytest.approx(float(other.attainable_time_s), rel=0.02)
        assert figures(one) == pytest.approx(figures(other), rel=1e-12)
