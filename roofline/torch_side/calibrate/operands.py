"""Operands that are cold when a kernel reads them, as a model's weights and its KV cache are.

Each call of a kernel takes the next ones, and there are several times as many bytes of them as the
last-level cache holds: once all have had their turn, none of the first is left in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from itertools import cycle
from math import ceil, prod
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

T = TypeVar("T")


def turn(pool_bytes: float, call_bytes: float, least: int = 2) -> int:
    """Calls until operands of so many bytes each are through the pool."""
    return max(least, ceil(pool_bytes / call_bytes))


class Pool(Generic[T]):
    """Weights of one shape after the other, each matrix an allocation of its own, as in a model:
    where pages are small, that costs.
    """

    def __init__(
        self, size_bytes: float, element_bytes: float, make: Callable[[int, int], T]
    ) -> None:
        """make: from n and k, one of a pool's [n, k]."""
        self._size_bytes, self._element_bytes, self._make = size_bytes, element_bytes, make
        self._turns: dict[tuple[int, int], Iterator[T]] = {}

    def turn(self, n: int, k: int) -> int:
        """Calls until the first matrix [n, k] comes again."""
        return turn(self._size_bytes, n * k * self._element_bytes)

    def take(self, n: int, k: int) -> T:
        """The next matrix [n, k]; behind the last comes the first again."""
        if (n, k) not in self._turns:
            self._turns.clear()  # those of one shape at a time: each fills the pool
            self._turns[n, k] = cycle([self._make(n, k) for _ in range(self.turn(n, k))])
        return next(self._turns[n, k])


def weights(size_bytes: float, dtype: torch.dtype, device: torch.device) -> Pool[Tensor]:
    """A pool of plain weights."""

    def drawn(n: int, k: int) -> Tensor:
        return torch.empty(n, k, dtype=dtype, device=device).uniform_(-0.05, 0.05)

    return Pool(size_bytes, dtype.itemsize, drawn)


def quantized_layers(
    size_bytes: float, layer: Callable[[nn.Linear], nn.Module], bits: int, device: torch.device
) -> Pool[nn.Module]:
    """A pool of linear layers in bf16 whose weights `layer` quantizes to so many bits."""
    first: dict[tuple[int, int], nn.Module] = {}

    def made(n: int, k: int) -> nn.Module:
        if (n, k) not in first:
            first.clear()
            wide = nn.Linear(k, n, bias=False, device=device, dtype=torch.bfloat16)
            first[n, k] = layer(wide.requires_grad_(False))
        # quantizing takes long, and all that counts is that each lies elsewhere
        return deepcopy(first[n, k])

    return Pool(size_bytes, bits / 8, made)


class Ring:
    """One long tensor, of which every call reads the next stretch: keys and values of decode."""

    def __init__(self, size_bytes: float, dtype: torch.dtype, device: torch.device) -> None:
        self._elements = ceil(size_bytes / dtype.itemsize)
        self._dtype, self._device = dtype, device
        self._numbers: Tensor | None = None
        self._next = 0

    def turn(self, elements: int) -> int:
        """Calls of so many elements until the first stretch comes again."""
        return max(1, self._elements // elements)

    def take(self, *shape: int) -> Tensor:
        """The next stretch in that shape; where too little is left, the first."""
        if self._numbers is None:
            empty = torch.empty(self._elements, dtype=self._dtype, device=self._device)
            self._numbers = empty.uniform_(-1.0, 1.0)
        size = prod(shape)
        first = self._next if self._next + size <= self._elements else 0
        self._next = first + size
        return self._numbers[first : first + size].view(shape)
