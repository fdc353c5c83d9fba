"""Where fits start: tiles as libraries have them, in numbers that a law may have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from roofline.device.kernel_types import MATMUL_KERNELS
from roofline.device.laws.matmul import MatmulLaw, Tile
from roofline.fitting.initial_guesses import GPU, LOW_BIT, SM89_FP8, SM90_FP8, UNSPLIT, starts
from roofline.specs.catalog import all_hardware

KERNELS = [*MATMUL_KERNELS, "cpu"]
FITTED = {
    f"{device.name} {kernel}": (kernel, law)
    for device in all_hardware()
    if device.kernel_laws is not None
    for kernel, law in device.kernel_laws.of(MatmulLaw).items()
}


def tried(kernel: str) -> tuple[MatmulLaw, ...]:
    """What a fit of that kernel tries."""
    width = MATMUL_KERNELS.get(kernel, MATMUL_KERNELS["fp32"])
    return starts("cpu" if kernel == "cpu" else "gpu", width.weight, width.input)


def limits(tile: Tile) -> tuple[float | None, ...]:
    return tile.rows, tile.columns, tile.m_over, tile.m_up_to, tile.n_over, tile.n_up_to


def sm89(m: int, n: int) -> tuple[int, int]:
    """On Ada, `cutlass_w8a8/scaled_mm_c2x_sm89_fp8_dispatch.cuh`: GemmShape by m and n.

    Up to 16 rows it has blocks of 16, which wait for the same weights; those go for blocks of 32.
    """
    if m <= 64:
        return (32 if m <= 32 else 64), (128 if 8192 < n <= 16384 else 64)
    if m <= 128:
        return (64, 128) if n <= 8192 else (128, 128) if n <= 16384 else (128, 64)
    if m <= 256:
        return (64, 128) if n <= 4096 else (128, 128)
    return (256, 128) if 4096 < n <= 8192 else (128, 128)


def sm90(m: int, n: int) -> tuple[int, int]:
    """On Hopper, `cutlass_w8a8/c3x/scaled_mm_sm90_fp8_dispatch.cuh`: TileShape by m and n.

    Up to 64 rows it swaps operands, so that a TileShape of 64 × 16 is 16 rows of 64 columns.
    """
    if m <= 64:
        return (16, 64) if m <= 16 or n <= 1280 else (64, 64)
    return (64, 128) if m <= 128 else (128, 128)


@pytest.mark.parametrize(("number", "published"), [(2, sm89), (3, sm90)])
def test_fp8_tiles_are_those_that_vllm_dispatches(
    number: int, published: Callable[[int, int], tuple[int, int]]
) -> None:
    law = tried("fp8")[number]
    edges = (1, 16, 32, 64, 128, 256, 1280, 4096, 8192, 16384, 10**6)
    for m in (*edges, *(edge + 1 for edge in edges)):
        for n in (*edges, *(edge + 1 for edge in edges)):
            offered = [
                (tile.rows, tile.columns)
                for tile in law.tiles
                if tile.m_over < m <= (tile.m_up_to or m) and tile.n_over < n <= (tile.n_up_to or n)
            ]
            assert offered == [published(m, n)], (m, n)


@pytest.mark.parametrize("name", FITTED)
def test_laws_that_ship_have_the_tiles_of_a_library_that_their_fit_tried(name: str) -> None:
    kernel, law = FITTED[name]
    known = [(list(map(limits, start.tiles)), start.splits) for start in tried(kernel)]
    assert (list(map(limits, law.tiles)), law.splits) in known


def test_every_library_has_made_a_law_that_ships() -> None:
    made = {tuple(map(limits, law.tiles)) for _, law in FITTED.values()}
    assert {tuple(map(limits, law.tiles)) for law in tried("fp8")} == made


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_start_is_a_law_that_a_file_may_hold(kernel: str) -> None:
    for start in tried(kernel):
        read: Any = msgspec.convert(msgspec.to_builtins(start), MatmulLaw)
        assert read == start
        # nor is any fraction 0 or 1, whose odds a fit could not move
        fractions = [start.bandwidth_fraction, *(tile.efficiency for tile in start.tiles)]
        assert 0 < min(fractions) <= max(fractions) < 1


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_block_is_whole_instructions(kernel: str) -> None:
    """Tensor cores multiply 16 rows by 8 columns at once; an AVX-512 register holds 16 columns."""
    for start in tried(kernel):
        for tile in start.tiles:
            assert tile.columns % 16 == 0
            assert tile.rows % 16 == 0 or tile.rows in (1, 2, 4)
    if kernel == "cpu":  # a single row wastes nothing
        assert min(tile.rows for tile in tried(kernel)[0].tiles) == 1


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_block_that_holds_another_is_no_less_efficient(kernel: str) -> None:
    # it reuses operands more; but for fp8's 256 × 128, which Ada's registers hardly hold
    for start in tried(kernel):
        ada = start.tiles == SM89_FP8.tiles
        tiles = [tile for tile in start.tiles if tile.rows < 256 or not ada]
        for small in tiles:
            for large in tiles:
                if large.rows >= small.rows and large.columns >= small.columns:
                    same = (large.rows, large.columns) == (small.rows, small.columns)
                    assert same or large.efficiency >= small.efficiency, (small, large)


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_kernel_streams_as_well_as_a_copy_does(kernel: str) -> None:
    # copies reach 80 to 90 % of the bandwidth
    for start in tried(kernel):
        assert 0.8 <= start.bandwidth_fraction <= 0.9


@pytest.mark.parametrize("kernel", ["fp8", "w8a8", "fp4"])
def test_inputs_of_8_bits_or_fewer_are_quantized_by_passes_rows_and_steps(kernel: str) -> None:
    for start in tried(kernel):
        assert min(start.quantizing_passes, start.quantizing_row_ns, start.quantizing_k_ns) > 0
        assert start.packing_passes == 0


@pytest.mark.parametrize("kernel", ["w8a16", "w4a16"])
def test_narrow_weights_of_wide_inputs_are_unpacked_and_inputs_perhaps_quantized(
    kernel: str,
) -> None:
    laws = tried(kernel)
    assert [start.tiles for start in laws] == [
        start.tiles for start in (GPU, UNSPLIT, *LOW_BIT, SM90_FP8)
    ]
    for start in laws:
        assert min(start.packing_passes, start.quantizing_passes, start.quantizing_row_ns) > 0
    # the steps in k cost something where inputs are quantized for sure
    assert [start.quantizing_k_ns > 0 for start in laws] == [False] * 4 + [True]


def test_kernels_without_tensor_cores_go_for_a_few_rows_and_their_successors_for_more() -> None:
    for few, law in zip((4, 8), tried("w8a8")[4:], strict=True):
        without, with_cores, *others = law.tiles
        assert (without.rows, without.m_up_to, with_cores.m_up_to) == (2, few, few)
        assert {tile.m_over for tile in others} == {few}
        assert [msgspec.structs.replace(tile, m_over=0) for tile in others] == list(GPU.tiles)


def test_a_split_loop_costs_and_an_unsplit_one_does_not() -> None:
    split, unsplit = tried("bf16")
    assert split.splits[0] == 1 < split.splits[1]
    assert split.split_us > 0
    assert split.split_bandwidth_ratio
    assert (unsplit.splits, unsplit.split_us, unsplit.split_bandwidth_ratio) == ((1,), 0.0, None)
