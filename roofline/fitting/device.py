"""All laws of a device, from everything that was measured on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pandas as pd

from roofline.fitting.fitters import FITTERS
from roofline.fitting.other_libraries import fitted_library
from roofline.fitting.rows import FitError
from roofline.specs.hardware import Hardware
from roofline.specs.kernel_laws import KernelLaws, Law, Origin

StepReporter = Callable[[str], None]


def fit_device(
    hardware: Hardware,
    measured: Mapping[str, pd.DataFrame],
    *,
    source: str,
    date: str,
    origin: Origin = "fitted",
    progress: StepReporter = lambda doing: None,
) -> KernelLaws:
    """The laws of a device, one for each kernel that was measured.

    measured: rows by family, as `roofline.fitting.tables.by_family` gives them, all of this device.
    source: key of the file's `sources`. progress: hears what is fitted next.

    Raises FitError, UnsupportedModeError.
    """
    families: dict[str, dict[str, Any]] = {}
    software: dict[str, None] = {}
    for family in FITTERS.names():
        if family not in measured:
            continue
        fitter, laws = FITTERS.find(family), {}
        for kernel, rows in fitter.kernels(hardware, measured[family]).items():
            columns = {str(name): rows[name].to_numpy() for name in rows}
            with _naming(f"{family} {kernel}", progress):
                laws[kernel] = law = fitter.fit(hardware, kernel, columns)
            library = law.library if isinstance(law, Law) else ""
            software |= dict.fromkeys([library or fitted_library(columns)])
        families[family] = fitter.complete(laws)
    return KernelLaws(
        origin=origin,
        source=source,
        date=date,
        conditions=", ".join(filter(None, software)) or "not stated",
        families=families,
    )


@contextmanager
def _naming(what: str, progress: StepReporter) -> Iterator[None]:
    """Announce what is fitted next, and name it in an error, too."""
    progress(what)
    try:
        yield
    except FitError as error:
        raise FitError(f"{what}: {error}") from None
