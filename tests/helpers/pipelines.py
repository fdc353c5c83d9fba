"""Reducers as the tests of pipelines set them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from torch import Tensor

from roofline.torch_side.measure.pipeline import Pipeline

Prompts = Callable[..., dict[str, Tensor]]
Made = Callable[..., Pipeline]

PATCHES, FRAMES, COUNT, STEPS = 36, 8, 12, 4
FIXED: dict[str | None, dict[str, Any]] = {
    None: {},
    "prumerge": {"count": COUNT},
    "prumerge+": {"count": COUNT},
    "sequential": {"count": COUNT},
    "spatial": {"count": COUNT},
    "fastervlm": {"count": COUNT},
    "visionzip": {"count": COUNT},
    "divprune": {"count": COUNT},
    "tome": {"count": COUNT},
    "evit": {"count": COUNT},
    "crossget": {"count": COUNT},
    "fastv": {"ratio": 0.6},
}
ADAPTIVE: dict[str | None, dict[str, Any]] = {
    "prumerge": {},
    "prumerge+": {},
    "ats": {"count": 20},
}
ALL = [*FIXED.items(), *ADAPTIVE.items()]
named = pytest.mark.parametrize(
    ("name", "options"),
    ALL,
    ids=[f"{name}{'' if options else ' adaptive'}" for name, options in ALL],
)
fixed = pytest.mark.parametrize(("name", "options"), FIXED.items(), ids=map(str, FIXED))
