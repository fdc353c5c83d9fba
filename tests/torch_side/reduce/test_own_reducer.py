"""The page on reducers: its file is priced, drawn, run and reported, and its table is complete."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from launches import launches_by_component
from naive.features import inputs

import roofline
from roofline import reducers
from roofline.engine.layout import lay_out
from roofline.errors import InputError
from roofline.reducers import OWN_METHODS, REDUCERS
from roofline.torch_side.measure.pipeline import build_pipeline
from roofline.torch_side.reduce.methods import reduce_tokens

ROOT = Path(__file__).resolve().parents[3]
PAGE, FILE = ROOT / "docs" / "reducers.md", ROOT / "examples" / "my_reducers.py"
Cli = Callable[..., Any]


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> str:
    """The file to name; what it registers is forgotten again."""
    REDUCERS.names()
    for registry in (REDUCERS, OWN_METHODS):
        monkeypatch.setattr(registry, "_things", dict(registry._things))
    for name in [name for name in sys.modules if name.startswith("roofline_plugin_")]:
        monkeypatch.delitem(sys.modules, name)
    return str(FILE)


@pytest.fixture
def loaded(own: str) -> None:
    roofline.load_plugin(own)


@pytest.mark.usefixtures("loaded")
def test_it_reduces_and_takes_its_options() -> None:
    features = inputs(2, 576)[0]
    kept = reduce_tokens("strided:first=3", features, count=4)

    assert [indices.tolist() for indices in kept.indices] == [[3, 147, 291, 435]] * 2
    torch.testing.assert_close(kept.tokens[1], features[1, 1:][[3, 147, 291, 435]])
    assert reduce_tokens("strided", features).counts == [144, 144]
    with pytest.raises(InputError, match="strided: `first` must be a whole number at least 0"):
        roofline.analyze("llava-1.5-7b", "h100-sxm", reducer="strided:first=x")


@pytest.mark.usefixtures("loaded")
def test_without_a_cost_it_is_priced_as_it_runs() -> None:
    estimate = roofline.analyze("llava-tiny", "h100", reducer="strided:first=1", visual_tokens=9)
    assert estimate.reducer is not None
    assert estimate.reducer.cost == "traced"
    with build_pipeline(
        "llava-tiny",
        reducer="strided:first=1",
        visual_tokens=9,
        loaded=roofline.load_model("llava-tiny", dtype="bf16"),
    ) as pipeline:
        counted = launches_by_component(pipeline).totals["reducer"]

    own = [op for op in estimate.ops if op.component == "reducer"]
    assert counted == sum(int(op.count * op.launches) for op in own)
    assert pipeline.visual_tokens == [9]


@pytest.mark.usefixtures("loaded")
def test_the_page_s_stated_cost_is_taken_instead() -> None:
    (code,) = [block for block in _python(PAGE) if "class Priced" in block]
    file = roofline.load_plugin(FILE)  # the page says: in the same file
    exec(code, vars(file) | {"__name__": "mine"})

    work = lay_out("llava-tiny", reducer=reducers.find("priced"), visual_tokens=9)
    assert reducers.find("priced").cost == "stated"
    (component,) = [part for part in work.components if part.name == "reducer"]
    assert [op.launches for block in component.phases["prefill"] for op in block.ops] == [5, 1]


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


def _python(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.S)
