"""Timing on any device: stopwatches that mark spans, and repeats until the median is known.

The clock is injected everywhere, so that tests can say to the digit what comes out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from math import ceil, inf, isfinite
from typing import TYPE_CHECKING, Any, Literal, Protocol

from msgspec import Struct

from roofline.errors import InputError
from roofline.records.statistics import (
    StoppingRule,
    WarmUpRule,
    disturbed,
    noise,
    summarize,
)
from roofline.units import MILLI

if TYPE_CHECKING:
    import torch

Clock = Callable[[], float]
"""Seconds since some moment; only differences count."""
Mark = Callable[[str], None]
"""Called with a span's name as soon as the last of its work is issued."""
Progress = Callable[[float, str], None]
"""Called with the share of the work that is done, 0 to 1, and what is being done."""


class Stopwatch(Protocol):
    """Times spans between marks. It can be started again and again."""

    def start(self) -> None:
        """Begin on an idle device, so that what the host needs to issue work counts too."""

    def mark(self, name: str) -> None:
        """End the span `name`, which began at the previous mark or at the start."""

    def stop(self, unmarked: str = "total") -> dict[str, float]:
        """Seconds per span in order of first marks, equal names summed.

        They tile the time from the start to the last mark, so that their sum is the whole. A run
        without marks is one span, `unmarked`.
        """


class WallStopwatch:
    """Reads a clock once the device is idle: every mark waits for it."""

    def __init__(
        self, clock: Clock = time.perf_counter, synchronize: Callable[[], None] | None = None
    ) -> None:
        """synchronize: waits until the device is idle; a CPU needs none."""
        self._clock = clock
        self._synchronize = synchronize or _nothing
        self._names: list[str] = []
        self._readings: list[float] = []

    def start(self) -> None:
        self._names.clear()
        self._readings = [self._read()]

    def mark(self, name: str) -> None:
        self._readings.append(self._read())
        self._names.append(name)

    def stop(self, unmarked: str = "total") -> dict[str, float]:
        if not self._names:
            self.mark(unmarked)
        return _sums(self._names, [end - begin for begin, end in pairwise(self._readings)])

    def _read(self) -> float:
        self._synchronize()
        return self._clock()


class CudaStopwatch:
    """Records CUDA events, which the device itself stamps: only `start` and `stop` wait for it."""

    def __init__(self, device: torch.device | str = "cuda", cuda: Any = None) -> None:
        """cuda: stands in for `torch.cuda` in tests."""
        if cuda is None:
            from torch import cuda
        self._cuda, self._device = cuda, device
        self._names: list[str] = []
        self._events: list[Any] = []  # a pool: grows to the most marks of a run, then is reused

    def start(self) -> None:
        self._names.clear()
        self._cuda.synchronize(self._device)
        self._record(0)

    def mark(self, name: str) -> None:
        self._names.append(name)
        self._record(len(self._names))

    def stop(self, unmarked: str = "total") -> dict[str, float]:
        if not self._names:
            self.mark(unmarked)
        events = self._events[: len(self._names) + 1]
        events[-1].synchronize()
        times_s = [begin.elapsed_time(end) * MILLI for begin, end in pairwise(events)]
        return _sums(self._names, times_s)

    def _record(self, index: int) -> None:
        if index == len(self._events):
            self._events.append(self._cuda.Event(enable_timing=True))
        # named, since the device at hand need not be the current one
        self._events[index].record(self._cuda.current_stream(self._device))


def _nothing() -> None:
    pass


def _sums(names: Sequence[str], seconds: Sequence[float]) -> dict[str, float]:
    spans = dict.fromkeys(names, 0.0)
    for name, span_s in zip(names, seconds, strict=True):
        spans[name] += span_s
    return spans


def synchronizer(device: torch.device | str) -> Callable[[], None]:
    """What waits until a device is idle; on a CPU nothing needs to."""
    import torch

    if torch.device(device).type == "cpu":
        return _nothing
    return partial(torch.accelerator.synchronize, device)  # cuda, mps, xpu and others


def stopwatch_for(device: torch.device | str, clock: Clock = time.perf_counter) -> Stopwatch:
    """CUDA events on CUDA (and ROCm, which torch calls so), elsewhere the clock."""
    import torch

    if torch.device(device).type == "cuda":
        return CudaStopwatch(device)
    return WallStopwatch(clock, synchronizer(device))


@dataclass(frozen=True)
class Subject:
    """Something to be timed."""

    name: str
    run: Callable[[Mark], object]
    """Issues the work and marks its spans; if it marks none, it is one span of the name above."""
    calls: int = 1
    """Runs in one sample, for work too short for the clock; the sample is divided by it."""
    before: Callable[[], object] | None = None
    """Untimed preparation of each sample: flush a cache, take other buffers, crop a KV cache."""


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


def interrupted(measurements: Mapping[str, Measurement]) -> bool:
    """Whether Ctrl-C cut a measurement short."""
    return any(each.stopped == "interrupted" for each in measurements.values())


