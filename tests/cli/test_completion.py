"""What TAB offers in a real bash, by the script that docs/recipes/completion.md sets up."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from roofline.cli.completion import offered

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "recipes" / "completion.md").read_text(encoding="utf-8")
BASH = shutil.which("bash")
SCRIPT = Path(sys.executable).with_name("roofline")

in_bash = pytest.mark.skipif(not (BASH and SCRIPT.exists()), reason="needs bash and roofline")


def typed(line: str, environment: dict[str, str]) -> list[str]:
    """What bash is given for the last word of a line."""
    (set_up,) = re.findall(r"^eval .*bash_source.*$", PAGE, re.M)
    words = line.split(" ")
    program = f"""
        PATH="{SCRIPT.parent}:$PATH"
        {set_up}
        COMP_WORDS=({" ".join(f"'{word}'" for word in words)})
        COMP_CWORD={len(words) - 1}
        compopt() {{ echo "offers $2"; }}
        _roofline_completion roofline
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    assert BASH is not None
    done = subprocess.run(
        [BASH, "--norc", "-c", program], env=environment, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split("\n")[:-1]


@in_bash
@pytest.mark.parametrize(
    ("line", "given"),
    [
        ("roofline ana", ["analyze"]),
        ("roofline analyze --visual", ["--visual-tokens"]),
        ("roofline analyze --model vicuna", ["vicuna-13b", "vicuna-7b"]),
        ("roofline analyze --hw h200,h100-p", ["h200,h100-pcie"]),
        ("roofline analyze --hw h200,b", ["h200,b200", "h200,b300"]),
        ("roofline analyze --quant w8", ["w8a16"]),
        ("roofline report --reducer prum", ["prumerge", "prumerge+"]),
        ("roofline analyze --accounting llm", ["llm-viewer"]),
        ("roofline analyze --stage gen", ["generate"]),
        ("roofline hardware v100-sxm2-1", ["v100-sxm2-16gb"]),
        ("roofline reducers ev", ["evit"]),
    ],
)
def test_names_and_words_are_completed(
    line: str, given: list[str], environment: dict[str, str]
) -> None:
    assert typed(line, environment) == given


@in_bash
def test_where_no_name_begins_so_files_are_offered(environment: dict[str, str]) -> None:
    assert typed("roofline analyze --hw ./my", environment) == ["offers default", ""]


@in_bash
def test_a_device_of_ones_own_is_offered_and_a_broken_file_says_nothing(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    text = (ROOT / "hardware" / "a40.yaml").read_text(encoding="utf-8")
    (tmp_path / "mine.yaml").write_text(text.replace("name: a40", "name: my-card"), "utf-8")
    (tmp_path / "broken.yaml").write_text("kind: gpu\nname: [", "utf-8")

    given = typed("roofline analyze --hw my-", {**environment, "ROOFLINE_PATH": str(tmp_path)})

    assert given == ["my-card"]


@pytest.mark.parametrize(
    ("axis", "typed", "values"),
    [
        ("model", "llava-1.5", ["llava-1.5-13b", "llava-1.5-7b"]),
        ("hardware", "h200,b", ["h200,b200", "h200,b300"]),
        ("quant", "bf", ["bf16"]),
        ("reducer", "none", ["none"]),
        ("accounting", "ex", ["exact"]),
        ("hardware", "./mine", ["./mine"]),
    ],
)
def test_what_is_offered_on_each_axis(axis: str, typed: str, values: list[str]) -> None:
    command = click.Command("c")
    items = offered(axis)(click.Context(command), click.Option(["--name"]), typed)

    assert [item.value for item in items] == values
    assert {item.type for item in items} == {"file" if "/" in typed else "plain"}
