"""`-o`: the format follows the name, nothing is lost, nothing is half written; pipes."""

import errno
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from roofline.cli.output import check, write, write_folder, write_measured
from roofline.errors import OutputError

Cli = Callable[..., Any]

ANALYZE = ["analyze", "--model", "vicuna-7b", "--hw", "v100", "--visual-tokens", "40"]
FULL = Path("/dev/full")


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("result.json", "json"),
        ("result.csv", "csv"),
        ("result.md", "md"),
        ("result.txt", "table"),
        ("RESULT.JSON", "json"),
        ("result", "table"),
        ("result.dat", "table"),
    ],
)
def test_the_format_follows_the_ending(name: str, form: str, call: Cli, tmp_path: Path) -> None:
    shown = call(*ANALYZE, "--format", form)
    written = call(*ANALYZE, "-o", name)

    assert written == (0, "", "")
    assert (tmp_path / name).read_text(encoding="utf-8") == shown.out
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_a_format_that_is_asked_for_wins_over_the_ending(call: Cli, tmp_path: Path) -> None:
    call(*ANALYZE, "-o", "result.txt", "--format", "json")

    assert json.loads((tmp_path / "result.txt").read_text(encoding="utf-8"))["end_to_end"]["flops"]


def test_a_dash_is_the_terminal(call: Cli, tmp_path: Path) -> None:
    assert call(*ANALYZE, "-o", "-") == call(*ANALYZE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [ANALYZE, ["reproduce", "prumerge-table2"]], ids=" ".join)
def test_a_file_with_something_in_it_is_left_alone(
    arguments: list[str], call: Cli, tmp_path: Path
) -> None:
    file = tmp_path / "result.json"
    file.write_text("precious", encoding="utf-8")
    code, out, err = call(*arguments, "-o", "result.json")

    assert (code, out) == (2, "")
    assert err.startswith("roofline: error: result.json exists")
    assert err.count("\n") == 1
    assert "--force" in err
    assert file.read_text(encoding="utf-8") == "precious"
    assert [found.name for found in tmp_path.iterdir()] == ["result.json"]


@pytest.mark.parametrize(
    ("before", "options"), [("precious", ["--force"]), ("", [])], ids=["forced", "empty"]
)
def test_a_file_is_replaced_when_forced_or_empty(
    before: str, options: list[str], call: Cli, tmp_path: Path
) -> None:
    file = tmp_path / "result.json"
    file.write_text(before, encoding="utf-8")

    assert call(*ANALYZE, "-o", "result.json", *options) == (0, "", "")
    assert json.loads(file.read_text(encoding="utf-8"))["inputs"]["model"] == "vicuna-7b"
    assert [found.name for found in tmp_path.iterdir()] == ["result.json"]


def test_a_failing_command_does_not_replace_a_file_even_when_forced(
    call: Cli, tmp_path: Path
) -> None:
    file = tmp_path / "result.json"
    file.write_text("precious", encoding="utf-8")

    assert call(*ANALYZE, "--quant", "bf16", "-o", "result.json", "--force").code == 2
    assert file.read_text(encoding="utf-8") == "precious"


@pytest.mark.parametrize(
    ("target", "hint"),
    [
        ("missing/result.json", "No such file or directory"),
        (".", "is a folder"),
        ("file/result.json", "Not a directory"),
    ],
)
def test_a_place_that_cannot_be_written(target: str, hint: str, call: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious", encoding="utf-8")
    code, out, err = call(*ANALYZE, "-o", target)

    assert (code, out) == (2, "")
    assert err.startswith("roofline: error: ")
    assert err.count("\n") == 1
    assert hint in err
    assert [found.name for found in tmp_path.iterdir()] == ["file"]


def test_a_named_pipe_is_written_to_not_replaced(run: Cli, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.json"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)  # the document fits into its buffer
    try:
        assert run(*ANALYZE, "-o", pipe) == (0, "", "")
        text = os.read(reading, 1 << 16)
    finally:
        os.close(reading)

    assert json.loads(text)["inputs"]["model"] == "vicuna-7b"
    assert pipe.is_fifo()


@pytest.mark.parametrize(
    "arguments",
    [["hardware"], [*ANALYZE, "--per-op"], ["reproduce", "prumerge-table2"]],
    ids=" ".join,
)
def test_a_reader_that_has_seen_enough_is_no_error(
    arguments: list[str], environment: dict[str, str]
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "roofline", *arguments],
            stdout=writing,
            env=environment,
            stderr=subprocess.PIPE,
            timeout=300,
        )
    finally:
        os.close(writing)

    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(not FULL.exists(), reason="needs a device that is always full")
def test_a_full_disk_is_one_line(environment: dict[str, str]) -> None:
    with FULL.open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "roofline", "hardware"],
            stdout=full,
            env=environment,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            timeout=300,
        )

    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("roofline: error: ")
    assert done.stderr.count("\n") == 1


