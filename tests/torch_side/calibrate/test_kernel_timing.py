"""Kernels in loops and graphs: how many calls, what a replay weighs, what is measured anew."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from roofline.torch_side.calibrate import kernel_timing
from roofline.torch_side.calibrate.disturbance import Disturbance
from roofline.torch_side.calibrate.kernel_timing import FEW, VARIES, KernelTimer
from roofline.torch_side.calibrate.microbench import Bench
from roofline.torch_side.measure.timing import Measurement, Subject

CPU = torch.device("cpu")
REPLAY_S = 10e-6


class DeviceClock:
    """A device on which kernels take time, and so does a graph that begins."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def turn_on(self, weights: object) -> None:
        """Some kernel's time, whatever it works on."""
        self.now += 0.01


class Graphs:
    """Records by running; replays take the time that the recorded calls did, and one replay."""

    def __init__(self, clock: DeviceClock, log: list[int]) -> None:
        self.clock, self.log = clock, log

    def warm_up(self, function: Callable[[], object]) -> None:
        function()

    def record(self, function: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
        begun = self.clock.now
        result = function()
        took = self.clock.now - begun
        self.clock.now = begun
        self.log.append(round(took * 1e9))

        def replay() -> None:
            self.clock.now += REPLAY_S + took

        return replay, result


class Quiet:
    """A watch that has nothing to report, or a list of what it will."""

    def __init__(self, *reports: list[str]) -> None:
        self.reports = iter(reports)

    @contextmanager
    def over(self, *, host: bool = False) -> Iterator[Disturbance]:
        found = Disturbance()
        yield found
        found.reasons = next(self.reports, [])


@pytest.fixture
def clock() -> DeviceClock:
    return DeviceClock()


def bench(clock: DeviceClock, seconds: float, turn: int = 1, name: str = "a", **more: Any) -> Bench:
    def run() -> None:
        clock.now += seconds

    return Bench({"op": name}, lambda: run, turn, **more)


def graphed(clock: DeviceClock, log: list[int], patch: pytest.MonkeyPatch) -> KernelTimer:
    def one(*_: object) -> None:
        clock.now += 2e-6

    patch.setattr(kernel_timing.ceilings, "empty", lambda _: bench(clock, 2e-6))
    return KernelTimer(CPU, clock, Quiet(), lambda: Graphs(clock, log))  # type: ignore[arg-type]


def timed(timer: KernelTimer, benches: list[Bench], each_s: float = 0.05) -> list[Any]:
    left_out: list[str] = []
    rows = [row for _, row in timer.time(benches, each_s, 1e9, lambda _, why: left_out.append(why))]
    return [*rows, *left_out]


class TestGraphs:
    def test_what_a_replay_takes_is_found_from_two_lengths(
        self, clock: DeviceClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        timer = graphed(clock, [], monkeypatch)
        timer.prepare()

        assert timer.replay_s == pytest.approx(REPLAY_S)

    @pytest.mark.parametrize(
        ("kernel_s", "turn", "calls"),
        [
            # 8 · 1 ms is long enough already
            (1e-3, 1, [8]),
            # 8 take 26 µs with the replay: 2.4 ms are 738 at 3.25 µs each
            (2e-6, 1, [8, 739]),
            # whole turns of 150 operand sets, else the first were warm when a replay begins
            (2e-6, 150, [150, 1200]),
            (1e-3, 3, [9]),
        ],
    )
    def test_a_graph_is_long_and_holds_whole_turns(
        self,
        clock: DeviceClock,
        monkeypatch: pytest.MonkeyPatch,
        kernel_s: float,
        turn: int,
        calls: list[int],
    ) -> None:
        log: list[int] = []
        timer = graphed(clock, log, monkeypatch)
        timed(timer, [bench(clock, kernel_s, turn)])

        found = [took / (kernel_s * 1e9) for took in log]
        assert found == pytest.approx(calls, rel=2e-3)
        assert all(round(each) % turn == 0 for each in found)

    def test_the_share_of_the_replay_is_below_a_hundredth_and_in_the_row(
        self, clock: DeviceClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        timer = graphed(clock, [], monkeypatch)
        timer.prepare()
        rows = timed(timer, [bench(clock, 2e-6, 150), bench(clock, 50e-6, name="b")])

        small, large = (row["replay_share"] for row in rows)
        assert small == pytest.approx(REPLAY_S / (REPLAY_S + 1200 * 2e-6), rel=0.01)
        assert small < 0.01
        assert large < 0.01
        assert rows[0]["time_s"] == pytest.approx(2e-6, rel=0.01)

    def test_a_capture_that_fails_is_left_out_and_no_other(
        self, clock: DeviceClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken() -> None:
            raise RuntimeError("operation not permitted when stream is capturing\nsee the docs")

        timer = graphed(clock, [], monkeypatch)
        bad = Bench({"op": "bad"}, lambda: broken)
        found = timed(timer, [bench(clock, 1e-3), bad, bench(clock, 1e-3, name="b")])

        assert [row["op"] for row in found[:2]] == ["a", "b"]
        assert found[2:] == ["operation not permitted when stream is capturing"]

    def test_every_kernel_has_a_recorder_of_its_own(
        self, clock: DeviceClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made: list[Graphs] = []

        def recorder() -> Graphs:
            made.append(Graphs(clock, []))
            return made[-1]

        timer = KernelTimer(CPU, clock, Quiet(), recorder)  # type: ignore[arg-type]
        timed(timer, [bench(clock, 1e-3), bench(clock, 1e-3, name="b")])
        assert len(made) == 2

    def test_what_long_graphs_cost_is_known_before(
        self, clock: DeviceClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        timer = graphed(clock, [], monkeypatch)

        # four samples of graphs of 2.4 ms, or of a whole turn where that is longer
        assert timer.cost_s(bench(clock, 2e-6)) == pytest.approx(4 * 2.4e-3)
        assert timer.cost_s(bench(clock, 1e-3, 150)) == pytest.approx(4 * 0.15)


def test_on_a_cpu_there_is_no_replay(clock: DeviceClock) -> None:
    timer = KernelTimer(CPU, clock, Quiet())  # type: ignore[arg-type]
    timer.prepare()
    [row] = timed(timer, [bench(clock, 1e-3)])

    assert row == {
        "op": "a", "time_s": pytest.approx(1e-3), "fastest_s": pytest.approx(1e-3),
        "noise": pytest.approx(0, abs=1e-9), "disturbed": "",
    }  # fmt: skip


def test_benches_of_other_weights_are_not_timed_side_by_side(
    clock: DeviceClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    together: list[int] = []

    def measured(subjects: Sequence[Subject], *_: Any, **__: Any) -> dict[str, Measurement]:
        together.append(len(subjects))
        return {each.name: Measurement(total=[1.0] * 6, stopped="settled") for each in subjects}

    monkeypatch.setattr(kernel_timing, "measure", measured)
    timer = KernelTimer(CPU, clock, Quiet())  # type: ignore[arg-type]
    some = [bench(clock, 0.1, name=f"a{i}", group="a") for i in range(3)]
    some += [bench(clock, 0.1, name=f"b{i}", group="b") for i in range(33)]
    timed(timer, some)

    assert together == [3, 32, 1]


def test_a_pool_goes_with_the_last_kernel_that_draws_from_it(clock: DeviceClock) -> None:
    class Weights:
        pass

    def drawing(weights: Weights, group: str) -> Bench:
        return Bench({"op": group}, lambda: lambda: clock.turn_on(weights), group=group)

    first, second = Weights(), Weights()
    gone = weakref.ref(first)
    benches = [drawing(first, "a"), drawing(second, "b")]
    del first
    timer = KernelTimer(CPU, clock, Quiet())  # type: ignore[arg-type]
    held = []
    for bench, _ in timer.time(benches, 0.05, 1e9, lambda *_: None):
        held.append((bench.row["op"], gone() is not None))
        del bench

    assert held == [("a", True), ("b", False)]


class TestDisturbed:
    """Samples as they come, by the call of `measure`; a second call is a repeat."""

    def run(
        self,
        clock: DeviceClock,
        patch: pytest.MonkeyPatch,
        reports: Sequence[list[str]],
        samples: Sequence[Sequence[float]],
        took_s: float = 0.01,
    ) -> tuple[dict[str, Any], int]:
        calls: list[float] = []

        def measured(subjects: Sequence[Subject], *_: Any, **__: Any) -> dict[str, Measurement]:
            total = samples[len(calls)]
            calls.append(clock.now)
            clock.now += took_s
            return {each.name: Measurement(total=list(total)) for each in subjects}

        patch.setattr(kernel_timing, "measure", measured)
        patch.setattr(kernel_timing, "interrupted", lambda _: False)
        patch.setattr(kernel_timing, "calls_for", lambda *_: 1)
        timer = KernelTimer(CPU, clock, Quiet(*reports))  # type: ignore[arg-type]
        [row] = timed(timer, [bench(clock, 0.0)], each_s=0.05)
        return row, len(calls)

    def test_a_quiet_time_is_measured_once(
        self, clock: DeviceClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        row, calls = self.run(clock, monkeypatch, [[]], [[1.0] * 6])

        assert (calls, row["time_s"], row["disturbed"]) == (1, 1.0, "")

    def test_a_disturbed_one_is_measured_anew(
        self, clock: DeviceClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What was measured undisturbed counts, even where it is slower."""
        row, calls = self.run(clock, monkeypatch, [["others"], []], [[1.0] * 6, [1.5] * 6])

        assert (calls, row["time_s"], row["disturbed"]) == (2, 1.5, "")

    def test_what_stays_disturbed_says_so_and_keeps_the_calmer_samples(
        self, clock: DeviceClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        reports = [["others"], ["others", "clocks held down (power cap)"]]
        row, calls = self.run(clock, monkeypatch, reports, [[1.5] * 6, [1.0] * 6])

        assert (calls, row["time_s"], row["disturbed"]) == (2, 1.0, "others")

    def test_there_is_no_repeat_without_time_for_it(
        self, clock: DeviceClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        row, calls = self.run(clock, monkeypatch, [["others"]], [[1.0] * 6], took_s=0.045)

        assert (calls, row["disturbed"]) == (1, "others")

    def test_nor_of_what_the_load_itself_brings(
        self, clock: DeviceClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        capped = ["clocks held down (power cap)"]
        row, calls = self.run(clock, monkeypatch, [capped], [[1.0] * 6])

        assert (calls, row["disturbed"]) == (1, capped[0])

    def test_samples_that_vary_show_what_nobody_has_seen(
        self, clock: DeviceClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        row, _ = self.run(clock, monkeypatch, [[]], [[1.0, 2.0, 2.0, 2.0, 2.0, 2.0]])

        assert (row["disturbed"], row["noise"]) == (VARIES, 1.0)

    def test_a_single_sample_says_nothing(
        self, clock: DeviceClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        row, _ = self.run(clock, monkeypatch, [[]], [[1.0]])

        assert row["disturbed"] == FEW
