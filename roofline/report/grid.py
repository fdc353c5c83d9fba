"""Text tables, laid out by tabulate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tabulate

tabulate.MIN_PADDING = 0  # headers two characters wider than their columns cost 80 columns


def grid(
    rows: Sequence[Sequence[Any]],
    headers: Sequence[str],
    style: str = "simple",
    *,
    words: Sequence[str] = (),
    widths: Sequence[int | None] | None = None,
) -> str:
    """First column and `words` to the left, numbers to the right; cells wrap at their `widths`."""
    align = ["left" if h == headers[0] or h in words else "right" for h in headers]
    return tabulate.tabulate(
        rows, headers, tablefmt=style, colalign=align, maxcolwidths=widths, disable_numparse=True
    )
