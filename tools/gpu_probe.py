"""Print, as JSON, what a device and its software are: `python tools/gpu_probe.py DEVICE FILE`."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
import torch

from roofline.torch_side.load import checked_device
from roofline.torch_side.measure import machine
from roofline.torch_side.measure.telemetry import open_telemetry


def probe(device: torch.device) -> dict[str, Any]:
    """Machine, driver, clocks, and what PyTorch would compute with."""
    cudnn: Any = torch.backends.cudnn  # its functions have no types
    cuda: Any = torch.backends.cuda
    telemetry = open_telemetry(device)
    spec = machine.catalogued(device)
    found = {
        "environment": machine.environment(device),
        "compute_capability": machine.compute_capability(device),
        "units": machine.units(device),
        "cache_bytes": machine.cache_bytes(device),
        "free_bytes": machine.free_bytes(device),
        "catalogue": spec and spec.name,
        "nvml": telemetry.describe(),
        "idle": msgspec.to_builtins(telemetry.snapshot()),
        "backends": {
            "cudnn": cudnn.version(),
            "flash": cuda.flash_sdp_enabled(),
            "efficient": cuda.mem_efficient_sdp_enabled(),
            "cudnn attention": cuda.cudnn_sdp_enabled(),
            "tf32 matmul": cuda.matmul.allow_tf32,
            "triton": find_spec("triton") is not None,
            "flash-attn": find_spec("flash_attn") is not None,
        },
    }
    return found | {"notes": telemetry.notes}


if __name__ == "__main__":
    found = json.dumps(probe(checked_device(sys.argv[1])), indent=1)
    print(found)
    Path(sys.argv[2]).write_text(found + "\n", encoding="utf-8")
