"""Files that are written: checked before long work, and whole or not at all.

The one place that writes. What is new lies beside its place, then takes it, through links, with the
mode of what was there.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from roofline.errors import OutputError, shortened


def check_file(
    target: str,
    *,
    force: bool = False,
    inputs: Iterable[str | None] = (),
    remedy: str = "--force to replace it",
) -> None:
    """Raise OutputError if the target cannot or is not to be written: to be asked before long work.

    inputs: what was typed for files that are read, or for a name: the target may be no such file.
    remedy: what else to do about a file that exists.
    """
    if not target:
        raise OutputError("the file to write has no name: give it one")
    try:
        _check(target, force, inputs, remedy)
    except (OSError, ValueError) as error:
        if isinstance(error, OutputError):
            raise
        raise cannot_write(target, error) from None


def _check(target: str, force: bool, inputs: Iterable[str | None], remedy: str) -> None:
    path, place = Path(target), place_of(target)
    if path.is_dir() or target.endswith(("/", os.sep)):
        raise OutputError(f"{target} is a folder: name a file in it")
    if place.exists() and any(other and place == place_of(other) for other in inputs):
        raise OutputError(f"{target} is read by this very command: name another file")
    if path.is_file() and path.stat().st_size and not force:
        raise OutputError(f"{target} exists: give another name, or {remedy}")
    if not place.parent.is_dir():
        reason = "Not a directory" if place.parent.exists() else "No such file or directory"
        raise OutputError(f"cannot write {target}: {reason}")
    if place.exists() and not place.is_file():
        if not os.access(place, os.W_OK):
            raise OutputError(f"cannot write {target}: Permission denied")
        return
    try_out(place)


def swap_in(content: Mapping[Path, bytes]) -> None:
    """Write every file beside its place, then put all in place: a full disk leaves what was there.

    Raises OutputError.
    """
    beside: dict[Path, Path] = {}
    path = Path()
    try:
        for number, (path, data) in enumerate(content.items()):
            place = place_of(str(path))
            if place.exists() and not place.is_file():  # a pipe or device cannot be replaced
                place.write_bytes(data)
                continue
            beside[place] = _scratch(place, number)
            _write_like(place, beside[place], data)
        for place, scratch in beside.items():
            scratch.replace(place)
    except OSError as error:
        raise cannot_write(str(path), error) from None
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


def try_out(place: Path) -> None:
    """Make a file beside a place, as writing there will: permissions alone tell too little."""
    scratch = _scratch(place, 0)
    scratch.touch()
    scratch.unlink()


def place_of(target: str) -> Path:
    """Where a file lies once all links are followed."""
    place = Path(os.path.realpath(target))
    if place.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    return place


def _scratch(place: Path, number: int) -> Path:
    return place.with_name(f".roofline-{os.getpid()}-{number}.part")


def cannot_write(target: str, error: Exception) -> OutputError:
    return OutputError(f"cannot write {shortened(target)}: {reason_of(error)}")


def reason_of(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