def test_a_link_is_followed_and_a_mode_is_kept(call: Cli, tmp_path: Path) -> None:
    target, link = tmp_path / "target.json", tmp_path / "link.json"
    target.write_text("old", encoding="utf-8")
    target.chmod(0o600)
    link.symlink_to(target)

    assert call(*ANALYZE, "-o", "link.json", "--force") == (0, "", "")
    assert link.is_symlink()
    assert json.loads(target.read_text(encoding="utf-8"))["inputs"]["model"] == "vicuna-7b"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert sorted(file.name for file in tmp_path.iterdir()) == ["link.json", "target.json"]


def test_a_dangling_link_gets_its_target(call: Cli, tmp_path: Path) -> None:
    (tmp_path / "link.json").symlink_to("target.json")

    assert call(*ANALYZE, "-o", "link.json") == (0, "", "")
    assert (tmp_path / "target.json").is_file()


@pytest.mark.parametrize(
    ("target", "hint"),
    [
        ("", "has no name"),
        ("x" * 5000, "File name too long"),
        ("a\0b", "null"),
        ("loop", "Too many levels of symbolic links"),
    ],
    ids=["empty", "long", "null", "loop"],
)
@pytest.mark.parametrize("options", [[], ["--force"]], ids=["plain", "forced"])
def test_a_name_that_no_file_can_have(
    target: str, hint: str, options: list[str], call: Cli, tmp_path: Path
) -> None:
    (tmp_path / "loop").symlink_to("loop")
    code, out, err = call(*ANALYZE, "-o", target, *options)

    assert (code, out) == (2, "")
    assert hint in err
    assert err.count("\n") == 1
    assert len(err) < 300


@pytest.mark.parametrize("link", [False, True], ids=["itself", "by a link"])
def test_the_input_is_not_the_output(link: bool, call: Cli, tmp_path: Path) -> None:
    shipped = Path(__file__).parents[2] / "models" / "vicuna-7b.yaml"
    file = tmp_path / "mine.yaml"
    file.write_bytes(shipped.read_bytes())
    (tmp_path / "link.yaml").symlink_to(file)
    target = "link.yaml" if link else "mine.yaml"
    code, out, err = call("analyze", "--model", "mine.yaml", "-o", target, "--force")

    assert (code, out) == (2, "")
    assert "is read by this very command" in err
    assert file.read_bytes() == shipped.read_bytes()


def test_a_name_of_the_catalog_is_no_file(call: Cli, tmp_path: Path) -> None:
    assert call(*ANALYZE, "-o", "v100").code == 0
    assert call(*ANALYZE, "-o", "vicuna-7b").code == 0


@pytest.mark.skipif(not FULL.exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("arguments", [["--help"], ["analyze", "--help"], ["--version"]], ids=str)
def test_help_on_a_full_disk_is_one_line(arguments: list[str], environment: dict[str, str]) -> None:
    with FULL.open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "roofline", *arguments],
            stdout=full,
            env=environment,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            timeout=300,
        )

    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("roofline: error: cannot write the result: No space")


@pytest.mark.skipif(not FULL.exists(), reason="needs a device that is always full")
def test_a_full_device_is_one_line(call: Cli) -> None:
    code, out, err = call(*ANALYZE, "-o", FULL)

    assert (code, out) == (2, "")
    assert err == "roofline: error: cannot write /dev/full: No space left on device\n"


def test_standard_output_may_be_closed(environment: dict[str, str]) -> None:
    command = f"{sys.executable} -m roofline {' '.join(ANALYZE)} >&-"
    done = subprocess.run(
        ["sh", "-c", command], env=environment, stderr=subprocess.PIPE, encoding="utf-8"
    )

    assert done.returncode == 2
    assert done.stderr == ("roofline: error: cannot write the result: standard output is closed\n")


def test_a_full_disk_leaves_all_files_of_a_folder_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {"a.md": b"old a", "b.md": b"old b"}
    write_folder(str(tmp_path), before)
    write_bytes = Path.write_bytes

    def full(self: Path, data: bytes) -> int:
        if data == b"new b":
            write_bytes(self, data[:3])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write_bytes(self, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match=r"b\.md: No space left"):
        write_folder(str(tmp_path), {"a.md": b"new a", "b.md": b"new b"}, force=True)

    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_what_was_measured_is_printed_where_it_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gone").mkdir()
    target = str(tmp_path / "gone" / "record.json")
    check(target)
    (tmp_path / "gone").rmdir()

    with pytest.raises(OutputError, match="cannot write"):
        write_measured("a table\n", {target: "the record\n", target + ".png": b"\x89"})
    assert capsys.readouterr().out == "the record\na table\n"


def test_a_terminal_is_not_told_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    write("a\x1b[31mb\x1b]0;title\x07c\x9bd\u202ee\tf\ng\n", None)

    assert capsys.readouterr().out == "abcde\tf\ng\n"


def test_two_results_need_two_files(call: Cli, tmp_path: Path) -> None:
    for second in ("mine.yaml", "./mine.yaml"):
        code, out, err = call("calibrate", "-o", "mine.yaml", "--measurements", second)

        assert (code, out) == (2, "")
        assert "two results" in err
    assert list(tmp_path.iterdir()) == []
