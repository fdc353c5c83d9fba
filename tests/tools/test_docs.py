"""What the documentation shows is what the code does."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import yaml

from roofline.specs.hardware import Hardware
from roofline.specs.models import LanguageModel
from roofline.specs.quantization import Quantization

ROOT = Path(__file__).resolve().parents[2]


def fenced(page: str, language: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.S)


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, cwd=ROOT)


def test_generated_pages_schemas_and_outputs_are_fresh() -> None:
    result = run("tools/docs.py", "--check")
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("code", fenced("README.md", "python"))
def test_readme_python_runs(code: str) -> None:
    result = run("-c", code)
    assert result.returncode == 0, result.stderr
    assert "(576, 2, 3)" in result.stdout


NEEDS_A_CHECKPOINT = {"docs/attach.md"}
PAGES = sorted(
    page
    for page in (file.relative_to(ROOT).as_posix() for file in (ROOT / "docs").rglob("*.md"))
    if fenced(page, "py") and page not in NEEDS_A_CHECKPOINT
)


@pytest.mark.parametrize("page", PAGES)
def test_the_python_of_a_page_runs_from_top_to_bottom(page: str) -> None:
    result = run("-c", "\n".join(fenced(page, "py")))
    assert result.returncode == 0, result.stderr


def test_readme_shows_the_output_of_each_command_it_recommends() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(re.findall(r"<!-- output: (.+?) -->", text)) == len(fenced("README.md", "text"))
    assert all(len(block) > 200 for block in fenced("README.md", "text"))


def test_output_fits_a_terminal_of_80_columns() -> None:
    for block in fenced("README.md", "text"):
        assert max(map(len, block.splitlines())) <= 80


def test_example_specs_of_the_docs_are_valid() -> None:
    documents = [yaml.safe_load(text) for text in fenced("docs/specs.md", "yaml")]
    hardware, model, mode = (d for d in documents if d)  # the first block is a comment
    assert msgspec.convert(hardware, Hardware).name == "my-gpu"
    assert msgspec.convert(model, LanguageModel).kv_heads == 4
    assert msgspec.convert(mode, Quantization).weight_bits == 4
