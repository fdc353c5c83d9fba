"""Sums that a GPU takes in any order: each run may round them differently."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_ATOMIC = frozenset({"scatter_add", "scatter_reduce", "index_add", "index_reduce"})
"""Operators that PyTorch lists as not deterministic on CUDA; the fourth argument is added."""


class UnorderedSums(TorchDispatchMode):
    """Notes what such operators add."""

    def __init__(self) -> None:
        super().__init__()
        self.addends: list[Tensor] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket.__name__.rstrip("_") in _ATOMIC:
            self.addends.append(args[3].detach().clone())
        return func(*args, **(kwargs or {}))

    @property
    def may_round(self) -> list[Tensor]:
        """Those that are no whole numbers below 2²⁴: fp32 sums of these are exact in any order."""
        return [x for x in self.addends if (x != x.round()).any() or x.abs().sum() >= 2**24]
