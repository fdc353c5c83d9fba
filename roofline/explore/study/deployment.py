"""A model on a device at a precision, over the number of visual tokens: where fewer stop paying."""

from __future__ import annotations

from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from roofline.engine.estimate import Estimate
from roofline.engine.launch_bound import waiting_tokens
from roofline.explore.study.priced_prompt import PricedPrompt
from roofline.model.polynomial import Array

NEAR_FLOOR = 0.05
"""How close to the time of a single visual token counts as no longer worth reducing."""


class Deployment(Struct, frozen=True, dict=True, eq=False, kw_only=True):
    """Configurations that differ in visual tokens, reducer and answer alone."""

    inputs: dict[str, Any]
    """By axis, what all its prompts have in common: names of specs, text tokens, batch."""
    prompts: tuple[PricedPrompt, ...]
    """All visual tokens that others are compared with first, as far as the model tells how many
    those are, then as asked."""
    curve: Estimate | None
    """The prefill at 1, 2, …, all visual tokens, without a reducer's own work; figures have that
    shape. None for a prompt of text alone."""

    @property
    def model(self) -> str:
        return str(self.inputs["model"])

    @property
    def hardware(self) -> str:
        return str(self.inputs["hardware"])

    @property
    def quant(self) -> str:
        return str(self.inputs["quant"])

    @property
    def by_unreduced(self) -> list[tuple[PricedPrompt, tuple[PricedPrompt, ...]]]:
        """Each prompt that was not reduced, and those that are compared with it."""
        return [
            (one, tuple(c for c in self.prompts if c.unreduced is one))
            for one in self.prompts
            if one.unreduced is None
        ]

    @property
    def reduced(self) -> tuple[PricedPrompt, ...]:
        """Those that have fewer than all visual tokens."""
        return tuple(c for c in self.prompts if c.unreduced is not None)

    @property
    def pair(self) -> tuple[PricedPrompt, ...]:
        """What a report is about: an unreduced prompt, and the quickest of fewer visual tokens.

        The first prompt alone where none is reduced.
        """
        quickest = min(self.reduced, key=lambda c: c.predicted_time_s, default=None)
        if quickest is None or quickest.unreduced is None:
            return self.prompts[:1]
        return quickest.unreduced, quickest

    @property
    def visual_tokens(self) -> NDArray[np.float64]:
        """Axis of the curve; empty without one."""
        return np.zeros(0) if self.curve is None else self.curve.scenario.counts["visual_tokens"]

    @property
    def ridge_tokens(self) -> int | None:
        """The most visual tokens up to which the LLM's prefill is bound by memory.

        There it waits for its weights, whatever the prompt; 0 if even one visual token makes it
        bound by compute, None without a curve.
        """
        if self.curve is None:
            return None
        return _up_to(self.visual_tokens, np.asarray(self.curve.llm.bound) == "memory")

    @property
    def floor_tokens(self) -> int | None:
        """The most visual tokens with which prefill takes at most 5 % longer than with one.

        End to end, by the predicted time: below it fewer tokens no longer
        help. None without a curve.
        """
        if self.curve is None:
            return None
        return floor_tokens(self.visual_tokens, self.curve.end_to_end.predicted_time_s)

    @property
    def launch_bound_tokens(self) -> int | None:
        """Up to how many visual tokens the prefill waits for the host, and gets no faster.

        None without a curve, or a runtime whose host works ahead of the device.
        """
        if self.curve is None:
            return None
        return waiting_tokens(self.curve.scenario.runtime, self.curve.llm, self.curve.end_to_end)


def floor_tokens(tokens: NDArray[np.float64], predicted_time_s: Array) -> int:
    """The most tokens, counted up from the fewest, that stay within 5 % of the fewest's time."""
    return _up_to(tokens, np.asarray(predicted_time_s) <= (1 + NEAR_FLOOR) * predicted_time_s[0])


def _up_to(tokens: NDArray[np.float64], holds: NDArray[np.bool_]) -> int:
    """The last of the tokens before something first fails to hold; 0 if it never does."""
    ends = np.flatnonzero(~holds)
    last = ends[0] if ends.size else len(tokens)
    return int(tokens[last - 1]) if last else 0
