"""`llm-viewer` accounting against its own table, worked out again by loops over plain numbers.

The rows are those of the convention's table (docs/accounting.md); nothing is shared with the code
that prices it but the shape of the model and the two peaks of the device.
"""

from __future__ import annotations

import random
from typing import Any, NamedTuple

import made_up
import pytest
from made_up import device, peaks
from toy import llm

from roofline import analyze
from roofline.specs.hardware import Hardware
from roofline.specs.models import LanguageModel

FP16_FLOPS, INT8_OPS, BYTES_PER_S = 3e12, 7e12, 11e9
"""Peaks of the made-up device: their ratio is no power of two, so that no mistake hides."""


def main_time_s(estimate: Any) -> float:
    """Roofline time of the LLM; accessors of the estimate are spelled here alone."""
    return float(estimate.components["llm"].roofline_time_s)


def figure(estimate: Any, name: str) -> float:
    return float(getattr(estimate.components["llm"], name))


def loop_device() -> Hardware:
    return device(
        memory_bandwidth_gb_per_s=made_up.figure(BYTES_PER_S / 1e9),
        matmul_peaks=peaks(
            fp16_tflops=FP16_FLOPS / 1e12,
            int8_tops=INT8_OPS / 1e12,
            int4_tops=1e3,  # the convention never uses it
        ),
        vector_peak_fp32_tflops=made_up.figure(1e-6),  # nor this one
        kernel_laws=None,
    )


class Shape(NamedTuple):
    """A decoder and a request, in the letters of the convention's table."""

    d: int
    H: int
    Hk: int
    e: int
    f: int
    V: int
    L: int
    B: int
    S: int
    w_bits: int
    a_bits: int
    c_bits: int

    @property
    def mode(self) -> str:
        return f"w{self.w_bits}a{self.a_bits}kv{self.c_bits}"

    @property
    def model(self) -> LanguageModel:
        return llm(
            hidden_size=self.d,
            num_hidden_layers=self.L,
            num_attention_heads=self.H,
            num_key_value_heads=self.Hk,
            head_dim=self.e,
            intermediate_size=self.f,
            vocab_size=self.V,
        )


class Row(NamedTuple):
    """One op of one layer."""

    ops: float
    weights: float
    read: float
    written: float
    kv_read: float
    kv_written: float

    @property
    def moved(self) -> float:
        return self.weights + self.read + self.written + self.kv_read + self.kv_written


def layer(shape: Shape, keys: int, *, step: bool) -> list[Row]:
    """The table's rows for a prompt of `keys` tokens, or for one token against so many cached."""
    d, B, H, Hk, e, f = shape.d, shape.B, shape.H, shape.Hk, shape.e, shape.f
    w, a, c = shape.w_bits / 8, shape.a_bits / 8, shape.c_bits / 8
    q = 1 if step else keys
    rows = []
    for n_in, n_out in ((d, H * e), (H * e, d), (d, f), (d, f), (f, d)):  # q, out, gate, up, down
        ops = 2 * n_in * n_out * B * q
        rows.append(Row(ops, n_in * n_out * w, n_in * B * q * a, n_out * B * q * a, 0, 0))
    for n_out in (Hk * e, Hk * e):  # k, v
        ops = 2 * d * n_out * B * q
        rows.append(Row(ops, d * n_out * w, d * B * q * a, 0, 0, n_out * B * q * c))
    scores, cached = q * keys * B * H, keys * e * B * Hk * c
    query_read, key_read = (e * H * B * a, cached) if step else (0, 2 * cached)
    rows.append(Row(2 * e * scores, 0, query_read, scores * a, key_read, 0))
    rows.append(Row(5 * scores, 0, scores * a, scores * a, 0, 0))
    rows.append(Row(2 * e * scores, 0, scores * a, q * e * B * H * a, cached, 0))
    hidden = B * d * q
    rows += [Row(7 * hidden, 0, hidden * a, hidden * a, 0, 0)] * 2
    rows += [Row(hidden, 0, hidden * a, hidden * a, 0, 0)] * 2
    rows.append(Row(2 * hidden, 0, 2 * hidden * a, hidden * a, 0, 0))
    return rows


def head(shape: Shape) -> Row:
    """Half its FLOPs, one byte a weight, blind to the batch in what it moves."""
    a = shape.a_bits / 8
    return Row(shape.B * shape.d * shape.V, shape.d * shape.V, shape.d * a, shape.V * a, 0, 0)


