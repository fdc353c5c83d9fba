"""Smooth corrections and what the laws share: against loops, and held where they are to end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from roofline.device.laws import attention, matmul
from roofline.device.laws.smooth import hats, monomials, norm4, scaled, within_cache
from roofline.device.roof import Roof
from roofline.model.polynomial import Array

ROOF = Roof(flops_per_s=1e14, bytes_per_s=1e12, units=100, cache_bytes=4e7)


def to_unit(value: float, low: float, high: float) -> float:
    """Where a value lies between −1 and 1 as its range goes from low to high; held beyond."""
    return min(max(-1 + 2 * (value - low) / (high - low), -1.0), 1.0)


def products(values: Sequence[float], degree: int) -> list[float]:
    """1, then products of one, of two, of three: the first factor changes last."""
    found, last = [1.0], [(1.0, 0)]
    for _ in range(degree):
        last = [(p * values[i], i) for p, first in last for i in range(first, len(values))]
        found += [product for product, _ in last]
    return found


def hat(value: float, nodes: Sequence[float], i: int) -> float:
    """1 at node i, 0 at the others, linear in the logarithm between, held beyond the ends."""
    value = min(max(value, nodes[0]), nodes[-1])
    for j in range(len(nodes) - 1):
        if nodes[j] <= value <= nodes[j + 1]:
            there = math.log(value / nodes[j]) / math.log(nodes[j + 1] / nodes[j])
            return {j: 1 - there, j + 1: there}.get(i, 0.0)
    raise AssertionError(value)


ATTENTION = [
    (1, 1, 1, 1, 1, 64),
    (1, 80, 80, 32, 32, 128),
    (8, 616, 2000, 32, 8, 80),
    (3, 5000, 5000, 12, 4, 96),
    (64, 1, 4096, 40, 40, 128),
    (2048, 40000, 40000, 64, 1, 256),  # beyond every range
    (1, 2, 2, 1, 1, 16),
    (1, 100, 60, 8, 8, 128),  # more queries than keys
]


@pytest.mark.parametrize("shape", ATTENTION)
def test_corrections_of_attention_are_products_that_fade(shape: tuple[int, ...]) -> None:
    batch, queries, keys, heads, kv_heads, head_dim = shape
    variables = [
        to_unit(math.log2(queries), 0, 14),  # up to 16384 queries
        to_unit(math.log2(batch * heads), 0, 12),  # 4096 heads of all sequences
        to_unit(math.log2(heads / kv_heads), 0, 4),  # 16 to a key head
        to_unit(head_dim, 32, 160),
    ]
    expected = np.array(products(variables, 3)) * min(1.0, queries / keys)
    arrays: Any = [np.array([float(size)]) for size in shape]
    found = np.concatenate(attention.correction_basis(*arrays))
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-15)


MATMUL = [
    *((1, 256, 256), (80, 4096, 4096), (616, 11008, 4096), (2048, 300, 70000)),
    *((2560, 129, 512), (1, 16512, 4096)),  # a column more than whole blocks, and a whole block
    *((4000, 512, 777), (100_000, 100_000, 100_000), (3, 10, 10), (300, 2000, 16384)),
]
WAVES = (0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0)
BOUNDS_US = (0.02, 0.1, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 128.0, 512.0, 8192.0)
ROWS = (
    *(1, 2, 4, 8, 16, 32, 48, 64, 80, 96, 128, 160, 192, 256),
    *(512, 768, 1024, 1536, 2048, 4096, 8192),
)


@pytest.mark.parametrize("bound_us", [0.01, 0.05, 0.7, 3.0, 20.0, 100.0, 2000.0, 1e5])
@pytest.mark.parametrize("shape", MATMUL)
def test_corrections_of_matmuls_are_products_and_lines_between_nodes(
    shape: tuple[int, int, int], bound_us: float
) -> None:
    m, n, k = shape
    variables = [
        to_unit(math.log2(m), 0, 13),  # up to 8192 rows
        to_unit(math.log2(n), 8, 16),  # 256 to 65536 columns, and steps in k
        to_unit(math.log2(k), 8, 16),
    ]
    waves = math.ceil(m / 64) * math.ceil(n / 128) / 100
    by_waves = [hat(waves, WAVES, i) for i in range(len(WAVES))]
    expected = [
        *products(variables, 4),
        *by_waves,
        *(one * variables[2] for one in by_waves),
        *(hat(bound_us, BOUNDS_US, i) for i in range(len(BOUNDS_US))),
        *(hat(m, ROWS, i) * one for i in range(len(ROWS)) for one in products(variables[1:], 2)),
    ]
    sizes: Any = [np.array([size]) for size in (*map(float, shape), bound_us * 1e-6)]
    found = matmul.correction_basis(ROOF, *sizes)
    np.testing.assert_allclose(found[0], expected, rtol=1e-9, atol=1e-12)


def test_lines_bend_at_their_nodes_and_nowhere_else() -> None:
    # rows of 64 in so many blocks on 100 units; k at the middle of its range, where it adds nothing
    blocks = np.arange(30.0, 800.0, 7.0)
    bounds_us = np.geomspace(0.01, 20_000, blocks.size)
    n, k = np.full(blocks.size, 128.0), np.full(blocks.size, 4096.0)
    found = matmul.correction_basis(ROOF, 64 * blocks, n, k, bounds_us * 1e-6)[:, 35:65]
    for row, count, bound_us in zip(found, blocks, bounds_us, strict=True):
        expected = [
            *(hat(count / 100, WAVES, i) for i in range(9)),
            *([0.0] * 9),
            *(hat(bound_us, BOUNDS_US, i) for i in range(12)),
        ]
        np.testing.assert_allclose(row, expected, rtol=1e-9, atol=1e-12)


def test_arrays_of_variables_give_arrays_of_products() -> None:
    x, y = np.array([2.0, -1.0]), np.array([3.0, 5.0])
    assert [list(one) for one in monomials([x, y], 2)] == [
        *([1.0, 1.0], [2.0, -1.0], [3.0, 5.0], [4.0, 1.0], [6.0, -5.0], [9.0, 25.0]),
    ]
    assert [list(one) for one in monomials([x], 0)] == [[1.0, 1.0]]


def test_a_value_between_nodes_is_shared_by_the_two_in_logarithms() -> None:
    # 2 is half way from 1 to 4, and a third of the way from 1 to 8
    np.testing.assert_allclose(hats(np.array([2.0]), (1, 4, 9)), [[0.5, 0.5, 0.0]])
    np.testing.assert_allclose(hats(np.array([2.0]), (1, 8)), [[2 / 3, 1 / 3]])
    ends = hats(np.array([0.1, 1.0, 9.0, 99.0]), (1, 4, 9))
    np.testing.assert_allclose(ends, [[1, 0, 0], [1, 0, 0], [0, 0, 1], [0, 0, 1]])


def test_a_span_is_mapped_to_minus_one_and_one_and_held_beyond() -> None:
    values: Array = np.array([0.0, 2.0, 4.0, 5.0, 6.0, 7.0])
    np.testing.assert_allclose(scaled(values, (2.0, 6.0)), [-1, -1, 0, 0.5, 1, 1])


def test_a_cache_ends_smoothly_about_its_size() -> None:
    # of twice its size 1 part in 2⁴ + 1, of half of it 16 in 17
    found = within_cache(np.array([0.0, 4.0, 8.0, 16.0, 1e9]), 8.0)
    np.testing.assert_allclose(found, [1.0, 16 / 17, 0.5, 1 / 17, 0.0], atol=1e-12)


def test_nothing_is_found_where_there_is_no_cache() -> None:
    assert list(within_cache(np.array([0.0, 1.0, 1e9]), 0.0)) == [0.0, 0.0, 0.0]
    # however small it is, it is one
    assert list(within_cache(np.array([0.25, 0.5]), 0.5)) == pytest.approx([16 / 17, 0.5])


def test_two_times_that_overlap_take_a_little_more_than_the_longer() -> None:
    # 1⁴ + 2⁴ = 17; two equal ones 2^¼ of either
    found = norm4(np.array([1.0, 3.0, 0.0]), np.array([2.0, 3.0, 7.0]))
    np.testing.assert_allclose(found, [17**0.25, 3 * 2**0.25, 7.0])
