"""The variables of cost formulas: those that axes give, and those derived from them.

A formula is a polynomial in these. What is no polynomial in the axes (how many images a prompt
holds is a ceiling) is a derived variable: it is computed from the others before polynomials see it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from msgspec import Struct

from roofline.model.polynomial import Array, Derived, Number, Point, Polynomial

VISUAL = Polynomial.variable("visual_tokens")
"""Visual tokens of one sequence, as they reach the LLM."""
TEXT = Polynomial.variable("text_tokens")
BATCH = Polynomial.variable("batch")
PROMPT = Polynomial.variable("prompt_tokens")
"""Visual and text tokens of one sequence."""
IMAGES = Polynomial.variable("images")
"""Images or frames of the whole batch."""
SAMPLES = Polynomial.variable("samples")
"""Samples of the whole batch: what a prompt holds is one, or several one behind the other."""
STEPS = Polynomial.variable("steps")
"""Decode steps of the whole stage."""
STEP = Polynomial.variable("step")
"""Decode steps done when the current one ends: 1 in the first."""


def prompt_tokens() -> Derived:
    """visual_tokens + text_tokens."""
    return Derived("prompt_tokens", ("visual_tokens", "text_tokens"), np.add)


def images(per_sample: int, tokens_per_sample: int | None) -> Derived:
    """Batch · ⌈visual_tokens / tokens of a sample⌉ · images of a sample.

    A prompt with more visual tokens than a sample gives holds several samples, one without any
    holds none.
    tokens_per_sample: before reduction; None for a model whose images nobody knows.
    """
    return _per_sample("images", per_sample, tokens_per_sample)


def samples(tokens_per_sample: int | None) -> Derived:
    """Batch · ⌈visual_tokens / tokens of a sample⌉, likewise."""
    return _per_sample("samples", 1, tokens_per_sample)


def _per_sample(name: str, count: int, tokens_per_sample: int | None) -> Derived:
    """A variable of which a sample has `count`."""
    if not tokens_per_sample:
        return Derived(name, ("batch",), _Scaled(count))
    return Derived(name, ("batch", "visual_tokens"), _InSamples(count, tokens_per_sample))


def steps(stage: str) -> Derived:
    """Decode steps: none of a prefill, one of the stage decode, all of a generation."""
    if stage == "generate":
        return Derived("steps", ("output_tokens",), _itself)
    return Derived("steps", (), _Constant(float(stage == "decode")))


def at_most(name: str, number: Number, limit: float) -> tuple[Number, Derived | None]:
    """min(number, limit): itself where that is plain, or a variable of that name."""
    return _of_number(name, number, _Least(limit))


def touched_experts(
    name: str, tokens: Number, experts: int, top_k: int
) -> tuple[Number, Derived | None]:
    """Experts that any of T tokens goes to, in expectation: E·(1 − (1 − k/E)^T).

    Each token chooses k of E, all choices as likely and independent of other tokens'. The laws of
    kernel time have balanced routing instead, as they were measured: min(E, T·k), which is no less.
    """
    return _of_number(name, tokens, _Touched(experts, top_k))


def _of_number(
    name: str, number: Number, function: Callable[[Array], Array]
) -> tuple[Number, Derived | None]:
    polynomial = Polynomial.of(number)
    if polynomial.constant is not None:
        return float(function(np.asarray(polynomial.constant))), None
    of = tuple(sorted(polynomial.variables))
    return Polynomial.variable(name), Derived(name, of, _Composed(of, polynomial, function))


class _Composed(Struct, frozen=True):
    names: tuple[str, ...]
    polynomial: Polynomial
    function: Callable[[Array], Array]

    def __call__(self, *values: Array) -> Array:
        return self.function(Point(dict(zip(self.names, values, strict=True)))(self.polynomial))


class _Least(Struct, frozen=True):
    limit: float

    def __call__(self, value: Array) -> Array:
        return np.minimum(value, self.limit)


class _Touched(Struct, frozen=True):
    experts: int
    top_k: int

    def __call__(self, tokens: Array) -> Array:
        untouched: Array = (1 - self.top_k / self.experts) ** tokens
        return self.experts * (1 - untouched)


class _Scaled(Struct, frozen=True):
    factor: float

    def __call__(self, value: Array) -> Array:
        return value * self.factor


class _InSamples(Struct, frozen=True):
    per_sample: int
    tokens_per_sample: int

    def __call__(self, batch: Array, visual: Array) -> Array:
        return batch * np.ceil(visual / self.tokens_per_sample) * self.per_sample


class _Constant(Struct, frozen=True):
    value: float

    def __call__(self) -> Array:
        return np.asarray(self.value)


def _itself(value: Array) -> Array:
    return value
