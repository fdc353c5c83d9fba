"""`roofline report`: a folder for a paper or a decision, the same every time."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from roofline.records.measurement import Record
from roofline.report import study_report

Cli = Callable[..., Any]

ARGUMENTS = ("report", "--model", "llava-1.5-7b", "--hw", "h200", "--visual-tokens", "40")


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """For what a report says in words: its figures take longer than all else."""
    monkeypatch.setattr(study_report, "report_charts", dict)


def test_a_report_is_written_with_its_figures(call: Cli, tmp_path: Path) -> None:
    done = call(*ARGUMENTS, "-o", "reports/mine")
    files = contents(tmp_path / "reports" / "mine")
    text = files["report.md"].decode()

    assert done == (0, "reports/mine/report.md\nreports/mine/report.html\n", "")
    assert text.startswith("# llava-1.5-7b on h200: fp16\n\n## Answer\n\nAt a glance")
    linked = re.findall(r"!\[.+\]\((.+?)\)", text)
    assert linked
    assert set(files) == {"report.md", "report.html"} | {
        Path(name).with_suffix(suffix).name for name in linked for suffix in (".png", ".svg")
    }
    assert files["report.html"].count(b"<img ") == len(linked)


def test_the_command_in_a_report_writes_the_same_bytes_again(
    call: Cli, environment: dict[str, str], tmp_path: Path
) -> None:
    call(*ARGUMENTS, "--quant", "int4", "--accuracy", "--batch", "2", "-o", "first", "--force")
    first = contents(tmp_path / "first")
    command = re.search(r"```sh\n(.+)\n```", first["report.md"].decode())
    assert command is not None
    program, *words = shlex.split(command[1])
    assert program == "roofline"
    *words, flag, folder = words
    assert (flag, folder) == ("-o", "FOLDER")
    assert words == [
        *ARGUMENTS[:5],
        "--quant",
        "int4",
        *ARGUMENTS[5:],
        "--batch",
        "2",
        "--accuracy",
    ]

    subprocess.run(
        [sys.executable, "-m", "roofline", *words, "-o", "second"],
        env={**environment, "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "LC_ALL": "C"},
        check=True,
        capture_output=True,
    )
    assert contents(tmp_path / "second") == first


@pytest.mark.usefixtures("no_figures")
def test_a_record_brings_its_model_and_device(
    call: Cli, record: Callable[..., Record], tmp_path: Path
) -> None:
    (tmp_path / "run-1.json").write_bytes(record().to_json())

    assert call("report", "--record", "run-1.json", "-o", "out").code == 0
    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert text.startswith("# llava-1.5-7b on h200: fp16")
    assert "**Measured, run-1.**" in text
    assert "## Measured" in text


@pytest.mark.usefixtures("no_figures")
def test_what_is_not_named_is_as_in_the_records(
    call: Cli, record: Callable[..., Record], tmp_path: Path
) -> None:
    run = record()
    inputs = run.inputs | {"quant": "int8", "visual_tokens": 36, "text_tokens": 50, "batch": 2}
    for name in ("one", "two"):
        (tmp_path / f"{name}.json").write_bytes(replace(run, inputs=inputs).to_json())
    both = ("report", "--record", "one.json", "--record", "two.json")

    def inputs_of(*words: str) -> list[str]:
        assert call(*both, *words, "-o", "out", "--force").code == 0
        text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
        keys = ("Quant", "Visual tokens", "Text tokens", "Batch")
        return [
            re.search(rf"- \*\*{key}\.\*\* (.+)", text)[1]  # type: ignore[index]
            for key in keys
        ]

    assert inputs_of() == ["int8", "36", "50", "2"]
    assert inputs_of("--text-tokens", "60", "--quant", "fp16") == ["fp16", "36", "60", "2"]
    (tmp_path / "two.json").write_bytes(replace(run, inputs=inputs | {"batch": 4}).to_json())
    assert inputs_of("--batch", "4") == ["int8", "36", "50", "4"]
    before = contents(tmp_path / "out")
    done = call(*both, "-o", "out", "--force")
    assert done.err == "roofline: error: the records have 2 and 4 as --batch: name one\n"
    assert done.code == 2
    assert contents(tmp_path / "out") == before


@pytest.mark.usefixtures("no_figures")
def test_attention_is_as_in_the_records(
    call: Cli, record: Callable[..., Record], tmp_path: Path
) -> None:
    for kernels in ("sdpa", "flash", "eager"):
        run = record(inputs={"attention": kernels})
        (tmp_path / f"{kernels}.json").write_bytes(run.to_json())

    def memory(*words: str) -> str:
        assert call("report", *words, "-o", "out", "--force").code == 0
        text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
        return re.search(r"- \*\*Attention\.\*\* (.+)", text)[1]  # type: ignore[index]

    assert memory("--record", "eager.json") == "eager"
    assert memory("--record", "sdpa.json", "--record", "flash.json") == "flash"
    both = "--record", "sdpa.json", "--record", "eager.json"
    assert memory(*both, "--attention", "eager") == "eager"
    done = call("report", *both, "-o", "other")
    assert (
        done.err == "roofline: error: the records have eager and flash as --attention: name one\n"
    )
    assert done.code == 2


def test_a_record_of_a_device_of_ones_own_asks_for_its_file(
    call: Cli, record: Callable[..., Record], tmp_path: Path
) -> None:
    (tmp_path / "run.json").write_bytes(record(inputs={"hardware": "my-gpu"}).to_json())
    done = call("report", "--record", "run.json", "-o", "out")
    assert done.code == 2
    assert done.err == (
        "roofline: error: run.json: inputs.hardware: my-gpu is not in the catalog: give its file "
        "with --hw\n"
    )


@pytest.mark.usefixtures("no_figures")
def test_records_of_one_file_name_keep_their_folders(
    call: Cli, record: Callable[..., Record], tmp_path: Path
) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "run.json").write_bytes(record().to_json())
    both = ("--record", "a/run.json", "--record", "b/run.json")
    assert call("report", *both, "-o", "out").code == 0
    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "**Measured, a/run.json.**" in text
    assert "**Measured, b/run.json.**" in text


def test_what_a_device_lacks_is_said_at_once(call: Cli, tmp_path: Path) -> None:
    devices = ("--hw", "v100", "--hw", "h200")
    done = call("report", "--model", "clip-vit-l-336", *devices, "--quant", "fp8", "-o", "out")
    assert done.code == 0
    assert done.err.startswith("roofline: left out: v100 has no fp8 peak")


def test_figures_are_as_wide_as_a_paper_asks(call: Cli, tmp_path: Path) -> None:
    quick = ("report", "--model", "clip-vit-l-336", "--hw", "h200", "-o")
    assert call(*quick, "one", "--figure-width", "single").code == 0
    assert call(*quick, "two").code == 0

    def width_pt(folder: str) -> float:
        text = (tmp_path / folder / "time.svg").read_text(encoding="utf-8")
        found = re.search(r'<svg .*?width="([\d.]+)pt"', text, re.S)
        assert found is not None
        return float(found[1])

    assert width_pt("one") == pytest.approx(3.4 * 72)
    assert width_pt("two") == pytest.approx(7.0 * 72)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read run.json: No such file or directory"),
        (b'{"roofline_record": 1, "crea', "is no valid JSON"),
        (b'{"totals": {}}', "is no record: give a file that `roofline profile -o` wrote"),
        (b'{"roofline_record": 99}', "written by a newer roofline"),
        (b'{"roofline_record": 2}', "is a damaged record"),
    ],
)
def test_an_unreadable_record_is_one_line(
    content: bytes | None, message: str, call: Cli, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / "run.json").write_bytes(content)
    done = call(*ARGUMENTS, "--record", "run.json", "-o", "out")

    assert (done.code, done.out) == (2, "")
    assert message in done.err
    assert done.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("-o", "out"), "no model and no hardware is named; give --model and --hw"),
        (("--model", "llava-1.5-7b", "-o", "out"), "nothing to report on: no hardware is named"),
        (("--model", "vicuna-7b", "--hw", "h200", "--accuracy", "-o", "out"), "no accuracy"),
        (("--model", "llava-1.5-7b", "--hw", "h2000", "-o", "out"), "did you mean h200"),
        ((*ARGUMENTS[1:], "--reducer", "prumrge", "-o", "out"), "did you mean prumerge"),
        ((*ARGUMENTS[1:], "--output-tokens", "0", "-o", "out"), "output tokens"),
        (ARGUMENTS[1:], "Missing option '-o'"),
        ((*ARGUMENTS[1:], "-o", ""), "the folder has no name"),
        ((*ARGUMENTS[1:], "--text-tokens", "-1", "-o", "out"), "text tokens"),
    ],
)
def test_an_empty_or_odd_selection_is_one_line(
    words: tuple[str, ...], message: str, call: Cli, tmp_path: Path
) -> None:
    done = call("report", *words)

    assert (done.code, done.out) == (2, "")
    assert message in done.err
    assert done.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_folder_with_other_files_is_left_alone(call: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "thesis.tex").write_text("years of work", encoding="utf-8")
    (folder / "report.md").write_text("mine", encoding="utf-8")
    before = contents(folder)
    done = call(*ARGUMENTS, "-o", "out")

    assert done.code == 2
    assert done.err == (
        "roofline: error: out holds other files: name a new folder, or --force to write among "
        "them\n"
    )
    assert contents(folder) == before

    quick = ("report", "--model", "clip-vit-l-336", "--hw", "h200")
    assert call(*quick, "-o", "out", "--force").code == 0
    after = contents(folder)
    assert after["thesis.tex"] == before["thesis.tex"]
    assert after["report.md"] != before["report.md"]


def test_figures_of_a_report_before_do_not_stay(call: Cli, tmp_path: Path) -> None:
    quick = ("report", "--model", "clip-vit-l-336", "--hw", "h200")
    assert call(*quick, "-o", "fresh").code == 0
    fresh = contents(tmp_path / "fresh")
    folder = tmp_path / "out"
    folder.mkdir()
    for name in ("answer.png", "answer.svg", "photo.png"):
        (folder / name).write_bytes(b"before")

    assert call(*quick, "-o", "out", "--force").code == 0
    assert contents(folder) == fresh | {"photo.png": b"before"}


def test_a_file_is_no_folder(call: Cli, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine", encoding="utf-8")
    done = call(*ARGUMENTS, "-o", "out", "--force")

    assert (done.code, done.err) == (2, "roofline: error: out is a file: name a folder\n")
    assert (tmp_path / "out").read_text(encoding="utf-8") == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_cannot_be_made_is_one_line(call: Cli, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        done = call(*ARGUMENTS, "-o", "out")
    finally:
        tmp_path.chmod(0o700)

    assert done.code == 2
    assert "cannot make the folder out: Permission denied" in done.err


def test_help_imports_nothing_heavy(environment: dict[str, str]) -> None:
    """As for all commands: click alone until something is asked."""
    code = (
        "import sys; from roofline.cli.report import report; "
        "print(*(m for m in ('numpy', 'msgspec', 'matplotlib') if m in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""


def test_pictures_of_a_report(call: Cli, tmp_path: Path) -> None:
    """Of a model that takes any shape: how many tokens there are, and that they were asked for."""
    command = ["report", "--model", "qwen2.5-vl-7b", "--hw", "h100", "--visual-tokens", "64"]
    code, _, _ = call(*command, "--image", "640x480", "-o", "shown")
    text = (tmp_path / "shown" / "report.md").read_text()

    assert code == 0
    assert "Prefill of 391 visual and 40 text tokens" in text  # 17 × 23
    assert "--image 640x480" in text
    assert "- **Pictures.** 640x480" in text
