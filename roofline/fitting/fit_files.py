"""From files of measurements to a device's spec with laws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd
from msgspec.structs import replace

from roofline.fitting.device import fit_device
from roofline.fitting.rows import FitError
from roofline.fitting.tables import Kind, by_kind, of_device, read_table
from roofline.specs.hardware import Hardware
from roofline.specs.kernel_laws import KernelLaws, Origin

SOURCE = "kernels"
"""Key of the measurements among the sources of a fitted spec."""


class Fitted(NamedTuple):
    """A device with laws, and how many rows were of others."""

    hardware: Hardware
    left_out: int


def fitted(
    base: Hardware,
    files: Sequence[str],
    *,
    called: str | None = None,
    like: str | None = None,
    source: str,
    date: str,
    origin: Origin = "fitted",
) -> Fitted:
    """The device with laws of every kernel in the files; laws of kernels not in them are kept.

    called: its name in the column `hardware`; left out, that of `base` or one of its aliases.
    like: goes to `laws_from`. source, date, origin: what the laws say of their rows.

    Raises FitError, UnsupportedModeError.
    """
    names = (called,) if called else (base.name, *base.aliases)
    measured: dict[Kind, list[pd.DataFrame]] = {}
    left_out = 0
    for file in files:
        rows, others = of_device(read_table(file), names)
        left_out += others
        for kind, some in by_kind(rows, file).items():
            measured.setdefault(kind, []).append(some)
    tables = {kind: pd.concat(parts, ignore_index=True) for kind, parts in measured.items()}
    laws = fit_device(base, tables, source=SOURCE, date=date, origin=origin)
    if base.kernel_laws is not None:
        laws = _added(laws, base.kernel_laws)
    like = like or base.laws_from
    lacking = [kind for kind in ("matmul", "attention") if not getattr(laws, kind)]
    if lacking and like is None:
        raise FitError(
            f"no {lacking[0]} rows for {base.name}: name with --like a device whose laws to take"
        )
    sources = {**base.sources, SOURCE: source}
    return Fitted(replace(base, kernel_laws=laws, laws_from=like, sources=sources), left_out)


def _added(new: KernelLaws, old: KernelLaws) -> KernelLaws:
    """New laws, and old ones of what was not measured anew."""

    def kept(kind: str) -> dict[str, object]:
        laws = {
            name: law if law.origin or old.origin == new.origin else replace(law, origin=old.origin)
            for name, law in getattr(old, kind).items()
        }
        return {**laws, **getattr(new, kind)}

    return replace(
        new, **{kind: kept(kind) for kind in ("matmul", "attention", "pointwise")}, host=old.host
    )
