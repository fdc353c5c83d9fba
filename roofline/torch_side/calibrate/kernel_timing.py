"""Kernels timed side by side, in loops on a CPU and inside CUDA graphs on CUDA.

A graph holds so many calls that its own replay is next to nothing of their time, and whole turns of
their operands. What the host needs to issue it does not count: the device is kept busy until then.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import groupby
from math import ceil

import numpy as np
import torch

from roofline.records.statistics import StoppingRule, WarmUpRule
from roofline.torch_side.calibrate import ceilings
from roofline.torch_side.calibrate.kernel_samples import KernelSamples
from roofline.torch_side.calibrate.microbench import Bench, TimedCall
from roofline.torch_side.measure.disturbance import watch
from roofline.torch_side.measure.modes import CudaRecorder, GraphRecorder
from roofline.torch_side.measure.telemetry import NvmlTelemetry, open_telemetry
from roofline.torch_side.measure.timing import (
    Clock,
    CudaStopwatch,
    Progress,
    Stopwatch,
    Subject,
    calls_for,
    interrupted,
    measure,
    stopwatch_for,
    synchronizer,
)

SAMPLE_S = 0.02
"""Shorter samples would catch moments of calm that no model's run consists of."""
SAMPLES = 4
"""So many must fit into a kernel's share of the time, those that size them included."""
_ALIVE = 4
"""Results that a loop holds on to, as a model holds on to activations: the next one is then not
written to memory that is still warm from the last."""
_GROUP = 32
"""Kernels that are timed side by side: as many as hold their operands at a time."""
_GRAPH_S, _GRAPH_CALLS = 0.002, 8
"""What a CUDA graph takes at least, and how many calls it has."""
_FILL_CYCLES = 2_000_000
"""Of the device, a millisecond: longer than the host needs to issue a graph."""
_EMPTY_CALLS = 500

CANNOT_RUN = (RuntimeError, NotImplementedError, ImportError, AssertionError)
"""What a kernel that a device or torch does not have raises."""


