"""Kernels to measure a device by: bandwidth, matmuls, attention, vector ops, an empty kernel.

The first five of the Empirical Roofline Toolkit's ceilings (Lo et al. 2014), in the shapes and
through the functions that a transformer runs. Weights come from a pool larger than any cache, each
call taking the next ones, as a model's layers do; activations are as warm as their size lets them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle, product
from math import ceil
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from roofline.torch_side.families.llama_decoder import rms_norm, rotation
from roofline.torch_side.load import DTYPES

TimedCall = Callable[[], object]
"""Runs a kernel once."""
KernelRow = Mapping[str, Any]
"""Columns of a measured kernel: numbers, and names of its kind and type."""

POINTWISE_READS_AND_WRITES = {
    "rms_norm": 2,
    "layer_norm": 2,
    "rotary": 4,
    "swiglu": 3,
    "quick_gelu": 2,
    "gelu": 2,
    "residual": 3,
    "softmax": 2,
    "embedding": 2,
}
"""Tensors of the op's own size that one fused kernel would move: what the analysis counts."""


@dataclass(frozen=True)
class Bench:
    """One kernel at one size."""

    row: KernelRow
    """Its columns in the table of measurements, but for the time."""
    make: Callable[[], TimedCall]
    """Allocates what it needs."""

    @property
    def name(self) -> str:
        return " ".join(str(value) for value in self.row.values())


class Pool:
    """Weights, more of each shape than the caches hold, handed out one after the other.

    Every matrix is an allocation of its own, as in a model: where pages are small, that costs.
    """

    def __init__(self, size_bytes: float, dtype: torch.dtype, device: torch.device) -> None:
        self._size_bytes, self._dtype, self._device = size_bytes, dtype, device
        self._turns: dict[tuple[int, int], Iterator[Tensor]] = {}

    def take(self, n: int, k: int) -> Tensor:
        """The next matrix [n, k]; behind the last comes the first again."""
        if (n, k) not in self._turns:
            self._turns.clear()  # those of one shape at a time: each fills the pool
            copies = max(2, ceil(self._size_bytes / (n * k * self._dtype.itemsize)))
            self._turns[n, k] = cycle([self._drawn(n, k) for _ in range(copies)])
        return next(self._turns[n, k])

    def _drawn(self, n: int, k: int) -> Tensor:
        empty = torch.empty(n, k, dtype=self._dtype, device=self._device)
        return empty.uniform_(-0.05, 0.05)


