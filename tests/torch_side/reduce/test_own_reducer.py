"""The page on reducers: its example runs, is priced and attached, and its table is complete."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
import torch
from launches import launches_by_component
from naive.features import inputs

import roofline
from roofline import reducers
from roofline.engine.layout import lay_out
from roofline.errors import InputError
from roofline.torch_side.measure.pipeline import build_pipeline
from roofline.torch_side.reduce import methods
from roofline.torch_side.reduce.methods import find, reduce_tokens

PAGE = Path(__file__).resolve().parents[3] / "docs" / "reducers.md"


@pytest.fixture
def _own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """The page's first block of code, imported as a file; forgotten again."""
    names = reducers.names()
    for registry, found in (
        (reducers.REDUCERS, {name: reducers.find(name) for name in names}),
        (methods.METHODS, {name: find(name) for name in names}),
    ):
        monkeypatch.setattr(registry, "_things", found)
    (tmp_path / "my_reducers.py").write_text(blocks_of_code()[0], encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    import_module("my_reducers")
    yield
    del sys.modules["my_reducers"]


def blocks_of_code() -> list[str]:
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)


@pytest.mark.usefixtures("_own")
def test_the_page_s_reducer_works_as_the_page_says() -> None:
    features = inputs(2, 576)[0]
    _, use = blocks_of_code()
    exec(use, {"features": features})

    kept = reduce_tokens("strided", features, count=4, first=3).indices[0]
    assert kept.tolist() == [3, 147, 291, 435]
    with pytest.raises(InputError, match="between 1 and"):
        reduce_tokens("strided", features, count=577)
    with pytest.raises(InputError, match="strided: `first` must be a whole number at least 0"):
        roofline.analyze("llava-1.5-7b", "h100-sxm", reducer="strided:first=x")


@pytest.mark.usefixtures("_own")
def test_the_page_s_reducer_is_priced_as_it_runs() -> None:
    work = lay_out("llava-tiny", reducer=reducers.find("strided"), visual_tokens=9)
    assert work.task is not None
    model = roofline.load_model("llava-tiny", dtype="bf16")
    with build_pipeline(
        "llava-tiny", reducer="strided:first=1", visual_tokens=9, loaded=model
    ) as pipeline:
        counted = launches_by_component(pipeline).totals["reducer"]

    (own,) = reducers.find("strided").extra_ops(work.task)
    assert counted == sum(op.launches for op in own.ops)
    assert pipeline.visual_tokens == [9]
    assert torch.isfinite(pipeline.prefill()).all()


def test_the_page_lists_all_reducers_with_their_options() -> None:
    text = PAGE.read_text(encoding="utf-8")
    rows = {name: row for row, name in re.findall(r"^(\| `([^`]+)` \|(?:[^|]+\|){5})$", text, re.M)}
    assert set(rows) == set(reducers.names())
    for name in reducers.names():
        listed = rows[name].split("|")[2]
        options = reducers.find(name).options
        assert set(re.findall(r"`(\w+)`(?!\))", listed)) == set(options)
        if not options:
            assert listed.strip() == "none"
