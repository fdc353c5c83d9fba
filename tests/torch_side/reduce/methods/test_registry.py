"""Methods by name: each reducer has its own, and a page's example can be added."""

from __future__ import annotations

import re
import subprocess
import sys
from inspect import signature

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from naive.features import inputs

from roofline import reducers
from roofline.errors import InputError, UnknownNameError
from roofline.torch_side.reduce.methods import ReducerError, bind, find, reduce_tokens
from roofline.torch_side.reduce.methods.base import ranked, strongest


@pytest.mark.parametrize("name", reducers.names())
def test_every_reducer_has_its_method(name: str) -> None:
    method, site = find(name), reducers.find(name).site
    assert method.name == name
    given = {"features": method.reduce, "vision": method.blocks, "llm": method.llm}
    assert [where for where, function in given.items() if function] == [site]
    assert "count" in method.arguments


@pytest.mark.parametrize("name", reducers.names())
def test_a_method_restates_no_option(name: str) -> None:
    """What the reducer tells comes with it: no keyword of the method hides an option."""
    method, reducer = find(name), reducers.find(name)
    function = method.reduce or method.blocks or method.llm
    assert function is not None
    assert next(iter(signature(function).parameters)) == "reducer"
    assert set(method.arguments).isdisjoint(reducer.options)


def test_a_user_s_method_stays_whatever_is_imported_later() -> None:
    code = (
        "from roofline import reducers;"
        "from roofline.torch_side.reduce.methods import Method, find;"
        "reducers.register_reducer(reducers.find('tome'), blocks=object);"
        "import roofline.torch_side.reduce.methods.tome;"
        "print(find('tome').blocks is object, find('crossget').blocks is not object)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.split() == ["True", "True"], result.stderr


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("prumerg", "did you mean prumerge"),
        ("PruMerge+", "did you mean prumerge"),
        ("nothing like it", "known: ats, crossget"),
    ],
)
def test_an_unknown_name_is_told_the_nearest(name: str, message: str) -> None:
    with pytest.raises(UnknownNameError, match=re.escape(message)):
        reduce_tokens(name, *inputs(1, 4))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("prumerge", {"ration": 0.5}, "unknown option of prumerge 'ration': did you mean ratio"),
        ("sequential", {"xyz": 1}, "option of sequential 'xyz': known: class_token, count"),
        ("fastv", {"layer": 2}, "unknown option of fastv 'layer': known: count, k, ratio"),
        ("fastv:k=3", {"k": "x"}, "fastv: `k` must be a whole number at least 1, not 'x'"),
        ("tome", {"r": 3, "count": 9}, "tome: give `r` or `count`, not both"),
        ("evit:rate=0.5", {"count": 9}, "evit: give `rate` or `count`, not both"),
    ],
)
def test_an_option_that_will_not_do_is_told_in_one_line(
    name: str, options: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=re.escape(message)) as raised:
        bind(name, **options)
    assert "\n" not in str(raised.value)


def test_options_behind_the_name_give_way_to_those_beside_it() -> None:
    assert bind("fastv:k=3", k=4).reducer == reducers.find("fastv:k=4")
    assert bind("fastv:k=3", ratio=0.25).reducer.label == "fastv:k=3:ratio=0.25"


@pytest.mark.parametrize("name", [n for n in reducers.names() if not find(n).reduce])
def test_reducers_inside_the_model_say_that_they_need_it(name: str) -> None:
    inside = {"vision": "ViT", "llm": "LLM"}[reducers.find(name).site]
    with pytest.raises(ReducerError, match=f"{name} works inside the {inside}"):
        reduce_tokens(name, *inputs(1, 4))


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
