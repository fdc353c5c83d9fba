"""Tables of measurements: which rows are of which kernel, and what is left out."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from roofline.fitting import tables
from roofline.fitting.rows import FitError
from roofline.fitting.tables import by_family, by_kernel, of_device, read_table

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


def test_a_table_of_one_family_is_asked_for_no_columns_of_others() -> None:
    rows = pd.DataFrame([{"op": "pointwise", "bytes": 1, "time_ms": 1.0}])
    assert set(by_family(rows)) == {"pointwise"}


def test_a_row_that_lacks_a_size_is_kept_for_the_fit_to_name() -> None:
    rows = pd.DataFrame([MATMUL, MATMUL | {"n": None}, VECTOR, VECTOR | {"time_ms": None}])
    families = by_family(rows)

    assert len(families["matmul"]) == 2
    assert np.isnan(families["matmul"].n.iloc[1])
    assert np.isnan(families["pointwise"].time_ms.iloc[1])
    # times that are all missing are a column still
    no_times = by_family(pd.DataFrame([MATMUL | {"time_ms": None}]))["matmul"]
    assert "time_ms" in no_times


def test_a_table_without_times_is_refused_by_name_with_what_it_has() -> None:
    message = r"^mine\.csv lacks the column time_ms \(or time_s\); there are bytes, op$"
    with pytest.raises(FitError, match=message):
        by_family(pd.DataFrame([{"bytes": 1, "op": "copy"}]), "mine.csv")
    with pytest.raises(FitError, match=r"there are none$"):
        by_family(pd.DataFrame(), "mine.csv")


def test_a_table_of_other_devices_is_refused_with_their_names() -> None:
    table = pd.DataFrame({"hardware": ["t4", "h100", "t4"], "m": [1, 2, 3]})
    with pytest.raises(FitError, match=r"^no rows of a100; the hardware measured is h100, t4: "):
        of_device(table, ("a100", "A100-SXM"))


def test_kernels_are_told_by_their_type_or_refused() -> None:
    with pytest.raises(FitError, match="lack the column dtype"):
        by_kernel(pd.DataFrame({"m": [1]}))


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


def test_a_table_is_read_by_its_suffix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pd.DataFrame([VECTOR]).to_csv(tmp_path / "kernels.txt", index=False)
    assert list(read_table(tmp_path / "kernels.txt").bytes) == [5]
    for name in ("kernels.parquet", "KERNELS.PQ"):
        monkeypatch.setattr(tables, "find_spec", lambda module: None)
        with pytest.raises(FitError, match=r"^reading .* needs pyarrow: pip install '.\[fit\]'"):
            read_table(tmp_path / name)
        monkeypatch.setattr(tables, "find_spec", lambda module: module)
        monkeypatch.setattr(pd, "read_parquet", lambda file: file.name)
        assert read_table(str(tmp_path / name)) == name


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (FileNotFoundError(2, "No such file"), r"^cannot read x\.csv: No such file$"),
        (OSError("gone"), r"^cannot read x\.csv: gone$"),
        (ValueError("odd line 3\nand more"), r"^x\.csv is neither Parquet nor CSV: odd line 3$"),
        (ValueError(""), r"^x\.csv is neither Parquet nor CSV: no table$"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    def fail(file: Path) -> None:
        raise error

    monkeypatch.setattr(pd, "read_csv", fail)
    with pytest.raises(FitError, match=message):
        read_table("x.csv")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "rows.csv")
    with pytest.raises(FitError, match="it is a pipe, which may never end"):
        read_table(tmp_path / "rows.csv")
