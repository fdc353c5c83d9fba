"""All laws of a device, from everything that was measured on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pandas as pd
from msgspec.structs import replace

from roofline.fitting.fitters import FITTERS, Fitter
from roofline.fitting.rows import (
    FitError,
    by_library,
    columns,
    errors_percent,
    library_name,
)
from roofline.specs.hardware import Hardware
from roofline.specs.kernel_laws import UNSTATED, AnyLaw, KernelLaws, Law, Origin

StepReporter = Callable[[str], None]


def fit_device(
    hardware: Hardware,
    measured: Mapping[str, pd.DataFrame],
    *,
    source: str,
    date: str,
    origin: Origin = "fitted",
    libraries: Mapping[str, str] = {},
    progress: StepReporter = lambda doing: None,
) -> KernelLaws:
    """The laws of a device, one for each kernel that was measured.

    measured: rows by family, as `roofline.fitting.tables.by_family` gives them, all of this device.
    source: key of the file's `sources`. progress: hears what is fitted next.
    libraries: how the name of the library begins whose rows a law is fitted to, by family or by
    family and kernel (`attention`, `attention fp8`); by default it is the one with most rows.

    Raises FitError, UnsupportedModeError.
    """
    families: dict[str, dict[str, Any]] = {}
    software: dict[str, None] = {}
    for family in FITTERS.names():
        if family not in measured:
            continue
        fitter, laws = FITTERS.find(family), {}
        for kernel, rows in fitter.kernels(hardware, measured[family]).items():
            preferred = libraries.get(f"{family} {kernel}", libraries.get(family, ""))
            arrays = {str(name): rows[name].to_numpy() for name in rows}
            own, others = by_library(arrays, preferred)
            library = library_name(own)
            software |= dict.fromkeys([library] if library else ())
            with _naming(f"{family} {kernel}", progress):
                law = fitter.fit(hardware, kernel, dict(own))
                errors = _other_library_errors(fitter, hardware, kernel, law, others)
            laws[kernel] = replace(law, library=library, **errors) if isinstance(law, Law) else law
        families[family] = fitter.complete(laws)
    return KernelLaws(
        origin=origin,
        source=source,
        date=date,
        conditions=", ".join(filter(None, software)) or UNSTATED,
        families=families,
    )


def _other_library_errors(
    fitter: Fitter, hardware: Hardware, kernel: str, law: AnyLaw, others: Mapping[str, Any] | None
) -> dict[str, float]:
    """What the law is off on kernels of libraries that it was not fitted to."""
    if others is None or fitter.seconds is None:
        return {}
    (measured,) = columns(others, ("time_ms",), least=1)
    predicted = fitter.seconds(hardware, kernel, law, others)
    return errors_percent([predicted], [measured], of="other_library_error")


@contextmanager
def _naming(what: str, progress: StepReporter) -> Iterator[None]:
    """Announce what is fitted next, and name it in an error, too."""
    progress(what)
    try:
        yield
    except FitError as error:
        raise FitError(f"{what}: {error}") from None
