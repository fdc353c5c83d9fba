"""Measure a device's ceilings and the laws of its kernels, and write them down as its spec.

Every kernel of `microbench` is timed side by side with others of its kind. Ceilings are the fastest
samples that were seen, so that the roofline stays a bound; laws are fitted to the lower quartile of
each kernel's: a model's run is made of many kernels, and not all of them have that luck.
"""

from __future__ import annotations

import csv
import io
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from math import ceil
from typing import Any

import numpy as np
import torch
from msgspec.structs import replace
from torch import Tensor

from roofline.errors import InputError
from roofline.records.statistics import UNTRUSTED, StoppingRule, WarmUpRule, disturbed
from roofline.specs.hardware import Hardware
from roofline.specs.kernel_laws import Law
from roofline.torch_side.calibrate import microbench
from roofline.torch_side.calibrate.host_time import host_laws
from roofline.torch_side.calibrate.measured_spec import measured_hardware
from roofline.torch_side.calibrate.microbench import AttentionSize, Bench, Pool, TimedCall
from roofline.torch_side.load import DTYPES, checked_device, low_bit_kernels
from roofline.torch_side.measure import machine
from roofline.torch_side.measure.modes import CudaRecorder
from roofline.torch_side.measure.timing import (
    Clock,
    Progress,
    Stopwatch,
    Subject,
    calls_for,
    interrupted,
    measure,
    stopwatch_for,
    synchronizer,
)

LOW_BIT = ("w8a16", "w8a8kv16", "w4a16")
_KERNEL_NAMES = {"w8a8kv16": "w8a8"}
"""Modes whose matmul kernel goes by another name: the KV cache is none of its business."""
_SAMPLE_S = 0.02
"""Shorter samples would catch moments of calm that no model's run consists of."""
_CALM = 0.25
"""Quantile of the samples that a kernel's time is: other work on the machine only ever adds."""
_ALIVE = 4
"""Results that a loop holds on to, as a model holds on to activations: the next one is then not
written to memory that is still warm from the last."""
_GRAPH_CALLS = 20
"""Kernels in one CUDA graph, so that the host adds nothing to their time."""
_POOL_CACHES = 6

