"""What is seen of a run while it is eager, whatever it is timed as: its memory, and its attention.

A CUDA graph holds on to the memory of all that it computes, so that the allocator's peak is the
pool's; and what a graph replays, or a compiler has fused, has no names of PyTorch's kernels.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from msgspec import Struct

from roofline.torch_side.measure.attention_kernels import attention_kernels
from roofline.torch_side.measure.modes import ignore
from roofline.torch_side.measure.timing import Mark, synchronizer


class EagerLook(Struct, frozen=True):
    """Of one run."""

    attention_kernels: dict[str, list[str]]
    """By component, as `attention_kernels` has them."""
    peak_memory_bytes: float | None
    """By the device's allocator, weights and cache included; None where it keeps no count."""


def eager_look(run: Callable[[Mark], object], device: torch.device) -> EagerLook:
    """Look at an eager run, behind one that fills caches and makes workspaces.

    run: takes a mark to call with a component's name behind its work.
    """
    if device.type != "cuda":
        return EagerLook(attention_kernels(run), None)
    run(ignore)
    peak_bytes = peak_memory_bytes(lambda: run(ignore), device)
    return EagerLook(attention_kernels(run), peak_bytes)


def peak_memory_bytes(run: Callable[[], object], device: torch.device) -> float:
    """Bytes that are allocated at most during an eager run on a CUDA device, old ones included."""
    synchronize = synchronizer(device)
    synchronize()
    torch.cuda.reset_peak_memory_stats(device)
    run()
    synchronize()
    return float(torch.cuda.max_memory_allocated(device))
