"""Kernels that the analysis has each reducer launch, against those of the real implementation.

What counts as a launch is told in `launches`. Work inside the vision tower or the LLM is what the
component launches more than without the reducer.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import pytest
from launches import launches_by_component
from msgspec.structs import replace

import roofline
from roofline import reducers
from roofline.engine.layout import lay_out
from roofline.model.architectures import vit
from roofline.model.block import Block, LayerGroup
from roofline.specs.catalog import load_component, load_model
from roofline.specs.models import LanguageModel, Lmm, VisionEncoder
from roofline.torch_side.measure.pipeline import build_pipeline

TINY = load_model("llava-tiny")
assert isinstance(TINY, Lmm)
DEEPER = replace(TINY, llm=replace(load_component(TINY.llm, LanguageModel), num_hidden_layers=6))
VISION = load_component(TINY.vision, VisionEncoder)
COUNTS = (9, 12, 30, 36)
"""Of 36 patches. All of them form a grid."""

OPTIONS = [
    ("prumerge:variant=paper", 9),
    ("prumerge:k=0", 9),
    ("prumerge:ratio=0.25", None),
    ("prumerge+:variant=paper", 9),
    ("prumerge+:ratio=0.25", None),
    ("prumerge+:ratio=0.25:k=0", None),
    ("prumerge+:variant=paper:ratio=0.25", None),
    ("spatial:grid=2,5", None),
    ("visionzip:contextual=0", 9),
    ("visionzip:contextual=7", 9),
    ("visionzip:contextual=7", 30),  # every other of 14 patches is a target
    ("visionzip:contextual=8", 30),  # of 15 the first 8 are
    ("tome:r=4", None),
    ("tome:r=0", None),
    ("crossget:r=2", None),
    ("ats:stages=1", 20),
    ("ats:rate=0.5", None),
    ("evit:rule=paper", None),
    ("evit:stages=0,2", 12),
    ("fastv:k=1", 9),
    ("fastv:k=3", 9),
    ("divprune", 1),
    ("divprune", 2),
]


def launches(blocks: Sequence[Block]) -> int:
    return sum(block.count * op.launches for block in blocks for op in block.ops)


def in_tower(groups: tuple[LayerGroup, ...]) -> int:
    return launches(vit.encode(VISION, groups, images=1, attention="flash"))


@cache
def model(deeper: bool = False) -> Any:
    return roofline.load_model(DEEPER if deeper else TINY, dtype="bf16")


@cache
def unreduced(deeper: bool = False) -> dict[str, int]:
    spec = DEEPER if deeper else TINY
    return launches_by_component(build_pipeline(spec, loaded=model(deeper))).totals


def counted_and_stated(text: str, count: int | None, deeper: bool = False) -> tuple[int, int]:
    """Launches of the implementation, and those that the reducer's ops tell, in a batch of 1."""
    spec = DEEPER if deeper else TINY
    reducer = reducers.find(text)
    work = lay_out(spec, reducer=reducer, visual_tokens=count)
    assert work.task is not None
    with build_pipeline(spec, reducer=text, visual_tokens=count, loaded=model(deeper)) as pipeline:
        counted = launches_by_component(pipeline).totals
    stated = launches(reducer.extra_ops(work.task))
    if reducer.site == "features":
        return counted["reducer"], stated
    component = reducer.site
    more = 0
    if component == "vision":  # such as attention whose probabilities are kept
        more = in_tower(work.vision_groups) - in_tower(lay_out(spec).vision_groups)
    return counted[component] - unreduced(deeper)[component], stated + more


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("name", reducers.names())
def test_launches_of_every_reducer(name: str, count: int) -> None:
    counted, stated = counted_and_stated(name, count)

    assert stated > 0
    assert counted == stated


@pytest.mark.parametrize(("text", "count"), OPTIONS)
def test_options_that_change_what_is_launched(text: str, count: int | None) -> None:
    counted, stated = counted_and_stated(text, count)

    assert counted == stated


@pytest.mark.parametrize("name", [n for n in reducers.names() if reducers.find(n).site == "llm"])
def test_layers_behind_launch_no_more(name: str) -> None:
    """What is shortened is shortened once, not in each of them."""
    assert counted_and_stated(name, 12, deeper=True) == counted_and_stated(name, 12)
