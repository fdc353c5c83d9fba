"""The notebook runs, and what it shows is what it stores."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import roofline

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "docs" / "tutorial.ipynb"


def test_a_run_gives_the_stored_outputs() -> None:
    """Words to the letter, pictures as one sees them."""
    done = subprocess.run(
        [sys.executable, "tools/tutorial.py", "--check"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def tutorial(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    import tutorial

    return tutorial


def cells() -> Iterator[dict[str, Any]]:
    yield from json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]


def test_every_cell_has_run_in_order_and_no_output_names_this_machine() -> None:
    code = [cell for cell in cells() if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    assert not any(output["output_type"] == "error" for c in code for output in c["outputs"])
    text = NOTEBOOK.read_text(encoding="utf-8")
    said = [output for cell in code for output in cell["outputs"] if "image/png" not in str(output)]
    assert not re.search(r"\b0x[0-9a-f]{6,}", str(said))  # an address
    assert str(ROOT) not in text
    assert len(text) < 400_000


def test_the_words_between_the_cells_say_what_the_tool_says() -> None:
    text = " ".join("".join(c["source"]) for c in cells() if c["cell_type"] == "markdown")
    text = " ".join(text.split())
    estimate = roofline.analyze("llava-1.5-7b", "a100-80gb", reducer="prumerge")
    comparison = estimate.comparison
    assert comparison is not None
    flops, times = comparison.end_to_end.flops_saving, float(comparison.speedup or 0)
    assert f"14 times fewer tokens, {flops:.0f} times fewer FLOPs, and {times:.1f} times as" in text
    assert estimate.inputs["visual_tokens"] == 40 == round(576 / 14.4)

    frame = roofline.grid("llava-1.5-7b", "a100-80gb", reducer=["none", "prumerge"], batch=[1, 32])
    tie = frame.set_index(["reducer", "batch"])["answer_tie"]
    assert (tie["prumerge", 1], tie["prumerge", 32]) == (True, False)
    full = frame.set_index(["reducer", "batch"]).loc[("none", 32)]
    assert "At batch 32 a third of the unreduced time is the prompts'" in text
    assert full["ttft_s"] / full["answer_time_s"] == pytest.approx(1 / 3, abs=0.03)


def test_every_picture_says_what_it_shows() -> None:
    pictures = [
        cell
        for cell in cells()
        if any("image/png" in output.get("data", {}) for output in cell.get("outputs", []))
    ]
    assert len(pictures) == 2
    assert all(len(cell["metadata"]["alt"]) > 50 for cell in pictures)


def test_a_changed_output_is_noticed(tutorial: Any) -> None:
    import nbformat

    stored = nbformat.read(NOTEBOOK, as_version=4)
    assert tutorial.differences(stored, stored) == []

    changed = nbformat.from_dict(stored)
    changed.cells[3]["outputs"] = []
    shown = next(c for c in changed.cells if c.get("outputs"))
    shown["outputs"][0]["data"]["text/plain"] += " and more"
    assert tutorial.differences(stored, changed)

    words = nbformat.reads(nbformat.writes(stored), as_version=4)
    output = next(o for c in words.cells for o in c.get("outputs", []) if "text" in o)
    output["text"] = output["text"].replace("20.7 GFLOP", "20.8 GFLOP")
    (line,) = tutorial.differences(stored, words)
    assert line.startswith("output ")
    assert "20.8 GFLOP" in line
