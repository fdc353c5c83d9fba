"""Regenerate what the repository derives from its code: `python tools/docs.py [--check]`.

- `docs/cli.md`, the command reference, from the live commands;
- the JSON Schemas beside the YAML files, from the spec classes;
- the list of fusions in `docs/accounting.md`, from the code that relies on them;
- the output blocks of Markdown pages: a fenced block right behind `<!-- output: COMMAND -->`
  holds what the command prints.

With `--check` nothing is written; stale files are named and the exit code is 1.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click

from roofline.cli.main import cli
from roofline.model.fusions import FUSIONS
from roofline.specs.catalog import json_schema

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("README.md", "docs/*.md")
OUTPUT_BLOCK = re.compile(r"(<!-- output: (?P<command>.+?) -->\n```text\n)(?P<text>.*?)(```)", re.S)

FUSION_LIST = re.compile(r"(<!-- fusions -->\n)(.*?)(<!-- end -->)", re.S)


def generated() -> dict[Path, str]:
    """Every derived file and what it should hold."""
    files = {ROOT / "docs" / "cli.md": command_reference()}
    for folder, name in (("hardware", "hardware"), ("models", "model")):
        schema = json.dumps(json_schema(folder), indent=2, ensure_ascii=False) + "\n"
        files[ROOT / folder / f"{name}.schema.json"] = schema
    for pattern in PAGES:
        for page in sorted(ROOT.glob(pattern)):
            text = files.get(page) or page.read_text(encoding="utf-8")
            text = FUSION_LIST.sub(rf"\1{fusion_list()}\3", text)
            files[page] = OUTPUT_BLOCK.sub(_with_output, text)
    return files


def command_reference() -> str:
    """The `--help` of every command."""
    parts = ["# Command reference\n\nGenerated from the commands by `make docs`.\n"]
    root = click.Context(cli, info_name="roofline", terminal_width=90)
    for name in ("", *cli.list_commands(root)):
        command = cli.get_command(root, name) if name else cli
        assert command is not None
        context = click.Context(command, info_name=name, parent=root, terminal_width=90)
        text = (context if name else root).command.get_help(context if name else root)
        parts.append(f"## roofline {name}".rstrip() + f"\n\n```text\n{text}\n```\n")
    return "\n".join(parts)


def fusion_list() -> str:
    return "".join(f"- **{name}**: {text}\n" for name, text in FUSIONS.items())


def _with_output(match: re.Match[str]) -> str:
    return f"{match[1]}{output_of(match['command'])}{match[4]}"


def output_of(command: str) -> str:
    run = [sys.executable, "-m", *shlex.split(command)]
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
