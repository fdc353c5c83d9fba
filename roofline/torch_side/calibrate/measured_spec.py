"""A device's spec from what was measured on it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from math import ceil, floor, log10
from typing import Any

import pandas as pd
import torch
from msgspec.structs import replace

from roofline.errors import InputError
from roofline.fitting.device import fit_device
from roofline.fitting.tables import by_family
from roofline.specs.hardware import Hardware, MatmulPeaks
from roofline.specs.sourced import Peak, Sourced
from roofline.torch_side.calibrate.microbench import KernelRow
from roofline.torch_side.load import DTYPES
from roofline.torch_side.measure import machine
from roofline.units import GIB, GIGA, MIB, MICRO, TERA

SOURCE = "calibration"
"""Key of the calibration among the sources of the spec that it makes."""


def measured_hardware(
    rows: Sequence[KernelRow], device: torch.device, *, name: str | None, dtypes: Sequence[str]
) -> Hardware:
    """Ceilings, and laws of everything that was measured.

    rows: of `microbench`, with `time_s`, and `fastest_s` of the fastest sample. dtypes: those whose
    matmuls were measured, low-bit kernels aside. Raises InputError.
    """
    title, cache_bytes = machine.device_name(device), machine.cache_bytes(device)
    on_cpu = device.type == "cpu"
    memory = _bandwidth(rows, cache_bytes)
    cached = [row for row in rows if row.get("level") == "cache"]
    cache = max(_moved_bytes(row) / row["fastest_s"] for row in cached)
    peaks = {f"{dtype}_tflops": _peak_rate(rows, dtype) for dtype in dtypes}
    if _of(rows, "matmul", dtype="w8a8"):
        peaks["int8_tops"] = _peak_rate(rows, "w8a8")
    vector = peaks.get("fp32_tflops") or max(
        row["bytes"] / row["fastest_s"] / 4 for row in _of(rows, "pointwise")
    )
    today = datetime.now(UTC).date().isoformat()
    conditions = (
        f"torch {torch.__version__}, {machine.units(device)} "
        f"{'threads' if on_cpu else 'SMs'}, {'eager' if on_cpu else 'CUDA graphs'}"
    )
    hardware = Hardware(
        name=name or _slug(title),
        title=title,
        vendor=title.split("(")[0].split()[0],
        architecture="measured",
        kind="cpu" if on_cpu else "gpu",
        memory_capacity_gib=_figure(machine.memory_bytes(device) / GIB),
        memory_bandwidth_gb_per_s=_figure(
            memory / GIGA, note="best of copy, read, write and operands beyond the cache"
        ),
        matmul_peaks=MatmulPeaks(**{name: _peak(rate / TERA) for name, rate in peaks.items()}),
        vector_peak_fp32_tflops=_figure(vector / TERA),
        sources={SOURCE: f"roofline calibrate, {today}, on {title}: {conditions}"},
        nvml_names=() if on_cpu else (title,),
        compute_capability=machine.compute_capability(device),
        sm_count=_figure(machine.units(device)),
        l2_cache_mib=_figure(cache_bytes / MIB),
        l2_bandwidth_gb_per_s=_figure(cache / GIGA),
        launch_overhead_us=_figure(min(r["fastest_s"] for r in _of(rows, "launch")) / MICRO),
    )
    measured = by_family(pd.DataFrame(rows))
    laws = fit_device(hardware, measured, source=SOURCE, date=today, origin="measured")
    return replace(hardware, kernel_laws=replace(laws, conditions=conditions))


def _of(rows: Sequence[KernelRow], op: str, **columns: str) -> list[KernelRow]:
    wanted = {"op": op, **columns}.items()
    return [row for row in rows if wanted <= row.items()]


def _bandwidth(rows: Sequence[KernelRow], cache_bytes: float) -> float:
    """Bytes/s of the fastest op whose operands no cache can hold."""
    large = [row for row in rows if _moved_bytes(row) > cache_bytes]
    # weights come from a pool that no cache holds either
    streamed = [row for row in _of(rows, "matmul") if row["dtype"] in DTYPES]
    best: float = max(_moved_bytes(row) / row["fastest_s"] for row in (*large, *streamed))
    return best


def _peak_rate(rows: Sequence[KernelRow], kernel: str) -> float:
    """FLOP/s of the fastest matmul or attention kernel."""
    if not _of(rows, "matmul", dtype=kernel):
        raise InputError(f"{'this device'} runs no matmul in {kernel}")
    computing = [row for row in rows if row.get("dtype") == kernel]
    best: float = max(_flops(row) / row["fastest_s"] for row in computing)
    return best


def _moved_bytes(row: Mapping[str, Any]) -> float:
    """What an op reads and writes."""
    match row["op"]:
        case "matmul" if row["dtype"] in DTYPES:
            m, n, k = row["m"], row["n"], row["k"]
            return float(DTYPES[row["dtype"]].itemsize * (n * k + m * (n + k)))
        case "attention":
            tokens = row["tokens"] + row["keys"]
            elements = 2 * row["batch_size"] * tokens * row["num_heads"] * row["head_dim"]
            return float(DTYPES[row["dtype"]].itemsize * elements)
        case _:
            return float(row.get("bytes", 0))


def _flops(row: Mapping[str, Any]) -> float:
    """What a matmul or attention computes, hidden scores left out."""
    match row["op"]:
        case "matmul":
            return float(2 * row["m"] * row["n"] * row["k"])
        case "attention":
            queries = row["tokens"]
            pairs = queries * row["keys"] - row["causal"] * queries * (queries - 1) / 2
            return float(4 * row["batch_size"] * row["num_heads"] * row["head_dim"] * pairs)
        case _:
            return 0.0


def _figure(value: float, note: str = "") -> Sourced:
    return Sourced(value=_rounded(value), source=SOURCE, note=note)


def _peak(tflops: float) -> Peak:
    return Peak(value=_rounded(tflops), source=SOURCE, engine="best matmul")


def _rounded(value: float) -> float:
    """Four digits, upwards: what was measured must not lie above a ceiling."""
    scale = 10.0 ** (3 - floor(log10(value)))
    return ceil(value * scale) / scale


def _slug(title: str) -> str:
    """A file's name for a device."""
    words = re.sub(r"\((r|tm)\)", "", title.lower())
    return re.sub(r"[^a-z0-9]+", "-", words).strip("-") or "device"
