"""How each family of laws is fitted: found by name, as the laws themselves are.

A module of this package fits one family and registers a `Fitter`; so may a plugin.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from roofline.model.polynomial import Array
from roofline.registry import Registry
from roofline.specs.hardware import Hardware
from roofline.specs.kernel_laws import AnyLaw

if TYPE_CHECKING:
    import pandas as pd

Laws: TypeAlias = dict[str, Any]
"""Laws of one family by kernel."""


def _as_they_are(laws: Laws) -> Laws:
    return laws


class Fitter(NamedTuple):
    """How laws of one family come from a table of measured kernels, `time_ms` among its columns."""

    columns: tuple[str, ...]
    """What every row needs beside its time."""
    kernels: Callable[[Hardware, pd.DataFrame], dict[str, pd.DataFrame]]
    """The rows of each kernel that gets a law of its own."""
    fit: Callable[[Hardware, str, dict[str, Any]], AnyLaw]
    """The law of a kernel by its name from columns of its rows. Raises FitError."""
    complete: Callable[[Laws], Laws] = _as_they_are
    """Adds laws that follow from the fitted ones."""
    seconds: Callable[[Hardware, str, Any, Mapping[str, Any]], Array] | None = None
    """What a law of a kernel says of measured rows, in seconds: by it the law is held against other
    libraries. None where that is not done."""
    without: tuple[str, ...] = ()
    """Columns that tell a table to be of another family."""
    ops: tuple[str, ...] = ()
    """What its rows have in a column `op`, if other words than the family's name."""


FITTERS: Registry[Fitter] = Registry("family of laws to fit", package="roofline.fitting")
"""By the name of the family."""
