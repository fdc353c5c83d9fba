"""Where results go: standard output, or a file that must not hold anything yet."""

from __future__ import annotations

import os
from pathlib import Path

import click

from roofline.errors import OutputError

FORMATS_BY_SUFFIX = {".json": "json", ".csv": "csv", ".md": "md", ".txt": "table"}


def write(text: str, target: str | None, *, force: bool) -> None:
    """Print, or write the whole file or nothing. Raises OutputError."""
    if target is None or target == "-":
        click.echo(text, nl=False)
        return
    path = Path(target)
    if path.is_dir():
        raise OutputError(f"{target} is a folder: name a file in it")
    if path.is_file() and path.stat().st_size and not force:
        raise OutputError(f"{target} exists: give another name, or --force to replace it")
    try:
        if path.exists() and not path.is_file():  # a pipe or device cannot be replaced
            path.write_text(text, encoding="utf-8")
            return
        scratch = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            scratch.write_text(text, encoding="utf-8")
            scratch.replace(path)
        finally:
            scratch.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error.strerror}") from None
