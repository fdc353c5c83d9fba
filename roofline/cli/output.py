"""Where results go: standard output, or a file that must not hold anything yet."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import click

from roofline.errors import OutputError

FORMATS_BY_SUFFIX = {".json": "json", ".csv": "csv", ".md": "md", ".txt": "table"}


def write(text: str, target: str | None, *, force: bool = False) -> None:
    """Print, or write the whole file or nothing. Raises OutputError."""
    if target is None or target == "-":
        _print(text)
        return
    write_bytes(text.encode("utf-8"), target, force=force)


def write_bytes(content: bytes, target: str, *, force: bool = False) -> None:
    """Write the whole file or nothing. Raises OutputError."""
    check(target, force=force)
    path = Path(target)
    try:
        if path.exists() and not path.is_file():  # a pipe or device cannot be replaced
            path.write_bytes(content)
            return
        scratch = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            scratch.write_bytes(content)
            scratch.replace(path)
        finally:
            scratch.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error.strerror}") from None


def check(target: str, *, force: bool = False) -> None:
    """Raise OutputError if the target is not to be written: to be asked before long work."""
    path = Path(target)
    if path.is_dir() or target.endswith(("/", os.sep)):
        raise OutputError(f"{target} is a folder: name a file in it")
    if path.is_file() and path.stat().st_size and not force:
        raise OutputError(f"{target} exists: give another name, or --force to replace it")
    if not path.parent.is_dir():
        reason = "Not a directory" if path.parent.exists() else "No such file or directory"
        raise OutputError(f"cannot write {target}: {reason}")


def check_folder(target: str, files: Iterable[str], *, force: bool = False) -> None:
    """Raise OutputError if one of the files in a folder, made if need be, is not to be written."""
    path = Path(target)
    if path.exists() and not path.is_dir():
        raise OutputError(f"{target} is a file: name a folder")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {target}: {error.strerror}") from None
    for file in files:
        check(str(path / file), force=force)


def write_folder(
    target: str,
    content: Mapping[str, bytes],
    *,
    force: bool = False,
    instead_of: Iterable[str] = (),
) -> None:
    """Write each file into the folder. Raises OutputError.

    instead_of: files that went with what was there before; with `force` those not written go.
    """
    check_folder(target, content, force=force)
    for file, data in content.items():
        write_bytes(data, str(Path(target) / file), force=force)
    if force:
        for file in set(instead_of) - content.keys():
            (Path(target) / file).unlink(missing_ok=True)


def _print(text: str) -> None:
    try:
        click.echo(text, nl=False)
    except BrokenPipeError:  # the reader has seen enough: `roofline … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise OutputError(f"cannot write the result: {error.strerror}") from None
