"""Reducers by name, with options as text."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from roofline import reducers
from roofline.errors import InputError, ScenarioError


def test_no_torch_is_needed() -> None:
    code = (
        "import sys, roofline.reducers; print(*roofline.reducers.names());"
        "print(*{'torch', 'transformers'} & set(sys.modules), 'done')"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.splitlines() == [" ".join(reducers.names()), "done"], result.stderr


def test_a_user_s_reducer_stays_whatever_is_imported_later() -> None:
    code = (
        "import roofline.reducers as r; from roofline.reducers.sampling import Sequential;"
        "Mine = type('Mine', (Sequential,), {'name': 'tome'}, frozen=True);"
        "r.register_reducer(Mine()); import roofline.reducers.tome;"
        "print(type(r.find('tome')) is Mine, r.find('fastv').name)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.split() == ["True", "fastv"], result.stderr


@pytest.mark.parametrize("name", reducers.names())
def test_every_reducer_says_what_it_is(name: str) -> None:
    reducer = reducers.find(name)
    assert reducer.name == reducer.label == name
    assert reducer.title
    assert re.search(r"20\d\d", reducer.source)
    assert reducer.default_source
    assert not reducer.chosen
    assert reducer.count_options <= set(reducer.options)
    assert (reducer.full_llm_layers > 0) == (reducer.site == "llm")


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("fastv:k=3", {"k": 3}),
        ("fastv:ratio=0.5", {"ratio": 0.5}),
        ("fastv:ratio=none:k=1", {"k": 1}),
        ("evit:rate=0.5:stages=6,12:rule=paper", {"rate": 0.5, "stages": (6, 12), "rule": "paper"}),
        ("ats:stages=6", {"stages": (6,)}),
        ("spatial:grid=5,8", {"grid": (5, 8)}),
        ("prumerge+:variant=paper", {"variant": "paper"}),
        ("prumerge:k=32", {}),  # the default
    ],
)
def test_options_are_read_and_written(text: str, chosen: dict[str, object]) -> None:
    reducer = reducers.find(text)
    assert dict(reducer.chosen) == chosen
    assert reducers.find(reducer.label) == reducer
    assert reducer == reducers.find(reducer.name).with_options(**chosen)
    assert reducers.find(reducer) is reducer


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fastvv", "unknown reducer 'fastvv': did you mean fastv"),
        ("fastv:layer=2", "unknown option of fastv 'layer': known: k, ratio"),
        ("tome:rr=2", "unknown option of tome 'rr': did you mean r?"),
        ("fastv:k=two", "fastv: `k` must be a whole number at least 1, not 'two'"),
        ("fastv:k=2.5", "fastv: `k` must be a whole number at least 1, not '2.5'"),
        ("fastv:k=0", "fastv: `k` must be a whole number at least 1, not '0'"),
        ("fastv:k=none", "fastv: `k` must be a whole number at least 1, not 'none'"),
        ("fastv:ratio=1.5", "a number at least 0 and below 1 or none, not '1.5'"),
        ("evit:rule=budgets", "evit: `rule` must be budget or paper, not 'budgets'"),
        ("evit:rate=0", "evit: `rate` must be a number above 0 and at most 1 or none"),
        ("ats:stages=6;12", "ats: `stages` must be whole numbers with commas between them"),
        ("prumerge:ratio=inf", "prumerge: `ratio` must be"),
        ("prumerge:variant=paper:k=0", "prumerge: `k` must be at least 1 in the variant paper"),
        ("fastv:k", "fastv: an option is written fastv:option=value, not 'k'"),
        ("fastv:k=2:k=3", "fastv: the option k is given twice: give it once"),
        ("divprune:x=1", "divprune takes no options: leave 'x' out"),
        ("prumerge:count=40", "prumerge: how many visual tokens are left is no option"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(text: str, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)) as raised:
        reducers.find(text)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "tokens", "message"),
    [
        ("tome:r=19", 144, "tome:r=19 leaves 139 visual tokens of an image of clip-vit-l-336"),
        ("evit:rate=0.5", 100, "leaves 72 visual tokens of an image of clip-vit-l-336, not 100"),
        ("crossget:r=13", 100, "leaves 278 visual tokens"),
        ("ats:rate=0.5", 73, "leaves 72 visual tokens"),
        ("fastv:ratio=0.5", 144, "leaves 288 visual tokens"),
        ("spatial:grid=5,8", 41, "spatial:grid=5,8 leaves 40 visual tokens"),
        ("spatial:grid=25,1", None, "within 24×24"),
        ("spatial", 29, "near counts that do"),
        ("visionzip:contextual=64", 64, "below the 64 tokens left"),
        ("prumerge", 1, "leaves 2 to 576 visual tokens"),
        ("evit:stages=23", None, "indices of the 23 blocks"),
        ("fastv:k=32", None, "needs an LLM of more than 32 layers"),
    ],
)
def test_options_and_counts_that_contradict_each_other_are_refused(
    text: str, tokens: int | None, message: str
) -> None:
    from roofline import analyze

    with pytest.raises(ScenarioError, match=re.escape(message)):
        analyze("llava-1.5-7b", "h200", visual_tokens=tokens, reducer=text)


@pytest.mark.parametrize("name", reducers.names())
def test_no_method_leaves_more_than_there_are(name: str) -> None:
    """But CrossGET: its cross token stands beside the patches, as the last of the visual tokens."""
    from roofline import analyze

    most = 577 if name == "crossget" else 576
    pattern = rf"leaves [12] to {most} visual tokens .* not {most + 1}"
    with pytest.raises(ScenarioError, match=pattern):
        analyze("llava-1.5-7b", "h200", visual_tokens=most + 1, reducer=name)


def test_a_count_of_an_adaptive_budget_may_be_lower() -> None:
    from roofline import analyze

    estimate = analyze("llava-1.5-7b", "h200", visual_tokens=60, reducer="ats:rate=0.5")
    assert estimate.inputs["visual_tokens"] == 60
