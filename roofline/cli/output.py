"""Where results go: standard output, or files that must not hold anything yet."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import click

from roofline.errors import OutputError, shortened
from roofline.files import cannot_write, check_file, place_of, reason_of, swap_in, try_out
from roofline.plain_text import printable

FORMATS_BY_SUFFIX = {".json": "json", ".csv": "csv", ".md": "md", ".txt": "table"}
_NO_TEXT = (".png", ".svg", ".pdf", ".md", ".html")
"""Endings of files that show what another one holds."""


def write(text: str, target: str | None, *, force: bool = False) -> None:
    """Print, or write the whole file or nothing. Raises OutputError."""
    if target is None or target == "-":
        _print(text)
    else:
        write_bytes(_encoded(printable(text)), target, force=force)


def write_bytes(content: bytes, target: str, *, force: bool = False) -> None:
    """Write the whole file or nothing. Raises OutputError."""
    check(target, force=force)
    swap_in({Path(target): content})


def write_measured(shown: str, files: Mapping[str, str | bytes], *, force: bool = False) -> None:
    """Write files, all or none, and print `shown`: what took long to measure is not lost.

    Raises OutputError where files cannot be written; the data in them have then been printed.
    """
    content = {n: _encoded(f) if isinstance(f, str) else f for n, f in files.items() if n != "-"}
    try:
        for name in content:
            check(name, force=force)
        swap_in({Path(name): data for name, data in content.items()})
    except OutputError:
        for name, data in content.items():
            if not name.endswith(_NO_TEXT):
                _print(data.decode(errors="replace"))
        raise
    finally:
        _print("".join(f for n, f in files.items() if n == "-" and isinstance(f, str)) + shown)


def check(target: str, *, force: bool = False, inputs: Iterable[str | None] = ()) -> None:
    """`check_file`, where a dash is the terminal."""
    if target != "-":
        check_file(target, force=force, inputs=inputs)


def check_folder(
    target: str,
    files: Iterable[str] = (),
    *,
    force: bool = False,
    empty: bool = False,
    inputs: Iterable[str | None] = (),
) -> None:
    """Raise OutputError if one of the files in a folder, made if need be, is not to be written.

    empty: whether the folder may hold no other files, unless forced; it is not made yet then, for
        what comes next may end in an error of its own.
    """
    if not target:
        raise OutputError("the folder has no name: give one to -o")
    path = Path(target)
    try:
        if path.exists() and not path.is_dir():
            raise OutputError(f"{target} is a file: name a folder")
        if empty and not force and path.is_dir() and any(path.iterdir()):
            raise OutputError(
                f"{target} holds other files: name a new folder, or --force to write among them"
            )
        if empty:
            there = next(place for place in (path, *path.absolute().parents) if place.exists())
            try_out(there / "x")
            return
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        if isinstance(error, OutputError):
            raise
        reason = reason_of(error)
        raise OutputError(f"cannot make the folder {shortened(target)}: {reason}") from None
    inputs = list(inputs)
    for file in files:
        check(str(path / file), force=force, inputs=inputs)


def check_apart(first: str, second: str) -> None:
    """Raise OutputError for two files to write that are one."""
    if place_of(first) == place_of(second):
        raise OutputError(f"{first} is to hold two results: give each a file of its own")


def write_folder(
    target: str,
    content: Mapping[str, bytes],
    *,
    force: bool = False,
    instead_of: Iterable[str] = (),
) -> None:
    """Write all files into the folder, or none. Raises OutputError.

    instead_of: files that went with what was there before; with `force` those not written go.
    """
    check_folder(target, content, force=force)
    swap_in({Path(target) / file: data for file, data in content.items()})
    if force:
        for file in set(instead_of) - content.keys():
            try:
                (Path(target) / file).unlink(missing_ok=True)
            except OSError as error:
                raise cannot_write(str(Path(target) / file), error) from None


def give_up_stdout() -> None:
    """Let nothing more be said there: a reader has gone, or a disk is full."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _encoded(text: str) -> bytes:
    """UTF-8; bytes of a name that are none are spelled out."""
    return text.encode("utf-8", errors="backslashreplace")


def _print(text: str) -> None:
    if sys.stdout is None:
        raise OutputError("cannot write the result: standard output is closed")
    try:
        click.echo(printable(text), nl=False)
    except BrokenPipeError:  # the reader has seen enough: `roofline … | head`
        give_up_stdout()
    except OSError as error:
        give_up_stdout()
        raise OutputError(f"cannot write the result: {error.strerror}") from None
