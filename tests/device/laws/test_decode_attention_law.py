"""Decode attention: blocks of heads, splits over their keys, and never below the roof."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pytest

from roofline.device.laws.decode_attention import (
    CORRECTIONS,
    DecodeAttentionLaw,
    correction_basis,
    decode_attention_seconds,
)
from roofline.device.roof import Roof

ROOF = Roof(flops_per_s=1e14, bytes_per_s=1e12, units=100, cache_bytes=4e7)
LAW = DecodeAttentionLaw(
    rows=100,
    median_error_percent=4.0,
    p90_error_percent=10.0,
    launch_us=5.0,
    block_us=3.0,
    block_head_dim_power=0.5,
    key_ns=20.0,
    group_share=0.25,
    split_keys=128.0,
    split_waves=2.0,
    split_us=4.0,
    split_ns=50.0,
    bandwidth_fraction=0.8,
    cached_bandwidth_ratio=3.0,
    cached_share=0.5,
    regroup_us=2.0,
)


def seconds(law: DecodeAttentionLaw, *shape: float, roof: Roof = ROOF) -> float:
    batch, keys, heads, kv_heads, head_dim = shape
    moved = 4 * batch * head_dim * (heads + keys * kv_heads)
    return float(decode_attention_seconds(law, roof, *shape, traffic_bytes=moved))


SHAPES = [
    (1, 2048, 32, 8, 128),  # a few blocks: their keys are split
    (32, 64, 32, 8, 128),  # too few keys to split, three waves of blocks
    (4, 300, 32, 4, 64),  # narrow heads, whose splits hold more keys
    (64, 4096, 128, 4, 128),  # two tensor cores' worth of heads
    (1, 4096, 8, 8, 128),  # a head a block
    (256, 4096, 32, 8, 128),
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("single", [True, False])
def test_a_plain_sum_takes_as_long(shape: tuple[int, ...], single: bool) -> None:
    batch, keys, heads, kv_heads, head_dim = shape
    group, blocks, width = heads // kv_heads, batch * kv_heads, head_dim / 128
    waves = math.ceil(blocks / 100)
    splits = max(1.0, min(keys * width / 128, 2 * 100 / blocks))
    if group == 1 and not single:
        splits = 1.0
    split = min(1.0, splits - 1)
    row = keys * waves * (1 - split) + split * max(blocks * splits / 100, 1) * keys / splits
    unit = 20e-9 * width * (1 + 0.25 * (math.ceil(group / 16) - 1)) * row
    moved = 4 * batch * head_dim * (heads + keys * kv_heads)
    cached = 1 / (1 + (moved / 2e7) ** 8)
    dram = moved * (1 - cached + cached / 3) / 0.8e12
    regrouped = batch > 1 and kv_heads > 1 and group > 1
    expected = (
        5e-6
        + 2e-6 * regrouped
        + split * (4e-6 + 50e-9 * splits)
        + math.hypot(3e-6 * width**0.5 * waves, (dram**4 + unit**4) ** 0.25)
    )
    law = msgspec.structs.replace(LAW, splits_single_heads=single)
    assert seconds(law, *shape) == pytest.approx(expected, rel=1e-12)


def test_a_cache_of_half_the_width_is_read_in_half_the_time() -> None:
    shape = (64.0, 32768.0, 32.0, 8.0, 128.0)
    law = msgspec.structs.replace(LAW, key_ns=0.0)
    wide, narrow = (
        decode_attention_seconds(law, ROOF, *shape, traffic_bytes=width * 2 * 64 * 32768 * 8 * 128)
        for width in (2, 1)
    )
    assert wide / narrow == pytest.approx(2, rel=0.01)


def test_without_splits_a_single_head_waits_for_all_its_keys() -> None:
    """As FlashAttention-2 does where query heads share no keys."""
    unsplit = msgspec.structs.replace(LAW, splits_single_heads=False)
    alone, few = seconds(unsplit, 1, 65536, 8, 8, 128), seconds(LAW, 1, 65536, 8, 8, 128)
    assert alone == pytest.approx(65536 * 20e-9, rel=0.02)
    assert few < alone / 3
    shared = (1, 65536, 32, 8, 128)
    assert seconds(unsplit, *shared) == seconds(LAW, *shared)


@pytest.mark.parametrize("shape", SHAPES)
def test_corrections_are_a_polynomial(shape: tuple[int, ...]) -> None:
    """The sum of coefficients times the basis, held to ±0.7, as Horner's rule has it."""
    rng = np.random.default_rng(0)
    batch, keys, heads, kv_heads, head_dim = map(np.array, map(float, shape))
    moved = 4 * batch * head_dim * (heads + keys * kv_heads)
    basis = correction_basis(ROOF, batch, heads, kv_heads, head_dim, moved)
    assert len(basis) == CORRECTIONS == 30
    for size in (0.03, 3.0):
        coefficients = tuple(size * rng.standard_normal(CORRECTIONS))
        law = msgspec.structs.replace(LAW, corrections=coefficients)
        added = sum(c * float(one) for c, one in zip(coefficients, basis, strict=True))
        ratio = seconds(law, *shape) / seconds(LAW, *shape)
        floor = float(ROOF.seconds(0.0, moved)) / seconds(LAW, *shape)
        assert ratio == pytest.approx(max(math.exp(min(max(added, -0.7), 0.7)), floor), rel=1e-9)


def test_never_below_the_roofline() -> None:
    law = msgspec.structs.replace(
        LAW, launch_us=0.0, block_us=0.0, key_ns=0.0, split_us=0.0, split_ns=0.0, regroup_us=0.0,
        cached_bandwidth_ratio=100.0, cached_share=100.0,
    )  # fmt: skip
    keys = 2.0 ** np.arange(20)
    moved = 4 * 8 * 128 * (32 + keys * 8)
    sizes: Any = (8.0, keys, 32.0, 8.0, 128.0)
    found = decode_attention_seconds(law, ROOF, *sizes, traffic_bytes=moved)
    bound = ROOF.seconds(4 * 8 * 32 * keys * 128, moved)
    assert (found >= bound).all()
    np.testing.assert_array_equal(found[:10], bound[:10])


def test_shapes_broadcast_and_stay_finite_far_beyond_what_was_measured() -> None:
    batch, keys = np.array([[1.0], [4096.0]]), np.array([1.0, 1e3, 1e6])
    law = msgspec.structs.replace(LAW, corrections=(0.1,) * CORRECTIONS)
    for heads, kv_heads, head_dim in ((1, 1, 32), (128, 1, 256), (128, 128, 96)):
        moved = 4 * batch * head_dim * (heads + keys * kv_heads)
        found = decode_attention_seconds(
            law, ROOF, batch, keys, heads, kv_heads, head_dim, traffic_bytes=moved
        )
        assert found.shape == (2, 3)
        assert np.isfinite(found).all()
        assert (np.diff(found, axis=1) > -1e-6).all()


def test_a_law_states_its_terms() -> None:
    assert "5 µs a launch, 3 µs a wave of blocks + bytes at up to 80 %" in LAW.terms


def test_corrections_are_all_there_or_none() -> None:
    with pytest.raises(ValueError, match="give 30, or none"):
        msgspec.structs.replace(LAW, corrections=(0.1,))
