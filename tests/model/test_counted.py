"""What an op asks of each resource, by hand."""

from __future__ import annotations

from typing import Any

import pytest

from roofline.model.counted import AMOUNTS, TRAFFIC, Amounts, CountedOp
from roofline.model.polynomial import Polynomial

B = Polynomial.variable("batch")
FIGURES = {name: (i + 1) * B for i, name in enumerate(AMOUNTS)}
"""flops 1·B, vector_flops 2·B, and traffic of 3 to 7 bytes each sequence."""


def op(unit: Any, **more: Any) -> CountedOp:
    return CountedOp("op", "linear", unit, "prefill", 1, Amounts(**FIGURES), **more)


def test_traffic_is_all_bytes_and_no_flops() -> None:
    assert set(AMOUNTS) - set(TRAFFIC) == {"flops", "vector_flops"}
    assert op("matmul").traffic == (3 + 4 + 5 + 6 + 7) * B


@pytest.mark.parametrize("unit", ["matmul", "attention"])
def test_a_matmul_and_its_vector_work_use_two_units(unit: str) -> None:
    assert op(unit).amounts_at == {"tensor": B, "vector": 2 * B, "dram": 25 * B}


def test_what_a_vector_op_multiplies_vector_units_do() -> None:
    assert op("vector").amounts_at == {"vector": 3 * B, "dram": 25 * B}


def test_what_is_elsewhere_comes_beside_it() -> None:
    assert op("matmul", elsewhere={"link": 9 * B}).amounts_at == {
        **op("matmul").amounts_at,
        "link": 9 * B,
    }
