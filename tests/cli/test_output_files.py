"""`-o`: the format follows the name, nothing is lost, nothing is half written; pipes."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

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
