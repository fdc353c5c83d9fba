"""What the commands that measure share: their needs, how far they are, what a killed one keeps."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
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
    from roofline.records.journal import Journal

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


_PAUSE_S, _SILENCE_S, _SILENCE_SHARE = 5.0, 30.0, 0.05
"""Between two lines: no less, and no more, but for a share of the time that has passed."""


def require(*modules: str) -> None:
    """Make ready to import them. Raises InputError, with the remedy, for what is not installed."""
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        packages = ", ".join("pillow" if name == "PIL" else name for name in missing)
        extra = "report" if missing == ["matplotlib"] else "profile"
        raise InputError(f"this needs {packages}: pip install '.[{extra}]'")


@contextmanager
def progress_bar(
    title: str, clock: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[float, str], None] | None]:
    """What reports progress: a bar on a terminal, elsewhere a line now and then; None where
    standard error is closed.
    """
    if sys.stderr is None:
        yield None
        return
    if not sys.stderr.isatty():
        yield _Lines(title, clock)
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


class _Lines:
    """A line for each tenth of the work, and where those are far apart each half a minute, later
    less often: of a quick command nothing, of a night's work two pages.
    """

    def __init__(self, title: str, clock: Callable[[], float]) -> None:
        self._title, self._clock = title, clock
        self._began_s = self._last_s = clock()
        self._tenths = 0

    def __call__(self, share: float, doing: str) -> None:
        now_s, tenths = self._clock(), int(10 * share)
        silent_s = now_s - self._last_s
        patience_s = max(_SILENCE_S, _SILENCE_SHARE * (now_s - self._began_s))
        if silent_s < (_PAUSE_S if tenths > self._tenths else patience_s):
            return
        self._last_s, self._tenths = now_s, tenths
        took_s = now_s - self._began_s
        click.echo(f"{self._title}: {share:.0%} after {took_s:.0f} s: {doing}", err=True)


def _shown(doing: str | None) -> str:
    return (doing or "")[:_TEXT]


RESUME_HELP = "Go on where an interrupted run with the same -o has ended."


def check_resume(target: str | None, *, resume: bool, force: bool) -> bool:
    """Whether a file that is there may be replaced, as `force` says: an interrupted measurement
    that goes on replaces what Ctrl-C left of it.

    target: what the whole measurement writes.
    Raises OutputError where an interrupted measurement lies beside the target, and InputError where
    there is no file to lie beside.
    """
    from roofline.records.journal import check_uninterrupted, interrupted

    if resume and target in (None, "-"):
        raise InputError("--resume needs -o: what was measured lies beside it")
    if not resume and not force:
        check_uninterrupted(target)
    return force or (resume and interrupted(target))


@contextmanager
def journal(
    target: str | None, about: Mapping[str, Any], *, resume: bool, force: bool
) -> Iterator[Journal]:
    """What has been measured so far; its file stays if the block ends in an error, or Ctrl-C."""
    from roofline.records.journal import Journal

    kept = Journal.resume(target, about) if resume else Journal.begin(target, about, force=force)
    try:
        yield kept
    except BaseException:
        kept.close(finished=not kept.findings)
        if kept.findings and kept.path is not None:
            click.echo(f"roofline: {kept.path} keeps what was measured: --resume goes on", err=True)
        raise
    kept.close(finished=True)
