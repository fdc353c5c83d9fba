"""A device with little memory: what PyTorch raises where an allocation does not fit."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class SmallMemory(TorchDispatchMode):
    """Inside it all tensors that are made together have so many bytes at most."""

    def __init__(self, limit_bytes: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.limit_bytes, self.peak_bytes = limit_bytes, 0
        self._held: dict[int, tuple[int, int]] = {}  # storage → its bytes, and tensors upon it

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and tensor.device.type == "cpu":
                self._hold(tensor)
        return result

    def _hold(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage.data_ptr(), storage.nbytes()
        _, tensors = self._held.get(key, (0, 0))
        self._held[key] = size, tensors + 1
        weakref.finalize(tensor, self._let_go, key)
        used = sum(size for size, _ in self._held.values())
        self.peak_bytes = max(self.peak_bytes, used)
        if used > self.limit_bytes:
            raise torch.OutOfMemoryError(f"CUDA out of memory.\nTried to allocate {size} bytes.")

    def _let_go(self, key: int) -> None:
        size, tensors = self._held.pop(key)
        if tensors > 1:
            self._held[key] = size, tensors - 1
