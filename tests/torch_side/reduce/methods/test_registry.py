"""Reducers by name: all that are listed are there, and a page's example can be added."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from naive.features import inputs

from roofline.torch_side.reduce import methods as reducers
from roofline.torch_side.reduce.methods import ReducerError, find, reduce_tokens, reducer_names
from roofline.torch_side.reduce.methods.base import defaults, ranked, strongest

PAGE = Path(__file__).resolve().parents[4] / "docs" / "reducers.md"


@pytest.mark.parametrize("name", reducer_names())
def test_every_name_has_its_reducer(name: str) -> None:
    reducer = find(name)
    assert reducer.name == name
    assert reducer.title
    assert re.search(r"20\d\d", reducer.source)
    given = {"features": reducer.reduce, "vision": reducer.blocks, "llm": reducer.llm}
    assert [place for place, function in given.items() if function] == [reducer.site]
    if reducer.reduce:
        assert dict(reducer.options) == defaults(reducer.reduce)


def test_no_reducer_is_imported_before_it_is_asked_for() -> None:
    code = (
        "import sys; from roofline.torch_side.reduce.methods import find; find('divprune');"
        "print(*sorted(m.split('.')[-1] for m in sys.modules if m.startswith(find.__module__)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.split() == ["base", "divprune", "reducers"], result.stderr


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("prumerg", "did you mean prumerge"),
        ("PruMerge+", "did you mean prumerge"),
        ("nothing like it", "known: prumerge, prumerge+"),
    ],
)
def test_an_unknown_name_is_told_the_nearest(name: str, message: str) -> None:
    with pytest.raises(ReducerError, match=re.escape(message)):
        reduce_tokens(name, *inputs(1, 4))


def test_an_unknown_option_is_told_the_nearest() -> None:
    with pytest.raises(ReducerError, match="prumerge has no option 'ration'; did you mean ratio"):
        reduce_tokens("prumerge", *inputs(1, 4), ration=0.5)
    with pytest.raises(ReducerError, match="known: count, class_token"):
        reduce_tokens("sequential", *inputs(1, 4), xyz=1)


def test_reducers_inside_the_model_say_that_they_need_it() -> None:
    with pytest.raises(ReducerError, match="tome works inside the ViT"):
        reduce_tokens("tome", *inputs(1, 4))
    with pytest.raises(ReducerError, match="fastv works inside the LLM"):
        reduce_tokens("fastv", *inputs(1, 4))


def test_the_page_s_own_reducer_works(monkeypatch: pytest.MonkeyPatch) -> None:
    module, use = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    monkeypatch.setattr(reducers, "_registered", {})
    scope = {"__name__": "strided"}
    exec(module, scope)
    features = inputs(2, 576)[0]
    exec(use, {**scope, "features": features})
    assert "strided" in reducer_names()
    reduction = reduce_tokens("strided", features, count=100)
    assert reduction.counts == [100, 100]
    with pytest.raises(ReducerError, match="between 1 and"):
        reduce_tokens("strided", features, count=577)


def test_the_page_lists_all_reducers_with_their_options() -> None:
    text = PAGE.read_text(encoding="utf-8")
    rows = {name: row for row, name in re.findall(r"^(\| `([^`]+)` \|(?:[^|]+\|){5})$", text, re.M)}
    assert set(rows) == set(reducer_names())
    for name in reducer_names():
        for option in find(name).options:
            assert f"`{option}`" in rows[name] or option in ("class_token", "heads")


@given(
    st.lists(
        st.floats(width=32, allow_subnormal=True) | st.sampled_from([0.0, -0.0, 1.0, float("nan")]),
        min_size=1,
        max_size=30,
    ),
    st.data(),
)
def test_the_strongest_are_the_first_of_the_ranked(
    scores: list[float], data: st.DataObject
) -> None:
    tensor = torch.tensor(scores)
    count = data.draw(st.integers(1, len(scores)))
    assert strongest(tensor, count).equal(ranked(tensor)[:count])
    assert strongest(tensor.double(), count).equal(ranked(tensor)[:count])
