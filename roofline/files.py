"""Files that are written: checked before long work, and whole or not at all.

The one place that writes results; of what is still being measured `records.journal` keeps a file.
What is new lies beside its place, then takes it, through links, with the mode of what was there.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Mapping
from contextlib import suppress
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
    """Write every file beside its place, then put all in place, or none: a full disk leaves what
    was there.

    What cannot be replaced, such as a pipe, is written to before the others take their places.
    Raises OutputError, which names the file at fault.
    """
    path = Path()
    swaps: list[_Swap] = []
    try:
        streams: list[tuple[Path, Path, bytes]] = []
        for path, data in content.items():
            place = place_of(str(path))
            if place.exists() and not place.is_file():
                streams.append((path, place, data))
                continue
            swaps.append(_Swap(path, place, _scratch(place)))
            _write_like(place, swaps[-1].scratch, data)
        for given, place, data in streams:
            path = given
            place.write_bytes(data)
        for swap in swaps[:-1]:  # the last one is in place, or it is not
            path = swap.path
            swap.keep()
        for swap in swaps:
            path = swap.path
            swap.scratch.replace(swap.place)
            swap.done = True
    except BaseException as error:
        halfway = any(not swap.done for swap in swaps)
        undo = [swap for swap in reversed(swaps) if swap.done and halfway]
        new = [str(swap.path) for swap in undo if not swap.undone()]
        if not isinstance(error, OSError):
            raise
        raise cannot_write(str(path), error, f"; {', '.join(new)} is new" if new else "") from None
    finally:
        for swap in swaps:
            swap.tidy()


class _Swap:
    """A file on its way to its place."""

    def __init__(self, path: Path, place: Path, scratch: Path) -> None:
        """path: as it was given."""
        self.path, self.place, self.scratch = path, place, scratch
        self.done = False
        self._before: Path | None = None

    def keep(self) -> None:
        """What is in place, to come back by `undone`."""
        if not self.place.exists():
            return
        self._before = _scratch(self.place)
        try:
            self._before.hardlink_to(self.place)
        except OSError:  # not every file system has links
            _write_like(self.place, self._before, self.place.read_bytes())

    def undone(self) -> bool:
        """Whether what was there is there again."""
        try:
            if self._before is None:
                self.place.unlink(missing_ok=True)
            else:
                self._before.replace(self.place)
        except OSError:
            return False
        return True

    def tidy(self) -> None:
        """Leave nothing beside the place."""
        for file in (self.scratch, self._before):
            if file is not None:
                with suppress(OSError):
                    file.unlink(missing_ok=True)


def _write_like(place: Path, scratch: Path, data: bytes) -> None:
    """Into a new file of the mode that the one in place has."""
    mode = stat.S_IMODE(place.stat().st_mode) if place.exists() else None
    scratch.touch(mode=0o666 if mode is None else mode, exist_ok=False)
    if mode is not None:
        scratch.chmod(mode)  # whatever the umask says
    scratch.write_bytes(data)


def try_out(place: Path) -> None:
    """Make a file beside a place, as writing there will: permissions alone tell too little."""
    scratch = _scratch(place)
    scratch.touch(exist_ok=False)
    scratch.unlink(missing_ok=True)


def place_of(target: str) -> Path:
    """Where a file lies once all links are followed."""
    place = Path(os.path.realpath(target))
    if place.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    return place


def _scratch(place: Path) -> Path:
    """A name beside a place that no other thread or process draws."""
    return place.with_name(f".roofline-{os.urandom(8).hex()}.part")


def cannot_write(target: str, error: Exception, tail: str = "") -> OutputError:
    return OutputError(f"cannot write {shortened(target)}: {reason_of(error)}{tail}")


def reason_of(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
