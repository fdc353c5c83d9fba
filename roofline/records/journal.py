"""What a long measurement has found so far, line by line, so that a killed one can go on.

A file of JSON lines: the first says what is being measured, each other holds one finding. A line is
on the disk before the next thing is measured; of a line that a kill has cut off nothing counts.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Self, TypeVar

import msgspec
from msgspec import Struct

from roofline.errors import OutputError
from roofline.files import cannot_write, reason_of

T = TypeVar("T")

SUFFIX = ".partial"
"""Behind the name of the file that a finished measurement writes."""


_ANEW = "without --resume, --force begins anew"


class Finding(Struct, frozen=True):
    """One line."""

    kind: str
    """Which stage of a measurement it belongs to."""
    data: Any
    """What JSON can hold."""


class _First(Struct):
    """The line that says what is measured."""

    about: dict[str, Any]


class Journal:
    """Findings of one measurement, those of an interrupted run before this one included.

    path: None keeps them in memory alone. about: what is measured, and where: a journal goes on
    only with the same.
    """

    def __init__(self, path: Path | None, about: Mapping[str, Any]) -> None:
        self.path, self.about = path, dict(about)
        self.findings: list[Finding] = []
        self._file: IO[bytes] | None = None

    @classmethod
    def begin(cls, target: str | None, about: Mapping[str, Any], *, force: bool = False) -> Self:
        """Beside the file `target`, which a finished measurement writes.

        Raises OutputError where an interrupted measurement lies, unless `force` throws it away.
        """
        if not force:
            check_uninterrupted(target)
        journal = cls(_path(target), about)
        if journal.path is not None:
            journal._open()
            journal._start()
        return journal

    @classmethod
    def resume(cls, target: str | None, about: Mapping[str, Any]) -> Self:
        """Go on behind what an interrupted measurement found; begin where there is none.

        Raises OutputError for a journal of something else, naming what differs.
        """
        path = _path(target)
        if path is None or not path.exists():
            return cls.begin(target, about)
        journal = cls(path, about)
        journal._open()
        try:
            whole = journal._read()
        except OutputError:
            journal.close(finished=False)
            raise
        if whole:
            journal._cut(whole)
        else:  # killed at its first line
            journal._start()
        return journal

    def add(self, kind: str, data: Any) -> None:
        """Hold on to a finding, on the disk too. Raises OutputError."""
        finding = Finding(kind, msgspec.to_builtins(data))
        self._append(finding)
        self.findings.append(finding)

    def of(self, kind: str) -> Iterator[Any]:
        """Findings of one kind, in the order in which they were made."""
        return (finding.data for finding in self.findings if finding.kind == kind)

    def converted(self, data: Any, form: type[T]) -> T:
        """Data of a finding as what was added. Raises OutputError where it is damaged."""
        try:
            return msgspec.convert(data, form)
        except msgspec.ValidationError as error:
            raise OutputError(f"{self.path} is damaged ({error}): --force begins anew") from None

    def close(self, *, finished: bool) -> None:
        """Let go of the file, and of its content where all of it stands elsewhere now."""
        if self._file is not None:
            self._file.close()
            self._file = None
        if finished and self.path is not None:
            self.path.unlink(missing_ok=True)

    def _open(self) -> None:
        """For appending, and for reading while it is locked: a lock goes with the first close."""
        assert self.path is not None
        try:
            self._file = self.path.open("a+b")
        except OSError as error:
            raise cannot_write(str(self.path), error) from None
        if not _locked(self._file):
            self._file.close()
            raise OutputError(
                f"{self.path} is being written by another run: wait until it ends, or end it"
            )

    def _start(self) -> None:
        """Throw away what there is, and say what is being measured."""
        self._cut(0)
        self._append(_First(msgspec.to_builtins(self.about)))

    def _cut(self, whole: int) -> None:
        """Leave so many bytes, behind which lines are appended."""
        assert self._file is not None
        self._file.truncate(whole)

    def _append(self, line: Any) -> None:
        if self._file is None:
            return
        try:
            self._file.write(msgspec.json.encode(line) + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise cannot_write(str(self.path), error) from None

    def _read(self) -> int:
        """Take in all whole lines, and say how many bytes they are."""
        assert self._file is not None
        try:
            self._file.seek(0)
            content = self._file.read()
        except OSError as error:
            raise OutputError(f"cannot read {self.path}: {reason_of(error)}") from None
        whole = content[: content.rfind(b"\n") + 1]
        if not whole:
            return 0
        first, *others = whole.splitlines()
        try:
            about = msgspec.json.decode(first, type=_First).about
            self.findings = [msgspec.json.decode(line, type=Finding) for line in others]
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise OutputError(f"{self.path} is no journal: {_ANEW}") from None
        here = msgspec.to_builtins(self.about)
        for key in {**here, **about}:
            if here.get(key) != about.get(key):
                raise OutputError(
                    f"{self.path} is of another measurement ({key} is {about.get(key)!r} there, "
                    f"{here.get(key)!r} here): {_ANEW}"
                )
        return len(whole)


def _locked(file: IO[bytes]) -> bool:
    """Whether the file is this process's alone from now on, until it is closed.

    Where a system has no such locks, every process is let in.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return True
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EACCES, errno.EAGAIN)
    return True


def interrupted(target: str | None) -> bool:
    """Whether an interrupted measurement lies beside the file that it was to write."""
    path = _path(target)
    return path is not None and path.exists()


def check_uninterrupted(target: str | None) -> None:
    """Raise OutputError if one does: to be asked before long work."""
    if interrupted(target):
        raise OutputError(
            f"{_path(target)} holds an interrupted measurement: --resume goes on with it, "
            "--force begins anew"
        )


def _path(target: str | None) -> Path | None:
    """None where results do not go into a file: to the terminal, a pipe, or nowhere."""
    if target is None or target == "-" or (Path(target).exists() and not Path(target).is_file()):
        return None
    return Path(f"{target}{SUFFIX}")
