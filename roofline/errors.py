"""The errors this package raises on purpose.

    RooflineError                 anything below; carries the process exit code
    └── InputError                what was asked for cannot be answered (also a ValueError)
        ├── UnknownNameError      nothing of that name: hardware, model, mode, reducer, option, …
        ├── SpecError             a YAML file that does not describe what it should
        ├── UnsupportedModeError  the device has no peak for the mode's data type
        ├── ScenarioError         token counts, stages and the like that make no sense
        └── OutputError           a result that cannot be written where it should go

Others are InputErrors beside the code that raises them: of the model side ReducerError,
FamilyError, AttachError, PromptError, LoadError, PictureError, MemoryShortError and
TooLittleTimeError; of data RecordError, EstimateFileError and FitError.

A message is for the person at the terminal: what is wrong, where, and what to do instead.
"""

from __future__ import annotations

from collections.abc import Iterable

_MOST_FAULTS = 12
"""Of a file, on one line."""
_MOST_CHARACTERS = 80


def shortened(text: str) -> str:
    """What somebody has given, as much of it as a message has room for."""
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}…"


class RooflineError(Exception):
    """Base of all deliberate errors."""

    exit_code = 1

    @property
    def line(self) -> str:
        """The message on one line, for a terminal."""
        return " ".join(str(self).split())


class InputError(RooflineError, ValueError):
    """The input is at fault and the caller can mend it."""

    exit_code = 2


class UnknownNameError(InputError):
    """A name that the catalog, a registry or a list of options does not hold; the message offers
    the nearest ones.

    known: names to choose from. aliases: what else is understood; offered where it is near, but
    not listed.
    """

    MOST_NAMES = 20
    LONGEST_NAME = 60

    def __init__(
        self,
        kind: str,
        name: str,
        known: Iterable[str],
        remedy: str = "",
        aliases: Iterable[str] = (),
    ) -> None:
        from difflib import get_close_matches

        shown = self._cut(name)
        names = sorted(known)
        near = get_close_matches(shown.lower(), sorted({*names, *aliases}), n=3, cutoff=0.5)
        if near:
            hint = f"did you mean {' or '.join(map(self._cut, near))}?"
        else:
            hint = f"known: {', '.join(map(self._cut, names[: self.MOST_NAMES]))}"
            if (more := len(names) - self.MOST_NAMES) > 0:
                hint += f" and {more} more"
        tail = f" ({remedy})" if remedy else ""
        super().__init__(f"unknown {kind} {shown!r}: {hint}{tail}")
        self.name = name
        self.nearest = near

    @classmethod
    def _cut(cls, name: str) -> str:
        longest = cls.LONGEST_NAME
        return name if len(name) <= longest else f"{name[: longest - 1]}…"


class SpecError(InputError):
    """One or more faults in a spec file, each as (path inside the file, what was expected)."""

    def __init__(self, file: object, faults: Iterable[tuple[str, str]]) -> None:
        self.file = str(file)
        self.faults = tuple(faults)
        super().__init__("\n".join(f"{self.file}: {path}: {text}" for path, text in self.faults))

    @property
    def line(self) -> str:
        """The file once, then its faults."""
        faults = "; ".join(f"{path}: {text}" for path, text in self.faults[:_MOST_FAULTS])
        more = len(self.faults) - _MOST_FAULTS
        return f"{self.file}: {faults}" + (f"; and {more} more faults" if more > 0 else "")


class UnsupportedModeError(InputError):
    """The device has no peak rate for any data type that the mode can compute in."""


class ScenarioError(InputError):
    """A scenario outside the domain of the formulas."""


class OutputError(InputError):
    """An output file that may not or cannot be written."""
