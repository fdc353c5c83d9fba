"""`--plugin`: a reducer of one's own from file to figure, command by command."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from roofline.reducers import OWN_METHODS, REDUCERS

FILE = Path(__file__).resolve().parents[2] / "examples" / "my_reducers.py"
Cli = Callable[..., Any]


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch, in_an_empty_folder: None) -> str:
    """The file to name; what it registers is forgotten again."""
    REDUCERS.names()
    for registry in (REDUCERS, OWN_METHODS):
        monkeypatch.setattr(registry, "_things", dict(registry._things))
    for name in [name for name in sys.modules if name.startswith("roofline_plugin_")]:
        monkeypatch.delitem(sys.modules, name)
    return str(FILE)


def test_from_file_to_figure(own: str, call: Cli, tmp_path: Path) -> None:
    """Each command that the page shows, in one process as in a shell."""
    noise = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    Image.fromarray(noise).save("photo.jpg")
    reduced = ("--plugin", own, "--reducer", "strided")

    priced = call("analyze", *reduced, "--model", "llava-1.5-7b", "--hw", "h100")
    assert priced.code == 0
    assert "Keeping 144 of 576 visual tokens with strided makes it" in " ".join(priced.out.split())
    assert "its own work is traced from its code" in " ".join(priced.out.split())

    drawn = call("tokens", "photo.jpg", *reduced, "--model", "llava-tiny", "-o", "strided.png")
    assert (drawn.code, drawn.out) == (0, "strided  9 kept = 9 of 36 tokens\n")

    written = call(
        "report", *reduced, "--model", "llava-tiny", "--hw", "h100", "-o", "study", "--force"
    )
    assert written.code == 0
    text = Path("study/report.md").read_text(encoding="utf-8")
    assert "strided" in text
    assert f"--plugin {own}" in text  # so that the command can be repeated

    run = call(
        "profile", *reduced, "--model", "llava-tiny", "--device", "cpu", "--seconds", "0.2",
        "--visual-tokens", "9", "-o", "record.json",
    )  # fmt: skip
    assert run.code == 0, run.err
    assert '"reducer": "strided"' in Path("record.json").read_text(encoding="utf-8")


def test_a_file_that_does_not_work_is_one_line_of_the_command(
    own: str, call: Cli, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("import nowhere\n", encoding="utf-8")
    done = call("analyze", "--plugin", broken, "--model", "llava-1.5-7b", "--reducer", "strided")

    assert (done.code, done.out) == (2, "")
    assert done.err == (
        "roofline: error: broken.py, line 1: ModuleNotFoundError: No module named 'nowhere'\n"
    )
