"""Each key of the JSON is a word of the glossary."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import roofline
from roofline.engine.axes import AXES
from roofline.engine.layout import COMPONENTS

PAGE = (Path(__file__).parents[2] / "docs" / "glossary.md").read_text(encoding="utf-8")


def keys(document: Any) -> Iterator[str]:
    """All of them, however deep."""
    if isinstance(document, dict):
        for key, value in document.items():
            yield key
            yield from keys(value)
    elif isinstance(document, list):
        for value in document:
            yield from keys(value)


@pytest.mark.parametrize("reducer", [None, "prumerge", "fastv"])
def test_every_key_is_defined(reducer: str | None) -> None:
    estimate = roofline.analyze(
        "llava-1.5-7b", "a100-80gb", visual_tokens=40, reducer=reducer,
        stage="generate", output_tokens=2,
    )  # fmt: skip
    found = set(keys(estimate.to_dict(per_op=True)))
    words = set(re.findall(r"`(\w+)`", PAGE))
    said_elsewhere = {axis.name for axis in AXES} | {*COMPONENTS, "tensor", "vector", "dram"}

    assert len(found) > 60
    assert found - words <= said_elsewhere
