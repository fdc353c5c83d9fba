"""Reducers as the tests of pipelines set them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from torch import Tensor

from roofline import reducers
from roofline.torch_side.measure.pipeline import Pipeline

Prompts = Callable[..., dict[str, Tensor]]
Made = Callable[..., Pipeline]

PATCHES, FRAMES, COUNT, STEPS = 36, 8, 12, 4
_REDUCERS = [reducers.find(name) for name in reducers.names()]
FIXED: dict[str | None, dict[str, Any]] = {
    None: {},
    **{
        reducer.name: {"ratio": 0.6} if reducer.site == "llm" else {"count": COUNT}
        for reducer in _REDUCERS
        if not reducer.by_picture
    },
}
"""Reducers of which anybody can tell how many tokens they leave, and what to ask of them."""
ADAPTIVE: dict[str | None, dict[str, Any]] = {
    **{r.name: {} for r in _REDUCERS if r.site == "features" and not r.needs_count},
    **{r.name: {"count": 20} for r in _REDUCERS if r.by_picture},
}
ALL = [*FIXED.items(), *ADAPTIVE.items()]
named = pytest.mark.parametrize(
    ("name", "options"),
    ALL,
    ids=[f"{name}{'' if options else ' adaptive'}" for name, options in ALL],
)
fixed = pytest.mark.parametrize(("name", "options"), FIXED.items(), ids=map(str, FIXED))
