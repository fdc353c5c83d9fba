"""Run a command here, and say what is wrong with how it ended.

Right is: exit 0 and finite numbers, or exit 2 and one line that says what is wrong and where.
"""

from __future__ import annotations

import io
import json
import re
import signal
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import isfinite
from typing import Any, NamedTuple

import numpy as np

from roofline.cli.main import main

LONGEST_S = 60
"""So long a command may take that measures nothing."""
LONGEST_LINE = 4000
_ALONGSIDE = ("roofline: warning: left out: ", "roofline: left out: ")
"""Lines on stderr that are no error."""
_NO_NUMBER = re.compile(
    r"(?<![\w.-])[-+]?(?:nan|inf|infinity(?!\s+(?:cache|fabric)\b))(?![\w-])", re.IGNORECASE
)
"""AMD's Infinity Cache and Infinity Fabric are names, in a device's file."""


class Ended(NamedTuple):
    """How a command ended."""

    code: object
    out: str
    err: str
    escaped: str
    """A traceback; empty where there is none."""


def ran(arguments: Sequence[str]) -> Ended:
    """`roofline ARGUMENTS`, in this process; a warning of NumPy is an exception."""
    code: object = None
    escaped = ""
    argv, show = sys.argv, warnings.showwarning
    with _captured() as (out, err), warnings.catch_warnings(), _limited(LONGEST_S):
        warnings.simplefilter("error", RuntimeWarning)
        sys.argv = ["roofline", *arguments]
        try:
            with np.errstate(divide="raise", over="raise", invalid="raise"):
                main()
        except SystemExit as left:
            code = left.code
        except BaseException:
            escaped = traceback.format_exc()
        finally:
            sys.argv, warnings.showwarning = argv, show
    return Ended(code, out.getvalue().decode(), err.getvalue().decode(), escaped)


def faults(
    ended: Ended, *, named: Sequence[str] = (), is_json: bool = False, quoted: str = ""
) -> Iterator[str]:
    """What is wrong with it.

    named: an error must hold one of these, such as the name of the file that was damaged.
    is_json: whether the output must be JSON. quoted: what was given: it may hold `nan` itself.
    """
    if ended.escaped:
        yield ended.escaped
        return
    lines = [line for line in ended.err.splitlines() if not line.startswith(_ALONGSIDE)]
    if ended.code == 0:
        yield from _of_a_result(ended.out, lines, is_json, quoted)
    elif ended.code == 2:
        yield from _of_an_error(ended.out, lines, named)
    else:
        yield f"exit code {ended.code!r}"


def _of_a_result(out: str, lines: Sequence[str], is_json: bool, quoted: str) -> Iterator[str]:
    if lines:
        yield f"a result, and beside it {lines[0]!r}"
    if is_json:
        yield from _not_finite(out)
    elif not _NO_NUMBER.search(quoted) and (found := _NO_NUMBER.search(out)):
        yield f"no number: {out[max(0, found.start() - 40) : found.end() + 20]!r}"
    if re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", out):
        yield "control characters in the output"


def _not_finite(out: str) -> Iterator[str]:
    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} in JSON")

    try:
        document = json.loads(out, parse_constant=refuse)
    except ValueError as error:
        yield f"no JSON: {error}"
        return
    if not all(isfinite(number) for number in _numbers(document)):
        yield "a number in JSON that is not finite"


def _numbers(document: Any) -> Iterator[float]:
    if isinstance(document, dict):
        document = list(document.values())
    if isinstance(document, list):
        for value in document:
            yield from _numbers(value)
    elif isinstance(document, float):
        yield document


def _of_an_error(out: str, lines: Sequence[str], named: Sequence[str]) -> Iterator[str]:
    if out:
        yield f"an error, and output: {out[:80]!r}"
    if len(lines) != 1:
        yield f"{len(lines)} lines of error: {lines[:3]}"
        return
    (line,) = lines
    if not line.startswith("roofline: error: "):
        yield f"no error of ours: {line!r}"
    if len(line) > LONGEST_LINE:
        yield f"an error of {len(line)} characters"
    if named and not any(name in line for name in named):
        yield f"an error that does not say where: {line!r}"


@contextmanager
def _captured() -> Iterator[tuple[io.BytesIO, io.BytesIO]]:
    """Standard output and error, as files would hold them."""
    out, err = io.BytesIO(), io.BytesIO()
    before = sys.stdout, sys.stderr
    sys.stdout = io.TextIOWrapper(out, encoding="utf-8", write_through=True)
    sys.stderr = io.TextIOWrapper(err, encoding="utf-8", write_through=True)
    inner = sys.stdout, sys.stderr
    try:
        yield out, err
    finally:
        sys.stdout, sys.stderr = before
        for stream in inner:
            stream.flush()
            stream.detach()


@contextmanager
def _limited(seconds: int) -> Iterator[None]:
    """TimeoutError after so long."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"still running after {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
