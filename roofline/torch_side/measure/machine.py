"""What this machine is: names, memory, caches, versions, for records and calibrations."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path
from typing import Any

import torch

import roofline
from roofline.specs.hardware import Hardware
from roofline.specs.this_machine import by_nvml_name, cpu_name
from roofline.units import GIB

MEASURED = "measured"
"""Architecture of a device that `calibrate` has described."""
_DEFAULT_CACHE_BYTES = 32 * 2**20
"""Where nobody says how large the last-level cache is."""


_GPU_OF_CHIP = " (GPU)"
"""Behind the name of a chip, where its GPU is meant."""


def device_name(device: torch.device) -> str:
    """As the driver or the operating system calls it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "xpu":
        return str(torch.xpu.get_device_name(device))
    return f"{cpu_name()}{_GPU_OF_CHIP}" if device.type == "mps" else cpu_name()


def memory_bytes(device: torch.device) -> float:
    """Memory of the device, whoever uses it now."""
    if device.type == "cuda":
        return float(torch.cuda.get_device_properties(device).total_memory)
    if device.type == "xpu":
        return float(torch.xpu.get_device_properties(device).total_memory)
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return 8 * GIB


def free_bytes(device: torch.device) -> float:
    """Memory that is there to be had now."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    available = Path("/proc/meminfo")
    if device.type == "cpu" and available.is_file():
        found = re.search(r"^MemAvailable:\s*(\d+) kB", available.read_text(), re.MULTILINE)
        if found:
            return 1024.0 * int(found[1])
    return memory_bytes(device)


def cache_bytes(device: torch.device) -> float:
    """The last-level cache."""
    if device.type == "cuda":
        return float(torch.cuda.get_device_properties(device).L2_cache_size)
    sizes = [_size(file) for file in Path("/sys/devices/system/cpu/cpu0/cache").glob("*/size")]
    return max(sizes, default=float(_DEFAULT_CACHE_BYTES))


def _size(file: Path) -> float:
    """Bytes of `512K` or `105M`."""
    found = re.match(r"(\d+)([KMG]?)", file.read_text())
    return int(found[1]) * 1024.0 ** " KMG".index(found[2] or " ") if found else 0.0


def units(device: torch.device) -> int:
    """Streaming multiprocessors, or threads that torch computes with."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).multi_processor_count)
    return torch.get_num_threads()


def compute_capability(device: torch.device) -> str | None:
    """Of a CUDA device, such as 9.0."""
    if device.type != "cuda" or torch.version.hip:
        return None
    return ".".join(map(str, torch.cuda.get_device_capability(device)))


def environment(device: torch.device) -> dict[str, Any]:
    """Versions and machine, for a record; no names of hosts or users."""
    import transformers

    return {
        "roofline": roofline.__version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "transformers": transformers.__version__,
        "cuda": torch.version.cuda,
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": cpu_name(),
        "threads": torch.get_num_threads(),
        "device": device_name(device),
        "device_memory_bytes": memory_bytes(device),
    }


def another_device(device: torch.device, spec: Hardware) -> str:
    """That a spec is of another device than this one; empty where it may be of this one.

    A spec that was measured has the device's own name as its title; others may list its names.
    """
    own = (spec.title,) if spec.architecture == MEASURED else ()
    names, here = {*spec.nvml_names, *spec.cpu_names, *own}, device_name(device)
    if not names or names & {here, here.removesuffix(_GPU_OF_CHIP)}:
        return ""
    return f"{spec.name} is {spec.title}, and this is {here}"


def catalogued(device: torch.device) -> Hardware | None:
    """The spec of a GPU by the name that its driver gives it; None where none matches."""
    if device.type != "cuda":
        return None
    return by_nvml_name(device_name(device), memory_bytes(device))
