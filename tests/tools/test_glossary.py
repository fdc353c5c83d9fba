"""Each key of the JSON is a word of the glossary."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

import roofline
from roofline.device.kernel_times import KernelTime
from roofline.device.laws.attention import AttentionForm
from roofline.engine.axes import AXES, KERNELS, RUNTIMES, STAGES
from roofline.engine.layout import COMPONENTS
from roofline.specs.kernel_laws import LAW_FAMILIES

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


@pytest.mark.parametrize(
    ("reducer", "runtime"), [(None, None), ("prumerge", "eager"), ("fastv", "vllm")]
)
def test_every_key_is_defined(reducer: str | None, runtime: str | None) -> None:
    estimate = roofline.analyze(
        "llava-1.5-7b", "a100-80gb", visual_tokens=40, reducer=reducer, runtime=runtime,
        stage="generate", output_tokens=2,
    )  # fmt: skip
    found = set(keys(estimate.to_dict(per_op=True)))
    words = set(re.findall(r"`(\w+)`", PAGE))
    said_elsewhere = {axis.name for axis in AXES} | {*COMPONENTS, "tensor", "vector", "dram"}

    assert len(found) > 60
    assert found - words <= said_elsewhere


def test_every_axis_family_of_laws_and_figure_of_a_kernel_is_defined() -> None:
    words = set(re.findall(r"`(\w+)`", PAGE))
    asked = " ".join(PAGE.partition("- **Axis**")[2].partition("\n- ")[0].split())

    assert set(LAW_FAMILIES.names()) <= words
    assert set(KernelTime.__struct_fields__) - {"library", "origin"} <= words
    for axis in AXES:
        assert re.search(rf"\b{axis.words}\b", asked), axis.name
    for word in (*KERNELS, *RUNTIMES, *STAGES, *get_args(AttentionForm)):
        assert f"`{word}`" in PAGE, word
