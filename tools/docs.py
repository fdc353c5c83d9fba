"""Regenerate what the repository derives from its code: `python tools/docs.py [--check]`.

- `docs/cli.md`, the command reference, from the live commands;
- the JSON Schemas beside the YAML files, from the spec classes;
- the list of fusions in `docs/accounting.md`, from the code that relies on them;
- the layers in `docs/architecture.md`, from the import contract and the first line of each room;
- the names in `docs/reference.md`, from the docstrings of what `roofline` offers;
- which reducer runs where, in `docs/reducers.md`, by trying each on the tests' small models;
- the output blocks of Markdown pages: a fenced block right behind `<!-- output: COMMAND -->`
  holds what the command prints, or, behind `python`, the code, or, as `the code above`, the last
  `py` block before it; one behind `<!-- file: PATH -->` the file.

With `--check` nothing is written; stale files are named and the exit code is 1.
"""

from __future__ import annotations

import ast
import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import click

import roofline
from roofline.cli.main import cli
from roofline.model.fusions import FUSIONS
from roofline.specs.catalog import json_schema

ROOT = Path(__file__).resolve().parents[1]
SCHEMAS: tuple[tuple[Literal["hardware", "models"], str], ...] = (
    ("hardware", "hardware"),
    ("models", "model"),
)
PAGES = ("README.md", "docs/*.md", "docs/recipes/*.md")
OUTPUT_BLOCK = re.compile(r"(<!-- output: (?P<command>.+?) -->\n```text\n)(?P<text>.*?)(```)", re.S)
ABOVE = "the code above"
LAST = "--- what the last block prints ---"
PYTHON_BLOCK = re.compile(r"^```py\n(.*?)^```", re.S | re.M)
FILE_BLOCK = re.compile(
    r"(<!-- file: (?P<file>.+?) -->\n```(?:python|yaml)\n)(?P<text>.*?)(```)", re.S
)

FUSION_LIST = re.compile(r"(<!-- fusions -->\n)(.*?)(<!-- end -->)", re.S)
NAME_LIST = re.compile(r"(<!-- reference: (?P<names>.+?) -->\n)(?P<text>.*?)(<!-- end -->)", re.S)
FAMILY_TABLE = re.compile(r"(<!-- families -->\n)(.*?)(<!-- end -->)", re.S)
LAYER_LIST = re.compile(r"(<!-- layers -->\n)(.*?)(<!-- end -->)", re.S)


def generated() -> dict[Path, str]:
    """Every derived file and what it should hold."""
    files = {ROOT / "docs" / "cli.md": command_reference()}
    for folder, name in SCHEMAS:
        schema = json.dumps(json_schema(folder), indent=2, ensure_ascii=False) + "\n"
        files[ROOT / folder / f"{name}.schema.json"] = schema
    for pattern in PAGES:
        for page in sorted(ROOT.glob(pattern)):
            text = files.get(page) or page.read_text(encoding="utf-8")
            text = FUSION_LIST.sub(rf"\1{fusion_list()}\3", text)
            text = LAYER_LIST.sub(rf"\1{layer_list()}\3", text)
            text = NAME_LIST.sub(_with_names, text)
            text = FAMILY_TABLE.sub(lambda block: block[1] + family_table() + block[3], text)
            text = FILE_BLOCK.sub(_with_file, text)
            files[page] = OUTPUT_BLOCK.sub(_with_output, text)
    return files


def command_reference() -> str:
    """The `--help` of every command."""
    parts = ["# Command reference\n\nGenerated from the commands by `make docs`.\n"]
    # as `cli.main` makes it: -h and --help, in the commands below as well
    root = click.Context(cli, info_name="roofline", terminal_width=90, **cli.context_settings)
    for name in ("", *cli.list_commands(root)):
        command = cli.get_command(root, name) if name else cli
        assert command is not None
        context = click.Context(command, info_name=name, parent=root, terminal_width=90)
        text = (context if name else root).command.get_help(context if name else root)
        parts.append(f"## roofline {name}".rstrip() + f"\n\n```text\n{text}\n```\n")
    return "\n".join(parts)


def fusion_list() -> str:
    return "".join(f"- **{name}**: {text}\n" for name, text in FUSIONS.items())