_CPU_ROWS = (1, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
_VECTOR_ROWS = (1, 8, 32, 64, 128, 256, 512, 1024)
_CPU_SHAPES = ((1024, 1024), (3072, 1024), (1024, 3072), (512, 512))
_GPU_ROWS = (1, 2, 4, 8, 16, 32, 48, 64, 80, 96, 128, 192, 256, 384, 512, 640, 1024, 2048, 4096)
_GPU_SHAPES = (
    (1024, 1024),
    (4096, 1024),
    (1024, 4096),
    (3072, 3072),
    (6144, 4096),
    (4096, 6144),
    (8192, 8192),
    (16384, 4096),
    (4096, 16384),
)
_WIDTHS = (512, 1024, 4096)
_PROMPTS = (16, 48, 128, 256, 640, 1024)

_LEAST_S = 0.015
"""A kernel takes no less: to be made, warmed up and timed once."""
_SAMPLES = 4
"""So many must fit into a kernel's share of the time, those that size them included."""
_PROBES = 8
"""Kernels of a part that tell what all of it takes."""
_OVERTIME = 1.2
"""A little more than was asked for may pass."""
_GROUP = 32
"""Kernels that are timed side by side: as many as hold their operands at a time."""
_ERRS_MUCH = 40.0
"""Percent: a law whose median error is larger was fitted to times that something disturbed."""
_MANY_DISTURBED = 0.2
"""Share of kernels."""

_SHARES = {"ceilings": 0.1, "matmul": 0.4, "attention": 0.15, "pointwise": 0.2, "host": 0.15}
"""Of the time that a calibration may take."""


@dataclass
class Calibration:
    """A device as it was measured."""

    hardware: Hardware
    rows: list[dict[str, Any]]
    """Every kernel and its time in seconds: what the laws were fitted to."""
    notes: list[str] = field(default_factory=list)
    """What could not be measured, and why."""
    untrusted: str = ""
    """Why the times are not those of a quiet machine; empty where they are."""

    @property
    def comment(self) -> str:
        """What a reader of the spec's file should know first."""
        head = "Measured by `roofline calibrate`; measure again after a change of software."
        doubt = [f"{UNTRUSTED}{self.untrusted}"] if self.untrusted else []
        return "\n".join([*doubt, head, *self.notes])

    def csv(self) -> str:
        """All rows as a table; cells that mean nothing for an op are empty."""
        text = io.StringIO()
        columns = dict.fromkeys(name for row in self.rows for name in row)
        writer = csv.DictWriter(text, list(columns), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        return text.getvalue()


def calibrate(
    device: str | None = None,
    *,
    name: str | None = None,
    modes: Sequence[str] | None = None,
    seconds: float = 120.0,
    clock: Clock = time.perf_counter,
    progress: Progress | None = None,
) -> Calibration:
    """Measure a device that torch can use; by default an accelerator if there is one.

    name: of the spec; left out, made from the device's own.
    modes: quantization modes whose kernels to measure; left out, fp32 and bf16 on a CPU, elsewhere
        fp16, bf16 and the low-bit ones that there are kernels for.
    seconds: roughly what it may take; samples are fewer where it is short.

    Raises InputError for what the device cannot do, KeyboardInterrupt on Ctrl-C: half a calibration
    is none.
    """
    if not 0 < seconds < np.inf:
        raise InputError(f"a calibration needs some time: seconds must be above 0, got {seconds:g}")
    return _Calibrator(checked_device(device), clock, progress).run(name, modes, seconds)


class _Calibrator:
    def __init__(self, device: torch.device, clock: Clock, progress: Progress | None) -> None:
        self.device, self.clock, self._progress = device, clock, progress
        self.stopwatch: Stopwatch = stopwatch_for(device, clock)
        self.cache_bytes = machine.cache_bytes(device)
        self.notes: list[str] = []
        self.rows: list[dict[str, Any]] = []
        self.disturbed = 0
        """Kernels whose samples something else has slowed down."""
        self.deadline_s, self.sample_s = np.inf, _SAMPLE_S
        self._done = 0.0

    def run(self, name: str | None, modes: Sequence[str] | None, seconds: float) -> Calibration:
        on_cpu = self.device.type == "cpu"
        room_bytes = machine.free_bytes(self.device)
        budgets = {part: share * seconds for part, share in _SHARES.items()}
        plain, low_bit = self._kernels(modes)
        ceilings = [*microbench.bandwidth(self.device, self.cache_bytes, room_bytes)]
        ceilings.append(microbench.empty(self.device))
        pool_bytes = min(_POOL_CACHES * self.cache_bytes, room_bytes / 32)
        attention = [
            bench
            for dtype in plain
            for bench in microbench.attention(dtype, self.device, _attention_sizes(on_cpu))
        ]
        sizes = list(product(_VECTOR_ROWS, _WIDTHS))
        parts = {
            "ceilings": ceilings,
            "matmul": list(self._matmuls(plain, low_bit, pool_bytes)),
            "attention": attention,
            "pointwise": list(microbench.vector_ops(plain[0], self.device, sizes)),
        }
        self._check_time(seconds, parts)
        for part, benches in parts.items():
            self._time(part, benches, budgets[part])
            benches.clear()  # and with them the weights that they draw from

        hardware = measured_hardware(self.rows, self.device, name=name, dtypes=plain)
        hosts = host_laws(
            hardware,
            self.device,
            quant=plain[0],
            budget_s=budgets["host"],
            clock=self.clock,
            progress=self._part("host"),
        )
        assert hardware.kernel_laws is not None
        hardware = replace(hardware, kernel_laws=hardware.kernel_laws.updated(host=hosts))
        untrusted = self._doubt(hardware)
        if untrusted:
            laws = hardware.kernel_laws
            assert laws is not None
            conditions = f"{laws.conditions}; {UNTRUSTED}{untrusted}"
            hardware = replace(hardware, kernel_laws=replace(laws, conditions=conditions))
        return Calibration(hardware, self.rows, self.notes, untrusted)

    def _check_time(self, seconds: float, parts: Mapping[str, Sequence[Bench]]) -> None:
        """Raise InputError for less time than all kernels take, by a few of each part."""
        kernels = sum(map(len, parts.values()))
        if seconds < _LEAST_S * kernels:
            _refuse(kernels, _LEAST_S * kernels, "before any has been tried")
        needed_s = 0.0
        for benches in parts.values():
            costs = [self._cost_s(bench) for bench in benches[:: 1 + len(benches) // _PROBES]]
            needed_s += len(benches) * sum(costs) / max(1, len(costs))
        if needed_s > _OVERTIME * seconds:
            _refuse(kernels, needed_s, "on this device as busy as it is")
        self.deadline_s = self.clock() + (1 - _SHARES["host"]) * seconds

    def _cost_s(self, bench: Bench) -> float:
        """What a kernel takes at least: to be made, and to run a few times."""
        wait, begun_s = synchronizer(self.device), self.clock()
        try:
            run = bench.make()
            wait()
            made_s = self.clock()
            run()  # the first of its kind may take long to get going
            wait()
            ran_s = self.clock()
            run()
            wait()
        except (RuntimeError, NotImplementedError, ImportError):
            return 0.0  # it is left out, too
        return made_s - begun_s + _SAMPLES * min(ran_s - made_s, self.clock() - ran_s)

    def _doubt(self, hardware: Hardware) -> str:
        """Why the times are not those of a quiet machine; empty where they are."""
        assert hardware.kernel_laws is not None
        bad = [
            f"{family} {kernel} errs by {law.median_error_percent:.0f} %"
            for family, laws in hardware.kernel_laws.families.items()
            for kernel, law in laws.items()
            if isinstance(law, Law) and law.median_error_percent > _ERRS_MUCH
        ]
        reasons = bad[:2] + ([f"{len(bad) - 2} more laws do"] if len(bad) > 2 else [])
        if self.disturbed > _MANY_DISTURBED * len(self.rows):
            reasons.insert(0, f"{self.disturbed} of {len(self.rows)} kernels were disturbed")
        return f"{', '.join(reasons)}: measure again on a quiet machine" if reasons else ""

    def _kernels(self, modes: Sequence[str] | None) -> tuple[list[str], list[str]]:
        """Data types, and low-bit modes, whose kernels are measured."""
        on_cpu = self.device.type == "cpu"
        requested = list(modes or (("fp32", "bf16") if on_cpu else ("fp16", "bf16", *LOW_BIT)))
        unknown = [mode for mode in requested if mode not in (*DTYPES, *LOW_BIT)]
        if unknown:
            known = ", ".join((*DTYPES, *LOW_BIT))
            raise InputError(f"cannot calibrate {unknown[0]!r}: choose from {known}")
        plain = [mode for mode in requested if mode in DTYPES]
        if not plain:
            raise InputError("name one of fp32, fp16, bf16 too: attention computes in it")
        return plain, [mode for mode in requested if mode in LOW_BIT]

    @property
    def _matmul_rows(self) -> Sequence[int]:
        """Of the products with each shape of weights, which are timed side by side."""
        return _CPU_ROWS if self.device.type == "cpu" else _GPU_ROWS

    def _matmuls(
        self, plain: Sequence[str], low_bit: Sequence[str], pool_bytes: float
    ) -> Iterator[Bench]:
        rows = self._matmul_rows
        shapes = _CPU_SHAPES if self.device.type == "cpu" else _GPU_SHAPES

        def activations(dtype: torch.dtype, m: int, k: int) -> Tensor:
            return torch.randn(m, k, device=self.device, dtype=dtype)

        for dtype in plain:
            pool = Pool(pool_bytes, DTYPES[dtype], self.device)
            drawn = partial(activations, DTYPES[dtype])
            yield from microbench.matmuls(dtype, microbench.from_pool(pool), rows, shapes, drawn)
        available = self._low_bit(low_bit)
        for mode in low_bit:
            if mode in available:
                linear = microbench.quantized(available[mode], self.device, pool_bytes)
                drawn = partial(activations, torch.bfloat16)
                kernel = _KERNEL_NAMES.get(mode, mode)
                yield from microbench.matmuls(kernel, linear, rows, shapes, drawn)

    def _low_bit(self, requested: Sequence[str]) -> Mapping[str, Callable[[Any], None]]:
        if not requested:
            return {}
        try:
            available = low_bit_kernels(self.device)
        except ImportError:
            self.notes.append("no low-bit kernels: torchao is not installed (pip install torchao)")
            return {}
        self.notes += [
            f"no kernels for {mode} on {self.device.type}"
            for mode in requested
            if mode not in available
        ]
        return available

    def _time(self, part: str, benches: Sequence[Bench], budget_s: float) -> None:
        """Append a row for each kernel that runs; a note for each kind that does not."""
        progress = self._part(part)
        each_s = budget_s / max(1, len(benches))
        size = len(self._matmul_rows) if part == "matmul" else _GROUP
        for first in range(0, len(benches), size):
            group = benches[first : first + size]
            shares = first / len(benches), len(group) / len(benches)
            self._time_group(group, each_s, progress and partial(_share, progress, *shares))

    def _time_group(
        self, benches: Sequence[Bench], each_s: float, progress: Progress | None
    ) -> None:
        """Side by side; each may take `each_s`."""
        self.sample_s = min(_SAMPLE_S, each_s / _SAMPLES)
        subjects, calls = [], {}
        for bench in benches:
            try:
                run, calls[bench.name] = self._looped(bench.make())
            except (RuntimeError, NotImplementedError, ImportError) as error:
                self._cannot(bench, error)
                continue
            subjects.append(Subject(bench.name, partial(_unmarked, run)))
        rule = StoppingRule(relative_ci=0.005, least=6, cap_s=each_s / 2)
        measured = measure(
            subjects,
            self.stopwatch,
            rule,
            warm_up=WarmUpRule(window=1, most=2, cap_s=rule.cap_s / 4),
            clock=self.clock,
            progress=progress,
            deadline_s=self.deadline_s,
            repeats=1,
        )
        self.disturbed += sum(disturbed(each.total) for each in measured.values())
        if interrupted(measured):
            raise KeyboardInterrupt
        for bench in benches:
            if bench.name in measured:
                samples = np.array(measured[bench.name].total) / calls[bench.name]
                times = {"time_s": np.quantile(samples, _CALM), "fastest_s": samples.min()}
                self.rows.append({**bench.row, **{name: float(t) for name, t in times.items()}})

    def _looped(self, run: TimedCall) -> tuple[TimedCall, int]:
        """So many runs in a row that the clock can tell, and how many they are."""
        alive: deque[object] = deque(maxlen=_ALIVE)
        if self.device.type != "cuda":
            calls = calls_for(partial(_repeat, run, 1, alive), self.stopwatch, self.sample_s)
            return partial(_repeat, run, calls, alive), calls
        recorder = CudaRecorder(self.device)
        recorder.warm_up(run)
        replay, _ = recorder.record(partial(_repeat, run, _GRAPH_CALLS, alive))
        return replay, _GRAPH_CALLS

    def _cannot(self, bench: Bench, error: Exception) -> None:
        what = f"{bench.row['op']} {bench.row.get('dtype', '')}".strip()
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        note = f"not measured: {what}: {reason}"
        if note not in self.notes:
            self.notes.append(note)

    def _part(self, part: str) -> Progress | None:
        """Progress of one part as that of the whole."""
        if self._progress is None:
            return None
        whole, done = self._progress, self._done
        self._done += _SHARES[part]
        return lambda share, doing: whole(done + share * _SHARES[part], doing)


def _refuse(kernels: int, needed_s: float, known: str) -> None:
    """Raise InputError for less time than every kernel takes once."""
    raise InputError(
        f"{kernels} kernels take some {ceil(needed_s)} s at least, {known}: give "
        f"--seconds {ceil(needed_s)} or more, or fewer modes"
    )


def _share(progress: Progress, begun: float, share: float, done: float, doing: str) -> None:
    """Progress of a group as that of its part."""
    progress(begun + share * done, doing)


def _unmarked(run: TimedCall, mark: object) -> object:
    return run()


def _repeat(run: TimedCall, calls: int, alive: deque[object]) -> None:
    for _ in range(calls):
        alive.append(run())


def _attention_sizes(on_cpu: bool) -> list[AttentionSize]:
    """Prompts, causal as in an LLM and not as in a ViT, and single tokens against a cache."""
    heads = ((8, 64), (8, 128)) if on_cpu else ((32, 128), (40, 128), (16, 64))
    prompts = _PROMPTS if on_cpu else (*_PROMPTS, 2048, 4096)
    shapes = [
        AttentionSize(1, n, n, count, size, causal)
        for (count, size), n, causal in product(heads, prompts, (True, False))
    ]
    shapes += [
        AttentionSize(batch, 1, n, count, size)
        for (count, size), n, batch in product(heads, prompts[1:], (1, 8))
    ]
    return shapes
