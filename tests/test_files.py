"""Files that are written: all or none, beside whatever else is written there."""

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from roofline.errors import OutputError
from roofline.files import check_file, swap_in


def files_of(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.fixture
def unreplaceable(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Names of files whose place nothing takes, as one that the system holds immutable."""
    names: set[str] = set()
    replace = Path.replace

    def refuse(self: Path, target: Any) -> Path:
        if Path(target).name in names:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", refuse)
    return names


def test_threads_that_write_side_by_side_do_not_meet(tmp_path: Path) -> None:
    def write(name: str) -> None:
        for turn in range(40):
            check_file(str(tmp_path / name), force=True)
            swap_in({tmp_path / name: f"{name} {turn}".encode()})

    names = ["a", "b", "c", "d"]
    with ThreadPoolExecutor(len(names)) as threads:
        list(threads.map(write, names))

    assert files_of(tmp_path) == {name: f"{name} 39".encode() for name in names}


def test_ctrl_c_after_the_last_file_takes_none_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    swap_in({tmp_path / "a": b"old", tmp_path / "b": b"old"})
    unlink = Path.unlink

    def pressed(self: Path, missing_ok: bool = False) -> None:
        if (tmp_path / "b").read_bytes() == b"new":
            monkeypatch.undo()
            raise KeyboardInterrupt
        unlink(self, missing_ok)

    monkeypatch.setattr(Path, "unlink", pressed)
    with pytest.raises(KeyboardInterrupt):
        swap_in({tmp_path / "a": b"new", tmp_path / "b": b"new"})
    assert {(tmp_path / name).read_bytes() for name in "ab"} == {b"new"}


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
def test_a_place_that_is_not_to_be_had_is_named_and_all_is_as_it_was(
    tmp_path: Path, unreplaceable: set[str], links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(self: Path, target: Any) -> None:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    if not links:
        monkeypatch.setattr(Path, "hardlink_to", none)
    before = {"a": b"old a", "b": b"old b", "d": b"old d"}
    swap_in({tmp_path / name: data for name, data in before.items()})
    (tmp_path / "a").chmod(0o640)
    unreplaceable.add("b")

    with pytest.raises(OutputError) as caught:
        swap_in({tmp_path / name: b"new" for name in ("c", "a", "b", "d")})
    assert str(caught.value) == f"cannot write {tmp_path / 'b'}: Operation not permitted"
    assert files_of(tmp_path) == before
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_what_could_not_be_put_back_is_said(
    tmp_path: Path, unreplaceable: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink = Path.unlink

    def refuse(self: Path, missing_ok: bool = False) -> None:
        if self.name == "a":
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        unlink(self, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    unreplaceable.add("b")

    with pytest.raises(OutputError, match=r"cannot write .*b: Operation .*; .*a is new$"):
        swap_in({tmp_path / name: b"new" for name in ("a", "b")})
    assert files_of(tmp_path) == {"a": b"new"}


def test_ctrl_c_between_two_files_leaves_both_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    swap_in({tmp_path / "a": b"old", tmp_path / "b": b"old"})
    replace = Path.replace

    def pressed(self: Path, target: Any) -> Path:
        if Path(target).name == "b":
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", pressed)
    with pytest.raises(KeyboardInterrupt):
        swap_in({tmp_path / "a": b"new", tmp_path / "b": b"new"})
    assert files_of(tmp_path) == {"a": b"old", "b": b"old"}


def test_a_stream_that_takes_nothing_leaves_the_files_as_they_were(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("needs a device that is always full")
    swap_in({tmp_path / "a": b"old"})

    with pytest.raises(OutputError, match="cannot write /dev/full: No space"):
        swap_in({tmp_path / "a": b"new", full: b"new"})
    assert files_of(tmp_path) == {"a": b"old"}
