"""`roofline compare`: records side by side, or one line for the one that is none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from roofline.records.measurement import Record

Cli = Callable[..., Any]


@pytest.fixture
def files(record: Callable[..., Record], tmp_path: Path, in_an_empty_folder: None) -> list[str]:
    """Three records, two of which are called alike; and what is none."""
    (tmp_path / "other").mkdir()
    (tmp_path / "all.json").write_bytes(
        record(inputs={"visual_tokens": 576, "reducer": None}).to_json()
    )
    (tmp_path / "few.json").write_bytes(record().to_json())
    (tmp_path / "other" / "few.json").write_bytes(record(inputs={"batch": 8}).to_json())
    (tmp_path / "half.json").write_bytes(record().to_json()[:1000])
    newer = json.loads(record().to_json()) | {"roofline_record": 99}
    (tmp_path / "newer.json").write_text(json.dumps(newer), encoding="utf-8")
    (tmp_path / "spec.json").write_text("{}", encoding="utf-8")
    return ["all.json", "few.json"]


def test_runs_are_called_by_their_files(files: list[str], call: Cli) -> None:
    code, out, err = call("compare", *files)

    assert (code, err) == (0, "")
    assert "all  no reducer, 576 visual tokens\nfew  with prumerge, 40 visual tokens\n" in out


def test_in_a_process_of_its_own(files: list[str], run: Cli) -> None:
    code, out, err = run("compare", *files)

    assert (code, err) == (0, "")
    assert "Speed-up" in out


def test_files_of_one_name_keep_their_folders(files: list[str], call: Cli) -> None:
    out = call("compare", "few.json", "other/few.json").out

    assert "\nfew.json        batch 1\nother/few.json  batch 8\n" in out


def test_formats(files: list[str], call: Cli, tmp_path: Path) -> None:
    assert list(json.loads(call("compare", *files, "--format", "json").out)) == ["all", "few"]
    assert "| Median |" in call("compare", *files, "--format", "md").out


def test_a_file_is_written_and_not_overwritten(files: list[str], call: Cli, tmp_path: Path) -> None:
    assert call("compare", *files, "-o", "table.txt") == (0, "", "")
    first = (tmp_path / "table.txt").read_text(encoding="utf-8")
    assert first == call("compare", *files).out
    refused = call("compare", "few.json", "-o", "table.txt")
    assert_one_line(*refused, "table.txt exists: give another name, or --force")
    assert (tmp_path / "table.txt").read_text(encoding="utf-8") == first
    assert call("compare", "few.json", "-o", "table.txt", "--force").code == 0
    assert (tmp_path / "table.txt").read_text(encoding="utf-8") != first


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ([], "Missing argument 'RECORD...'"),
        (["missing.json"], "cannot read missing.json: No such file"),
        (["other"], "cannot read other: Is a directory"),
        (["few.json", "half.json"], "half.json is no valid JSON"),
        (["few.json", "spec.json"], "spec.json is no record: give a file that `roofline profile"),
        (["newer.json"], "written by a newer roofline (record format 99"),
        (["few.json", "--format", "csv"], "'table', 'json', 'md'"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], hint: str, files: list[str], call: Cli, tmp_path: Path
) -> None:
    before = sorted(tmp_path.iterdir())

    assert_one_line(*call("compare", *arguments, "-o", "table.txt"), hint)
    assert sorted(tmp_path.iterdir()) == before


def assert_one_line(code: int, out: str, err: str, hint: str) -> None:
    assert (code, out) == (2, "")
    assert err.startswith("roofline: error: ")
    assert err.count("\n") == 1
    assert hint in err
