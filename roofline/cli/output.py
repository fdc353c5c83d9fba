"""Where results go: standard output, or files that must not hold anything yet.

The one place that writes. A file is checked before long work, and written whole or not at all:
beside its place, then swapped, through links, with the mode that it had.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import click

from roofline.errors import OutputError, shortened
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
    _swap_in({Path(target): content})


def write_measured(shown: str, files: Mapping[str, str | bytes], *, force: bool = False) -> None:
    """Write files, all or none, and print `shown`: what took long to measure is not lost.

    Raises OutputError where files cannot be written; the data in them have then been printed.
    """
    content = {n: _encoded(f) if isinstance(f, str) else f for n, f in files.items() if n != "-"}
    try:
        for name in content:
            check(name, force=force)
        _swap_in({Path(name): data for name, data in content.items()})
    except OutputError:
        for name, data in content.items():
            if not name.endswith(_NO_TEXT):
                _print(data.decode(errors="replace"))
        raise
    finally:
        _print("".join(f for n, f in files.items() if n == "-" and isinstance(f, str)) + shown)


def check(target: str, *, force: bool = False, inputs: Iterable[str | None] = ()) -> None:
    """Raise OutputError if the target cannot or is not to be written: to be asked before long work.

    inputs: what was typed for files that are read, or for a name: the target may be no such file.
    """
    if target == "-":
        return
    if not target:
        raise OutputError("the file to write has no name: give one to -o")
    try:
        _check(target, force, inputs)
    except (OSError, ValueError) as error:
        if isinstance(error, OutputError):
            raise
        raise _cannot(target, error) from None


def _check(target: str, force: bool, inputs: Iterable[str | None]) -> None:
    path, place = Path(target), _place(target)
    if path.is_dir() or target.endswith(("/", os.sep)):
        raise OutputError(f"{target} is a folder: name a file in it")
    if place.exists() and any(other and place == _place(other) for other in inputs):
        raise OutputError(f"{target} is read by this very command: name another file")
    if path.is_file() and path.stat().st_size and not force:
        raise OutputError(f"{target} exists: give another name, or --force to replace it")
    if not place.parent.is_dir():
        reason = "Not a directory" if place.parent.exists() else "No such file or directory"
        raise OutputError(f"cannot write {target}: {reason}")
    if place.exists() and not place.is_file():
        if not os.access(place, os.W_OK):
            raise OutputError(f"cannot write {target}: Permission denied")
        return
    _try_out(place)


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
            _try_out(there / "x")
            return
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        if isinstance(error, OutputError):
            raise
        reason = _reason(error)
        raise OutputError(f"cannot make the folder {shortened(target)}: {reason}") from None
    inputs = list(inputs)
    for file in files:
        check(str(path / file), force=force, inputs=inputs)


def check_apart(first: str, second: str) -> None:
    """Raise OutputError for two files to write that are one."""
    if _place(first) == _place(second):
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
    _swap_in({Path(target) / file: data for file, data in content.items()})
    if force:
        for file in set(instead_of) - content.keys():
            try:
                (Path(target) / file).unlink(missing_ok=True)
            except OSError as error:
                raise _cannot(str(Path(target) / file), error) from None


def give_up_stdout() -> None:
    """Let nothing more be said there: a reader has gone, or a disk is full."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _swap_in(content: Mapping[Path, bytes]) -> None:
    """Write every file beside its place, then put all in place: a full disk leaves what was there.

    Raises OutputError.
    """
    beside: dict[Path, Path] = {}
    path = Path()
    try:
        for number, (path, data) in enumerate(content.items()):
            place = _place(str(path))
            if place.exists() and not place.is_file():  # a pipe or device cannot be replaced
                place.write_bytes(data)
                continue
            beside[place] = _scratch(place, number)
            _write_like(place, beside[place], data)
        for place, scratch in beside.items():
            scratch.replace(place)
    except OSError as error:
        raise _cannot(str(path), error) from None
    finally:
        for scratch in beside.values():
            scratch.unlink(missing_ok=True)


def _write_like(place: Path, scratch: Path, data: bytes) -> None:
    """Into a new file of the mode that the one in place has."""
    mode = stat.S_IMODE(place.stat().st_mode) if place.exists() else None
    scratch.touch(mode=0o666 if mode is None else mode, exist_ok=False)
    if mode is not None:
        scratch.chmod(mode)  # whatever the umask says
    scratch.write_bytes(data)


def _try_out(place: Path) -> None:
    """Make a file beside a place, as writing there will: permissions alone tell too little."""
    scratch = _scratch(place, 0)
    scratch.touch()
    scratch.unlink()


def _place(target: str) -> Path:
    """Where a file lies once all links are followed."""
    place = Path(os.path.realpath(target))
    if place.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    return place


def _scratch(place: Path, number: int) -> Path:
    return place.with_name(f".roofline-{os.getpid()}-{number}.part")


def _cannot(target: str, error: Exception) -> OutputError:
    return OutputError(f"cannot write {shortened(target)}: {_reason(error)}")


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


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
