"""Operands that no cache holds when they come round again."""

from __future__ import annotations

import pytest
import torch

from roofline.torch_side.calibrate import microbench
from roofline.torch_side.calibrate.microbench import AttentionSize, Bench
from roofline.torch_side.calibrate.operands import Ring, quantized_layers, weights
from roofline.torch_side.calibrate.selection import Modes, chosen_benches
from roofline.torch_side.low_bit import FourBitWeights

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
MIB = 2.0**20


def test_a_pool_gives_other_weights_each_time_until_it_is_through() -> None:
    pool = weights(100, torch.float32, CPU)
    # 100 bytes are 3 matrices of 40, and 2 of 400: one alone would stay in the cache
    small = [pool.take(2, 5).data_ptr() for _ in range(6)]
    large = [pool.take(10, 10).data_ptr() for _ in range(4)]

    assert len(set(small)) == 3 == pool.turn(2, 5)
    assert small[:3] == small[3:]
    assert len(set(large)) == 2 == pool.turn(10, 10)


def test_quantized_weights_fill_their_pool_as_narrow_as_they_are() -> None:
    """4 KiB are four matrices [32, 64] of 4 bits, not one of 16."""
    pool = quantized_layers(4096, FourBitWeights, 4, CPU)
    assert pool.turn(32, 64) == 4
    layers = [pool.take(32, 64) for _ in range(8)]

    packed = [layer.packed for layer in layers]
    assert len({each.data_ptr() for each in packed}) == 4
    assert packed[0] is packed[4]
    assert all(torch.equal(each, packed[0]) for each in packed)
    assert pool.take(48, 64).out_features == 48


def test_a_ring_goes_round() -> None:
    ring = Ring(40, torch.float32, CPU)  # ten numbers
    assert ring.turn(3) == 3
    stretches = [ring.take(3) for _ in range(4)]

    first = stretches[0].data_ptr()
    assert [(each.data_ptr() - first) // 4 for each in stretches] == [0, 3, 6, 0]
    assert ring.turn(30) == 1


def addresses(bench: Bench, calls: int, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Of the keys and values that each call reads."""
    seen: list[tuple[int, int]] = []

    def attend(q: object, k: torch.Tensor, v: torch.Tensor, *, is_causal: bool) -> torch.Tensor:
        seen.append((k.data_ptr(), v.data_ptr()))
        return k

    run = bench.make()
    monkeypatch.setattr(microbench.functional, "scaled_dot_product_attention", attend)
    for _ in range(calls):
        run()
    return seen


def test_decode_reads_other_keys_each_time_prompts_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shapes = [AttentionSize(1, 1, 64, 2, 16), AttentionSize(1, 64, 64, 2, 16)]
    decode, prompt = microbench.attention("fp32", CPU, shapes, 64 * 1024)
    # keys and values are 2 · 64 · 2 · 16 numbers, 16 KiB: four pairs of them
    assert (decode.turn, prompt.turn) == (4, 1)

    seen = addresses(decode, 8, monkeypatch)
    assert len({address for pair in seen[:4] for address in pair}) == 8
    assert seen[:4] == seen[4:]
    assert len(set(addresses(prompt, 3, monkeypatch))) == 1


def test_an_embedding_looks_up_other_rows_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    *_, bench = microbench.vector_ops("fp32", CPU, [(4, 8)], 1024)
    assert bench.row["function"] == "embedding"
    assert bench.turn == 8  # 1 KiB holds eight times four rows of 32 bytes
    ids: list[int] = []
    monkeypatch.setattr(
        microbench.functional, "embedding", lambda rows, table: ids.extend(rows.ravel().tolist())
    )
    run = bench.make()
    for _ in range(bench.turn):
        run()

    assert sorted(ids) == list(range(32))


@pytest.mark.parametrize(("hip", "least_bytes"), [(None, 300 * MIB), ("6.4", 1024 * MIB)])
def test_a_gpu_s_cold_operands_are_several_times_its_cache(
    monkeypatch: pytest.MonkeyPatch, hip: str | None, least_bytes: float
) -> None:
    """Of a cache of 50 MiB, which would hold the weights of twenty matmuls of 1024 by 1024; HIP
    does not name the Infinity Cache behind it.
    """
    monkeypatch.setattr(torch.version, "hip", hip)
    parts = chosen_benches(CUDA, Modes(["fp16"], []), 50 * MIB, 80 * 1024 * MIB)
    for bench in parts["matmul"]:
        assert bench.turn * 2 * bench.row["n"] * bench.row["k"] >= least_bytes
    for bench in parts["attention"]:
        row = bench.row
        cached = 2 * 2 * row["batch_size"] * row["keys"] * row["num_heads"] * row["head_dim"]
        if row["tokens"] < row["keys"]:
            # the last stretch that does not fit is left out
            assert (bench.turn + 1) * cached > least_bytes
        else:
            assert bench.turn == 1


def test_pools_leave_room_where_memory_is_short() -> None:
    parts = chosen_benches(CUDA, Modes(["fp16"], []), 50 * MIB, 3200 * MIB)

    assert {bench.turn * 2 for bench in parts["matmul"] if bench.group == ("fp16", 1024, 1024)} == {
        100
    }