def layers() -> list[list[str]]:
    """The rooms of `roofline`, top to bottom, those that stand side by side in one list."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    whole, *_ = settings["tool"]["importlinter"]["contracts"]
    return [
        [module.strip().removeprefix("roofline.") for module in layer.split("|")]
        for layer in whole["layers"]
    ]


def layer_list() -> str:
    return "".join(f"- **{room}**: {_first_line(room)}\n" for row in layers() for room in row)


def family_table() -> str:
    """A row a family, a column a reducer: whether a prompt with a picture runs, or why not."""
    sys.path.insert(0, str(ROOT / "tests" / "helpers"))
    tried: Any = import_module("prompts_of_families")
    families = import_module("tiny_lmms").TINY

    names, reasons = roofline.reducers.names(), dict[str, int]()
    rows = [
        "| Architecture | " + " | ".join(f"`{name}`" for name in names) + " |",
        "|---" * (1 + len(names)) + "|",
    ]
    for architecture in ("llava", "video-llava", *families):
        cells = []
        for name in names:
            model = tried.model_of(architecture) if architecture in families else None
            reason = "" if model is None else _refusal(model, name, tried.prompt_of)
            number = reasons.setdefault(reason, len(reasons) + 1) if reason else 0
            cells.append(f"[{number}]" if number else "✓")
        rows.append(f"| `{architecture}` | " + " | ".join(cells) + " |")
    notes = [f"{number}. {reason[0].upper()}{reason[1:]}." for reason, number in reasons.items()]
    return "\n".join([*rows, "", *notes, ""])


def _refusal(model: Any, reducer: str, prompt_of: Callable[..., dict[str, Any]]) -> str:
    """Why a reducer does not run on a model, without their names; empty where it does."""
    import torch

    options = {"k": 3} if reducer == "fastv" else {}
    try:
        roofline.attach(model, reducer, **options)
    except roofline.RooflineError as error:
        said = str(error).removeprefix(f"{reducer}: ").removeprefix(f"{reducer} ")
        return re.sub(r"(, which | of )\w*(Model|Generation)\w*( has not)?", _without_class, said)
    with torch.inference_mode():
        model(**prompt_of(model, ["ttitt"]))
    return ""


def _without_class(found: re.Match[str]) -> str:
    return ", which the tower has not" if found[3] else " of the family"


def _first_line(room: str) -> str:
    """Of the docstring of a package or module in `roofline`."""
    folder = ROOT / "roofline" / room
    file = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
    return (text or "").partition("\n")[0]


def _with_names(block: re.Match[str]) -> str:
    """A line for each name, and, in comments, what `tools/site_hooks.py` has the site say of it."""
    names = block["names"].split()
    items = "".join(f"- `roofline.{name}`: {first_sentence(name)}\n" for name in names)
    whole = "".join(f"\n<!-- ::: roofline.{name} -->\n" for name in names)
    return f"{block[1]}{items}{whole}{block[4]}"


def first_sentence(name: str) -> str:
    """Of the docstring of what `roofline` offers under a name, read without importing it."""
    home = ROOT / (roofline._HOMES[name].replace(".", "/") + ".py")
    tree = ast.parse((home if home.exists() else home.with_suffix("") / "__init__.py").read_text())
    found = next((node for node in tree.body if getattr(node, "name", None) == name), tree)
    assert isinstance(found, ast.FunctionDef | ast.ClassDef | ast.Module)
    text = " ".join((ast.get_docstring(found) or "").partition("\n\n")[0].split())
    return text.partition(". ")[0].rstrip(".") + "."


def _with_file(block: re.Match[str]) -> str:
    """The block with the file's text."""
    return f"{block[1]}{(ROOT / block['file']).read_text(encoding='utf-8')}```"


def _with_output(match: re.Match[str]) -> str:
    command = match["command"]
    if command == ABOVE:
        *before, last = PYTHON_BLOCK.findall(match.string[: match.start()])
        code = "\n".join([*before, f"print({LAST!r})", last])
        _, _, text = output_of(f"python {code}").partition(f"{LAST}\n")
    else:
        text = output_of(command)
    return f"{match[1]}{text}{match[4]}"


def output_of(command: str) -> str:
    name, _, code = command.partition(" ")
    words = ["-c", code] if name == "python" else ["-m", *shlex.split(command)]
    run = [sys.executable, *words]
    return subprocess.run(run, capture_output=True, text=True, check=True, cwd=ROOT).stdout


def main() -> None:
    check = "--check" in sys.argv[1:]
    stale = [
        (file, text)
        for file, text in generated().items()
        if not file.exists() or file.read_text(encoding="utf-8") != text
    ]
    for file, text in stale:
        print(f"{'stale' if check else 'written'}: {file.relative_to(ROOT)}")
        if not check:
            file.write_text(text, encoding="utf-8")
    if check and stale:
        sys.exit("run `make docs` and commit the result")


if __name__ == "__main__":
    main()
