"""What the commands that measure share: their needs, and a bar that says how far they are."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import click

from roofline.errors import InputError

RUN_MODES = ("eager", "compile", "cuda-graph")
ATTENTION_KERNELS = ("sdpa", "flash", "eager")
# Restated, not imported with torch, so that `--help` stays quick; a test holds them together.

_STEPS = 1000
_BAR, _TEXT = 12, 34
"""Columns; with the title they stay on one line of a terminal."""
_CHATTY = ("torchao", "torch.utils._pytree")


def require(*modules: str) -> None:
    """Make ready to import them. Raises InputError, with the remedy, for what is not installed."""
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        packages = ", ".join("pillow" if name == "PIL" else name for name in missing)
        extra = "report" if missing == ["matplotlib"] else "profile"
        raise InputError(f"this needs {packages}: pip install '.[{extra}]'")
    _quieten()


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[float, str], None] | None]:
    """What reports progress on a terminal; None where nobody watches."""
    if not sys.stderr.isatty():
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


def _quieten() -> None:
    """Silence what libraries say of themselves while they are imported or profile."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.ERROR)
