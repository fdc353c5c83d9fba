"""`roofline validate`: a folder of files, and what a killed one leaves there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from roofline.records.journal import Journal
from roofline.records.validation import Validation
from roofline.torch_side.measure import validate as runtime

Cli = Callable[..., Any]
TINY = ["validate", "--model", "llava-tiny", "--device", "cpu", "--hw", "xeon"]
FILES = ["validation.json", "validation.md", "validation.png"]
PARTIAL = "validation.json.partial"


def found(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_an_interrupted_validation_goes_on_in_its_folder(
    call: Cli,
    validation: Callable[..., Validation],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def measured(*, journal: Journal, **_: object) -> tuple[Validation, None]:
        again = list(journal.of("counts"))
        journal.add("counts", [])
        return replace(validation(), complete=bool(again)), None

    monkeypatch.setattr(runtime, "calibrate_and_validate", measured)
    code, out, err = call(*TINY, "-o", "v")
    assert code == 130
    assert "Interrupted: this is what had been measured by then." in " ".join(out.split())
    assert f"roofline: v/{PARTIAL} keeps what was measured: --resume goes on\n" in err
    assert found(tmp_path / "v") == sorted([*FILES, PARTIAL])

    code, _, err = call(*TINY, "-o", "v")
    assert (code, err.count("\n")) == (2, 1)
    assert f"v/{PARTIAL} holds an interrupted measurement: --resume goes on with it" in err
    code, _, err = call(*TINY, "-o", "v", "--resume", "--quant", "bf16")
    assert (code, "quant is 'fp32' there, 'bf16' here" in err) == (2, True)
    assert call(*TINY, "-o", "v", "--resume").code == 0
    assert found(tmp_path / "v") == FILES


def test_there_is_nothing_to_go_on_with_without_a_folder(call: Cli) -> None:
    code, _, err = call(*TINY, "--resume")

    assert (code, err.count("\n")) == (2, 1)
    assert "--resume needs -o" in err


def test_a_disturbed_validation_says_so_in_table_file_and_exit_text(
    call: Cli,
    validation: Callable[..., Validation],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    quiet = validation()
    cells = [replace(cell, disturbance="noise during 5 of 5 samples") for cell in quiet.cells]
    monkeypatch.setattr(
        runtime, "calibrate_and_validate", lambda **_: (replace(quiet, cells=cells), None)
    )
    code, out, err = call(*TINY, "-o", "v")

    said = f"untrusted: {len(cells)} of {len(cells)} cells were disturbed (noise during 5 of 5"
    assert code == 0
    assert said in " ".join(out.split())
    assert said in err
    assert '"untrusted": "' in (tmp_path / "v" / "validation.json").read_text(encoding="utf-8")
    page = (tmp_path / "v" / "validation.md").read_text(encoding="utf-8")
    assert page.count(" % ! |") == len(cells)
