"""Timing by a clock that tests move: what comes out is known to the digit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from itertools import chain, cycle, repeat
from typing import Any

import pytest
import torch

from roofline.errors import InputError
from roofline.records.statistics import StoppingRule, WarmUpRule
from roofline.torch_side.measure.timing import (
    CudaStopwatch,
    Mark,
    Subject,
    WallStopwatch,
    calls_for,
    interrupted,
    measure,
    stopwatch_for,
    synchronizer,
)
from roofline.torch_side.measure.trial import Stretch

COLD = WarmUpRule(most=0)


class Clock:
    """Stands still but for `pass_`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def pass_(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def stopwatch(clock: Clock) -> WallStopwatch:
    return WallStopwatch(clock)


def taking(clock: Clock, seconds: Sequence[float]) -> Callable[[Mark], None]:
    """A run without marks that takes these times, over and over."""
    times = cycle(seconds)
    return lambda mark: clock.pass_(next(times))


# Stopwatches


def test_spans_tile_the_time_from_start_to_last_mark(
    clock: Clock, stopwatch: WallStopwatch
) -> None:
    stopwatch.start()
    clock.pass_(2)
    stopwatch.mark("vision")
    clock.pass_(3)
    stopwatch.mark("llm")
    clock.pass_(7)  # after the last mark: nobody's

    assert stopwatch.stop() == {"vision": 2, "llm": 3}


def test_equal_names_are_summed_in_order_of_first_marks(
    clock: Clock, stopwatch: WallStopwatch
) -> None:
    stopwatch.start()
    for name, seconds in [("prefill", 8), ("decode", 1), ("sample", 0.5), ("decode", 2)]:
        clock.pass_(seconds)
        stopwatch.mark(name)

    assert list(stopwatch.stop().items()) == [("prefill", 8), ("decode", 3), ("sample", 0.5)]


def test_a_run_without_marks_is_one_span(clock: Clock, stopwatch: WallStopwatch) -> None:
    for name, seconds in [("whole", 4), ("again", 5)]:
        stopwatch.start()
        clock.pass_(seconds)
        assert stopwatch.stop(name) == {name: seconds}


def test_the_clock_is_read_after_the_device_is_idle(clock: Clock) -> None:
    """Work is issued in no time and takes 3 s: whoever waits for it sees them."""
    pending = [0.0]

    def synchronize() -> None:
        clock.pass_(pending.pop())
        pending.append(0.0)

    stopwatch = WallStopwatch(clock, synchronize)
    pending[0] = 9  # from before: not part of it
    stopwatch.start()
    pending[0] = 3
    stopwatch.mark("vision")
    pending[0] = 4
    stopwatch.mark("llm")

    assert stopwatch.stop() == {"vision": 3, "llm": 4}


class FakeCuda:
    """Events, streams and waiting as in `torch.cuda`, on a device that a test's clock moves."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.calls: list[str] = []

    def synchronize(self, device: object) -> None:
        self.calls.append(f"synchronize {device}")

    def current_stream(self, device: object) -> str:
        return f"stream of {device}"

    def Event(self, *, enable_timing: bool) -> FakeEvent:  # noqa: N802  # torch's name
        assert enable_timing
        self.calls.append("create")
        return FakeEvent(self)


class FakeEvent:
    def __init__(self, cuda: FakeCuda) -> None:
        self.cuda = cuda
        self.reached_s = 0.0

    def record(self, stream: str) -> None:
        assert stream == "stream of cuda:1"
        self.cuda.calls.append("record")
        self.reached_s = self.cuda.clock.now

    def synchronize(self) -> None:
        self.cuda.calls.append("wait")

    def elapsed_time(self, end: FakeEvent) -> float:
        return (end.reached_s - self.reached_s) * 1000


def test_a_queue_that_is_filled_first_hides_what_issuing_work_takes(clock: Clock) -> None:
    """The device is still busy when the host has issued everything, and only then begins."""

    class Busy(FakeCuda):
        def device(self, device: object) -> Any:
            assert device == "cuda:1"
            return nullcontext()

        def _sleep(self, cycles: int) -> None:
            self.calls.append(f"sleep {cycles}")

    cuda = Busy(clock)
    stopwatch = CudaStopwatch("cuda:1", cuda, fill_cycles=5000)
    stopwatch.start()
    stopwatch.stop()

    order = [call for call in cuda.calls if call != "create"]
    assert order == ["synchronize cuda:1", "sleep 5000", "record", "record", "wait"]


def test_cuda_events_wait_at_the_ends_alone_and_are_used_again(clock: Clock) -> None:
    cuda = FakeCuda(clock)
    stopwatch = CudaStopwatch("cuda:1", cuda)
    found = []
    for factor in (1, 10):
        stopwatch.start()
        for name, seconds in [("vision", 0.25), ("llm", 0.5), ("llm", 0.125)]:
            clock.pass_(seconds * factor)
            stopwatch.mark(name)
        found.append(stopwatch.stop())
    stopwatch.start()
    clock.pass_(0.5)
    found.append(stopwatch.stop("whole"))

    assert found == [
        {"vision": 0.25, "llm": 0.625},
        {"vision": 2.5, "llm": 6.25},
        {"whole": 0.5},
    ]
    run = ["synchronize cuda:1", *["record"] * 4, "wait"]
    assert cuda.calls.count("create") == 4
    assert [call for call in cuda.calls if call != "create"] == [
        *run,
        *run,
        "synchronize cuda:1",
        *["record"] * 2,
        "wait",
    ]


def test_the_stopwatch_of_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    waited = []
    monkeypatch.setattr(torch.accelerator, "synchronize", waited.append)

    assert isinstance(stopwatch_for("cpu"), WallStopwatch)
    assert isinstance(stopwatch_for(torch.device("cuda", 1)), CudaStopwatch)
    synchronizer("cpu")()
    assert waited == []
    for device in ("mps", "xpu:1"):
        synchronizer(device)()
        stopwatch_for(device).start()
    assert waited == ["mps", "mps", "xpu:1", "xpu:1"]


# Measuring


def test_samples_are_exact(clock: Clock, stopwatch: WallStopwatch) -> None:
    times = cycle([1.0, 3.0, 2.0])

    def prefill(mark: Mark) -> None:
        clock.pass_(0.5)
        mark("vision")
        clock.pass_(next(times))
        mark("llm")

    rule = StoppingRule(least=1, most=4)
    found = measure([Subject("prefill", prefill)], stopwatch, rule, warm_up=COLD, clock=clock)

    assert list(found) == ["prefill"]
    assert found["prefill"].spans == {"vision": [0.5] * 4, "llm": [1, 3, 2, 1]}
    assert found["prefill"].total == [1.5, 3.5, 2.5, 1.5]
    assert found["prefill"].stopped == "cap"
    assert not interrupted(found)


def test_rounds_are_interleaved_and_the_settled_leave(
    clock: Clock, stopwatch: WallStopwatch
) -> None:
    order: list[str] = []

    def named(name: str, seconds: Sequence[float]) -> Subject:
        run = taking(clock, seconds)
        return Subject(name, lambda mark: (order.append(name), run(mark)))

    rounds: list[int] = []
    found = measure(
        [named("still", [2.0]), named("restless", [1.0, 5.0]), named("calm", [3.0])],
        stopwatch,
        StoppingRule(relative_ci=0.01, least=6, most=8),
        warm_up=COLD,
        clock=clock,
        keep=lambda stretch: rounds.append(len(order)),
    )

    # equal samples settle with the least, alternating ones never
    assert order == ["still", "restless", "calm"] * 6 + ["restless"] * 2
    assert rounds == [3, 6, 9, 12, 15, 18, 19, 20]
    assert {name: each.stopped for name, each in found.items()} == {
        "still": "settled",
        "restless": "cap",
        "calm": "settled",
    }
    assert found["still"].spans == {"still": [2.0] * 6}


def test_together_all_go_on_until_the_last_is_done(clock: Clock, stopwatch: WallStopwatch) -> None:
    subjects = [
        Subject("still", taking(clock, [2.0])),
        Subject("restless", taking(clock, [1.0, 5.0])),
    ]
    rule = StoppingRule(relative_ci=0.01, least=6, most=8)
    found = measure(subjects, stopwatch, rule, warm_up=COLD, together=True, clock=clock)

    assert found["still"].total == [2.0] * 8
    assert found["restless"].total == [1.0, 5.0] * 4
    assert (found["still"].stopped, found["restless"].stopped) == ("settled", "cap")


def test_stops_with_the_sample_that_narrows_the_interval(
    clock: Clock, stopwatch: WallStopwatch
) -> None:
    # 6 to 8 samples: the extremes, ±10 %; 9: the second of each side, ±0
    run = taking(clock, [0.9, 1.1, *[1.0] * 20])
    rule = StoppingRule(relative_ci=0.02, least=6)
    found = measure([Subject("run", run)], stopwatch, rule, warm_up=COLD, clock=clock)

    assert len(found["run"].total) == 9
    assert found["run"].stopped == "settled"


def test_the_cap_counts_preparation_which_no_sample_holds(
    clock: Clock, stopwatch: WallStopwatch
) -> None:
    run = taking(clock, [1.0, 1.5])
    subject = Subject("run", run, before=lambda: clock.pass_(4))
    rule = StoppingRule(cap_s=12)
    found = measure([subject], stopwatch, rule, warm_up=COLD, clock=clock)

    assert found["run"].total == [1.0, 1.5, 1.0]  # 5 + 5.5 s are below the cap, 15.5 are not
    assert found["run"].stopped == "cap"


def test_each_subject_has_a_cap_of_its_own(clock: Clock, stopwatch: WallStopwatch) -> None:
    subjects = [Subject("long", taking(clock, [10, 11])), Subject("short", taking(clock, [1, 2]))]
    found = measure(subjects, stopwatch, StoppingRule(cap_s=9), warm_up=COLD, clock=clock)

    assert len(found["long"].total) == 1
    assert found["short"].total == [1, 2, 1, 2, 1, 2]


def test_samples_are_divided_by_their_calls(clock: Clock, stopwatch: WallStopwatch) -> None:
    prepared: list[float] = []

    def run(mark: Mark) -> None:
        clock.pass_(0.25)
        mark("read")
        clock.pass_(0.5)
        mark("write")

    subject = Subject("copy", run, calls=8, before=lambda: prepared.append(clock.now))
    rule = StoppingRule(least=6, cap_s=100)
    found = measure([subject], stopwatch, rule, warm_up=COLD, clock=clock)

    assert found["copy"].spans == {"read": [0.25] * 6, "write": [0.5] * 6}
    assert len(prepared) == 6  # once a sample


def test_warms_up_until_steady(clock: Clock, stopwatch: WallStopwatch) -> None:
    times = iter([9.0, 5.0, 3.0, *[1.0] * 100])
    found = measure(
        [Subject("run", lambda mark: clock.pass_(next(times)))],
        stopwatch,
        StoppingRule(least=7),
        warm_up=WarmUpRule(window=2, cap_s=100),
        clock=clock,
    )

    # medians of pairs agree for the first time with 1, 1 | 1, 1
    assert found["run"].warm_up == 7
    assert found["run"].steady
    assert found["run"].total == [1.0] * 7


def test_warm_up_is_capped_but_for_the_first_run(clock: Clock, stopwatch: WallStopwatch) -> None:
    times = iter([500.0, *[1.0, 2.0, 4.0, 8.0, 16.0], *[32.0] * 100])  # it compiles, then doubles
    found = measure(
        [Subject("run", lambda mark: clock.pass_(next(times)))],
        stopwatch,
        StoppingRule(least=6, cap_s=1000),
        warm_up=WarmUpRule(window=1, cap_s=30),
        clock=clock,
    )

    assert found["run"].warm_up == 6  # 1 + 2 + 4 + 8 + 16 = 31
    assert not found["run"].steady
    assert found["run"].total == [32.0] * 6


def test_the_progress_never_falls_and_ends_at_one(clock: Clock, stopwatch: WallStopwatch) -> None:
    reported: list[tuple[float, str]] = []
    measure(
        [Subject("a", taking(clock, [1.0, 1.2])), Subject("b", taking(clock, [1.0]))],
        stopwatch,
        StoppingRule(relative_ci=0.01, least=6, most=8),
        warm_up=WarmUpRule(most=1),
        clock=clock,
        progress=lambda share, text: reported.append((share, text)),
    )

    shares = [share for share, _ in reported]
    assert shares == sorted(shares)
    assert reported[:4] == [
        (0, "a: warming up"),
        (0, "b: warming up"),
        (1 / 8 / 2, "a: sample 1"),
        (2 / 8 / 2, "b: sample 1"),
    ]
    # sorted 1, 1, 1, 1, 1.2, 1.2, 1.2, 1.2: the extremes, 0.1 on either side of 1.1
    assert reported[-1] == (1, "a: sample 8, ±9.1 %")


def interrupting(clock: Clock, at: int) -> Iterator[None]:
    for _ in range(at - 1):
        clock.pass_(1)
        yield
    raise KeyboardInterrupt


def test_ctrl_c_keeps_what_was_measured(clock: Clock, stopwatch: WallStopwatch) -> None:
    steps = interrupting(clock, at=8)
    found = measure(
        [
            Subject("done", taking(clock, [2.0])),
            Subject("cut", lambda mark: next(steps)),
            Subject("waiting", taking(clock, [3.0, 4.0])),
        ],
        stopwatch,
        StoppingRule(relative_ci=1e-9, least=7),
        warm_up=WarmUpRule(most=1),
        clock=clock,
    )

    assert interrupted(found)
    assert {name: (each.stopped, each.total) for name, each in found.items()} == {
        "done": ("settled", [2.0] * 7),
        "cut": ("interrupted", [1.0] * 6),
        "waiting": ("interrupted", [4.0, 3.0] * 3),  # the first 3 warmed up
    }


def test_ctrl_c_while_warming_up(clock: Clock, stopwatch: WallStopwatch) -> None:
    steps = interrupting(clock, at=3)
    subjects = [Subject("cut", lambda mark: next(steps)), Subject("next", taking(clock, [1]))]
    found = measure(subjects, stopwatch, StoppingRule(), clock=clock)

    assert interrupted(found)
    assert (found["cut"].warm_up, found["cut"].total) == (2, [])
    assert (found["next"].warm_up, found["next"].total) == (0, [])


def test_other_errors_come_through(clock: Clock, stopwatch: WallStopwatch) -> None:
    def run(mark: Mark) -> None:
        raise MemoryError("no room")

    with pytest.raises(MemoryError, match="no room"):
        measure([Subject("run", run)], stopwatch, StoppingRule(), clock=clock)


def test_refuses_two_subjects_of_one_name(clock: Clock, stopwatch: WallStopwatch) -> None:
    twins = [Subject("run", taking(clock, [1.0]))] * 2

    with pytest.raises(InputError, match="two subjects share a name"):
        measure(twins, stopwatch, StoppingRule(), clock=clock)


def test_nothing_to_measure() -> None:
    assert measure([], WallStopwatch(), StoppingRule()) == {}


@pytest.mark.parametrize(
    ("seconds", "calls"),
    [
        (2.0, 1),
        (1.0, 1),
        (0.5, 3),  # ceil(1 · 1.2 / 0.5)
        (0.25, 5),  # ceil(1 · 1.2 / 0.25)
        (1 / 128, 154),  # ten times as many, twice; then ceil(100 · 1.2 / (100 / 128))
    ],
)
def test_as_many_calls_as_fill_a_second(
    clock: Clock, stopwatch: WallStopwatch, seconds: float, calls: int
) -> None:
    assert calls_for(lambda: clock.pass_(seconds), stopwatch, least_s=1.0) == calls


def test_a_run_of_no_time_has_the_most_calls(stopwatch: WallStopwatch) -> None:
    assert calls_for(lambda: None, stopwatch, most=250) == 250


def test_the_first_run_is_not_what_is_timed(clock: Clock, stopwatch: WallStopwatch) -> None:
    times = iter([100.0, *[0.25] * 100])

    assert calls_for(lambda: clock.pass_(next(times)), stopwatch, least_s=1.0) == 5


def test_real_time_on_the_cpu() -> None:
    left = torch.randn(64, 64)

    def twice(mark: Mark) -> None:
        for name in ("first", "second"):
            torch.mm(left, left)
            mark(name)

    rule = StoppingRule(relative_ci=0.2, least=6, most=40)
    [found] = measure([Subject("twice", twice, calls=4)], stopwatch_for("cpu"), rule).values()

    assert set(found.spans) == {"first", "second"}
    assert 6 <= len(found.total) <= 40
    for samples in zip(found.spans["first"], found.spans["second"], found.total, strict=True):
        assert min(samples) > 0
        assert sum(samples[:2]) == samples[2]


# Limits, and disturbances


def test_a_deadline_ends_all_with_what_they_have(clock: Clock, stopwatch: WallStopwatch) -> None:
    subjects = [Subject(name, taking(clock, [1.0])) for name in "ab"]
    shown: list[float] = []
    found = measure(
        subjects,
        stopwatch,
        StoppingRule(relative_ci=1e-9, cap_s=1e6),
        warm_up=COLD,
        clock=clock,
        progress=lambda share, _: shown.append(share),
        deadline_s=clock() + 7.0,
    )

    assert clock() == 1007.0
    assert shown[-1] == 1.0
    assert [len(found[name].total) for name in "ab"] == [4, 3]
    assert {each.stopped for each in found.values()} == {"cap"}


def test_each_has_a_sample_however_late_it_is(clock: Clock, stopwatch: WallStopwatch) -> None:
    subjects = [Subject(name, taking(clock, [9.0])) for name in "abc"]
    found = measure(
        subjects, stopwatch, StoppingRule(), warm_up=COLD, clock=clock, deadline_s=clock() + 1
    )

    assert [len(found[name].total) for name in "abc"] == [1, 1, 1]


def test_what_was_disturbed_is_measured_anew(clock: Clock, stopwatch: WallStopwatch) -> None:
    disturbed = iter([1.0, *[3.0] * 9, *[1.0] * 10])
    calm, rule = taking(clock, [2.0]), StoppingRule(relative_ci=1e-9, least=10, most=10)
    subjects = [Subject("calm", calm), Subject("noisy", lambda _: clock.pass_(next(disturbed)))]
    found = measure(subjects, stopwatch, rule, warm_up=COLD, clock=clock, repeats=1)

    assert found["calm"].total == [2.0] * 10
    assert found["noisy"].total == [1.0] * 10
    assert list(found) == ["calm", "noisy"]


def test_the_calmer_samples_stay(clock: Clock, stopwatch: WallStopwatch) -> None:
    times = iter([1.0, *[3.0] * 9, 1.0, *[9.0] * 9])
    rule = StoppingRule(relative_ci=1e-9, least=10, most=10)
    subject = Subject("noisy", lambda _: clock.pass_(next(times)))
    found = measure([subject], stopwatch, rule, warm_up=COLD, clock=clock, repeats=1)

    assert found["noisy"].total == [1.0, *[3.0] * 9]


@pytest.mark.parametrize("together", [False, True])
def test_ctrl_c_while_measuring_anew_is_not_lost(
    together: bool, clock: Clock, stopwatch: WallStopwatch
) -> None:
    times = iter([1.0, *[3.0] * 9, 1.0, 1.0])

    def noisy(_: Mark) -> None:
        seconds = next(times, None)
        if seconds is None:
            raise KeyboardInterrupt
        clock.pass_(seconds)

    subjects = [Subject("calm", taking(clock, [2.0])), Subject("noisy", noisy)]
    rule = StoppingRule(relative_ci=1e-9, least=10, most=10)
    found = measure(
        subjects, stopwatch, rule, warm_up=COLD, together=together, clock=clock, repeats=1
    )

    assert interrupted(found)
    assert found["noisy"].stopped == "interrupted"
    assert (found["calm"].stopped == "interrupted") == together
    assert found["noisy"].total == [1.0, *[3.0] * 9]
    assert found["calm"].total == [2.0] * 10


class Killed(BaseException):
    """As SIGKILL: nobody handles it."""


@pytest.mark.parametrize("killed_at", [3, 10, 11, 13, 19])
def test_killed_while_measuring_anew_it_goes_on_as_in_one_piece(
    clock: Clock, stopwatch: WallStopwatch, killed_at: int
) -> None:
    times = iter([1.0, *[3.0] * 9, *[2.0] * 10])
    rule = StoppingRule(relative_ci=1e-9, least=10, most=10, cap_s=1000)
    subject = Subject("noisy", lambda _: clock.pass_(next(times)))
    kept: list[Stretch] = []

    def keep(stretch: Stretch) -> None:
        kept.append(stretch)
        if len(kept) == killed_at:
            raise Killed

    with pytest.raises(Killed):
        measure([subject], stopwatch, rule, warm_up=COLD, clock=clock, repeats=1, keep=keep)
    found = measure(
        [subject], stopwatch, rule, warm_up=COLD, clock=clock, repeats=1,
        known=list(kept), keep=kept.append,
    )  # fmt: skip

    assert found["noisy"].total == [2.0] * 10
    assert next(times, None) is None  # each was taken once
    assert [stretch.attempt for stretch in kept] == [0] * 10 + [1] * 10


def test_what_another_attempt_has_followed_is_not_measured_on(
    clock: Clock, stopwatch: WallStopwatch
) -> None:
    """Its cap was used up by what comes before samples, which no journal holds."""
    times = chain([1.0], repeat(3.0, 9), repeat(2.0))
    subject = Subject("noisy", lambda _: clock.pass_(next(times)), before=lambda: clock.pass_(7))
    rule = StoppingRule(relative_ci=1e-9, least=20, cap_s=90)  # 7 + 1, then nine times 7 + 3
    kept: list[Stretch] = []

    def keep(stretch: Stretch) -> None:
        kept.append(stretch)
        if len(kept) == 12:
            raise Killed

    with pytest.raises(Killed):
        measure([subject], stopwatch, rule, warm_up=COLD, clock=clock, repeats=1, keep=keep)
    found = measure(
        [subject], stopwatch, rule, warm_up=COLD, clock=clock, repeats=1,
        known=list(kept), keep=kept.append,
    )  # fmt: skip

    assert set(found["noisy"].total) == {2.0}
    assert [stretch.attempt for stretch in kept[:13]] == [0] * 10 + [1] * 3
    assert {stretch.attempt for stretch in kept[13:]} == {1}


def test_ctrl_c_between_two_rounds_is_not_lost(clock: Clock, stopwatch: WallStopwatch) -> None:
    def pressed() -> str:
        if len(asked) == 1:
            asked.append("at the end of the round")
            raise KeyboardInterrupt
        asked.append("before the first")
        return ""

    asked: list[str] = []

    subject, rule = Subject("calm", taking(clock, [2.0])), StoppingRule(least=1, most=1)
    found = measure([subject], stopwatch, rule, warm_up=COLD, clock=clock, disturbance=pressed)

    assert interrupted(found)
    assert found["calm"].total == [2.0]
