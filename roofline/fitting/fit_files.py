"""From files of measurements to a device's spec with laws, or with a correction of those it has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd
from msgspec.structs import replace

from roofline.fitting.device import fit_device
from roofline.fitting.rows import WHERE, FitError
from roofline.fitting.tables import by_family, of_device, read_table
from roofline.fitting.whole_models import fit_whole_models
from roofline.fitting.whole_rows import MODEL, WholeModelTime, whole_model_times
from roofline.specs.hardware import Hardware
from roofline.specs.kernel_laws import ESSENTIAL_FAMILIES, AnyLaw, KernelLaws, Law, Origin

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
    measured_as: str | None = None,
    laws_from: str | None = None,
    source: str,
    date: str,
    origin: Origin = "fitted",
) -> Fitted:
    """The device with laws of every kernel in the files; laws of kernels not in them are kept.

    Tables with a column `model`, of whole models, correct all of these; `whole_rows` has their
    columns.

    measured_as: name of the device in the column `hardware`; left out, that of `base` or one of its
    aliases. laws_from: device whose laws go for kernels without rows; left out, that of `base`.
    source, date, origin: what the laws say of their rows.

    Raises FitError, UnsupportedModeError.
    """
    names = (measured_as,) if measured_as else (base.name, *base.aliases)
    measured: dict[str, list[pd.DataFrame]] = {}
    models: list[WholeModelTime] = []
    left_out = 0
    for file in files:
        table = read_table(file)
        if MODEL in table and "hardware" not in table and "device" in table:
            table = table.rename(columns={"device": "hardware"})
        numbered = [f"{file}, row {number}" for number in range(1, 1 + len(table))]
        rows, others = of_device(table.assign(**{WHERE: numbered}), names)
        left_out += others
        if MODEL in rows:
            models += whole_model_times(rows)
            continue
        for family, some in by_family(rows, file).items():
            measured.setdefault(family, []).append(some)
    hardware = base if laws_from is None else replace(base, laws_from=laws_from)
    if measured:
        hardware = _with_laws(base, measured, laws_from, source, date, origin)
    if models:
        hardware = fit_whole_models(hardware, models, source=source).hardware
    return Fitted(hardware, left_out)


def _with_laws(
    base: Hardware,
    measured: dict[str, list[pd.DataFrame]],
    laws_from: str | None,
    source: str,
    date: str,
    origin: Origin,
) -> Hardware:
    """The device with laws of the kernels in tables by family."""
    tables = {family: pd.concat(parts, ignore_index=True) for family, parts in measured.items()}
    laws = fit_device(base, tables, source=SOURCE, date=date, origin=origin)
    if (old := base.kernel_laws) is not None:
        measured_anew, laws = laws, _added(laws, old)
        if _kernels(laws) - _kernels(measured_anew):  # laws of other rows stay, and their source
            source = f"{source}; other kernels: {base.sources[old.source]}"
            laws = replace(laws, date=f"{laws.date}; other kernels: {old.date}")
    laws_from = laws_from or base.laws_from
    lacking = [family for family in ESSENTIAL_FAMILIES if not laws.families.get(family)]
    if lacking and laws_from is None:
        raise FitError(
            f"no {lacking[0]} rows for {base.name}: name with --like a device whose laws to take"
        )
    sources = {**base.sources, SOURCE: source}
    return replace(base, kernel_laws=laws, laws_from=laws_from, sources=sources)


def _kernels(laws: KernelLaws) -> set[tuple[str, str]]:
    """Family and kernel of each law."""
    return {(family, kernel) for family, known in laws.families.items() for kernel in known}


def _added(new: KernelLaws, old: KernelLaws) -> KernelLaws:
    """New laws, and old ones of what was not measured anew."""

    def kept(law: AnyLaw) -> AnyLaw:
        """An old law, with its origin where that is another than the new laws'."""
        if not isinstance(law, Law) or law.origin or old.origin == new.origin:
            return law
        return replace(law, origin=old.origin)

    return new.updated(
        **{
            family: {kernel: kept(law) for kernel, law in laws.items()}
            | new.families.get(family, {})
            for family, laws in old.families.items()
        }
    )
