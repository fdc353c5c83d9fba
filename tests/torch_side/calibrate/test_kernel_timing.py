"""Kernels in loops and graphs: how many calls, what a replay weighs, what is measured anew."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import chain, repeat
from typing import Any

import pytest
import torch
from fake_nvml import FakeNvml, opened
from made_up_machine import hush, shrink
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_leaves

from roofline.torch_side.calibrate import kernel_timing, microbench
from roofline.torch_side.calibrate.kernel_samples import FEW, VARIES, KernelSamples, row_of
from roofline.torch_side.calibrate.kernel_timing import KernelTimer
from roofline.torch_side.calibrate.microbench import AttentionSize, Bench, TimedCall, attention
from roofline.torch_side.calibrate.selection import chosen_benches, chosen_modes
from roofline.torch_side.low_bit import LOW_BIT
from roofline.torch_side.measure.disturbance import CpuDisturbance
from roofline.torch_side.measure.timing import Measurement, Subject

CPU = torch.device("cpu")
REPLAY_S = 10e-6
COST_S = KernelTimer.cost_s
"""The real one: calibrations in small leave it out."""


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


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    hush(monkeypatch)


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
    return KernelTimer(CPU, clock, recorder=lambda: Graphs(clock, log))


def clock_ahead(clock: DeviceClock, patch: pytest.MonkeyPatch) -> None:
    """Let every attention take a while, whoever calls it."""
    attend = microbench.functional.scaled_dot_product_attention

    def slow(*tensors: torch.Tensor, **options: Any) -> torch.Tensor:
        clock.now += 0.01
        return attend(*tensors, **options)

    patch.setattr(microbench.functional, "scaled_dot_product_attention", slow)


def timed(timer: KernelTimer, benches: list[Bench], each_s: float = 0.05) -> list[Any]:
    left_out: list[str] = []
    found = timer.time(benches, each_s, 1e9, lambda _, why: left_out.append(why))
    return [*(row_of([samples]) for samples in found), *left_out]


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

        timer = KernelTimer(CPU, clock, recorder=recorder)
        timed(timer, [bench(clock, 1e-3), bench(clock, 1e-3, name="b")])
        assert len(made) == 2

    def test_operands_live_as_long_as_their_graph_is_replayed(self, clock: DeviceClock) -> None:
        """As CUDA's, these graphs hold on to none: what is freed goes to the next kernel's."""

        class Operand:
            pass

        lost: list[str] = []

        class Forgetful(Graphs):
            def record(self, function: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
                replay, result = super().record(function)

                def checked() -> None:
                    lost.extend(name for name, operand in operands.items() if operand() is None)
                    replay()

                return checked, result

        operands: dict[str, weakref.ref[Operand]] = {}

        def drawing(name: str) -> Bench:
            def make() -> TimedCall:
                weights = Operand()
                operands[name] = weakref.ref(weights)

                def run() -> Operand:
                    clock.turn_on(weights)
                    result = Operand()
                    operands[f"{name}'s result"] = weakref.ref(result)
                    return result

                return run

            return Bench({"op": name}, make)

        timer = KernelTimer(CPU, clock, recorder=lambda: Forgetful(clock, []))
        rows = timed(timer, [drawing("a"), drawing("b")])

        assert [row["op"] for row in rows] == ["a", "b"]
        assert lost == []
        assert [name for name, operand in operands.items() if operand() is not None] == []

    def test_what_long_graphs_cost_is_known_before(
        self, clock: DeviceClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        timer = graphed(clock, [], monkeypatch)

        # four samples of graphs of 2.4 ms, or of a whole turn where that is longer
        assert timer.cost_s(bench(clock, 2e-6)) == pytest.approx(4 * 2.4e-3)
        assert timer.cost_s(bench(clock, 1e-3, 150)) == pytest.approx(4 * 0.15)


def test_on_a_cpu_there_is_no_replay(clock: DeviceClock) -> None:
    timer = KernelTimer(CPU, clock)
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
    timer = KernelTimer(CPU, clock)
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
    timer = KernelTimer(CPU, clock)
    held = []
    for samples in timer.time(benches, 0.05, 1e9, lambda *_: None):
        held.append((samples.columns["op"], gone() is not None))

    assert held == [("a", True), ("b", False)]


@pytest.mark.parametrize("in_graphs", [False, True])
def test_attention_says_which_kernel_of_pytorchs_it_is(
    clock: DeviceClock, monkeypatch: pytest.MonkeyPatch, in_graphs: bool
) -> None:
    """`_fused_sdp_choice` is asked of the same shapes; a kernel can be forbidden."""
    timer = graphed(clock, [], monkeypatch) if in_graphs else KernelTimer(CPU, clock)
    clock_ahead(clock, monkeypatch)
    prompt, decode = AttentionSize(1, 16, 16, 2, 8, True), AttentionSize(1, 1, 16, 2, 8)
    q = torch.randn(1, 2, 16, 8)
    assert torch._fused_sdp_choice(q, q, q, is_causal=True) == SDPBackend.FLASH_ATTENTION.value

    found = timed(timer, [*attention("fp32", CPU, [prompt, decode], 1024.0)])
    with sdpa_kernel(SDPBackend.MATH):
        others = timed(timer, [*attention("fp32", CPU, [prompt], 1024.0)])

    assert [row["backend"] for row in found] == ["flash", "flash"]
    assert [row["backend"] for row in others] == ["math"]


def test_kernels_of_no_attention_have_no_such_column(clock: DeviceClock) -> None:
    [row] = timed(KernelTimer(CPU, clock), [bench(clock, 1e-3)])
    assert "backend" not in row


def test_no_kernel_carries_autograd_along(
    clock: DeviceClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As none does in a pipeline: all, in loops, in graphs, and when their cost is tried."""
    shrink(monkeypatch)
    found: dict[str, list[bool]] = {}

    def watched(bench: Bench) -> Bench:
        def make() -> TimedCall:
            run, seen = bench.make(), found.setdefault(bench.name, [])

            def once() -> object:
                clock.now += 0.01
                result = run()
                seen.append(
                    any(each.requires_grad for each in tree_leaves(result) if each is not None)
                    or not torch.is_inference_mode_enabled()
                )
                return result

            return once

        return replace(bench, make=make)

    def all_of_them() -> list[Bench]:
        modes = chosen_modes(CPU, ["bf16", *LOW_BIT])
        parts = chosen_benches(CPU, modes, 2.0**16, 2.0**24)
        return [watched(bench) for benches in parts.values() for bench in benches]

    for timer in (KernelTimer(CPU, clock), graphed(clock, [], monkeypatch)):
        for tried in all_of_them():
            COST_S(timer, tried)
        rows = 0
        for _ in timer.time(all_of_them(), 0.05, 0.0, lambda _, why: pytest.fail(why)):
            assert not torch.is_inference_mode_enabled()
            rows += 1
        assert rows == len(found)

    assert {name for name, seen in found.items() if any(seen)} == set()


