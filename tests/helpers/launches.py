"""Kernels that PyTorch launches, and numbers that it reads back, counted call by call.

A launch is a call of an aten operator that computes tensors: not one that makes a view or changes
metadata alone, allocates without filling, or reads a number to the host. Operators that are made of
others, such as `linear` and `to`, count as what they are made of; fused attention counts once on
any device. One that a library does in several kernels, such as a sort, counts once, too. On a CPU
the same calls are made as on a GPU, in 16 bit with the same conversions.

A wait is a call whose result is a number of the host, or has a shape that values decide on: on a
GPU it blocks until the device has come so far.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_NO_KERNEL = frozenset({"aten::_unsafe_view", "aten::lift_fresh"})
"""Views that autograd need not know of."""
_FUSED = "aten::scaled_dot_product_attention"
_READS = frozenset({"aten::_local_scalar_dense", "aten::equal", "aten::nonzero"})
"""Calls that block, but for `tolist`, which is no call of a CPU tensor."""


class ListReads(TorchFunctionMode):
    """Calls a function at each `tolist`."""

    def __init__(self, seen: Callable[[], None]) -> None:
        super().__init__()
        self._seen = seen

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is Tensor.tolist:
            self._seen()
        return func(*args, **(kwargs or {}))


class LaunchCounter(TorchDispatchMode):
    """Counts launches by operator, and apart for each part that `mark` ends; waits likewise."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: dict[str, Counter[str]] = {}
        self.waits: Counter[str] = Counter()
        self._running: Counter[str] = Counter()
        self._waited = 0
        self.lists = ListReads(self._wait)
        """To be entered beside it, where waits count."""

    def _wait(self) -> None:
        self._waited += 1

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
        if name in _READS:
            self._wait()
        computes = not (func.is_view or name in _NO_KERNEL or "empty" in name)
        if computes and any(isinstance(leaf, Tensor) for leaf in tree_leaves(result)):
            self._running[name] += 1
        return result

    def mark(self, part: str) -> None:
        """What ran since the last mark was `part`."""
        self.parts[part] = self.parts.get(part, Counter()) + self._running
        self.waits[part] += self._waited
        self._running, self._waited = Counter(), 0

    @property
    def totals(self) -> dict[str, int]:
        return {part: counts.total() for part, counts in self.parts.items()}


def launches_by_component(pipeline: Any) -> LaunchCounter:
    """Of a prefill, after one that has laid everything out."""
    pipeline.prefill()
    with torch.inference_mode(), LaunchCounter() as counter, counter.lists:
        pipeline.prefill(counter.mark)
    return counter
