"""Kernels that PyTorch launches, counted call by call.

A launch is a call of an aten operator that computes tensors: not one that makes a view or changes
metadata alone, allocates without filling, or reads a number to the host. Operators that are made of
others, such as `linear` and `to`, count as what they are made of; fused attention counts once on
any device. One that a library does in several kernels, such as a sort, counts once, too. On a CPU
the same calls are made as on a GPU, in 16 bit with the same conversions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_NO_KERNEL = frozenset({"aten::_unsafe_view", "aten::lift_fresh"})
"""Views that autograd need not know of."""
_FUSED = "aten::scaled_dot_product_attention"


class LaunchCounter(TorchDispatchMode):
    """Counts launches by operator, and apart for each part that `mark` ends."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: dict[str, Counter[str]] = {}
        self._running: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name = func._schema.name
        if name != _FUSED:
            with self:
                parts = func.decompose(*args, **(kwargs or {}))
            if parts is not NotImplemented:
                return parts
        result = func(*args, **(kwargs or {}))
        computes = not (func.is_view or name in _NO_KERNEL or "empty" in name)
        if computes and any(isinstance(leaf, Tensor) for leaf in tree_leaves(result)):
            self._running[name] += 1
        return result

    def mark(self, part: str) -> None:
        """What ran since the last mark was `part`."""
        self.parts[part] = self.parts.get(part, Counter()) + self._running
        self._running = Counter()

    @property
    def totals(self) -> dict[str, int]:
        return {part: counts.total() for part, counts in self.parts.items()}


def launches_by_component(pipeline: Any) -> LaunchCounter:
    """Of a prefill, after one that has laid everything out."""
    pipeline.prefill()
    with torch.inference_mode(), LaunchCounter() as counter:
        pipeline.prefill(counter.mark)
    return counter
