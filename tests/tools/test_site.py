"""The site of docs/: links of the repository lead to its pages; what leads nowhere is an error."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from html import unescape
from pathlib import Path
from types import ModuleType

import pytest
import yaml

import roofline

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / "tools"


@pytest.fixture
def hooks(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(TOOLS))
    import site_hooks

    module: ModuleType = site_hooks
    return module


@pytest.mark.parametrize(
    ("page", "link", "there"),
    [
        ("attainable.md", "[x](../reports/accuracy.md)", "[x](gallery/accuracy.md)"),
        ("recipes/own-reducer.md", "[x](../reducers.md#a-b)", "[x](../reducers.md#a-b)"),
        ("recipes/unlisted-gpu.md", "[x](../../CONTRIBUTING.md#a)", "[x](../contributing.md#a)"),
        ("index.md", "[x](tutorial.ipynb)", "[x](tutorial.md)"),
        ("index.md", "[x](../reports/)", "[x](gallery/index.md)"),
        ("contributing.md", "[x](docs/specs.md#precisions)", "[x](specs.md#precisions)"),
        ("gallery/index.md", "[![a](v/t.png)](v/report.md)", "[![a](v/t.png)](v/report.md)"),
        ("index.md", "[x](https://a.org/b.md)", "[x](https://a.org/b.md)"),
        ("index.md", "[x](../roofline/units.py)", "[x](../roofline/units.py)"),
        ("index.md", "```md\n[x](tutorial.ipynb)\n```", "```md\n[x](tutorial.ipynb)\n```"),
    ],
)
def test_links_between_files_become_links_between_pages(
    hooks: ModuleType, page: str, link: str, there: str
) -> None:
    assert hooks.rewritten(link, page) == there


def public_names() -> set[str]:
    return set(roofline.__all__) - {"__version__"}


def test_the_reference_has_every_public_name_once() -> None:
    text = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    listed = re.findall(r"^- `roofline\.(\w+)`: (.+)\.$", text, re.M)
    whole = re.findall(r"^<!-- ::: roofline\.(\w+) -->$", text, re.M)

    assert sorted(name for name, _ in listed) == sorted(whole) == sorted(public_names())
    assert all(20 < len(sentence) < 120 for _, sentence in listed)


@pytest.fixture
def built(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Build the site, with a line more on its first page."""

    def build(line: str = "") -> subprocess.CompletedProcess[str]:
        settings = tmp_path / "mkdocs.yml"
        docs = tmp_path / "docs"
        docs.symlink_to(ROOT / "docs")
        (tmp_path / "more.py").write_text(
            "def on_page_markdown(markdown, page, **kwargs):\n"
            f"    return markdown + ({line!r} if page.file.src_uri == 'index.md' else '')\n",
            encoding="utf-8",
        )
        text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
        text = text.replace("hooks: [", "hooks: [more.py, ").replace("[tools/", f"[{TOOLS}/")
        text = text.replace("more.py, tools/", f"more.py, {TOOLS}/").replace(
            "paths: [.]", f"paths: [{ROOT}]"
        )
        settings.write_text(text, encoding="utf-8")
        return subprocess.run(
            [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", str(settings)],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        )

    return build


LEFT_OVER = re.compile(r"(?<=[a-z`.]) - [A-Z`]|\]\(|\*\*\w|^\s*\|.*\||```|::: ", re.M)
"""Marks of Markdown that a page shows instead of obeying them."""


def prose(html: str) -> str:
    """What a page says, without code."""
    (article,) = re.findall(r"<article.*?</article>", html, re.S)
    without = re.sub(r"<(pre|code)\b.*?</\1>", "", article, flags=re.S)
    return unescape(re.sub(r"<[^>]+>", " ", without))


def test_the_site_builds_and_loads_nothing_from_elsewhere(
    built: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    result = built()
    assert result.returncode == 0, result.stderr

    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 30
    for page in pages:
        html = page.read_text(encoding="utf-8")
        loaded = re.findall(
            r"<(?:script|img|link|iframe)\b[^>]*(?:src|href)=\"?(https?:[^\" >]+)", html
        )
        assert not loaded, page
        assert page.name == "404.html" or not LEFT_OVER.findall(prose(html)), page

    reference = (tmp_path / "site" / "reference.html").read_text(encoding="utf-8")
    assert all(f'id="roofline.{name}"' in reference for name in public_names())
    tutorial = (tmp_path / "site" / "tutorial.html").read_text(encoding="utf-8")
    assert tutorial.count('src="tutorial-') == 2
    assert "fewer than 28 visual tokens stop paying" in tutorial


def test_links_that_lead_nowhere_fail(
    built: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    """To a page, to a heading, and to files that the site does not show."""
    links = ("no-such-page.md", "specs.md#no-such-part", "../README.md", "../roofline/units.py")
    result = built("".join(f"\n\n[a link]({link})\n" for link in links))

    assert result.returncode != 0
    assert [link for link in links if link.rpartition("/")[2] not in result.stderr] == []


def test_the_citation_is_valid_and_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))

    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= citation.keys()  # what the format requires
    assert all(author.get("name") or author.get("family-names") for author in citation["authors"])
    assert citation["type"] == "software"
    assert citation["version"] == roofline.__version__
    assert citation["license"] == "Apache-2.0"