def expected(shape: Shape, stage: str, steps: int) -> dict[str, float]:
    """Every figure of the LLM, added up row by row and layer by layer."""
    passes = [layer(shape, shape.S, step=False)] if stage != "decode" else []
    if stage == "decode":
        passes.append(layer(shape, shape.S, step=True))
    if stage == "generate":
        passes += [layer(shape, shape.S + done, step=True) for done in range(steps)]
    narrow = shape.w_bits <= 8 and shape.a_bits <= 8 and shape.c_bits <= 8
    peak = INT8_OPS if narrow else FP16_FLOPS
    sums = dict.fromkeys(("flops", "memory_access_bytes", "activation_store_bytes", "time_s"), 0.0)
    for rows in passes:
        for row in [*rows * shape.L, head(shape)]:
            sums["flops"] += row.ops
            sums["memory_access_bytes"] += row.moved
            sums["activation_store_bytes"] += row.written
            sums["time_s"] += max(row.ops / peak, row.moved / BYTES_PER_S)
    kept = shape.S + (steps if stage == "generate" else 0)
    peak_bytes = max((sum(row.written for row in rows) for rows in passes), default=0.0)
    weights = shape.L * sum(row.weights for row in layer(shape, 1, step=True))
    cache = shape.L * 2 * shape.Hk * shape.e * kept * shape.B * shape.c_bits / 8
    return sums | {
        "vector_flops": 0.0,
        "weight_bytes": weights,
        "kv_cache_bytes": cache,
        "peak_activation_bytes": peak_bytes,
        "peak_memory_bytes": weights + cache + peak_bytes,
    }


def drawn(seed: int) -> Shape:
    """KV heads shared by several query heads, H · e now and then another width than d."""
    pick = random.Random(seed)
    kv_heads, group = pick.randint(1, 5), pick.randint(1, 6)
    head_size = 2 * pick.randint(1, 40)
    return Shape(
        d=kv_heads * group * head_size + pick.choice((0, 3)),
        H=kv_heads * group,
        Hk=kv_heads,
        e=head_size,
        f=pick.randint(1, 999),
        V=pick.randint(2, 5000),
        L=pick.randint(1, 7),
        B=pick.randint(1, 9),
        S=pick.randint(2, 1500),
        w_bits=pick.choice((2, 3, 4, 8, 16, 32)),
        a_bits=pick.choice((4, 8, 16, 32)),
        c_bits=pick.choice((2, 4, 8, 16, 32)),
    )


@pytest.mark.parametrize("stage", ["prefill", "decode", "generate"])
@pytest.mark.parametrize("seed", range(25))
def test_random_shapes(seed: int, stage: str) -> None:
    check(drawn(seed), stage, steps=seed % 4 * 3)


PRUMERGE = Shape(4096, 32, 32, 128, 11008, 32000, 32, 1, 70, 16, 16, 16)
"""Vicuna-7B, 70 tokens: a cell of the paper's table 2."""


@pytest.mark.parametrize("stage", ["prefill", "decode", "generate"])
@pytest.mark.parametrize("narrow", [4, 8])
@pytest.mark.parametrize("wide", [9, 16, 32])
@pytest.mark.parametrize("which", ["w_bits", "a_bits", "c_bits"])
def test_the_widest_of_the_three_decides_the_peak(
    which: str, wide: int, narrow: int, stage: str
) -> None:
    bits = dict.fromkeys(("w_bits", "a_bits", "c_bits"), narrow) | {which: wide}
    shape = PRUMERGE._replace(L=2, S=900, B=2, Hk=8, **bits)

    check(shape, stage, steps=3)


def test_the_loop_knows_the_paper() -> None:
    """0.91 T, 13.7 GB and 0.28 GB are printed in table 2 (Vicuna-7B, FP16, PruMerge)."""
    found = expected(PRUMERGE, "prefill", 0)

    assert round(found["flops"] / 1e12, 2) == 0.91
    assert round(found["memory_access_bytes"] / 1e9, 1) == 13.7
    assert round(found["activation_store_bytes"] / 1e9, 2) == 0.28


def test_every_row_of_its_table_is_one_kernel() -> None:
    estimate = analyze(PRUMERGE.model, loop_device(), visual_tokens=1, accounting="llm-viewer")

    assert {int(op.launches) for op in estimate.ops} == {1}


def check(shape: Shape, stage: str, steps: int) -> None:
    estimate = analyze(
        shape.model,
        loop_device(),
        quant=shape.mode,
        visual_tokens=1,
        text_tokens=shape.S - 1,
        batch=shape.B,
        stage=stage,
        output_tokens=steps,
        accounting="llm-viewer",
    )
    wanted = expected(shape, stage, steps)
    found = {name: figure(estimate, name) for name in wanted if name != "time_s"}

    assert found | {"time_s": main_time_s(estimate)} == pytest.approx(wanted, rel=1e-12)
