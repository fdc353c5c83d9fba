"""Tables of measurements: which rows are of which kernel, and what is left out."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from roofline.fitting.rows import FitError
from roofline.fitting.tables import by_family, by_kernel, of_device

MATMUL = {"dtype": "bf16", "m": 1, "n": 2, "k": 3, "time_ms": 4.0}
VECTOR = {"function": "rms_norm", "bytes": 5, "time_ms": 6.0}


def test_columns_tell_what_a_row_is() -> None:
    families = by_family(pd.DataFrame([MATMUL, VECTOR, MATMUL | {"m": 7}]))

    assert set(families) == {"matmul", "pointwise"}
    assert list(families["matmul"].m) == [1, 7]
    assert list(families["pointwise"].bytes) == [5]
    # what means nothing for a family is no column of its table
    assert "bytes" not in families["matmul"]
    assert "m" not in families["pointwise"]


def test_a_column_op_goes_before_that() -> None:
    rows = pd.DataFrame([MATMUL | {"op": "matmul"}, VECTOR | {"op": "copy"}])

    assert set(by_family(rows)) == {"matmul"}


def test_a_row_that_says_matmul_has_its_columns() -> None:
    rows = pd.DataFrame([{"op": "matmul", "m": 1, "n": 2, "time_ms": 1.0}])

    with pytest.raises(FitError, match="it lacks the columns k of its matmul rows"):
        by_family(rows, "it")


def test_a_table_of_nothing_that_is_fitted_is_refused() -> None:
    with pytest.raises(FitError, match=r"none of the sets .*matmul: m, n, k.*pointwise: bytes"):
        by_family(pd.DataFrame([{"op": "copy", "time_ms": 1.0}]))


def test_seconds_are_as_good_as_milliseconds() -> None:
    rows = pd.DataFrame([{"bytes": 1, "time_s": 0.25}, {"bytes": 2, "time_s": "soon"}])

    times = by_family(rows)["pointwise"].time_ms
    assert times[0] == 250
    assert np.isnan(times[1])  # for the fit to name
    both = by_family(rows.assign(time_ms=3.0))["pointwise"]
    assert list(both.time_ms) == [3, 3]


def test_rows_of_other_devices_are_counted() -> None:
    table = pd.DataFrame({"hardware": ["A100", "t4", "a100-sxm", "h100"], "m": [1, 2, 3, 4]})
    mine, others = of_device(table, ("a100", "A100-SXM"))

    assert list(mine.m) == [1, 3]
    assert others == 2
    assert of_device(table.drop(columns="hardware"), ("a100",))[1] == 0


def test_kernels_go_by_our_names_in_the_order_of_the_table() -> None:
    rows = pd.DataFrame({"dtype": ["nvfp4", "int8", "fp4", "bf16"], "m": [1, 2, 3, 4]})
    kernels = by_kernel(rows)

    assert list(kernels) == ["fp4", "w8a8", "bf16"]
    assert list(kernels["fp4"].m) == [1, 3]
