"""A device's spec from what was measured on it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from math import ceil, floor, log10

import pandas as pd
import torch
from msgspec.structs import replace

from roofline.errors import InputError
from roofline.fitting.device import fit_device
from roofline.fitting.tables import by_family
from roofline.specs.hardware import Hardware, MatmulPeaks
from roofline.specs.sourced import Peak, Sourced
from roofline.torch_side.calibrate.ceilings import MULTIPLY_ADDS
from roofline.torch_side.calibrate.found_ceilings import (
    FoundCeiling,
    cache_ceiling,
    compute_ceiling,
    memory_ceiling,
    vector_ceiling,
)
from roofline.torch_side.calibrate.microbench import KernelRow
from roofline.torch_side.calibrate.selection import Modes
from roofline.torch_side.measure import machine
from roofline.units import GIB, GIGA, MIB, MICRO, TERA

SOURCE = "calibration"
"""Key of the calibration among the sources of the spec that it makes."""
CATALOGUE = "catalogue"
"""Key of what a spec that ships says, for what could not be measured."""


def measured_hardware(
    rows: Sequence[KernelRow], device: torch.device, *, name: str | None, modes: Modes
) -> tuple[Hardware, list[str]]:
    """Ceilings and laws of everything that was measured; and which kernels beat a ceiling.

    rows: of `microbench` and `ceilings`, with `time_s`, `fastest_s` of the fastest sample, and
    `noise`. Raises InputError where a ceiling is nowhere to be had.
    """
    title, cache_bytes = machine.device_name(device), machine.cache_bytes(device)
    on_cpu = device.type == "cpu"
    memory = memory_ceiling(rows, cache_bytes)
    cache = cache_ceiling(rows, on_cpu=on_cpu)
    computing = {
        f"{dtype}_tflops": computes_at(rows, dtype, on_cpu=on_cpu) for dtype in modes.plain
    }
    if int8 := compute_ceiling(rows, "int8", on_cpu=on_cpu):
        computing["int8_tops"] = int8
    vector, more_sources = vector_peak(rows, device)
    found = [memory, cache, *computing.values()]
    if ceiling := _vector_ceiling(rows, device):
        found.append(ceiling)
    today = datetime.now(UTC).date().isoformat()
    conditions = "; ".join([_conditions(rows, device), *modes.runs_as])
    hardware = Hardware(
        name=name or _slug(title),
        title=title,
        vendor=title.split("(")[0].split()[0],
        architecture=machine.MEASURED,
        kind="cpu" if on_cpu else "gpu",
        memory_capacity_gib=_figure(machine.memory_bytes(device) / GIB),
        memory_bandwidth_gb_per_s=_figure(
            memory.per_s / GIGA, note="best of copy, read, write and operands beyond the cache"
        ),
        matmul_peaks=MatmulPeaks(
            **{name: _peak(ceiling.per_s / TERA) for name, ceiling in computing.items()}
        ),
        vector_peak_fp32_tflops=vector,
        sources={
            SOURCE: f"roofline calibrate, {today}, on {title}: {conditions}",
            **more_sources,
        },
        nvml_names=() if on_cpu else (title,),
        compute_capability=machine.compute_capability(device),
        sm_count=_figure(machine.units(device)),
        l2_cache_mib=_figure(cache_bytes / MIB),
        l2_bandwidth_gb_per_s=_figure(cache.per_s / GIGA),
        launch_overhead_us=_figure(
            min(row["fastest_s"] for row in rows if row["op"] == "launch") / MICRO
        ),
    )
    measured = by_family(pd.DataFrame(rows))
    laws = fit_device(hardware, measured, source=SOURCE, date=today, origin="measured")
    laws = replace(laws, conditions=conditions)
    beaten = [ceiling.beaten for ceiling in found if ceiling.beaten]
    return replace(hardware, kernel_laws=laws), beaten


def computes_at(rows: Sequence[KernelRow], data_type: str, *, on_cpu: bool) -> FoundCeiling:
    """The peak of a data type. Raises InputError without a matmul in it."""
    ran = any(row["op"] == "matmul" and row["dtype"] == data_type for row in rows)
    ceiling = compute_ceiling(rows, data_type, on_cpu=on_cpu)
    if not ran or ceiling is None:
        raise InputError(f"this device runs no matmul in {data_type}: leave it out of --quant")
    return ceiling


def vector_peak(rows: Sequence[KernelRow], device: torch.device) -> tuple[Sourced, dict[str, str]]:
    """The fp32 peak of the vector units, and the source of a figure that is not measured.

    Raises InputError where it is neither measured nor in a spec that ships.
    """
    if ceiling := _vector_ceiling(rows, device):
        chains = any(row.get("function") == MULTIPLY_ADDS for row in rows)
        note = "multiply-adds in registers" if chains else "best matmul"
        return _figure(ceiling.per_s / TERA, note), {}
    known = machine.catalogued(device)
    if known is None:
        raise InputError(
            f"nothing says what {machine.device_name(device)} computes in fp32: no kernel of "
            "multiply-adds runs here, and no spec that ships has its name; measure its fp32 "
            "matmuls with --quant fp32"
        )
    figure = known.vector_peak_fp32_tflops
    cited = f"{known.name}, as it ships: {known.sources[figure.source]}"
    note = "not measured: no kernel of multiply-adds runs here"
    return Sourced(value=figure.value, source=CATALOGUE, note=note), {CATALOGUE: cited}


def _vector_ceiling(rows: Sequence[KernelRow], device: torch.device) -> FoundCeiling | None:
    """fp32 matmuls run in the vector units of all but AMD's accelerators."""
    return vector_ceiling(rows, of_matmuls=not torch.version.hip or device.type == "cpu")


def _conditions(rows: Sequence[KernelRow], device: torch.device) -> str:
    """What the times depend on."""
    on_cpu = device.type == "cpu"
    units = f"{machine.units(device)} {'threads' if on_cpu else 'SMs'}"
    shares = [row["replay_share"] for row in rows if "replay_share" in row]
    runs = "eager"
    if shares:
        runs = f"CUDA graphs whose replay is up to {100 * max(shares):.1f} % of a time"
    backends = dict.fromkeys(row["backend"] for row in rows if row.get("backend"))
    attention = [f"attention by {' and '.join(backends)}"] if backends else []
    return ", ".join([f"torch {torch.__version__}", units, runs, *attention])


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
