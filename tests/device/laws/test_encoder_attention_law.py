"""Encoder attention: whole blocks, no mask, no cache."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest

from roofline.device.laws.encoder_attention import (
    CORRECTIONS,
    EncoderAttentionLaw,
    correction_basis,
    encoder_attention_seconds,
)
from roofline.device.roof import Roof

ROOF = Roof(flops_per_s=1e14, bytes_per_s=1e12, units=100, cache_bytes=4e7)
LAW = EncoderAttentionLaw(
    rows=100,
    median_error_percent=4.0,
    p90_error_percent=10.0,
    launch_us=5.0,
    block_us=2.0,
    block_head_dim_power=0.5,
    efficiency=0.6,
    head_dim_power=0.3,
    longest_share=0.1,
    fill_keys=50.0,
    bandwidth_fraction=0.8,
    block_queries=192,
    key_block=192,
    wide_key_block=144,
    whole_blocks=True,
    heads_share_blocks=False,
    wave_share=0.75,
    traffic_share=0.5,
)


def seconds(law: EncoderAttentionLaw, *shape: float) -> float:
    batch, tokens, heads, head_dim = shape
    moved = 8 * batch * tokens * heads * head_dim
    return float(encoder_attention_seconds(law, ROOF, *shape, traffic_bytes=moved))


SHAPES = [(8, 577, 16, 64), (1, 400, 12, 64), (4, 729, 16, 72), (2, 1024, 16, 80), (64, 16, 16, 64)]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_plain_sum_takes_as_long(shape: tuple[int, ...]) -> None:
    batch, tokens, heads, head_dim = shape
    keys = 144 if head_dim > 64 else 192
    computed = keys * math.ceil(tokens / keys)
    blocks = batch * heads * math.ceil(tokens / 192)
    waves = blocks / 100
    paid = waves + 0.75 * (math.ceil(waves) - waves)
    unit = 1e12 * 0.6 * (head_dim / 128) ** 0.3  # FLOP/s of one of 100
    whole = 4 * 192 * computed * head_dim / unit
    longest = 4 * min(tokens, 192) * head_dim * (computed + 50) / unit
    moved = 8 * batch * tokens * heads * head_dim
    expected = (
        5e-6
        + 2e-6 * math.sqrt(head_dim / 128) * max(paid, 1)
        + paid * whole
        + 0.1 * longest
        + 0.5 * moved / 0.8e12
    )
    assert seconds(LAW, *shape) == pytest.approx(expected, rel=1e-12)


def test_tokens_that_fill_as_many_blocks_take_as_long_but_for_their_bytes() -> None:
    """400 and 576 tokens are three blocks of 192, as H100 kernels of 400, 512 and 576 take alike;
    577 are four.
    """
    law = msgspec.structs.replace(LAW, traffic_share=0.0, longest_share=0.0)
    times = [seconds(law, 8, tokens, 16, 64) for tokens in (400, 512, 576, 577)]
    assert times[0] == times[1] == times[2]
    assert times[3] / times[2] > 1.5


@pytest.mark.parametrize("shape", SHAPES)
def test_corrections_are_a_polynomial(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    batch, tokens, heads, head_dim = map(np.array, map(float, shape))
    basis = correction_basis(LAW, ROOF, batch, tokens, heads, head_dim)
    assert len(basis) == CORRECTIONS == 20
    coefficients = tuple(0.03 * rng.standard_normal(CORRECTIONS))
    law = msgspec.structs.replace(LAW, corrections=coefficients)
    added = sum(c * float(one) for c, one in zip(coefficients, basis, strict=True))
    assert seconds(law, *shape) / seconds(LAW, *shape) == pytest.approx(math.exp(added), rel=1e-9)


def test_never_below_the_roofline() -> None:
    law = msgspec.structs.replace(
        LAW, launch_us=0.0, block_us=0.0, longest_share=0.0, traffic_share=0.0, efficiency=0.9,
        corrections=(-9.0, *([0.0] * (CORRECTIONS - 1))),
    )  # fmt: skip
    tokens = 192 * 2.0 ** np.arange(9)
    moved = 8 * 4 * tokens * 16 * 64
    bound = ROOF.seconds(4 * 4 * 16 * tokens**2 * 64, moved)
    found = encoder_attention_seconds(law, ROOF, 4, tokens, 16, 64, traffic_bytes=moved)
    assert (found >= bound).all()
    assert found[-1] == bound[-1]


def test_corrections_are_all_there_or_none() -> None:
    with pytest.raises(ValueError, match="give 20, or none"):
        msgspec.structs.replace(LAW, corrections=(0.1,) * 35)
