"""Docstrings as the site shows them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"


@pytest.fixture
def docstrings(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(TOOLS))
    import docstrings

    return docstrings


@pytest.mark.parametrize(
    ("docstring", "markdown"),
    [
        (
            "Price it.\n\nmodel, quant: names,\n    or specs.\nstage: what runs.\n\nRaises none.",
            "Price it.\n\n- **model**, **quant**: names,\n    or specs.\n- **stage**: what runs."
            "\n\nRaises none.",
        ),
        ("Columns are:\nttft_s: a time.\nEnd.", "Columns are:\n\n- **ttft_s**: a time.\n\nEnd."),
        ("Ends.\n\n…_low_s, …_high_s: ends.", "Ends.\n\n- **…_low_s**, **…_high_s**: ends."),
        ("vision, llm: those there are.", "vision, llm: those there are."),
        ("Run it.\n\n>>> run()\n3", "Run it.\n\n```pycon\n>>> run()\n3\n```"),
        ("Of a: >>> f(x: int)\n\nNo list: `a: b`.", "Of a: >>> f(x: int)\n\nNo list: `a: b`."),
    ],
)
def test_parameters_become_a_list(docstrings: Any, docstring: str, markdown: str) -> None:
    assert docstrings.as_markdown(docstring) == markdown
