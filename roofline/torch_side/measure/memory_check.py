"""Too little memory: what a run needs, what there is, and what would fit instead."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import torch

from roofline.errors import InputError
from roofline.specs.catalog import load_quantization
from roofline.torch_side.low_bit import low_bit_modes
from roofline.torch_side.measure import machine
from roofline.torch_side.measure.request import Request
from roofline.units import si


class MemoryShortError(InputError):
    """A run that does not fit into what the device has left."""


def check_memory(request: Request, device: torch.device) -> None:
    """Raise MemoryShortError for what is known not to fit, before anything is loaded."""
    needed = request.peak_memory_bytes()
    if needed is not None and needed > machine.free_bytes(device):
        raise short_of_memory(request, device)


def let_go(device: torch.device) -> None:
    """Give back what nobody holds any more: cycles, and what the allocator keeps for later."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def short_of_memory(request: Request, device: torch.device) -> MemoryShortError:
    """The error, with the first alternative that fits.

    Call it behind the handler of what PyTorch raised: inside, its frames hold on to the model, and
    nothing is free.
    """
    let_go(device)
    free, needed = machine.free_bytes(device), request.peak_memory_bytes()
    text = (
        f"{request.spec.name} in {request.scenario.quant.name} at batch "
        f"{request.count('batch')} needs "
        f"{'more than there is' if needed is None or needed <= free else si(needed, 'B')}, and "
        f"{machine.device_name(device)} has {si(free, 'B')} free"
    )
    for option, other in _alternatives(request, device):
        takes = other.peak_memory_bytes()
        if takes is not None and takes <= free and (needed is None or takes < needed):
            return MemoryShortError(f"{text}: {option} would fit ({si(takes, 'B')})")
    return MemoryShortError(f"{text}: a smaller model or a larger device is needed")


def _alternatives(request: Request, device: torch.device) -> Iterator[tuple[str, Request]]:
    """Smaller batches first, then narrower weights that the device has kernels for."""
    batch = request.count("batch")
    while batch > 1:
        batch //= 2
        yield f"--batch {batch}", request.with_counts(batch=batch)
    for quant in ("fp16", *low_bit_modes(device)):
        yield f"--quant {quant}", request.with_scenario(quant=load_quantization(quant))
