"""A journal keeps what was found, whatever second a measurement is killed in."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

import msgspec
import pytest

from roofline.errors import OutputError
from roofline.records.journal import SUFFIX, Journal

ABOUT = {"device": "cpu", "modes": ["fp32"]}


def _journal(tmp_path: Path, findings: int = 3) -> tuple[str, Path]:
    target = str(tmp_path / "out.yaml")
    journal = Journal.begin(target, ABOUT)
    for number in range(findings):
        journal.add("row" if number % 2 == 0 else "other", {"n": number, "time_s": 0.1 * number})
    journal.close(finished=False)
    return target, Path(target + SUFFIX)


def test_what_was_found_comes_back(tmp_path: Path) -> None:
    target, file = _journal(tmp_path)
    assert len(file.read_text().splitlines()) == 4
    again = Journal.resume(target, ABOUT)
    assert list(again.of("row")) == [{"n": 0, "time_s": 0.0}, {"n": 2, "time_s": 0.2}]
    again.add("row", {"n": 3})
    again.close(finished=False)
    assert [row["n"] for row in Journal.resume(target, ABOUT).of("row")] == [0, 2, 3]


def test_cut_off_at_any_byte_whole_lines_count_and_it_goes_on(tmp_path: Path) -> None:
    target, file = _journal(tmp_path)
    content = file.read_bytes()
    for length in range(len(content) + 1):
        file.write_bytes(content[:length])
        again = Journal.resume(target, ABOUT)
        known = len(again.findings)
        assert known == max(0, content[:length].count(b"\n") - 1)
        again.add("row", {"n": 9})
        again.close(finished=False)
        assert len(Journal.resume(target, ABOUT).findings) == known + 1


def test_a_killed_process_has_lost_nothing_that_it_added(tmp_path: Path) -> None:
    target = str(tmp_path / "out.yaml")
    program = (
        "import os, signal, sys\n"
        "from roofline.records.journal import Journal\n"
        "journal = Journal.begin(sys.argv[1], {'device': 'cpu', 'modes': ['fp32']})\n"
        "for number in range(5): journal.add('row', number)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", program, target], check=False).returncode == -9
    assert list(Journal.resume(target, ABOUT).of("row")) == [0, 1, 2, 3, 4]


def test_the_file_goes_once_all_of_it_stands_elsewhere(tmp_path: Path) -> None:
    target, file = _journal(tmp_path)
    Journal.resume(target, ABOUT).close(finished=True)
    assert not file.exists()


def test_nothing_interrupted_is_lost_by_beginning_anew(tmp_path: Path) -> None:
    target, file = _journal(tmp_path)
    with pytest.raises(OutputError, match=r"--resume goes on with it, --force begins anew"):
        Journal.begin(target, ABOUT)
    assert len(file.read_text().splitlines()) == 4
    Journal.begin(target, ABOUT, force=True).close(finished=False)
    assert len(file.read_text().splitlines()) == 1


def test_another_measurement_does_not_go_on(tmp_path: Path) -> None:
    target, _ = _journal(tmp_path)
    with pytest.raises(OutputError, match=r"modes is \['fp32'\] there, \['bf16'\] here"):
        Journal.resume(target, {"device": "cpu", "modes": ["bf16"]})


@pytest.mark.parametrize(
    "line", [b"no JSON", b"[1]", b'{"about":5}', b'{"about":null}', b'{"about":"\xff"}', b"\xff"]
)
def test_another_file_is_no_journal(tmp_path: Path, line: bytes) -> None:
    target, file = _journal(tmp_path)
    content = file.read_bytes().splitlines()
    for damaged in ([line, *content[1:]], [content[0], line]):
        file.write_bytes(b"\n".join(damaged) + b"\n")
        with pytest.raises(OutputError, match="is no journal: without --resume, --force begins"):
            Journal.resume(target, ABOUT)


@pytest.mark.parametrize("target", [None, "-"])
def test_without_a_file_findings_are_kept_in_memory(target: str | None) -> None:
    journal = Journal.resume(target, ABOUT)
    journal.add("row", {"n": 1})
    journal.close(finished=True)
    assert list(journal.of("row")) == [{"n": 1}]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot write"):
        Journal.begin(str(tmp_path / "no" / "out.yaml"), ABOUT)


def test_a_disk_that_is_full_is_one_line() -> None:
    journal = Journal(Path("/dev/full"), ABOUT)
    journal._open()
    with pytest.raises(OutputError, match="cannot write /dev/full"):
        journal.add("row", 1)


def test_a_folder_in_its_place_is_one_line(tmp_path: Path) -> None:
    (tmp_path / f"out.yaml{SUFFIX}").mkdir()
    with pytest.raises(OutputError, match=r"cannot write .*: Is a directory"):
        Journal.resume(str(tmp_path / "out.yaml"), ABOUT)


def test_findings_are_what_json_holds(tmp_path: Path) -> None:
    class Row(msgspec.Struct):
        n: int

    journal = Journal.begin(str(tmp_path / "a"), ABOUT)
    journal.add("row", Row(3))
    assert list(journal.of("row")) == [{"n": 3}]


@pytest.mark.skipif(sys.platform == "win32", reason="no such locks")
def test_two_runs_do_not_write_one_journal(tmp_path: Path) -> None:
    """Another process has it open; it is free again when that ends, however it ends."""
    target = str(tmp_path / "run.json")
    program = (
        "import sys, time\n"
        "from roofline.records.journal import Journal\n"
        f"Journal.begin({target!r}, {{}})\n"
        "journal = Journal.resume(sys.argv[1], {})\n"
        "print('open', flush=True)\n"
        "time.sleep(60)\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", program, target], stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        for attempt in (Journal.resume, partial(Journal.begin, force=True)):
            with pytest.raises(OutputError, match="is being written by another run"):
                attempt(target, {})
        before = Path(f"{target}.partial").read_bytes()
        assert before.count(b"\n") == 1  # and is as it was
    finally:
        other.kill()
        other.communicate()

    Journal.resume(target, {}).close(finished=True)
