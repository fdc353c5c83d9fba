"""What MkDocs is told beyond mkdocs.yml: pages from outside docs/, and links that reach them.

The pages are written to be read in the repository, too, so their links are those of its folders.
Here each file of the repository that the site shows has its place in the site, and every link is
rewritten from the one to the other. A link to a file that the site does not show is an error, which
`mkdocs build --strict` reports.
"""

from __future__ import annotations

import posixpath
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "tools"))  # MkDocs loads this file by its path
from tutorial import NOTEBOOK, as_page  # noqa: E402

LINK = re.compile(
    r"(?P<before>\]\(|<img [^>]*src=\")(?P<target>[^)\"#\s:]+)(?P<anchor>#[^)\"\s]*)?"
)
FENCE = re.compile(r"^(```|~~~).*?^\1", re.M | re.S)
REFERENCE = re.compile(r"^<!-- (?P<directive>::: roofline\.(?P<name>\w+)) -->$", re.M)


def places() -> dict[str, str]:
    """For each file outside docs/ that the site shows, where it lies there."""
    found = {
        "CONTRIBUTING.md": "contributing.md",
        "CHANGELOG.md": "changelog.md",
        "CITATION.cff": "CITATION.cff",
    }
    for file in sorted((ROOT / "reports").rglob("*")):
        if file.suffix in (".md", ".png", ".yaml", ".json"):
            path = file.relative_to(ROOT / "reports").as_posix()
            place = "index.md" if path == "README.md" else path
            found[f"reports/{path}"] = f"gallery/{place}"
    for file in sorted((ROOT / "examples").glob("*.*")):
        found[f"examples/{file.name}"] = f"examples/{file.name}"
    return found


PLACES = places()
TUTORIAL = {"docs/tutorial.ipynb": "tutorial.md"}
"""The notebook, as a page of Markdown."""
FOLDERS = {"reports": "gallery/index.md"}


def in_site(path: str) -> str | None:
    """Where a file of the repository lies in the site; None for one that it does not show."""
    path = path.rstrip("/")
    place = PLACES.get(path) or TUTORIAL.get(path) or FOLDERS.get(path)
    if place is None and path.startswith("docs/"):
        return path.removeprefix("docs/")
    return place


def in_repository(page: str) -> str:
    """The file that a page of the site comes from."""
    for source, place in (*PLACES.items(), *TUTORIAL.items()):
        if place == page:
            return source
    return f"docs/{page}"


def rewritten(markdown: str, page: str) -> str:
    """A page's links, from those between files of the repository to those of the site."""
    folder = posixpath.dirname(in_repository(page))

    def target(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(folder, link["target"]))
        place = in_site(path)
        if place is None:
            return link[0]
        to = posixpath.relpath(place, posixpath.dirname(page) or ".")
        return f"{link['before']}{to}{link['anchor'] or ''}"

    return "".join(
        text if code else LINK.sub(target, text) for code, text in _code_and_prose(markdown)
    )


def _code_and_prose(markdown: str) -> Iterator[tuple[bool, str]]:
    end = 0
    for fence in FENCE.finditer(markdown):
        yield False, markdown[end : fence.start()]
        yield True, fence[0]
        end = fence.end()
    yield False, markdown[end:]


def on_files(files: Files, config: MkDocsConfig, **kwargs: Any) -> Files:
    for source, place in PLACES.items():
        files.append(File.generated(config, place, abs_src_path=str(ROOT / source)))
    notebook = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
    text, pictures = as_page(notebook)
    files.append(File.generated(config, "tutorial.md", content=text))
    for name, data in pictures.items():
        files.append(File.generated(config, name, content=data))
    return files


def on_page_markdown(markdown: str, page: Page, **kwargs: Any) -> str:
    """Links rewritten, and what mkdocstrings shall insert, a comment to other readers, unveiled."""
    return REFERENCE.sub(_directive, rewritten(markdown, page.file.src_uri))


def _directive(comment: re.Match[str]) -> str:
    """Of a package, which can be called, no more than it says of itself."""
    package = (ROOT / "roofline" / comment["name"]).is_dir()
    return comment["directive"] + "\n    options:\n      members: false" * package