def bandwidth(device: torch.device, cache_bytes: float, room_bytes: float) -> Iterator[Bench]:
    """Copy, read and write, of sizes that fit the last-level cache and of such that do not."""
    sizes = {"cache": cache_bytes / 8, "memory": min(4 * cache_bytes, room_bytes / 8)}
    for level, size_bytes in sizes.items():
        elements = max(int(size_bytes / 2) // 4, 1024)

        def tensors(elements: int = elements) -> tuple[Tensor, Tensor]:
            return torch.ones(elements, device=device), torch.ones(elements, device=device)

        def copy(tensors: Any = tensors) -> TimedCall:
            source, target = tensors()
            return lambda: target.copy_(source)

        def read(tensors: Any = tensors) -> TimedCall:
            source, target = tensors()
            return lambda: torch.dot(source, target)

        def write(tensors: Any = tensors) -> TimedCall:
            source, target = tensors()
            return lambda: (source.fill_(1.0), target.fill_(1.0))

        for op, make in (("copy", copy), ("read", read), ("write", write)):
            row: KernelRow = {"op": op, "level": level, "bytes": 2 * 4 * elements}
            yield Bench(row, make)


Linear = Callable[[int, int, Tensor], TimedCall]
"""(n, k, activations [m, k]) → what multiplies them with weights [n, k]."""


def matmuls(
    kernel: str,
    linear: Linear,
    rows: Sequence[int],
    shapes: Sequence[tuple[int, int]],
    activations: Callable[[int, int], Tensor],
) -> Iterator[Bench]:
    """[m, k] @ [k, n] for all m and (n, k)."""
    for (n, k), m in product(shapes, rows):
        row: KernelRow = {"op": "matmul", "dtype": kernel, "m": m, "n": n, "k": k}
        yield Bench(row, partial(_matmul, linear, activations, m, n, k))


def _matmul(
    linear: Linear, activations: Callable[[int, int], Tensor], m: int, n: int, k: int
) -> TimedCall:
    return linear(n, k, activations(m, k))


def from_pool(pool: Pool) -> Linear:
    """A plain matmul, with other weights each time."""
    return lambda n, k, x: lambda: functional.linear(x, pool.take(n, k))


def quantized(
    quantize: Callable[[nn.Module], None], device: torch.device, pool_bytes: float
) -> Linear:
    """Linear layers whose weights are quantized, as many as fill `pool_bytes` in 16 bit."""

    def of_shape(n: int, k: int, x: Tensor) -> TimedCall:
        copies = max(1, min(8, int(pool_bytes) // (2 * n * k)))
        with torch.device(device):
            layers = nn.ModuleList(
                nn.Linear(k, n, bias=False, dtype=x.dtype) for _ in range(copies)
            )
        quantize(layers)
        turn = cycle(layers)
        return lambda: next(turn)(x)

    return of_shape


class AttentionSize(NamedTuple):
    """Q [batch, heads, queries, e]; K and V [batch, heads, keys, e]."""

    batch: int
    queries: int
    keys: int
    heads: int
    head_dim: int
    causal: bool = False


def attention(dtype: str, device: torch.device, shapes: Sequence[AttentionSize]) -> Iterator[Bench]:
    """Fused attention as transformers calls it, its output back in the layout of tokens."""
    for shape in shapes:
        row: KernelRow = {
            "op": "attention",
            "dtype": dtype,
            "batch_size": shape.batch,
            "tokens": shape.queries,
            "keys": shape.keys,
            "num_heads": shape.heads,
            "num_key_value_heads": shape.heads,
            "head_dim": shape.head_dim,
            "causal": int(shape.causal),
        }

        def make(shape: AttentionSize = shape) -> TimedCall:
            def heads_first(tokens: int) -> Tensor:
                size = (shape.batch, tokens, shape.heads, shape.head_dim)
                drawn = torch.randn(size, device=device, dtype=DTYPES[dtype])
                return drawn.transpose(1, 2)

            q, k, v = map(heads_first, (shape.queries, shape.keys, shape.keys))

            def run() -> Tensor:
                attended = functional.scaled_dot_product_attention(q, k, v, is_causal=shape.causal)
                return attended.transpose(1, 2).contiguous()

            return run

        yield Bench(row, make)


def vector_ops(
    dtype: str, device: torch.device, sizes: Sequence[tuple[int, int]]
) -> Iterator[Bench]:
    """Ops on [rows, width] as transformers runs them, kernel by kernel."""
    number = DTYPES[dtype]
    for (function, tensors), (rows, width) in product(POINTWISE_READS_AND_WRITES.items(), sizes):
        moved = tensors * rows * width * number.itemsize

        def make(function: str = function, rows: int = rows, width: int = width) -> TimedCall:
            return _VECTOR_OPS[function](torch.randn(1, rows, width, device=device, dtype=number))

        row: KernelRow = {
            "op": "pointwise",
            "function": function,
            "dtype": dtype,
            "rows": rows,
            "width": width,
            "bytes": moved,
        }
        yield Bench(row, make)


def empty(device: torch.device) -> Bench:
    """The least that a kernel can be: one number, one addition."""

    def make() -> TimedCall:
        one = torch.ones(1, device=device)
        return lambda: one.add_(1.0)

    return Bench({"op": "launch"}, make)


_HEAD = 64


def _rms_norm(x: Tensor) -> TimedCall:
    norm = rms_norm(x.shape[-1]).to(x)
    return lambda: norm(x)


def _layer_norm(x: Tensor) -> TimedCall:
    norm = torch.nn.LayerNorm(x.shape[-1]).to(x)
    return lambda: norm(x)


def _rotary(x: Tensor) -> TimedCall:
    """Queries and keys of one width, and keys and values into the cache."""
    rotate = rotation()
    head = min(_HEAD, x.shape[-1])
    heads = x.view(1, x.shape[1], -1, head).transpose(1, 2)
    angles = torch.randn(1, x.shape[1], head, device=x.device, dtype=x.dtype)
    keys, values = torch.empty_like(heads), torch.empty_like(heads)

    def run() -> None:
        _, rotated = rotate(heads, heads, angles, angles)
        keys.copy_(rotated)
        values.copy_(heads)

    return run


def _swiglu(x: Tensor) -> TimedCall:
    up = torch.randn_like(x)
    return lambda: functional.silu(x) * up


def _quick_gelu(x: Tensor) -> TimedCall:
    return lambda: x * torch.sigmoid(1.702 * x)


def _gelu(x: Tensor) -> TimedCall:
    return lambda: functional.gelu(x)


def _residual(x: Tensor) -> TimedCall:
    branch = torch.randn_like(x)
    return lambda: x + branch


def _softmax(x: Tensor) -> TimedCall:
    return lambda: x.softmax(dim=-1)


def _embedding(x: Tensor) -> TimedCall:
    table = torch.randn(8192, x.shape[-1], device=x.device, dtype=x.dtype)
    ids = torch.randint(len(table), x.shape[:2], device=x.device)
    return lambda: functional.embedding(ids, table)


_VECTOR_OPS: Mapping[str, Callable[[Tensor], TimedCall]] = {
    "rms_norm": _rms_norm,
    "layer_norm": _layer_norm,
    "rotary": _rotary,
    "swiglu": _swiglu,
    "quick_gelu": _quick_gelu,
    "gelu": _gelu,
    "residual": _residual,
    "softmax": _softmax,
    "embedding": _embedding,
}
