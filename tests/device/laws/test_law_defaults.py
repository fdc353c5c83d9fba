"""What a file of laws may leave out stands for a value that it may hold."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from example_laws import COLLECTIVE, MOE, experts_seconds

from roofline.device.laws import Roof, attention_seconds, matmul_seconds, pointwise_seconds
from roofline.device.laws.attention import AttentionLaw
from roofline.device.laws.collective import CollectiveLaw
from roofline.device.laws.decode_attention import DecodeAttentionLaw, decode_attention_seconds
from roofline.device.laws.encoder_attention import EncoderAttentionLaw
from roofline.device.laws.matmul import MatmulLaw, Tile
from roofline.device.laws.moe import MoeLaw
from roofline.device.laws.pointwise import PointwiseLaw

ROOF = Roof(flops_per_s=1e14, bytes_per_s=1e12, units=100, cache_bytes=4e7)
FIT: dict[str, Any] = {"rows": 1, "median_error_percent": 0.0, "p90_error_percent": 0.0}


def check(kind: type[msgspec.Struct]) -> None:
    optional = [field for field in msgspec.structs.fields(kind) if not field.required]
    assert optional
    for field in optional:
        given: Any = msgspec.to_builtins(field.default)
        assert msgspec.convert(given, field.type) == field.default, field.name


def test_a_law_of_matmuls_needs_tiles_a_launch_and_a_bandwidth() -> None:
    tiles = (Tile(rows=16, columns=16, efficiency=0.5),)
    law = MatmulLaw(**FIT, launch_us=1.0, tiles=tiles, bandwidth_fraction=0.5)
    assert matmul_seconds(law, ROOF, 8, 16, 16, weight_bytes=512, activation_bytes=512) > 1e-6
    check(MatmulLaw)
    check(Tile)


def test_a_law_of_attention_needs_seven_numbers() -> None:
    numbers = ("launch_us", "block_us", "efficiency", "head_dim_power", "longest_share")
    some: dict[str, Any] = dict.fromkeys((*numbers, "fill_keys", "bandwidth_fraction"), 0.5)
    law = AttentionLaw(**FIT, **some)
    shape = (1, 8, 8, 4, 4, 64)
    assert np.isfinite(attention_seconds(law, ROOF, *shape, causal=True, traffic_bytes=16384))
    check(AttentionLaw)


def test_a_law_of_decode_needs_ten_numbers() -> None:
    names = ("launch_us", "block_us", "block_head_dim_power", "key_ns", "group_share", "split_us")
    more = ("split_ns", "split_keys", "split_waves", "bandwidth_fraction")
    some: dict[str, Any] = dict.fromkeys((*names, *more), 0.5)
    law = DecodeAttentionLaw(**FIT, **some)
    assert np.isfinite(decode_attention_seconds(law, ROOF, 1, 8, 4, 4, 64, traffic_bytes=16384))
    check(DecodeAttentionLaw)
    check(EncoderAttentionLaw)


def test_a_law_of_vector_ops_needs_a_launch_and_a_bandwidth() -> None:
    law = PointwiseLaw(**FIT, launch_us=1.0, bandwidth_gb_per_s=100.0)
    assert pointwise_seconds(law, ROOF, traffic_bytes=1e6) > 1e-6
    check(PointwiseLaw)


def test_laws_of_experts_and_collectives_need_no_corrections() -> None:
    moe, collective = MOE, COLLECTIVE
    assert moe.rows_curve == moe.shape_corrections == ()
    assert np.isfinite(experts_seconds(moe, 8, 64, 32, 8, 2))
    assert collective.narrow_slowdown
    check(MoeLaw)
    check(CollectiveLaw)
