"""What the commands that measure share: their needs, and a bar that says how far they are."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from math import inf
from typing import TYPE_CHECKING, Any

import click

from roofline.errors import InputError, shortened

RUN_MODES = ("eager", "compile", "cuda-graph", "static-graph")
ATTENTION_KERNELS = ("sdpa", "flash", "eager")
# Restated, not imported with torch, so that `--help` stays quick; a test holds them together.


if TYPE_CHECKING:
    _Number = click.ParamType[float]
else:
    _Number = click.ParamType  # takes no type below 8.4


class TimeToSpend(_Number):
    """A time to spend: a finite number above 0."""

    name = "seconds"

    def convert(self, value: Any, option: Any, context: Any) -> float:
        try:
            seconds = float(value)
        except ValueError:
            self.fail(f"{shortened(value)!r} is no number of seconds", option, context)
        if not 0 < seconds < inf:
            self.fail(f"{seconds:g} is not above 0 and finite", option, context)
        return seconds


_STEPS = 1000
_BAR, _TEXT = 12, 34
"""Columns; with the title they stay on one line of a terminal."""


def require(*modules: str) -> None:
    """Make ready to import them. Raises InputError, with the remedy, for what is not installed."""
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        packages = ", ".join("pillow" if name == "PIL" else name for name in missing)
        extra = "report" if missing == ["matplotlib"] else "profile"
        raise InputError(f"this needs {packages}: pip install '.[{extra}]'")


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[float, str], None] | None]:
    """What reports progress on a terminal; None where nobody watches."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield None
        return
    with click.progressbar(
        length=_STEPS,
        label=title,
        file=sys.stderr,
        show_eta=False,
        item_show_func=_shown,
        width=_BAR,
    ) as bar:

        def report(share: float, doing: str) -> None:
            bar.update(int(share * _STEPS) - bar.pos, doing)

        yield report


def _shown(doing: str | None) -> str:
    return (doing or "")[:_TEXT]
