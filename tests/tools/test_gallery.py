"""The gallery's tool tells fresh files from stale ones; `make check` asks it about all of them."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def gallery(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The tool, with one quick study and a folder of its own."""
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    import gallery as module

    quick = module.GalleryStudy(
        "quick", "Quick", "A vision tower.", "--model clip-vit-l-336 --hw h200", "time"
    )
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "REPORTS", tmp_path / "reports")
    monkeypatch.setattr(module, "STUDIES", (quick,))
    return module


def picture(text: str, colour: str = "#0072B2") -> bytes:
    page, buffer = Figure(figsize=(2, 1)), BytesIO()
    page.add_subplot().plot([0, 1], color=colour)
    page.text(0.3, 0.5, text)
    page.savefig(buffer, format="png", dpi=200)
    return buffer.getvalue()


def test_what_was_written_is_fresh_until_something_changes(
    gallery: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["gallery.py", *words])
        gallery.main()
        return capsys.readouterr().out

    written = run()
    folder = gallery.REPORTS / "quick"
    kept = {file.name for file in folder.iterdir()}
    assert kept == {"report.md", "memory.png", "roofline.png", "time.png"}
    assert written.count("written: ") == len(kept) + 2
    text = (gallery.REPORTS / "README.md").read_text(encoding="utf-8")
    assert "[Quick](quick/report.md)" in text
    assert "(quick/time.png)" in text
    assert run("--check") == ""

    report = folder / "report.md"
    before = report.read_text(encoding="utf-8")
    report.write_text(before.replace("ms", "s", 1), encoding="utf-8")
    (folder / "answer.png").write_bytes(picture("a figure of an earlier day"))
    (folder / "time.png").unlink()
    gone = gallery.REPORTS / "a-study-of-an-earlier-day"
    gone.mkdir()
    (gone / "report.md").write_text("old", encoding="utf-8")
    with pytest.raises(SystemExit, match="make reports"):
        run("--check")
    assert capsys.readouterr().out.splitlines() == [
        f"stale: reports/{name}"
        for name in (
            "a-study-of-an-earlier-day/report.md",
            "quick/answer.png",
            "quick/report.md",
            "quick/time.png",
        )
    ]
    run()
    assert report.read_text(encoding="utf-8") == before
    assert {file.name for file in folder.iterdir()} == kept
    assert not list(gone.iterdir())


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (lambda: picture("12.3 ms"), True),
        (lambda: picture("12.3 ms", colour="#0172B2"), True),  # as another machine may round
        (lambda: picture("12.4 ms"), False),
        (lambda: picture("12.3 ms", colour="#D55E00"), False),
    ],
)
def test_a_picture_is_stale_if_it_looks_different(
    other: Callable[[], bytes], same: bool, gallery: Any
) -> None:
    assert gallery.looks_like(picture("12.3 ms"), other()) is same


def test_the_gallery_has_what_the_readme_shows() -> None:
    shown = re.findall(r"\((reports/[^)]+\.png)\)", (ROOT / "README.md").read_text("utf-8"))
    assert len(shown) >= 2
    assert all((ROOT / file).is_file() for file in shown)
