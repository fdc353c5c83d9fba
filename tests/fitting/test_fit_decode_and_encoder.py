"""Fits of decode and encoder attention find again what made their tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest

from roofline.device.laws.decode_attention import DecodeAttentionLaw, decode_attention_seconds
from roofline.device.laws.encoder_attention import EncoderAttentionLaw, encoder_attention_seconds
from roofline.device.roof import Roof
from roofline.fitting import FitError
from roofline.fitting.decode_attention import GPU as DECODE
from roofline.fitting.decode_attention import fit_decode_attention
from roofline.fitting.device import fit_device
from roofline.fitting.encoder_attention import CPU_START, GPU_STARTS, fit_encoder_attention
from roofline.fitting.tables import by_family
from roofline.specs.catalog import load_hardware

ROOF = Roof(flops_per_s=3e14, bytes_per_s=2e12, units=108, cache_bytes=4e7)
LABELS: dict[str, Any] = {"source": "kernels", "date": "2026-01-01"}
MEASURED = Path(__file__).resolve().parents[2].parent / "shared" / "measured"


def noisy(seconds: Any) -> Any:
    """Milliseconds, with the noise of a measurement."""
    return 1e3 * seconds * np.exp(0.02 * np.random.default_rng(0).standard_normal(seconds.size))


def decode_table(law: DecodeAttentionLaw, cache_bytes: float = 2.0) -> dict[str, Any]:
    batch, keys, heads, group, head_dim = (
        a.ravel().astype(float)
        for a in np.meshgrid(
            [1, 8, 64], [16, 128, 700, 4096, 30000], [8, 32, 48], [1, 4, 8], [64, 128]
        )
    )
    kv_heads = heads / group
    moved = 2 * batch * head_dim * (2 * heads + cache_bytes * keys * kv_heads)
    shape = (batch, keys, heads, kv_heads, head_dim)
    names = ("batch_size", "keys", "num_heads", "num_key_value_heads", "head_dim")
    times = decode_attention_seconds(law, ROOF, *shape, traffic_bytes=moved)
    return {**dict(zip(names, shape, strict=True)), "time_ms": noisy(times)}


def encoder_table(law: EncoderAttentionLaw, roof: Roof = ROOF) -> dict[str, Any]:
    batch, tokens, heads, head_dim = (
        a.ravel().astype(float)
        for a in np.meshgrid(
            [1, 4, 32], [50, 196, 400, 577, 1024, 2304, 5000], [1, 12, 16], [64, 72, 80]
        )
    )
    moved = 8 * batch * tokens * heads * head_dim
    times = encoder_attention_seconds(
        law, roof, batch, tokens, heads, head_dim, traffic_bytes=moved
    )
    names = ("batch_size", "tokens", "num_heads", "head_dim")
    shape = (batch, tokens, heads, head_dim)
    return {**dict(zip(names, shape, strict=True)), "time_ms": noisy(times)}


@pytest.mark.parametrize("single", [True, False])
def test_finds_a_decode_law_again(single: bool) -> None:
    truth = msgspec.structs.replace(
        DECODE, launch_us=6.0, key_ns=20.0, bandwidth_fraction=0.7, splits_single_heads=single
    )
    rows = decode_table(truth)
    law = fit_decode_attention(rows, ROOF)

    assert law.splits_single_heads is single
    assert law.rows == 270
    assert law.median_error_percent < 3
    assert law.launch_us == pytest.approx(6, rel=0.2)
    assert law.bandwidth_fraction == pytest.approx(0.7, rel=0.1)


def test_a_decode_law_counts_a_cache_of_one_byte_as_such() -> None:
    truth = msgspec.structs.replace(DECODE, bandwidth_fraction=0.7)
    law = fit_decode_attention(decode_table(truth, cache_bytes=1.0), ROOF, kernel="bf16-fp8kv")
    assert law.bandwidth_fraction == pytest.approx(0.7, rel=0.1)
    with pytest.raises(FitError, match="dtype must be one of"):
        fit_decode_attention(decode_table(truth), ROOF, kernel="w4a16")


@pytest.mark.parametrize("start", GPU_STARTS[1:], ids=lambda start: str(start.block_queries))
def test_finds_the_blocks_of_an_encoder_again(start: EncoderAttentionLaw) -> None:
    law = fit_encoder_attention(encoder_table(start), ROOF)
    assert law.forms == ("encoder",)

    blocks = ("block_queries", "key_block", "wide_key_block")
    assert [getattr(law, name) for name in blocks] == [getattr(start, name) for name in blocks]
    assert law.median_error_percent < 3
    assert law.kv_write_passes == 0  # there is no cache


def test_an_encoder_on_a_cpu_gets_no_corrections() -> None:
    roof = Roof(flops_per_s=2e11, bytes_per_s=2e10, units=2, cache_bytes=3e7)
    law = fit_encoder_attention(encoder_table(CPU_START, roof), roof, kind="cpu")
    assert not law.corrections
    assert law.median_error_percent < 3


def test_columns_tell_decode_and_encoders_from_prompts() -> None:
    decode, encoder = (
        pd.DataFrame(table) for table in (decode_table(DECODE), encoder_table(GPU_STARTS[0]))
    )
    prompts = encoder.assign(num_key_value_heads=encoder.num_heads)
    assert set(by_family(decode)) == {"decode_attention"}
    assert set(by_family(encoder)) == {"encoder_attention"}
    assert set(by_family(prompts)) == {"attention"}
    mixed = pd.concat([decode.assign(op="decode_attention"), prompts.assign(op="attention")])
    assert {family: len(rows) for family, rows in by_family(mixed).items()} == {
        "decode_attention": len(decode),
        "attention": len(prompts),
    }


def test_a_law_is_held_against_the_other_library_of_its_table() -> None:
    own = pd.DataFrame(decode_table(DECODE)).assign(source="one 1.0")
    other = own.assign(source="other 2.0", time_ms=1.25 * own.time_ms).head(200)
    rows = pd.concat([own, other]).assign(dtype="bf16", kv_dtype="bf16")
    hardware = load_hardware("a100")
    laws = fit_device(hardware, {"decode_attention": rows}, **LABELS).of(DecodeAttentionLaw)

    law = laws["bf16"]
    assert law.library == "one 1.0"
    assert law.rows == len(own)
    assert law.median_other_library_error_percent == pytest.approx(20, abs=1)  # 1 − 1/1.25
    wanted = {"decode_attention": "other"}
    laws = fit_device(hardware, {"decode_attention": rows}, libraries=wanted, **LABELS).of(
        DecodeAttentionLaw
    )
    assert laws["bf16"].library == "other 2.0"


def test_a_cache_of_another_type_is_a_kernel_of_its_own() -> None:
    rows = pd.DataFrame(decode_table(DECODE)).assign(dtype="bf16", kv_dtype="bf16")
    narrow = pd.DataFrame(decode_table(DECODE, cache_bytes=1.0))
    both = pd.concat([rows, narrow.assign(dtype="bf16", kv_dtype="fp8")])
    laws = fit_device(load_hardware("a100"), {"decode_attention": both}, **LABELS)
    assert list(laws.of(DecodeAttentionLaw)) == ["bf16", "bf16-fp8kv"]


@pytest.mark.skipif(not MEASURED.is_dir(), reason="no measurements beside the project")
@pytest.mark.parametrize(
    ("device", "name", "kernel", "median"),
    [("h100-sxm", "h100-sxm", "bf16", 4.0), ("l40s", "l40s", "bf16", 4.0)],
)
def test_measured_decode_is_held_to(device: str, name: str, kernel: str, median: float) -> None:
    rows = pd.read_parquet(MEASURED / "attention_decode.parquet")
    rows = rows[(rows.hardware == name) & (rows.kv_dtype == kernel)]
    measured = {"decode_attention": rows}
    laws = fit_device(load_hardware(device), measured, **LABELS).of(DecodeAttentionLaw)
    assert laws[kernel].median_error_percent < median


@pytest.mark.skipif(not MEASURED.is_dir(), reason="no measurements beside the project")
def test_measured_encoders_are_held_to() -> None:
    """A quarter of the shapes of images, of which the fit sees none."""
    rows = pd.read_parquet(MEASURED / "attention_encoder.parquet")
    rows = rows[rows.hardware == "h100-sxm"]
    wanted = {"encoder_attention": "vllm"}
    laws = fit_device(
        load_hardware("h100-sxm"), {"encoder_attention": rows}, libraries=wanted, **LABELS
    ).of(EncoderAttentionLaw)
    assert laws["bf16"].median_error_percent < 6
    assert laws["bf16"].block_queries == 192  # FlashAttention-3's of heads of 64
