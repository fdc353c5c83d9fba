"""A machine whose every kernel takes a time that is known, and calibrations in small."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from roofline.device.laws.host import HostLaw
from roofline.torch_side.calibrate import calibrate as module
from roofline.torch_side.calibrate import kernel_timing, selection
from roofline.torch_side.measure import machine
from roofline.torch_side.measure.disturbance import CpuDisturbance
from roofline.torch_side.measure.timing import Measurement, Subject

PEAK, BANDWIDTH, CACHE_BANDWIDTH, LAUNCH_S = 50e9, 10e9, 30e9, 5e-6
HOSTS = {"llm": HostLaw(fixed_us=10.0, layer_us=2.0)}


def made_up_s(row: Mapping[str, Any]) -> float:
    """A machine of 50 GFLOP/s and 10 GB/s, 30 of its cache, that needs 5 µs for everything."""
    match row["op"]:
        case "launch":
            return LAUNCH_S
        case "arithmetic":
            return float(LAUNCH_S + row["flops"] / PEAK)
        case "matmul":
            m, n, k = row["m"], row["n"], row["k"]
            return float(
                LAUNCH_S + max(2 * m * n * k / PEAK, 4 * (n * k + m * (n + k)) / BANDWIDTH)
            )
        case "attention":
            batch, queries, keys = row["batch_size"], row["tokens"], row["keys"]
            pairs = queries * keys - row["causal"] * queries * (queries - 1) / 2
            size = row["num_heads"] * row["head_dim"]
            moved = 4 * 2 * batch * size * (queries + keys)
            return float(LAUNCH_S + 4 * batch * size * pairs / PEAK + moved / BANDWIDTH)
        case "copy" | "read" | "write" if row["level"] == "cache":
            return float(LAUNCH_S + row["bytes"] / CACHE_BANDWIDTH)
        case _:
            return float(LAUNCH_S + row["bytes"] / BANDWIDTH)


def shrink(patch: pytest.MonkeyPatch) -> None:
    """Fewer and smaller kernels: what is measured takes no time worth mentioning."""
    patch.setattr(kernel_timing.KernelTimer, "cost_s", lambda *_: 0.0)  # whatever else runs here
    patch.setattr(selection, "_CPU_ROWS", (1, 4, 16, 64, 128))
    patch.setattr(selection, "_CPU_SHAPES", ((64, 64), (128, 64), (64, 128), (128, 128)))
    patch.setattr(selection, "_VECTOR_ROWS", (1, 8, 32, 64, 128))
    patch.setattr(selection, "_WIDTHS", (64, 128))
    patch.setattr(selection, "_PROMPTS", (8, 16, 32, 64, 96, 128))
    patch.setattr(machine, "cache_bytes", lambda device: 2.0**20)


def hush(patch: pytest.MonkeyPatch, disturbance: str = "") -> None:
    """Let nothing disturb a CPU, or the same all the time, whatever else runs where tests do."""
    patch.setattr(CpuDisturbance, "__call__", lambda self: disturbance)


def pretend(
    patch: pytest.MonkeyPatch,
    seconds: Callable[[Mapping[str, Any]], float] = made_up_s,
    disturbance: str = "",
) -> list[str]:
    """Let kernels take `seconds` of their row, and the host what `HOSTS` say; none runs.

    disturbance: what is at work on the CPU all the time.

    Gives back names of kernels in the order in which they are timed.
    """
    rows: dict[str, Mapping[str, Any]] = {}
    timed: list[str] = []
    real = kernel_timing.KernelTimer.time

    def time(self: Any, benches: Sequence[Any], *rest: Any, **more: Any) -> Any:
        rows.update((bench.name, bench.row) for bench in benches)
        return real(self, benches, *rest, **more)

    def measured(
        subjects: Sequence[Subject], *_: Any, disturbance: Callable[[], str], **__: Any
    ) -> dict[str, Measurement]:
        # the lower quartile of five counts for laws, the fastest for ceilings
        timed.extend(subject.name for subject in subjects)
        made = {subject.name: seconds(rows[subject.name]) for subject in subjects}
        disturber = disturbance()
        return {
            name: Measurement(
                total=[9 * each, each, 1.1 * each, each, 1.1 * each],
                stopped="settled",
                disturber=disturber,
            )
            for name, each in made.items()
        }

    patch.setattr(kernel_timing.KernelTimer, "time", time)
    patch.setattr(kernel_timing, "measure", measured)
    patch.setattr(kernel_timing, "calls_for", lambda *_: 1)
    patch.setattr(module, "host_laws", lambda *_, disturbance, **__: (HOSTS, disturbance()))
    hush(patch, disturbance)
    return timed
