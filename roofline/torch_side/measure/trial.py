"""One subject on its way to a measurement: its samples, and which of them something disturbed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import zip_longest
from math import inf, isfinite
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from roofline.records.statistics import StoppingRule, WarmUpRule, noise, summarize

if TYPE_CHECKING:
    from roofline.torch_side.measure.timing import Clock, Stopwatch, Subject

Sample = dict[str, float]
"""Seconds per call of each span."""

_CALM_SHARE = 0.25
"""Of all samples: where fewer were calm, it is not known what a calm one would have been."""


class Stretch(Struct, frozen=True):
    """What was measured between two looks at the machine."""

    samples: dict[str, list[Sample]]
    """Of each subject by its name."""
    disturbance: str = ""
    """What else was at work meanwhile; empty where nothing is known to have been."""
    attempt: int = 0
    """How often its subjects had been measured to the end before."""


class Measurement(Struct, kw_only=True):
    """Raw samples of one subject, in seconds per call."""

    spans: dict[str, list[float]] = {}
    total: list[float] = []
    """Sum of the spans, sample by sample."""
    warm_up: int = 0
    """Samples thrown away before the first that counts."""
    steady: bool = False
    """Whether the warm-up came to rest before its own cap."""
    stopped: Literal["settled", "cap", "interrupted"] = "interrupted"
    """Why there are no more: the median is known, the cap is used up, or Ctrl-C."""
    disturber: str = ""
    """What was at work during so many samples that all of them are here; empty where the samples
    are those of a calm machine, as far as anybody can tell."""
    disturbed: int = 0
    """How many of the samples something was at work during, if all of them are here."""

    @property
    def disturbance(self) -> str:
        """The same in words; empty for a calm machine."""
        if not self.disturber:
            return ""
        return f"{self.disturber} during {self.disturbed} of {len(self.total)} samples"


@dataclass
class Trial:
    """A subject, and what is known of it so far."""

    subject: Subject
    stopwatch: Stopwatch
    clock: Clock
    rule: StoppingRule
    share: float = 0.0
    """0 to 1, where 1 is finished; falls only where samples turn out to have been disturbed."""
    samples: list[Sample] = field(default_factory=list)
    _calm: list[float] = field(default_factory=list)
    """Totals of the samples that nothing is known to have disturbed."""
    _disturbances: list[str] = field(default_factory=list)
    """Of each sample up to the last look at the machine."""
    _warm_up: int = 0
    _steady: bool = False
    _used_s: float = 0.0
    _stopped: Literal["settled", "cap", "interrupted"] = "interrupted"

    @property
    def state(self) -> str:
        """For people who wait."""
        name = self.subject.name
        if not self.samples:
            return f"{name}: warming up"
        relative_ci = summarize(self._calm).relative_ci if self._calm else inf
        known = f", ±{100 * relative_ci:.1f} %" if isfinite(relative_ci) else ""
        return f"{name}: sample {len(self.samples)}{known}"

    @property
    def unjudged(self) -> list[Sample]:
        """Samples since the last look at the machine."""
        return self.samples[len(self._disturbances) :]

    def anew(self) -> Trial:
        """Another of the same."""
        return Trial(self.subject, self.stopwatch, self.clock, self.rule)

    def warm_up(self, rule: WarmUpRule, late: Callable[[], bool]) -> None:
        samples: list[float] = []
        begun = self.clock()
        while len(samples) < rule.most and not self._steady:
            samples.append(sum(self._timed().values()))
            self._warm_up = len(samples)
            self._steady = rule.steady(samples)
            if len(samples) == 1:
                begun = self.clock()
            elif self.clock() - begun >= rule.cap_s:
                break
            if late():
                break

    def sample(self) -> None:
        begun = self.clock()
        self._take(self._timed())
        self._used_s += self.clock() - begun
        self._advance()

    def judge(self, disturbance: str) -> None:
        """Say of all samples since the last look what else was at work; empty for nothing."""
        fresh = len(self.unjudged)
        self._disturbances += [disturbance] * fresh
        if fresh and disturbance:
            del self._calm[-fresh:]
            self.share = 0.0
            self._advance()

    def restore(self, stretch: Stretch) -> None:
        """Take in the samples of an earlier sitting."""
        for spans in stretch.samples.get(self.subject.name, []):
            self._take(spans)
            self._used_s += self.subject.calls * sum(spans.values())
        if self.unjudged:
            self._advance()
            self.judge(stretch.disturbance)

    def finish(self) -> None:
        """End with the samples that there are."""
        self._stopped, self.share = "cap", 1.0

    def interrupt(self) -> None:
        """End as Ctrl-C does."""
        self._stopped = "interrupted"

    def measurement(self) -> Measurement:
        """Of the calm samples; of all where too few were calm."""
        chosen, disturber, disturbed = self.samples, "", 0
        if any(self._disturbances):
            judged = zip_longest(self.samples, self._disturbances)
            calm = [spans for spans, other in judged if not other]
            if len(calm) >= _CALM_SHARE * len(self.samples):
                chosen = calm
            else:
                seen = Counter(filter(None, self._disturbances))
                [(disturber, disturbed)] = seen.most_common(1)
        spans: dict[str, list[float]] = {}
        for sample in chosen:
            for name, span_s in sample.items():
                spans.setdefault(name, []).append(span_s)
        return Measurement(
            spans=spans,
            total=[sum(sample.values()) for sample in chosen],
            warm_up=self._warm_up,
            steady=self._steady,
            stopped=self._stopped,
            disturber=disturber,
            disturbed=disturbed,
        )

    @property
    def noise(self) -> float:
        return noise(self.measurement().total)

    def _take(self, spans: Sample) -> None:
        self.samples.append(spans)
        self._calm.append(sum(spans.values()))

    def _advance(self) -> None:
        """How far it is, by the calm samples, or by what all of them have used up."""
        reached = self.rule.reached(self._calm)
        used = max(self._used_s / self.rule.cap_s, len(self.samples) / self.rule.most)
        if reached == 1:
            self._stopped = "settled"
        elif used >= 1:
            self._stopped = "cap"
        self.share = min(max(self.share, reached, used), 1.0)

    def _timed(self) -> Sample:
        subject = self.subject
        if subject.before is not None:
            subject.before()
        self.stopwatch.start()
        for _ in range(subject.calls):
            subject.run(self.stopwatch.mark)
        spans = self.stopwatch.stop(subject.name)
        return {name: span_s / subject.calls for name, span_s in spans.items()}
