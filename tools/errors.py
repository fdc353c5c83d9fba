"""Relative errors, and tables of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from roofline.model.polynomial import Array
from roofline.tables import grid

COLUMNS = ["Rows", "Signed median", "Median", "Mean", "p90"]
PLAIN = "Plain roofline, mean"
WITHIN = "Within the band"
_WORDS = ("On", "Op", "Kernel", "Size", "Capability", "Device", "Library", "Model", "Part", "Task")


class ErrorSummary(NamedTuple):
    """Relative errors in percent; positive: predicted to take longer than measured."""

    rows: int
    signed: float
    median: float
    mean: float
    p90: float

    @classmethod
    def of(cls, predicted: Array | None, measured: Array) -> ErrorSummary:
        assert predicted is not None
        off = 100 * (predicted / measured - 1)
        size = np.abs(off)
        median, p90 = np.quantile(size, (0.5, 0.9)).tolist()
        return cls(off.size, float(np.median(off)), median, float(np.mean(size)), p90)

    def cells(self) -> list[str]:
        signed = f"{self.signed:+.1f} %".replace("-", "−")
        return [str(self.rows), signed, *map(percent, (self.median, self.mean, self.p90))]


def percent(value: float | None) -> str:
    return "—" if value is None else f"{value:.1f} %"


def within(predicted: Array | None, measured: Array, band_percent: float) -> str:
    """Share of rows that are off by no more than the band says nine in ten are."""
    assert predicted is not None
    off = 100 * np.abs(predicted / measured - 1)
    return f"{100 * float(np.mean(off <= band_percent)):.0f} %"


def of_frame(rows: pd.DataFrame, *others: str) -> list[str]:
    """Errors of the column `predicted_s`, mean ones of others, and the share of measured times that
    are between `low_s` and `high_s`.
    """
    measured = rows["measured_s"].to_numpy()
    inside = rows["measured_s"].between(rows["low_s"], rows["high_s"])
    means = [percent(ErrorSummary.of(rows[name].to_numpy(), measured).mean) for name in others]
    own = ErrorSummary.of(rows["predicted_s"].to_numpy(), measured).cells()
    return [*own, *means, f"{100 * float(np.mean(inside)):.0f} %"]


def table(rows: list[list[str]], headers: list[str]) -> str:
    return grid(rows, headers, "github", words=_WORDS)
