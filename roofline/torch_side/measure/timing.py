"""Timing on any device: stopwatches that mark spans, and repeats until the median is known.

The clock is injected everywhere, so that tests can say to the digit what comes out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from math import ceil, inf
from typing import TYPE_CHECKING, Any, Protocol

from roofline.errors import InputError
from roofline.records.statistics import DISTURBED, StoppingRule, WarmUpRule
from roofline.torch_side.measure.trial import Measurement, Stretch, Trial
from roofline.units import MILLI

if TYPE_CHECKING:
    import torch

Clock = Callable[[], float]
"""Seconds since some moment; only differences count."""
Mark = Callable[[str], None]
"""Called with a span's name as soon as the last of its work is issued."""
Progress = Callable[[float, str], None]
"""Called with the share of the work that is done, 0 to 1, and what is being done."""
Disturbance = Callable[[], str]
"""What else was at work on the machine since it was called last; empty where nothing is known to
have been. `disturbance.watch` makes one."""

_LOOK_S = 0.25
"""Between two looks at the machine: the CPU's counters of stolen time step by 0.01 s."""


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

    def __init__(
        self, device: torch.device | str = "cuda", cuda: Any = None, *, fill_cycles: int = 0
    ) -> None:
        """cuda: stands in for `torch.cuda` in tests. fill_cycles: of its own clock the device is
        kept busy for so many before a time begins, so that work issued meanwhile waits in its queue
        and what the host needs to issue it does not count.
        """
        if cuda is None:
            from torch import cuda
        self._cuda, self._device, self._fill_cycles = cuda, device, fill_cycles
        self._names: list[str] = []
        self._events: list[Any] = []  # a pool: grows to the most marks of a run, then is reused

    def start(self) -> None:
        self._names.clear()
        self._cuda.synchronize(self._device)
        if self._fill_cycles:
            with self._cuda.device(self._device):
                self._cuda._sleep(self._fill_cycles)
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
    deadline_s: float = inf,
    repeats: int = 0,
    disturbance: Disturbance | None = None,
    known: Iterable[Stretch] = (),
    keep: Callable[[Stretch], object] | None = None,
) -> dict[str, Measurement]:
    """Time subjects side by side until each one's median is known or its cap is used up.

    Each is warmed up; then every round takes one sample of each that is unfinished, so that a
    drift of the machine meets all alike. Caps are per subject, by `clock`, and include what
    `before` takes.

    together: the finished go on until all are, so that subjects which are to be compared have met
        the same machine, sample by sample.
    deadline_s: moment of `clock` at which all end, with the samples that they have by then, one
        at least.
    repeats: how often subjects whose samples are disturbed (`statistics.disturbed`) are measured
        anew, while there is time; the calmer samples stay. With `together` all are.
    disturbance: looks at the machine, after a round and a quarter of a second or more. Samples
        that something else disturbed are taken anew until caps are used up; where too few were
        calm all of them stay, and `Measurement.disturbance` says so.
    known: what an earlier sitting has kept; it counts as if it had been measured now, each attempt
        for itself.
    keep: called with all samples since the last look, outside all timed spans.

    On KeyboardInterrupt whatever has been measured is returned, and what was not finished, or was
    being measured anew, says `stopped="interrupted"` (see `interrupted`). Raises InputError
    when two subjects share a name.
    """
    trials = [Trial(subject, stopwatch, clock, rule) for subject in subjects]
    if len({trial.subject.name for trial in trials}) < len(trials):
        raise InputError("two subjects share a name: give each its own")
    kept = list(known)
    begun = max((stretch.attempt for stretch in kept), default=0)
    looks = _Looks(clock, disturbance, keep)
    shown = 0.0

    def report(trial: Trial) -> None:
        nonlocal shown
        if progress is not None:
            shown = max(shown, sum(each.share for each in trials) / len(trials))
            progress(shown, trial.state)

    def late() -> bool:
        return deadline_s < inf and clock() >= deadline_s

    def unfinished(some: Sequence[Trial]) -> list[Trial]:
        return [trial for trial in some if trial.share < 1]

    def restore(some: Sequence[Trial], attempt: int) -> None:
        for stretch in kept:
            if stretch.attempt == attempt:
                for trial in some:
                    trial.restore(stretch)
        if attempt < begun:  # what came before another attempt had come to its end
            for trial in unfinished(some):
                trial.finish()

    def run(some: Sequence[Trial], attempt: int) -> None:
        restore(some, attempt)
        for trial in unfinished(some):
            report(trial)
            trial.warm_up(warm_up or WarmUpRule(), late)
        looks.begin(attempt)
        while left := unfinished(some):
            for trial in some if together else left:
                if not (trial.samples and late()):
                    trial.sample()
                report(trial)
            if late():
                for trial in left:
                    trial.finish()
                    report(trial)
            looks.look(some, now=not unfinished(some))

    again: list[Trial] = []
    try:
        run(trials, 0)
        for attempt in range(1, repeats + 1):
            noisy = [trial for trial in trials if trial.noise > DISTURBED]
            if not noisy or late():
                break
            before = trials if together else noisy
            again = [trial.anew() for trial in before]
            run(again, attempt)
            if sum(trial.noise for trial in again) < sum(trial.noise for trial in before):
                anew = {trial.subject.name: trial for trial in again}
                trials = [anew.get(trial.subject.name, trial) for trial in trials]
            again = []
    except KeyboardInterrupt:
        looks.look(again or trials, now=True)
        cut = {trial.subject.name for trial in again or unfinished(trials) or trials}
        for trial in trials:
            if trial.subject.name in cut:
                trial.interrupt()
    return {trial.subject.name: trial.measurement() for trial in trials}


class _Looks:
    """Looks at the machine between rounds: what is else at work there, and what is to be kept."""

    def __init__(
        self,
        clock: Clock,
        disturbance: Disturbance | None,
        keep: Callable[[Stretch], object] | None,
    ) -> None:
        self._clock, self._disturbance, self._keep = clock, disturbance, keep
        self._last_s, self._attempt = 0.0, 0

    def begin(self, attempt: int) -> None:
        """What was at work until now is of no interest."""
        self._attempt = attempt
        if self._disturbance is not None:
            self._disturbance()
        if self._disturbance is not None or self._keep is not None:
            self._last_s = self._clock()

    def look(self, trials: Sequence[Trial], *, now: bool) -> None:
        """If it is time, or `now`."""
        if self._disturbance is None and self._keep is None:
            return
        if not now and self._clock() - self._last_s < _LOOK_S:
            return
        samples = {trial.subject.name: trial.unjudged for trial in trials if trial.unjudged}
        if not samples:
            return
        other = self._disturbance() if self._disturbance is not None else ""
        stretch = Stretch(samples, other, self._attempt)
        for trial in trials:
            trial.judge(stretch.disturbance)
        if self._keep is not None:
            self._keep(stretch)
        self._last_s = self._clock()


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
