"""Accuracy against cost: which methods are on the Pareto front, and which one to take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from roofline.explore.study.priced_prompt import PricedPrompt
from roofline.records.published import Benchmark, Score


class Cost(Struct, frozen=True):
    """A way to count what a method costs."""

    title: str
    unit: str
    of: Callable[[PricedPrompt], float]


COSTS = {
    "prefill_time_s": Cost("Prefill time", "s", lambda c: c.predicted_time_s),
    "kv_cache_bytes": Cost("KV cache", "B", lambda c: float(c.estimate.end_to_end.kv_cache_bytes)),
}
"""By key: all are end to end."""


class Candidate(Struct, frozen=True, eq=False):
    """A published score, and what that method costs here."""

    score: Score
    prompt: PricedPrompt
    """At the score's own number of visual tokens."""

    def cost(self, key: str) -> float:
        """By a key of `COSTS`, in its unit."""
        return COSTS[key].of(self.prompt)


class Front(Struct, frozen=True, eq=False):
    """All methods with a published score on one benchmark, on one device at one precision."""

    name: str
    """Of the benchmark."""
    benchmark: Benchmark
    hardware: str
    quant: str
    inputs: dict[str, Any]
    """By axis, what all candidates have in common."""
    candidates: tuple[Candidate, ...]

    def pareto(self, key: str) -> tuple[Candidate, ...]:
        """Of those that fit, those that no other one beats: as cheap and better, or as good and
        cheaper.

        From the cheapest to the best. `key` is one of `COSTS`.
        """
        front: list[Candidate] = []
        for candidate in self._by_cost(key):
            if not front or self._gain(candidate) > self._gain(front[-1]):
                front.append(candidate)
        return tuple(front)

    @property
    def fitting(self) -> tuple[Candidate, ...]:
        """Those for which the device has the memory."""
        return tuple(c for c in self.candidates if c.prompt.fits)

    def best(self) -> Candidate | None:
        """The highest score of those that fit; of equals the first that is printed."""
        return max(self.fitting, key=self._gain, default=None)

    def choice(self, key: str) -> Candidate | None:
        """The cheapest method within one point of the best; of equals the better one.

        One point is a hundredth of the benchmark's scale. None where nothing fits.
        """
        best = self.best()
        if best is None:
            return None
        least = self._gain(best) - self.benchmark.point * (1 + 1e-9)
        return next((c for c in self._by_cost(key) if self._gain(c) >= least), None)

    def _by_cost(self, key: str) -> list[Candidate]:
        """Those that fit, the cheapest first, of equally cheap ones the better."""
        return sorted(self.fitting, key=lambda c: (c.cost(key), -self._gain(c)))

    def _gain(self, candidate: Candidate) -> float:
        value = candidate.score.value
        return value if self.benchmark.higher_is_better else -value
