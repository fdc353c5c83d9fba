"""Which devices of the catalog this machine has, by the names that NVML and the system give."""

from __future__ import annotations

import importlib
import platform
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from msgspec import Struct

from roofline.specs.catalog import all_hardware
from roofline.specs.hardware import Hardware

_CPU_INFO = Path("/proc/cpuinfo")


class FoundDevice(Struct, frozen=True):
    """A device of this machine, and what the catalog has of it."""

    name: str
    """As its driver or the operating system calls it."""
    hardware: Hardware | None
    """None where no spec has that name."""


def devices_here(nvml: Any = None) -> list[FoundDevice]:
    """GPUs that NVML lists; without any, the processor.

    nvml: stands in for the module `pynvml`.
    """
    gpus = [FoundDevice(name, by_nvml_name(name, size)) for name, size in _gpus(nvml)]
    return gpus or [FoundDevice(cpu_name(), _by_cpu_name(cpu_name()))]


def cpu_name() -> str:
    """What the operating system calls the processor."""
    if _CPU_INFO.is_file():
        found = re.search(r"^model name\s*:\s*(.+)$", _CPU_INFO.read_text(), re.MULTILINE)
        if found:
            return found[1].strip()
    if platform.system() == "Darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        found_name = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        if found_name.strip():
            return found_name.strip()
    return platform.processor() or platform.machine()


def by_nvml_name(name: str, memory_bytes: float) -> Hardware | None:
    """The spec of a GPU; of several of one name, the nearest in memory. None where none matches."""
    known = [spec for spec in all_hardware() if name in spec.nvml_names]
    return min(known, key=lambda spec: abs(spec.memory_bytes - memory_bytes), default=None)


def _by_cpu_name(name: str) -> Hardware | None:
    return next((spec for spec in all_hardware() if name in spec.cpu_names), None)


def _gpus(nvml: Any) -> Iterator[tuple[str, float]]:
    """Names and bytes of memory of all GPUs that NVML knows of, each kind once; none without it."""
    try:
        nvml = nvml or importlib.import_module("pynvml")  # optional
        nvml.nvmlInit()
    except Exception:  # of many kinds: no module, no driver, no permission, no GPU
        return
    try:
        seen = set()
        for index in range(nvml.nvmlDeviceGetCount()):
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            name = nvml.nvmlDeviceGetName(handle)
            found = (
                name.decode() if isinstance(name, bytes) else str(name),
                float(nvml.nvmlDeviceGetMemoryInfo(handle).total),
            )
            if found not in seen:
                seen.add(found)
                yield found
    finally:
        nvml.nvmlShutdown()