def measure(
    subjects: Sequence[Subject],
    stopwatch: Stopwatch,
    rule: StoppingRule,
    *,
    warm_up: WarmUpRule | None = None,
    together: bool = False,
    clock: Clock = time.perf_counter,
    progress: Progress | None = None,
    on_round: Callable[[], object] | None = None,
    deadline_s: float = inf,
    repeats: int = 0,
) -> dict[str, Measurement]:
    """Time subjects side by side until each one's median is known or its cap is used up.

    Each is warmed up; then every round takes one sample of each that is unfinished, so that a
    drift of the machine meets all alike. Caps are per subject, by `clock`, and include what
    `before` takes.

    together: the finished go on until all are, so that subjects which are to be compared have met
        the same machine, sample by sample.
    on_round: called after each round, outside all timed spans.
    deadline_s: moment of `clock` at which all end, with the samples that they have by then, one
        at least.
    repeats: how often subjects whose samples are disturbed (`statistics.disturbed`) are measured
        anew, while there is time; the calmer samples stay. With `together` all are.

    On KeyboardInterrupt whatever has been measured is returned, and what was not finished, or was
    being measured anew, says `stopped="interrupted"` (see `interrupted`). Raises InputError
    when two subjects share a name.
    """
    trials = [_Trial(subject, stopwatch, clock, rule) for subject in subjects]
    measured = {trial.subject.name: trial.measurement for trial in trials}
    if len(measured) < len(trials):
        raise InputError("two subjects share a name: give each its own")

    def report(trial: _Trial) -> None:
        if progress is not None:
            progress(sum(each.share for each in trials) / len(trials), trial.state)

    def late() -> bool:
        return deadline_s < inf and clock() >= deadline_s

    def run(some: Sequence[_Trial]) -> None:
        for trial in some:
            report(trial)
            trial.warm_up(warm_up or WarmUpRule(), late)
        while unfinished := [trial for trial in some if trial.share < 1]:
            for trial in some if together else unfinished:
                if not (trial.measurement.total and late()):
                    trial.sample()
                report(trial)
            if on_round is not None:
                on_round()
            if late():
                for trial in unfinished:
                    trial.finish()

    again: list[_Trial] = []
    try:
        run(trials)
        for _ in range(repeats):
            noisy = [trial for trial in trials if disturbed(trial.measurement.total)]
            if not noisy or late():
                break
            again = [trial.anew() for trial in (trials if together else noisy)]
            run(again)
            if sum(map(_noise, again)) < sum(map(_noise, trials if together else noisy)):
                measured |= {trial.subject.name: trial.measurement for trial in again}
                trials = [
                    t for t in trials if t.subject.name not in {a.subject.name for a in again}
                ]
                trials += again
            again = []
    except KeyboardInterrupt:
        unfinished = [trial for trial in trials if trial.share < 1]
        for trial in again or unfinished or trials:
            measured[trial.subject.name].stopped = "interrupted"
    return measured


@dataclass
class _Trial:
    """A subject on its way to a measurement."""

    subject: Subject
    stopwatch: Stopwatch
    clock: Clock
    rule: StoppingRule
    measurement: Measurement = field(default_factory=Measurement)
    used_s: float = 0.0
    share: float = 0.0
    """0 to 1, where 1 is finished; never falls."""

    @property
    def state(self) -> str:
        name, samples = self.subject.name, self.measurement.total
        if not samples:
            return f"{name}: warming up"
        relative_ci = summarize(samples).relative_ci
        known = f", ±{100 * relative_ci:.1f} %" if isfinite(relative_ci) else ""
        return f"{name}: sample {len(samples)}{known}"

    def anew(self) -> _Trial:
        """Another of the same."""
        return _Trial(self.subject, self.stopwatch, self.clock, self.rule)

    def finish(self) -> None:
        """End with the samples that there are."""
        self.measurement.stopped = "settled" if self.share == 1 else "cap"
        self.share = 1.0

    def warm_up(self, rule: WarmUpRule, late: Callable[[], bool]) -> None:
        samples: list[float] = []
        begun = self.clock()
        while len(samples) < rule.most and not self.measurement.steady:
            samples.append(sum(self._timed().values()))
            self.measurement.warm_up = len(samples)
            self.measurement.steady = rule.steady(samples)
            if len(samples) == 1:
                begun = self.clock()
            elif self.clock() - begun >= rule.cap_s:
                break
            if late():
                break

    def sample(self) -> None:
        begun = self.clock()
        spans = self._timed()
        found, rule = self.measurement, self.rule
        for name, span_s in spans.items():
            found.spans.setdefault(name, []).append(span_s)
        found.total.append(sum(spans.values()))
        reached = rule.reached(found.total)
        self.used_s += self.clock() - begun
        used = max(self.used_s / rule.cap_s, len(found.total) / rule.most)
        if reached == 1:
            found.stopped = "settled"
        elif used >= 1:
            found.stopped = "cap"
        self.share = min(max(self.share, reached, used), 1.0)

    def _timed(self) -> dict[str, float]:
        subject = self.subject
        if subject.before is not None:
            subject.before()
        self.stopwatch.start()
        for _ in range(subject.calls):
            subject.run(self.stopwatch.mark)
        spans = self.stopwatch.stop(subject.name)
        return {name: span_s / subject.calls for name, span_s in spans.items()}


def _noise(trial: _Trial) -> float:
    return noise(trial.measurement.total)


def calls_for(
    run: Callable[[], object],
    stopwatch: Stopwatch,
    least_s: float = 0.001,
    most: int = 1_000_000,
) -> int:
    """How many runs in a row take `least_s` or more, so that the clock's own error is small."""
    run()  # the first may compile
    calls = 1
    while True:
        stopwatch.start()
        for _ in range(calls):
            run()
        took_s = sum(stopwatch.stop().values())
        if took_s >= least_s or calls >= most:
            return calls
        growth = 1.2 * least_s / took_s if took_s else 10.0
        calls = min(ceil(calls * min(growth, 10.0)), most)
