"""Kernels that show a device's ceilings: of its memory, its cache and its vector units.

They are the first of the Empirical Roofline Toolkit's (Lo et al. 2014). None of them is a model's.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from roofline.torch_side.calibrate.microbench import Bench, KernelRow, TimedCall
from roofline.units import GIB, MIB

CACHE_SHARES = (1 / 4, 1 / 2)
"""Of the cache that operands fill. Two, for the difference of their times has no launch in it."""
_LEAST_MEMORY_BYTES = {"cpu": 64 * MIB}
"""Beyond the cache; elsewhere 1 GiB, beside which a launch is nothing."""
_CACHES = 2
"""Times the cache, at least: what is read in turn has then left it before it is read again."""
_LARGEST_SHARE = 1 / 8
"""Of the device's memory."""


def bandwidth(device: torch.device, cache_bytes: float, room_bytes: float) -> Iterator[Bench]:
    """Copy, read and write, of sizes that fit the last-level cache and of one that does not."""
    beyond = max(_CACHES * cache_bytes, _LEAST_MEMORY_BYTES.get(device.type, GIB))
    sizes = [("cache", share * cache_bytes) for share in CACHE_SHARES]
    sizes.append(("memory", min(beyond, room_bytes * _LARGEST_SHARE)))
    for level, size_bytes in sizes:
        elements = max(int(size_bytes / 2) // 4, 1024)
        for op, stream in (("copy", _copy), ("read", _read), ("write", _write)):
            row: KernelRow = {"op": op, "level": level, "bytes": 2 * 4 * elements}
            yield Bench(row, partial(stream, elements, device))


def _two(elements: int, device: torch.device) -> tuple[Tensor, Tensor]:
    return torch.ones(elements, device=device), torch.ones(elements, device=device)


def _copy(elements: int, device: torch.device) -> TimedCall:
    source, target = _two(elements, device)
    return lambda: target.copy_(source)


def _read(elements: int, device: torch.device) -> TimedCall:
    first, second = _two(elements, device)
    return lambda: torch.dot(first, second)


def _write(elements: int, device: torch.device) -> TimedCall:
    first, second = _two(elements, device)
    return lambda: (first.fill_(1.0), second.fill_(1.0))


def empty(device: torch.device) -> Bench:
    """The least that a kernel can be: one number, one addition."""

    def make() -> TimedCall:
        one = torch.ones(1, device=device)
        return lambda: one.add_(1.0)

    return Bench({"op": "launch"}, make)


def arithmetic(device: torch.device, *, int8: bool) -> Iterator[Bench]:
    """What computes as fast as can be, with hardly any memory: fp32 in the vector units, and the
    products of 8-bit numbers alone, of which w8a8 kernels are a part.
    """
    if device.type == "cuda":
        yield _multiply_adds(device)
    else:
        yield _product("fp32", device)
    if int8:
        yield _product("int8", device)


MULTIPLY_ADDS = "multiply_adds"
_CHAINS, _STEPS, _UNROLLED = 8, 1024, 16
_ELEMENTS = 2**23
_SOURCE = f"""
template <typename T> T multiply_adds(T x, T by, T plus) {{
  T chain[{_CHAINS}];
  #pragma unroll
  for (int i = 0; i < {_CHAINS}; ++i) chain[i] = x + T(i);
  #pragma unroll {_UNROLLED}
  for (int step = 0; step < {_STEPS}; ++step) {{
    #pragma unroll
    for (int i = 0; i < {_CHAINS}; ++i) chain[i] = chain[i] * by + plus;
  }}
  T sum = T(0);
  #pragma unroll
  for (int i = 0; i < {_CHAINS}; ++i) sum += chain[i];
  return sum;
}}
"""
"""One element: chains of multiply-adds that do not wait for one another, all in registers. What
they multiply by is known at run time only, so that no compiler can work them out."""


def _multiply_adds(device: torch.device, elements: int = _ELEMENTS) -> Bench:
    """Compiled when it is made, by the compiler that comes with torch."""

    def make() -> TimedCall:
        kernel = torch.cuda.jiterator._create_jit_fn(_SOURCE, by=0.5, plus=0.5)
        x = torch.rand(elements, device=device)
        return lambda: kernel(x)

    row: KernelRow = {
        "op": "arithmetic",
        "function": MULTIPLY_ADDS,
        "dtype": "fp32",
        "flops": 2 * _CHAINS * _STEPS * elements,
    }
    return Bench(row, make)


_SIDES = {"cpu": 1024}
_SIDE = 8192


def _product(kernel: str, device: torch.device) -> Bench:
    """A square matmul of fp32 or 8-bit numbers."""
    side = _SIDES.get(device.type, _SIDE)

    def make() -> TimedCall:
        if kernel == "int8":
            left, right = (
                torch.randint(-127, 128, (side, side), dtype=torch.int8, device=device)
                for _ in range(2)
            )
            return lambda: torch._int_mm(left, right.t())
        left, right = (torch.randn(side, side, device=device) for _ in range(2))
        return lambda: left @ right

    row: KernelRow = {
        "op": "arithmetic",
        "function": "product",
        "dtype": kernel,
        "flops": 2 * side**3,
    }
    return Bench(row, make)
