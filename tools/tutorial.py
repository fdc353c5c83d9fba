"""Run the notebook docs/tutorial.ipynb anew: `python tools/tutorial.py [--check]`.

Its outputs are stored, so that it reads as a page, on GitHub and in the site. They are written if
they differ: in a word, or visibly in a picture, as another machine may round a pixel otherwise.
With `--check` nothing is written; the exit code is 1 if they differ.
"""

from __future__ import annotations

import base64
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat
from gallery import looks_like
from nbclient import NotebookClient
from traitlets.config import Config

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "docs" / "tutorial.ipynb"


def executed(notebook: Any) -> Any:
    """The notebook with the outputs of a run from top to bottom, and nothing of this machine."""
    fresh = nbformat.from_dict(notebook)  # type: ignore[no-untyped-call]
    with TemporaryDirectory() as folder:
        os.environ.setdefault("IPYTHONDIR", folder)
        client = NotebookClient(
            fresh,
            kernel_name="python3",
            record_timing=False,
            # by files: no port is opened
            config=Config(KernelManager={"transport": "ipc", "ip": f"{folder}/kernel"}),
            resources={"metadata": {"path": str(NOTEBOOK.parent)}},
        )
        client.execute()
    fresh.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in fresh.cells:
        cell.metadata = {k: v for k, v in cell.metadata.items() if k == "alt"}
        for output in cell.get("outputs", []):
            output.pop("metadata", None)
            if output.output_type in ("execute_result", "display_data"):
                output["metadata"] = {}
    return fresh


def written(notebook: Any) -> str:
    text: str = nbformat.writes(notebook, indent=1)  # type: ignore[no-untyped-call]
    return text.rstrip("\n") + "\n"


def outputs(notebook: Any) -> list[tuple[str, Any]]:
    """Of all cells: what the outputs say without pictures, and each picture as bytes."""
    found: list[tuple[str, Any]] = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if "text" in output:
                found.append((output.name, output.text))
            for kind, data in sorted(output.get("data", {}).items()):
                picture = kind == "image/png"
                found.append((kind, base64.b64decode(data) if picture else data))
    return found


def differences(stored: Any, fresh: Any) -> list[str]:
    """Outputs of a fresh run that are not those stored, each in a line."""
    before, after = outputs(stored), outputs(fresh)
    if [kind for kind, _ in before] != [kind for kind, _ in after]:
        return [f"outputs were {[k for k, _ in before]}, are {[k for k, _ in after]}"]
    return [
        f"output {number}, {kind}, differs" + ("" if kind == "image/png" else f":\n{new}")
        for number, ((kind, old), (_, new)) in enumerate(zip(before, after, strict=True), 1)
        if not (looks_like(old, new) if kind == "image/png" else old == new)
    ]


def as_page(notebook: Any) -> tuple[str, dict[str, bytes]]:
    """The notebook as Markdown, and the pictures that it shows, by name."""
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
            continue
        parts.append(f"```python\n{cell.source}\n```")
        for output in cell.outputs:
            data = output.get("data", {})
            if "image/png" in data:
                name = f"tutorial-{len(pictures) + 1}.png"
                pictures[name] = base64.b64decode(data["image/png"])
                alt = cell.metadata.get("alt") or "The figure that the code above draws"
                parts.append(f"![{alt}]({name})")
            elif "text/html" in data:
                html = "\n".join(line for line in data["text/html"].splitlines() if line.strip())
                parts.append(f'<div class="output">\n{html}\n</div>')
            else:
                text = output.get("text") or data["text/plain"]
                parts.append(f"```text\n{text.rstrip()}\n```")
    return "\n\n".join(parts) + "\n", pictures


def main() -> None:
    stored = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
    fresh = executed(stored)
    changed = differences(stored, fresh)
    if "--check" in sys.argv[1:]:
        if changed:
            sys.exit("\n".join([*changed, "run `make docs` and commit the result"]))
    elif changed or written(stored) != NOTEBOOK.read_text(encoding="utf-8"):
        NOTEBOOK.write_text(written(fresh), encoding="utf-8")
        print(f"written: {NOTEBOOK.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
