"""Too little memory: what a run needs, what there is, and what would fit instead."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from roofline.errors import InputError
from roofline.specs.catalog import load_quantization
from roofline.torch_side.measure import machine
from roofline.torch_side.measure.request import Request
from roofline.units import si

_NARROWER = ("fp16", "w8a16", "w4a16")


class MemoryShortError(InputError):
    """A run that does not fit into what the device has left."""


def check_memory(request: Request, device: torch.device) -> None:
    """Raise MemoryShortError for what is known not to fit, before anything is loaded."""
    needed = request.peak_memory_bytes()
    if needed is not None and needed > machine.free_bytes(device):
        raise short_of_memory(request, device)


def short_of_memory(request: Request, device: torch.device) -> MemoryShortError:
    """The error, with the first alternative that fits."""
    free, needed = machine.free_bytes(device), request.peak_memory_bytes()
    text = (
        f"{request.spec.name} in {request.scenario.quant.name} at batch "
        f"{request.count('batch')} needs "
        f"{'more than there is' if needed is None else si(needed, 'B')}, and "
        f"{machine.device_name(device)} has {si(free, 'B')} free"
    )
    for option, other in _alternatives(request):
        takes = other.peak_memory_bytes()
        if takes is not None and takes <= free:
            return MemoryShortError(f"{text}: {option} would fit ({si(takes, 'B')})")
    return MemoryShortError(f"{text}: a smaller model or a larger device is needed")


def _alternatives(request: Request) -> Iterator[tuple[str, Request]]:
    """Smaller batches first, then narrower weights."""
    batch = request.count("batch")
    while batch > 1:
        batch //= 2
        yield f"--batch {batch}", request.with_counts(batch=batch)
    for quant in _NARROWER:
        yield f"--quant {quant}", request.with_scenario(quant=load_quantization(quant))