WARM_UP = 2
"""Runs before the first sample, as both take the same time."""


class TestDisturbed:
    """A kernel that takes seconds, so that every sample is looked at; the first look is before."""

    def row(
        self,
        clock: DeviceClock,
        patch: pytest.MonkeyPatch,
        seconds: Iterable[float] = repeat(1.0),
        looks: Iterable[str] = (),
        each_s: float = 60.0,
        **options: Any,
    ) -> tuple[dict[str, Any], int]:
        """Of the kernel, and how many samples were taken. It may take half of `each_s`."""
        takes, seen, runs = iter(seconds), iter(looks), []

        def run() -> None:
            runs.append(clock.now)
            clock.now += next(takes)

        patch.setattr(CpuDisturbance, "__call__", lambda self: next(seen, ""))
        patch.setattr(kernel_timing, "calls_for", lambda *_: 1)
        timer = KernelTimer(CPU, clock, **options)
        [row] = timed(timer, [Bench({"op": "a"}, lambda: run)], each_s)
        return row, len(runs) - WARM_UP

    def test_a_quiet_time_is_measured_once(
        self, clock: DeviceClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        row, samples = self.row(clock, monkeypatch)

        assert (samples, row["time_s"], row["disturbed"]) == (6, 1.0, "")

    def test_disturbed_samples_are_taken_anew(
        self, clock: DeviceClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What was measured undisturbed counts, even where it is slower."""
        seconds = chain([1.5] * WARM_UP, [1.0, 1.0], repeat(1.5))
        row, samples = self.row(clock, monkeypatch, seconds, ["", "others", "others"])

        assert (samples, row["time_s"], row["fastest_s"]) == (8, 1.5, 1.5)
        assert row["disturbed"] == ""

    def test_what_stays_disturbed_says_so_and_keeps_all_samples(
        self, clock: DeviceClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seconds = chain([1.5] * WARM_UP, [1.5] * 4, repeat(1.0))
        row, samples = self.row(clock, monkeypatch, seconds, repeat("others"))

        assert (samples, row["time_s"], row["disturbed"]) == (28, 1.0, "others")

    def test_nothing_is_taken_anew_without_time_for_it(
        self, clock: DeviceClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        row, samples = self.row(clock, monkeypatch, looks=repeat("others"), each_s=12.0)

        assert (samples, row["disturbed"]) == (6, "others")

    def test_nor_for_what_the_load_itself_brings(
        self, clock: DeviceClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        capped = opened(FakeNvml(nvmlDeviceGetCurrentClocksEventReasons=0x4))
        row, samples = self.row(clock, monkeypatch, telemetry=capped)

        assert (samples, row["disturbed"]) == (6, "clocks held down for good (power cap)")

    def test_clocks_that_heat_holds_down_are_waited_for(
        self, clock: DeviceClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hot = opened(
            FakeNvml(
                nvmlDeviceGetCurrentClocksEventReasons=lambda _: 0x40 * (clock.now < WARM_UP + 3)
            )
        )
        row, samples = self.row(clock, monkeypatch, telemetry=hot)

        assert (samples, row["disturbed"]) == (8, "")  # those that end after 1 and 2 s are not kept

    def test_graphs_do_not_mind_who_else_is_on_the_host(
        self, clock: DeviceClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hush(monkeypatch, "others")
        [row] = timed(graphed(clock, [], monkeypatch), [bench(clock, 1e-3)])

        assert row["disturbed"] == ""

    def test_samples_that_vary_show_what_nobody_has_seen(
        self, clock: DeviceClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """And would vary again."""
        seconds = [*[2.0] * WARM_UP, 1.0, *[2.0] * 5] * 2
        row, samples = self.row(clock, monkeypatch, seconds, each_s=22.0)

        assert (row["disturbed"], row["noise"]) == (VARIES, 1.0)
        assert samples == 2 * 6 + WARM_UP

    def test_a_single_sample_says_nothing(
        self, clock: DeviceClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        row, samples = self.row(clock, monkeypatch, each_s=1.0)

        assert (samples, row["disturbed"]) == (1, FEW)


class TestSweeps:
    """A kernel that was timed twice, with all others between."""

    def row(self, *sweeps: tuple[Sequence[float], str]) -> dict[str, Any]:
        return row_of([KernelSamples("a", {"op": "a"}, tuple(s), why) for s, why in sweeps])

    def test_a_slow_half_minute_does_not_make_a_slow_kernel(self) -> None:
        row = self.row(([1.0, 1.1, 1.2], ""), ([1.5, 1.6, 1.7], ""))

        # of 1.0 … 1.7 the lower quartile lies a quarter of the way from 1.1 to 1.2
        assert (row["time_s"], row["fastest_s"]) == (pytest.approx(1.125), 1.0)
        assert row["noise"] == pytest.approx(0.35)  # the median, 1.35
        assert row["disturbed"] == ""

    def test_a_sample_of_each_is_more_than_a_single_one(self) -> None:
        assert self.row(([1.0], ""))["disturbed"] == FEW
        assert self.row(([1.0], ""), ([1.1], ""))["disturbed"] == ""

    def test_what_something_was_seen_to_disturb_counts_where_all_was(self) -> None:
        one = self.row(([0.9, 0.9], "others"), ([1.0, 1.0], ""))
        both = self.row(([0.9, 0.9], "others"), ([1.0, 1.0], "more"))

        assert (one["time_s"], one["disturbed"]) == (1.0, "")
        assert (both["fastest_s"], both["disturbed"]) == (0.9, "others")

    def test_the_replay_weighs_on_what_the_kernel_takes(self) -> None:
        samples = KernelSamples("a", {"op": "a"}, (1e-3,) * 2, replay_s=1e-5)

        assert row_of([samples, samples])["replay_share"] == pytest.approx(0.01)
