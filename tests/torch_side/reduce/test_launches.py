"""Kernels that the analysis has each reducer launch, against those of the real implementation.

What counts as a launch, and as a wait, is told in `launches`. Compared is what the host is priced
for, component by component: work inside the vision tower or the LLM is theirs.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from launches import LaunchCounter, launches_by_component
from msgspec.structs import replace

import roofline
from roofline import reducers
from roofline.device.host import launches
from roofline.engine.accounting import ACCOUNTINGS
from roofline.engine.layout import lay_out
from roofline.specs.catalog import load_component, load_model, load_quantization
from roofline.specs.models import LanguageModel, Lmm, VisionEncoder
from roofline.specs.runtimes import find_runtime
from roofline.torch_side.measure.pipeline import build_pipeline

PAGE = Path(__file__).resolve().parents[3] / "docs" / "reducers.md"
_TINY = load_model("llava-tiny")
assert isinstance(_TINY, Lmm)
_VISION = load_component(_TINY.vision, VisionEncoder)
# torch 2.7 has no fused attention on a CPU where heads share keys
_LLM = replace(load_component(_TINY.llm, LanguageModel), num_key_value_heads=None)
TINY = replace(_TINY, llm=_LLM)
DEEPER = replace(TINY, llm=replace(_LLM, num_hidden_layers=6))
AS_LLAVA = replace(TINY, vision=replace(_VISION, image_size_px=336, num_hidden_layers=24))
"""Patches and ViT layers of LLaVA-1.5: all of its size that a reducer's launches depend on."""
SPECS = {"tiny": TINY, "deeper": DEEPER, "llava": AS_LLAVA}
COUNTS = (9, 12, 30, 36)
"""Of 36 patches. All of them form a grid."""
LLAVA_COUNTS = (40, 144, 400)
"""Of 576."""

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
Found = tuple[dict[str, int], dict[str, int]]
"""Launches and waits of a prefill by component."""


@cache
def model(size: str, attention: Any = "sdpa") -> Any:
    return roofline.load_model(SPECS[size], dtype="bf16", attention=attention)


@cache
def counted(text: str | None, count: int | None, size: str = "tiny") -> Found:
    """Those of the implementation, for one image."""
    given: dict[str, Any] = {"reducer": text, "visual_tokens": count, "loaded": model(size)}
    with build_pipeline(SPECS[size], **given) as pipeline:
        found: LaunchCounter = launches_by_component(pipeline)
    return found.totals, dict(found.waits)


def priced(text: str, count: int | None, size: str = "tiny") -> Found:
    """Those that the host is priced for."""
    reducer = reducers.find(text)
    layout = lay_out(SPECS[size], reducer=reducer, visual_tokens=count)
    issued, waits = Counter[str](), Counter[str]()
    for part in ACCOUNTINGS.find("exact").count(layout, load_quantization("bf16")):
        inside = part.component == "reducer" and reducer.site != "features"
        where = reducer.site if inside else part.component
        issued[where] += launches(find_runtime("eager"), part, "prefill", "flash")
        waits[where] += sum(op.count * op.waits for op in part.ops)
    return dict(issued), dict(waits)


def of_its_own(text: str, count: int | None, size: str = "tiny") -> int:
    """Launches of the implementation that a run without it does not make."""
    with_it, without = counted(text, count, size)[0], counted(None, None, size)[0]
    return sum(with_it.values()) - sum(without.values())


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("name", reducers.names())
def test_launches_of_every_reducer(name: str, count: int) -> None:
    assert counted(name, count) == priced(name, count)
    assert of_its_own(name, count) > 0


@pytest.mark.parametrize("count", LLAVA_COUNTS)
@pytest.mark.parametrize("name", reducers.names())
def test_at_the_size_of_a_real_model(name: str, count: int) -> None:
    assert counted(name, count, "llava") == priced(name, count, "llava")


@pytest.mark.parametrize(("text", "count"), OPTIONS)
def test_options_that_change_what_is_launched(text: str, count: int | None) -> None:
    assert counted(text, count) == priced(text, count)


@pytest.mark.parametrize("name", [n for n in reducers.names() if reducers.find(n).site == "llm"])
def test_layers_behind_launch_no_more(name: str) -> None:
    """What is shortened is shortened once, not in each of them."""
    assert of_its_own(name, 12, "deeper") == of_its_own(name, 12)


def test_the_page_tells_them() -> None:
    """Of LLaVA-1.5-7B, 576 to 144 tokens, as the implementation makes them."""
    row = re.compile(r"^\| `([^`]+)` \| ([\d,]+) \| (\d+) \|", re.M)
    found = {
        name: (int(issued.replace(",", "")), int(waits))
        for name, issued, waits in row.findall(PAGE.read_text(encoding="utf-8"))
    }
    assert found == {
        name: (of_its_own(name, 144, "llava"), sum(counted(name, 144, "llava")[1].values()))
        for name in reducers.names()
    }
