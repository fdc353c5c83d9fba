"""Kernels of models to measure a device by: matmuls, attention, vector ops.

They have the shapes and run through the functions of a transformer. What a model reads cold is cold
here, too (`operands`): weights, the keys and values of decode, the table of an embedding.
Activations are as warm as their size lets them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle, product
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from roofline.torch_side.calibrate.operands import Pool, Ring
from roofline.torch_side.families.llama_decoder import rms_norm, rotation
from roofline.torch_side.load import DTYPES
from roofline.torch_side.measure.attention_kernels import attention_kernels
from roofline.torch_side.measure.timing import Mark

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


def _nothing(run: TimedCall) -> KernelRow:
    return {}


@dataclass(frozen=True)
class Bench:
    """One kernel at one size."""

    row: KernelRow
    """Its columns in the table of measurements, but for the time."""
    make: Callable[[], TimedCall]
    """Allocates what it needs."""
    turn: int = 1
    """Calls until its operands come round: fewer in a row would find them where they left them."""
    group: object = None
    """Benches of one group are timed side by side: those that draw from the same weights."""
    seen: Callable[[TimedCall], KernelRow] = _nothing
    """More columns, that only a run of it shows."""

    @property
    def name(self) -> str:
        return " ".join(str(value) for value in self.row.values())


Multiply = Callable[[Any, Tensor], object]
"""(weights [n, k] of a pool, activations [m, k]) → their product."""


def matmuls(
    kernel: KernelRow,
    pool: Pool[Any],
    multiply: Multiply,
    activations: Callable[[int, int], Tensor],
    rows: Sequence[int],
    shapes: Sequence[tuple[int, int]],
) -> Iterator[Bench]:
    """[m, k] @ [k, n] for all m and (n, k). kernel: columns that say which one it is."""
    for (n, k), m in product(shapes, rows):

        def make(m: int = m, n: int = n, k: int = k) -> TimedCall:
            x = activations(m, k)
            return lambda: multiply(pool.take(n, k), x)

        row: KernelRow = {"op": "matmul", **kernel, "m": m, "n": n, "k": k}
        yield Bench(row, make, pool.turn(n, k), group=(kernel["dtype"], n, k))


def times_weights(weight: Tensor, x: Tensor) -> Tensor:
    """A plain matmul."""
    return functional.linear(x, weight)


def through_layer(layer: nn.Module, x: Tensor) -> object:
    """A linear layer that is a module."""
    return layer(x)


class AttentionSize(NamedTuple):
    """Q [batch, heads, queries, e]; K and V [batch, heads, keys, e]."""

    batch: int
    queries: int
    keys: int
    heads: int
    head_dim: int
    causal: bool = False

    @property
    def decodes(self) -> bool:
        """Whether single queries meet keys that were written long ago."""
        return self.queries < self.keys

    @property
    def cached(self) -> int:
        """Elements of keys and values."""
        return 2 * self.batch * self.keys * self.heads * self.head_dim


def attention(
    dtype: str, device: torch.device, shapes: Sequence[AttentionSize], pool_bytes: float
) -> Iterator[Bench]:
    """Fused attention as transformers calls it, its output back in the layout of tokens.

    A prompt's keys and values were written just before; those that decode reads come from a ring of
    `pool_bytes`, or what the longest need.
    """
    number = DTYPES[dtype]
    longest = max((shape.cached for shape in shapes if shape.decodes), default=0)
    ring = Ring(max(pool_bytes, longest * number.itemsize), number, device)
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
        calls = ring.turn(shape.cached) if shape.decodes else 1
        made = partial(_attention, shape, number, device, ring)
        yield Bench(row, made, calls, seen=_attention_backend)


def _attention(
    shape: AttentionSize, number: torch.dtype, device: torch.device, ring: Ring
) -> TimedCall:
    def drawn(tokens: int) -> Tensor:
        size = (shape.batch, tokens, shape.heads, shape.head_dim)
        return torch.randn(size, device=device, dtype=number).transpose(1, 2)

    def cached() -> Tensor:
        return ring.take(shape.batch, shape.keys, shape.heads, shape.head_dim).transpose(1, 2)

    def attended(k: Tensor, v: Tensor) -> Tensor:
        result = functional.scaled_dot_product_attention(q, k, v, is_causal=shape.causal)
        return result.transpose(1, 2).contiguous()

    q = drawn(shape.queries)
    if shape.decodes:
        return lambda: attended(cached(), cached())
    return partial(attended, drawn(shape.keys), drawn(shape.keys))


def _attention_backend(run: TimedCall) -> KernelRow:
    """Which of its kernels PyTorch takes here; empty for one that has no name."""
    call = "call"

    def marked(mark: Mark) -> None:
        run()
        mark(call)

    return {"backend": " ".join(attention_kernels(marked).get(call, []))}


def vector_ops(
    dtype: str, device: torch.device, sizes: Sequence[tuple[int, int]], pool_bytes: float
) -> Iterator[Bench]:
    """Ops on [rows, width] as transformers runs them, kernel by kernel."""
    number = DTYPES[dtype]
    largest = max(rows * width for rows, width in sizes)
    table = Ring(max(pool_bytes, largest * number.itemsize), number, device)
    for (function, tensors), (rows, width) in product(POINTWISE_READS_AND_WRITES.items(), sizes):
        moved = tensors * rows * width * number.itemsize
        calls, made = 1, partial(_vector_op, function, rows, width, number, device)
        if function == "embedding":
            calls = min(table.turn(rows * width), _LOOK_UPS)
            made = partial(_embedding, table, rows, width, calls, device)
        row: KernelRow = {
            "op": "pointwise",
            "function": function,
            "dtype": dtype,
            "rows": rows,
            "width": width,
            "bytes": moved,
        }
        yield Bench(row, made, calls)


def _vector_op(
    function: str, rows: int, width: int, number: torch.dtype, device: torch.device
) -> TimedCall:
    return _VECTOR_OPS[function](torch.randn(1, rows, width, device=device, dtype=number))


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


_LOOK_UPS = 1024
"""Of an embedding, after which its ids come again: a few rows of it are small, and stay warm."""


def _embedding(ring: Ring, rows: int, width: int, calls: int, device: torch.device) -> TimedCall:
    """Every call looks up rows of the table that the calls before it did not."""
    table = ring.take(rows * calls, width)
    ids = cycle(torch.randperm(len(table), device=device).view(calls, 1, rows))
    return lambda: functional.embedding(next(ids), table)


_VECTOR_OPS: Mapping[str, Callable[[Tensor], TimedCall]] = {
    "rms_norm": _rms_norm,
    "layer_norm": _layer_norm,
    "rotary": _rotary,
    "swiglu": _swiglu,
    "quick_gelu": _quick_gelu,
    "gelu": _gelu,
    "residual": _residual,
    "softmax": _softmax,
}