class KernelTimer:
    """One device and its clock.

    Kernels are made and run in inference mode, as in a pipeline: no autograd is in their time.
    """

    def __init__(
        self,
        device: torch.device,
        clock: Clock,
        telemetry: NvmlTelemetry | None = None,
        recorder: Callable[[], GraphRecorder] | None = None,
    ) -> None:
        """telemetry: of the device, if it is open already.
        recorder: makes what records graphs; left out, CUDA graphs on CUDA and none elsewhere.
        """
        on_cuda = device.type == "cuda"
        self.device, self.clock = device, clock
        self.telemetry = telemetry or open_telemetry(device, clock=clock)
        self.stopwatch: Stopwatch = (
            CudaStopwatch(device, fill_cycles=_FILL_CYCLES)
            if on_cuda
            else stopwatch_for(device, clock)
        )
        self._recorder = recorder or (partial(CudaRecorder, device) if on_cuda else None)
        self._sample_s = SAMPLE_S
        self.replay_s = 0.0
        """Of a graph, whatever is in it."""

    @torch.inference_mode()
    def prepare(self) -> None:
        """Find out what the replay of a graph takes: t(n) = replay + n · kernel, twice."""
        if self._recorder is None:
            return
        run = ceilings.empty(self.device).make()
        once_s, twice_s = (
            min(self._run_s(self._recorded(run, calls)) for _ in range(5))
            for calls in (_EMPTY_CALLS, 2 * _EMPTY_CALLS)
        )
        self.replay_s = max(0.0, 2 * once_s - twice_s)

    @torch.inference_mode()
    def cost_s(self, bench: Bench) -> float:
        """What a kernel takes at least: to be made, and to run a few times."""
        wait = synchronizer(self.device)
        try:
            bench.make()  # what all of its kind share is made once
            wait()
            begun_s = self.clock()
            run = bench.make()
            wait()
            made_s = self.clock()
            run()  # the first of its kind may take long to get going
            wait()
            ran_s = self.clock()
            run()
            wait()
        except CANNOT_RUN:
            return 0.0  # it is left out, too
        run_s = min(ran_s - made_s, self.clock() - ran_s)
        calls = 1 if self._recorder is None else _graph_calls(bench.turn, run_s)
        return made_s - begun_s + SAMPLES * calls * run_s

    @torch.inference_mode()  # of a generator: while it runs, not while its caller does
    def time(
        self,
        benches: list[Bench],
        each_s: float,
        deadline_s: float,
        left_out: Callable[[Bench, str], None],
        progress: Progress | None = None,
    ) -> Iterator[KernelSamples]:
        """Each kernel that runs, group by group. Each may take `each_s`.

        benches: is emptied, so that a pool of weights goes with the last that draws from it.
        left_out: hears of a kernel that does not run, and why. Raises KeyboardInterrupt on Ctrl-C.
        """
        done, whole = 0, len(benches)
        groups = list(_groups(benches))
        benches.clear()
        while groups:
            size = len(groups[0])
            report = progress and partial(_share, progress, done / whole, size / whole)
            yield from self._group(groups.pop(0), each_s, deadline_s, left_out, report)
            done += size

    def _group(
        self,
        benches: Sequence[Bench],
        each_s: float,
        deadline_s: float,
        left_out: Callable[[Bench, str], None],
        progress: Progress | None,
    ) -> Iterator[KernelSamples]:
        self._sample_s = min(SAMPLE_S, each_s / SAMPLES)
        subjects, calls, seen, running = [], {}, {}, []
        for bench in benches:
            try:
                once = bench.make()
                seen[bench.name] = bench.seen(once)
                run, calls[bench.name] = self._looped(once, bench.turn)
            except CANNOT_RUN as error:
                left_out(bench, _first_line(error))
                continue
            running.append(bench)
            subjects.append(Subject(bench.name, partial(_unmarked, run)))
        rule = StoppingRule(relative_ci=0.005, least=6, cap_s=each_s / 2)
        in_graphs = self._recorder is not None
        with watch(self.device, self.telemetry, self.clock, host=not in_graphs) as disturbance:
            measured = measure(
                subjects,
                self.stopwatch,
                rule,
                warm_up=WarmUpRule(window=1, most=2, cap_s=rule.cap_s / 4),
                clock=self.clock,
                progress=progress,
                deadline_s=deadline_s,
                repeats=1,
                disturbance=disturbance,
            )
        if interrupted(measured):
            raise KeyboardInterrupt
        for bench in running:
            found = measured[bench.name]
            in_a_row = calls[bench.name]
            yield KernelSamples(
                bench.name,
                {**bench.row, **seen[bench.name]},
                tuple(sample_s / in_a_row for sample_s in found.total),
                found.disturber or disturbance.lasting,
                self.replay_s / in_a_row if in_graphs else None,
            )

    def _looped(self, run: TimedCall, turn: int) -> tuple[TimedCall, int]:
        """So many runs in a row that the clock can tell, and how many they are."""
        if self._recorder is None:
            alive: deque[object] = deque(maxlen=_ALIVE)
            calls = calls_for(partial(_repeat, run, 1, alive), self.stopwatch, self._sample_s)
            return partial(_repeat, run, calls, alive), calls
        calls = _graph_calls(turn)
        replay = self._recorded(run, calls)
        took_s = self._run_s(replay)
        if took_s < _GRAPH_S:
            calls = _graph_calls(turn, took_s / calls)
            replay = self._recorded(run, calls)
        return replay, calls

    def _recorded(self, run: TimedCall, calls: int) -> TimedCall:
        assert self._recorder is not None
        recorder = self._recorder()
        recorder.warm_up(run)
        alive: deque[object] = deque(maxlen=_ALIVE)
        replay, _ = recorder.record(partial(_repeat, run, calls, alive))
        return partial(_replayed, replay, run, alive)

    def _run_s(self, run: TimedCall) -> float:
        """Of the second run: a graph is brought to the device with its first."""
        run()
        self.stopwatch.start()
        run()
        return sum(self.stopwatch.stop().values())


def _graph_calls(turn: int, call_s: float = np.inf) -> int:
    """Whole turns that take long enough; of calls of unknown time, at least some."""
    enough = max(_GRAPH_CALLS, 1.2 * _GRAPH_S / max(call_s, 1e-7))
    return turn * ceil(enough / turn)


def _groups(benches: Sequence[Bench]) -> Iterator[list[Bench]]:
    """Those that draw from the same weights, and no more than hold their operands at a time."""
    for _, some in groupby(benches, key=lambda bench: bench.group):
        alike = list(some)
        for first in range(0, len(alike), _GROUP):
            yield alike[first : first + _GROUP]


def _share(progress: Progress, begun: float, share: float, done: float, doing: str) -> None:
    """Progress of a group as that of its part."""
    progress(begun + share * done, doing)


def _unmarked(run: TimedCall, mark: object) -> object:
    return run()


def _repeat(run: TimedCall, calls: int, alive: deque[object]) -> None:
    for _ in range(calls):
        alive.append(run())


def _replayed(replay: TimedCall, run: TimedCall, alive: deque[object]) -> None:
    """Do it again. run, alive: hold what it reads and writes, as a CUDA graph itself does not: the
    next capture would give that memory to others.
    """
    replay()


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
