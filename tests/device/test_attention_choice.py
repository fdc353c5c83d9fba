"""Attention in an analysis: the tables that its kernels would be in, and matmuls it is made of."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

import roofline
from roofline.device.borrowed import borrowing_errors, laws_of
from roofline.device.kernel_types import kernel_roof
from roofline.device.law_choice import LawChoice, attention_form
from roofline.device.laws.attention import AttentionForm, AttentionLaw
from roofline.device.laws.decode_attention import DecodeAttentionLaw
from roofline.device.laws.encoder_attention import EncoderAttentionLaw
from roofline.device.laws.matmul import MatmulLaw, batched_matmul_seconds
from roofline.device.peaks import component_peaks
from roofline.device.roof import Roof
from roofline.engine.accounting import exact
from roofline.engine.layout import lay_out
from roofline.model.counted import CountedOp
from roofline.model.op import AttentionShape
from roofline.model.polynomial import Point, Polynomial
from roofline.specs.catalog import load_hardware, load_quantization

H100 = load_hardware("h100")
LAWS = laws_of(H100)
assert LAWS is not None
BATCH, PROMPT, STEP, PICTURE = map(Polynomial.variable, ("batch", "prompt", "step", "picture"))


def shape(queries: Any, keys: Any, *, causal: bool = False) -> AttentionShape:
    return AttentionShape(BATCH, queries, keys, 32, 32, 128, causal)


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        (shape(PROMPT, PROMPT, causal=True), "prefill"),
        (shape(PROMPT, PROMPT), "encoder"),
        (shape(577.0, 577.0), "encoder"),
        (shape(1.0, PROMPT + STEP), "decode"),
        (shape(1.0, 577.0), "decode"),  # a class token that looks at its picture
        (shape(PROMPT, PICTURE), "extension"),  # a text that looks at one
        (shape(64.0, PICTURE), "extension"),
        (shape(PROMPT, PROMPT + STEP, causal=True), "extension"),  # a prompt that goes on
        (shape(1.0, 1.0, causal=True), "prefill"),
    ],
)
def test_what_attends_to_what_is_read_off_the_shape(
    of: AttentionShape, expected: AttentionForm
) -> None:
    assert attention_form(of) == expected


def choice(
    mode: str = "bf16", model: str = "llava-1.5-7b", component: str = "llm", **layout: Any
) -> LawChoice:
    """The laws of an H100, as they go for one component of an answer."""
    parts = exact.count(lay_out(model, stage="generate", **layout), load_quantization(mode))
    counts = next(part for part in parts if part.component == component)
    if mode == "int8":  # whose cache has 8 bits, beside attention in 16
        counts = replace(counts, attention_types=("bf16",))
    assert LAWS is not None
    return LawChoice(LAWS, counts, component_peaks(H100, counts, mode))


def attention(of: LawChoice, phase: str) -> CountedOp:
    return next(
        op for op in of.counts.ops if op.phase == phase and isinstance(op.shape, AttentionShape)
    )


def test_the_phases_of_a_model_take_laws_of_their_own() -> None:
    llm, vision = choice(), choice(component="vision")
    found = {
        "prefill": llm.law(attention(llm, "prefill")),
        "decode": llm.law(attention(llm, "decode")),
        "vision": vision.law(attention(vision, "prefill")),
    }
    assert LAWS is not None
    assert found == {
        "prefill": replace(LAWS.of(AttentionLaw)["bf16"], origin="fitted"),
        "decode": replace(LAWS.of(DecodeAttentionLaw)["bf16"], origin="fitted"),
        "vision": replace(LAWS.of(EncoderAttentionLaw)["bf16"], origin="fitted"),
    }


def test_a_cache_of_8_bits_beside_16_bit_queries_takes_the_law_of_both() -> None:
    laws = choice("int8")
    prefill, decode = (laws.law(attention(laws, phase)) for phase in ("prefill", "decode"))
    assert LAWS is not None
    assert prefill == replace(LAWS.of(AttentionLaw)["bf16-fp8kv"], origin="fitted")
    assert decode == replace(LAWS.of(DecodeAttentionLaw)["bf16-fp8kv"], origin="fitted")


@pytest.mark.parametrize(
    ("queries", "keys", "one"),
    [(1, 600, {"tokens": 1, "keys": 600}), (600, 600, {"tokens": 600}), (16, 600, None)],
)
def test_attention_of_a_model_is_the_kernel_of_its_form(
    queries: int, keys: int, one: dict[str, int] | None
) -> None:
    """With operands that no cache holds; between the kernels of its ends otherwise."""
    laws = choice()
    known = attention(laws, "prefill")
    counts = {1: 1.0, 600: PROMPT, 16: Polynomial.of(16.0)}
    of = AttentionShape(64.0, counts[queries], PROMPT, 32, 32, 128, causal=queries == keys)
    moved = Polynomial.of(64 * 32 * 128 * 4.0)  # of a query and its output, or a key and a value
    amounts = replace(
        known.amounts,
        activation_read_bytes=moved * counts[queries],
        activation_write_bytes=Polynomial.of(0.0),
        kv_read_bytes=moved * PROMPT,
    )
    seconds = laws.seconds(replace(known, shape=of, amounts=amounts))
    assert seconds is not None

    def kernel(**sizes: int) -> float:
        time = roofline.attention_time("h100", 64, **sizes, heads=32, kv_heads=32, head_dim=128)
        assert time.attainable_time_s is not None
        return float(time.attainable_time_s)

    found = float(seconds(Point({"prompt": np.asarray(600.0)})))
    if one is not None:
        assert found == pytest.approx(kernel(**one), rel=1e-9)
    else:
        assert kernel(tokens=1, keys=600) < found < kernel(tokens=600)


def test_matmuls_side_by_side_take_a_launch_and_the_better_part_of_both_roofs() -> None:
    roof = Roof(flops_per_s=1e14, bytes_per_s=1e12, units=100, cache_bytes=4e7)
    assert LAWS is not None
    law = LAWS.of(MatmulLaw)["bf16"]
    efficiency = max(tile.efficiency for tile in law.tiles)
    computing, moving = 1e10 / (1e14 * efficiency), 1e7 / (1e12 * law.bandwidth_fraction)

    both = batched_matmul_seconds(law, roof, 1e10, 1e7)
    expected = law.launch_us * 1e-6 + (computing**4 + moving**4) ** 0.25
    assert both == pytest.approx(expected, rel=1e-12)
    assert batched_matmul_seconds(law, roof, 0.0, 0.0) == pytest.approx(law.launch_us * 1e-6)
    nothing_lost = replace(
        law,
        launch_us=0.0,
        bandwidth_fraction=1.0,
        tiles=tuple(replace(tile, efficiency=1.0) for tile in law.tiles),
    )
    flops, traffic = np.geomspace(1e6, 1e13, 9)[:, None], np.geomspace(1e3, 1e10, 9)
    times = batched_matmul_seconds(nothing_lost, roof, flops, traffic)
    assert times.shape == (9, 9)
    assert (times >= roof.seconds(flops, traffic)).all()
    for axis in (0, 1):
        assert (np.diff(times, axis=axis) >= 0).all()


def test_scores_and_values_kernel_by_kernel_say_that_nobody_fitted_them() -> None:
    laws = choice(attention="eager")
    point = Point(
        {
            name: np.asarray(value)
            for name, value in {"visual_tokens": 576.0, "text_tokens": 40.0, "batch": 2.0}.items()
        },
        lay_out("llava-1.5-7b", attention="eager").derived,
    )
    known = borrowing_errors().other_capability["matmul"]
    for name in ("qk_matmul", "sv_matmul"):
        op = next(op for op in laws.counts.ops if (op.name, op.phase) == (name, "prefill"))
        law, seconds = laws.law(op), laws.seconds(op)
        assert isinstance(law, MatmulLaw)
        assert seconds is not None
        assert law.origin == "typical"
        assert law.p90_error_percent >= known.p90_percent
        sizes = point(op.amounts.flops), point(op.traffic)
        roof = kernel_roof(H100, "bf16").of_dram
        assert seconds(point) == batched_matmul_seconds(law, roof, *sizes)
    linear = next(op for op in laws.counts.ops if op.name == "q_proj")
    assert laws.law(linear).origin == "fitted"  # type: ignore[union-attr]
