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
from typing import Any

import numpy as np
import torch
from msgspec.structs import replace
from torch import Tensor

from roofline.errors import InputError
from roofline.records.statistics import StoppingRule, WarmUpRule
from roofline.specs.hardware import Hardware
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

    @property
    def comment(self) -> str:
        """What a reader of the spec's file should know first."""
        head = "Measured by `roofline calibrate`; measure again after a change of software."
        return "\n".join([head, *self.notes])

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
    return _Calibrator(checked_device(device or machine.default_device()), clock, progress).run(
        name, modes, seconds
    )


class _Calibrator:
    def __init__(self, device: torch.device, clock: Clock, progress: Progress | None) -> None:
        self.device, self.clock, self._progress = device, clock, progress
        self.stopwatch: Stopwatch = stopwatch_for(device, clock)
        self.cache_bytes = machine.cache_bytes(device)
        self.notes: list[str] = []
        self.rows: list[dict[str, Any]] = []
        self._done = 0.0

    def run(self, name: str | None, modes: Sequence[str] | None, seconds: float) -> Calibration:
        on_cpu = self.device.type == "cpu"
        room_bytes = machine.free_bytes(self.device)
        budgets = {part: share * seconds for part, share in _SHARES.items()}
        plain, low_bit = self._kernels(modes)
        ceilings = [*microbench.bandwidth(self.device, self.cache_bytes, room_bytes)]
        self._time("ceilings", [*ceilings, microbench.empty(self.device)], budgets["ceilings"])

        pool_bytes = min(_POOL_CACHES * self.cache_bytes, room_bytes / 32)
        self._time("matmul", list(self._matmuls(plain, low_bit, pool_bytes)), budgets["matmul"])
        attention = [
            bench
            for dtype in plain
            for bench in microbench.attention(dtype, self.device, _attention_sizes(on_cpu))
        ]
        self._time("attention", attention, budgets["attention"])
        sizes = list(product(_VECTOR_ROWS, _WIDTHS))
        self._time(
            "pointwise",
            list(microbench.vector_ops(plain[0], self.device, sizes)),
            budgets["pointwise"],
        )

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
        return Calibration(hardware, self.rows, self.notes)

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

    def _matmuls(
        self, plain: Sequence[str], low_bit: Sequence[str], pool_bytes: float
    ) -> Iterator[Bench]:
        on_cpu = self.device.type == "cpu"
        rows, shapes = (_CPU_ROWS, _CPU_SHAPES) if on_cpu else (_GPU_ROWS, _GPU_SHAPES)

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
        subjects, calls = [], {}
        for bench in benches:
            try:
                run, calls[bench.name] = self._looped(bench.make())
            except (RuntimeError, NotImplementedError, ImportError) as error:
                self._cannot(bench, error)
                continue
            subjects.append(Subject(bench.name, partial(_unmarked, run)))
        rule = StoppingRule(relative_ci=0.005, least=6, cap_s=budget_s / max(1, len(subjects)))
        measured = measure(
            subjects,
            self.stopwatch,
            rule,
            warm_up=WarmUpRule(window=1, most=2, cap_s=rule.cap_s / 4),
            clock=self.clock,
            progress=self._part(part),
        )
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
            calls = calls_for(partial(_repeat, run, 1, alive), self.stopwatch, _SAMPLE_S)
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
