"""What is asked: how many tokens, how many sequences, which stage. Scalars or arrays alike."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import numpy as np
from msgspec import Struct
from numpy.typing import ArrayLike

from roofline.errors import ScenarioError
from roofline.model.polynomial import Array

Stage: TypeAlias = Literal["prefill", "decode", "generate"]
STAGES: tuple[Stage, ...] = get_args(Stage)

DEFAULT_TEXT_TOKENS = 40
"""The text prompt of the LLaVA-PruMerge paper's efficiency analysis (section 4.2)."""

MOST = 10_000_000
"""Largest count of tokens or sequences: beyond it sums would not be exact in float64."""


class Scenario(Struct, frozen=True):
    """Axes of one analysis; float64 arrays that broadcast against each other."""

    visual_tokens: Array
    """Per sequence, all images and frames together, as they reach the LLM."""
    text_tokens: Array
    batch: Array
    output_tokens: Array
    """Decode steps after the prompt; only the stage `generate` looks at it."""
    stage: Stage = "prefill"

    @classmethod
    def of(
        cls,
        *,
        visual_tokens: ArrayLike | None,
        text_tokens: ArrayLike = DEFAULT_TEXT_TOKENS,
        batch: ArrayLike = 1,
        output_tokens: ArrayLike = 0,
        stage: str = "prefill",
    ) -> Scenario:
        """Check and convert. `visual_tokens` None is a prompt of text alone.

        Raises ScenarioError for counts that are not whole, not positive, or do not broadcast.
        """
        if stage not in STAGES:
            raise ScenarioError(f"unknown stage {stage!r}: choose one of {', '.join(STAGES)}")
        scenario = cls(
            visual_tokens=np.zeros(())
            if visual_tokens is None
            else _counts("visual tokens", visual_tokens),
            text_tokens=_counts("text tokens", text_tokens),
            batch=_counts("batch", batch),
            output_tokens=_counts("output tokens", output_tokens, least=0),
            stage=stage,
        )
        try:
            scenario.shape  # noqa: B018  # broadcasting is the check
        except ValueError:
            raise ScenarioError(
                "visual tokens, text tokens, batch and output tokens do not broadcast: "
                f"their shapes are {', '.join(str(axis.shape) for axis in scenario.axes)}"
            ) from None
        return scenario

    @property
    def steps(self) -> Array:
        """Decode steps of the stage."""
        if self.stage == "generate":
            return self.output_tokens
        return np.asarray(float(self.stage == "decode"))

    @property
    def axes(self) -> tuple[Array, Array, Array, Array]:
        """Visual tokens, text tokens, batch and decode steps."""
        return self.visual_tokens, self.text_tokens, self.batch, self.steps

    @property
    def shape(self) -> tuple[int, ...]:
        return np.broadcast_shapes(*(axis.shape for axis in self.axes))


def _counts(name: str, values: ArrayLike, least: int = 1) -> Array:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise ScenarioError(f"{name} must be whole numbers, not {values!r}") from None
    wrong = array[~((array >= least) & (array <= MOST) & (array == np.floor(array)))]
    if wrong.size and MOST < wrong.flat[0] < np.inf:
        raise ScenarioError(f"{name} must be at most {MOST:,}, not {wrong.flat[0]:g}")
    if wrong.size:
        raise ScenarioError(f"{name} must be whole numbers ≥ {least}, not {wrong.flat[0]:g}")
    return array
