"""Which library's kernels a law is fitted to, and how far off it is on those of the others."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from roofline.fitting.rows import errors_percent
from roofline.model.polynomial import Array


def fitted_library(rows: Mapping[str, Any]) -> str:
    """The `source` with most rows; of equally many the last by name, then the newest.

    Empty without that column.
    """
    counts = Counter(map(str, rows.get("source", ())))
    return max(counts, key=lambda name: (counts[name], *_name_and_version(name)), default="")


def of_library(rows: Mapping[str, Any], library: str) -> dict[str, Any]:
    """The rows of one library; all of them without a column `source`."""
    if "source" not in rows:
        return dict(rows)
    mask = np.asarray(rows["source"], dtype=str) == library
    return {name: np.asarray(column)[mask] for name, column in rows.items()}


def other_library_errors(
    rows: Mapping[str, Any], library: str, predict: Callable[[Mapping[str, Any]], Array]
) -> dict[str, float | None]:
    """The fields of a law that say how far it is off on other libraries' rows of the device.

    predict: seconds of rows by the law. Both are None where only one library was measured.
    """
    names = ("median_other_library_error_percent", "p90_other_library_error_percent")
    if "source" not in rows:
        return dict.fromkeys(names)
    mask = np.asarray(rows["source"], dtype=str) != library
    if not mask.any():
        return dict.fromkeys(names)
    others = {name: np.asarray(column)[mask] for name, column in rows.items()}
    measured = np.asarray(others["time_ms"], dtype=np.float64) / 1e3
    errors = errors_percent([predict(others)], [measured])
    return dict(zip(names, errors.values(), strict=True))


def _name_and_version(source: str) -> tuple[str, list[int]]:
    """A library and its version, whose numbers compare as numbers: 2.9 is before 2.27."""
    return source.partition(" ")[0], [int(number) for number in re.findall(r"\d+", source)]
