"""Tables of measured kernels: from a file to the columns that a fit takes.

A row is a matmul (`dtype`, `m`, `n`, `k`), a fused attention kernel (`batch_size`, `tokens`,
`num_heads`, `num_key_value_heads`, `head_dim`; of decode `keys` instead of `tokens`, of encoders no
`num_key_value_heads`), a vector op (`function`, `bytes`), a mixture-of-experts MLP (`dtype`,
`num_tokens`, `hidden_size`, `inter_size`, `topk`, `num_experts`) or a collective (`op`, `dtype`,
`num_gpus`, `message_size`), with `time_ms` or `time_s`. What it is may stand in a column `op`; else
the table's columns tell. Public databases and `roofline calibrate --measurements` are both of this
form.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd

from roofline.device.kernel_types import OTHER_NAMES, attention_kernel
from roofline.fitting.fitters import FITTERS
from roofline.fitting.rows import FitError
from roofline.units import MILLI


def read_table(path: str | Path) -> pd.DataFrame:
    """A Parquet or CSV file. Raises FitError for what cannot be read."""
    file = Path(path)
    try:
        if file.is_fifo():
            raise FitError(f"cannot read {file}: it is a pipe, which may never end")
        if file.suffix.lower() in (".parquet", ".pq"):
            if find_spec("pyarrow") is None:
                raise FitError(f"reading {file} needs pyarrow: pip install '.[fit]'")
            return pd.read_parquet(file)
        return pd.read_csv(file)
    except OSError as error:
        raise FitError(f"cannot read {file}: {error.strerror or error}") from None
    except (ValueError, UnicodeDecodeError) as error:  # pandas and pyarrow: what is no such table
        if isinstance(error, FitError):
            raise
        reason = (str(error).splitlines() or ["no table"])[0]
        raise FitError(f"{file} is neither Parquet nor CSV: {reason}") from None


def by_family(table: pd.DataFrame, name: str = "the table") -> dict[str, pd.DataFrame]:
    """The rows of each family of kernels that there are any of, times in `time_ms`.

    Rows whose `op` is no family that can be fitted, such as copies that measure bandwidth, are left
    out. Raises FitError.
    """
    table = _in_milliseconds(table, name)
    fitters = {family: FITTERS.find(family) for family in FITTERS.names()}
    families: dict[str, pd.DataFrame] = {}
    for family, fitter in fitters.items():
        needed = fitter.columns
        lacking = [column for column in needed if column not in table]
        if "op" in table:
            rows = table[table["op"].isin(fitter.ops or (family,))]
            if len(rows) and lacking:
                raise FitError(
                    f"{name} lacks the columns {', '.join(lacking)} of its {family} rows"
                )
        else:
            other = lacking or any(column in table for column in fitter.without)
            rows = table.iloc[:0] if other else table[table[list(needed)].notna().any(axis=1)]
        if len(rows):
            empty = [name for name in rows if name != "time_ms" and rows[name].isna().all()]
            families[family] = rows.drop(columns=empty)
    if not families:
        forms = "; ".join(
            f"{family}: {', '.join(fitter.columns)}" for family, fitter in fitters.items()
        )
        raise FitError(f"{name} has none of the sets of columns that a fit takes ({forms})")
    return families


def of_device(table: pd.DataFrame, names: Sequence[str]) -> tuple[pd.DataFrame, int]:
    """Rows whose `hardware` is one of the names (all, without such a column), and how many not.

    Raises FitError if there are none.
    """
    if "hardware" not in table:
        return table, 0
    known = {name.lower() for name in names}
    mine = table["hardware"].astype(str).str.lower().isin(known)
    if not mine.any():
        have = ", ".join(sorted(table["hardware"].astype(str).unique()))
        raise FitError(
            f"no rows of {names[0]}; the hardware measured is {have}: "
            "name one of them with --hardware"
        )
    return table[mine], int((~mine).sum())


def by_kernel(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Rows by kernel or data type, under our names. Raises FitError without that column."""
    if "dtype" not in rows:
        raise FitError("measurements lack the column dtype, which says what kernel they are of")
    named = rows["dtype"].astype(str).replace(OTHER_NAMES)
    return {name: rows[named == name] for name in named.unique()}


def by_kernel_and_cache(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Rows of attention by data type and, where a column `kv_dtype` names another, that of the
    cache: `bf16`, `bf16-fp8kv`. Raises FitError without data types.
    """
    if "kv_dtype" in rows and "dtype" in rows:
        own = rows["dtype"].astype(str)
        cache = rows["kv_dtype"].fillna(rows["dtype"]).astype(str)
        rows = rows.assign(dtype=list(map(attention_kernel, own, cache)))
    return by_kernel(rows)


def _in_milliseconds(table: pd.DataFrame, name: str) -> pd.DataFrame:
    if "time_ms" in table:
        return table
    if "time_s" not in table:
        have = ", ".join(map(str, table.columns)) or "none"
        raise FitError(f"{name} lacks the column time_ms (or time_s); there are {have}")
    seconds = pd.to_numeric(table["time_s"], errors="coerce")
    return table.assign(time_ms=np.asarray(seconds, dtype=np.float64) / MILLI)
