"""A study of what one estimate was asked: what the charts of a report take."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from roofline.engine.axes import COUNTS, NO_REDUCER
from roofline.engine.estimate import Estimate
from roofline.errors import InputError
from roofline.explore.study.build import study
from roofline.explore.study.study import Study

MOST = 512
"""Prompts: each is priced by itself, with its answer."""
SOME = 32
"""Counts of visual tokens that stand for all, where the curve over them is what is shown."""


def study_of(estimate: Estimate, *, each_prompt: bool = True) -> Study:
    """Its prompts, with the unreduced ones beside them and answers behind them.

    each_prompt: whether all are needed; else some counts of visual tokens, from the least to the
        most, stand for more prompts than may be priced one by one.

    Raises InputError for layers of one's own and other conventions of FLOPs than `exact`, for
    arrays that do not hold every combination of their values, and for too many prompts.
    """
    scenario = estimate.scenario
    if scenario.vision_layers is not None or scenario.llm_layers is not None:
        raise InputError("an estimate of `vision_layers` or `llm_layers` is in no chart")
    if scenario.accounting != "exact":
        raise InputError(f"charts are of exact accounting, and this is {scenario.accounting}")
    arrays = np.broadcast_arrays(*(scenario.counts[axis.name] for axis in COUNTS))
    rows = np.unique(np.stack([array.ravel() for array in arrays]), axis=1)
    given: dict[str, Any] = {
        axis.name: [int(value) for value in np.unique(row)]
        for axis, row in zip(COUNTS, rows, strict=True)
    }
    if not rows.size:
        raise InputError("an estimate of no configuration has nothing to draw")
    if prod(map(len, given.values())) != rows.shape[1]:
        raise InputError(
            "a chart needs every combination of the counts, which these arrays are not: use "
            "`roofline.sweep`"
        )
    if rows.shape[1] > MOST and not each_prompt:
        given["visual_tokens"] = _spread(given["visual_tokens"])
    count = prod(map(len, given.values()))
    if count > MOST:
        raise InputError(
            f"a chart is of up to {MOST} prompts, and here are {count:,}: ask for some"
        )
    lengths = [length for length in given.pop("output_tokens") if length]
    visual = given.pop("visual_tokens")
    has_llm = "llm" in estimate.components
    return study(
        model=scenario.model,
        hardware=scenario.hardware,
        quant=scenario.quant,
        reducer=scenario.reducer or NO_REDUCER,
        visual_tokens=visual if has_llm else None,
        attention=scenario.attention,
        runtime=scenario.runtime,
        kernels=scenario.kernels,
        library=scenario.library,
        output_tokens=lengths or None,
        **given,
    )


def _spread(counts: list[int]) -> list[int]:
    """As many as `SOME`, from the first to the last."""
    places = np.linspace(0, len(counts) - 1, min(SOME, len(counts))).round().astype(int)
    return [counts[place] for place in places]
