"""What a reducer's code costs that states no cost: its calls on meta tensors, as ops.

A call of an aten operator that computes tensors is a kernel: it reads its tensors and writes its
result once. Its FLOPs are those of PyTorch's counter; other calls do one operation a result.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from traceback import extract_tb
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from roofline.model.block import Block
from roofline.model.op import MatmulShape, Op
from roofline.model.polynomial import Number
from roofline.reducers.base import TRACERS, Reducer, ReductionTask
from roofline.reducers.ops import next_block_projections
from roofline.torch_side.reduce.methods.base import BoundMethod, Method, ReducerError

_NO_KERNEL = frozenset({"aten::_unsafe_view", "aten::lift_fresh"})
"""Views that autograd need not know of."""
_LOOKUPS = frozenset({"index", "index_select", "gather", "take", "embedding"})
"""Calls that read no more of their first tensor than they copy."""
_OVERWRITING = frozenset({"aten::copy_", "aten::fill_", "aten::zero_"})
"""Calls that write their first tensor without a look at it."""
_DTYPE = torch.float16
_OURS = re.compile(r"[\\/](torch|roofline)[\\/]")
"""Files of the libraries that run somebody's code."""


class Kernel(NamedTuple):
    """A call, told from others by what it does."""

    name: str
    reads: float
    """Elements of 16 bits, as are `writes`."""
    writes: float
    results: float
    """Numbers computed, of any width."""
    flops: float
    """Of products of matrices."""
    shape: tuple[int, int, int] | None
    """m, k, n of a product of matrices, all of a batch as rows."""


def traced_ops(
    given: Mapping[str, Any], reducer: Reducer, task: ReductionTask
) -> tuple[Block, ...]:
    """The calls of a method of features, a block for those that are alike.

    It is run for one image and for two: amounts grow evenly with images where both make the same
    calls, else all are made for each image.
    Raises ReducerError for code that cannot be traced, and for methods inside the ViT or the LLM.
    """
    method = Method(reducer.name, **given)
    if method.reduce is None:
        raise ReducerError(
            f"{reducer.name} works inside the model and states no cost: give it `extra_ops`"
        )
    width = task.llm.hidden_size if reducer.connects_all else task.width
    size = task.patches + task.vision.class_token, width, task.width
    one, two = (
        _kernels(reducer, method, task.kept, task.heads, task.vision.class_token, (images, *size))
        for images in (1, 2)
    )
    if [kernel.name for kernel in one] != [kernel.name for kernel in two]:
        two = [kernel._replace(**_scaled(kernel, 2.0)) for kernel in one]
    counts = Counter(zip(one, two, strict=True))
    named = Counter[str]()
    # the tower does not run the block whose queries and keys are asked for
    projected = method.needs_attention and method.attention_block >= 0
    blocks = [Block(1, next_block_projections(task))] if projected else []
    for (first, second), count in counts.items():
        named[first.name] += 1
        suffix = f"_{named[first.name]}" if named[first.name] > 1 else ""
        blocks.append(Block(count, (_op(first, second, f"{first.name}{suffix}", task.images),)))
    return tuple(blocks)


def _op(one: Kernel, two: Kernel, name: str, images: Number) -> Op:
    """Amounts of one image, and as much more for each further one as the second takes."""

    def amount(field: str) -> Number:
        first, second = float(getattr(one, field)), float(getattr(two, field))
        return first + (second - first) * (images - 1.0)

    shape = None
    if one.shape is not None and two.shape is not None:
        rows = one.shape[0] + (two.shape[0] - one.shape[0]) * (images - 1.0)
        shape = MatmulShape(rows, one.shape[1], one.shape[2])
    matrices = shape is not None
    return Op(
        name,
        "reduction",
        "attention" if matrices else "vector",
        reads={f"{name}_in": amount("reads")},
        writes={f"{name}_out": amount("writes")},
        flops=amount("flops") if matrices else 0.0,
        vector_flops=0.0 if matrices else amount("results"),
        shape=shape,
    )


def _scaled(kernel: Kernel, factor: float) -> dict[str, Any]:
    m_k_n = kernel.shape and (int(factor * kernel.shape[0]), *kernel.shape[1:])
    names = ("reads", "writes", "results", "flops")
    amounts = {name: factor * getattr(kernel, name) for name in names}
    return {**amounts, "shape": m_k_n}


@lru_cache(maxsize=64)
def _kernels(
    reducer: Reducer,
    method: Method,
    kept: int,
    heads: int,
    class_token: bool,
    size: tuple[int, int, int, int],
) -> list[Kernel]:
    """Of so many images, tokens, and widths of features and of keys."""
    images, tokens, width, key_width = size
    features = torch.empty(images, tokens, width, dtype=_DTYPE, device="meta")
    attention = [
        torch.empty(images, tokens, key_width, dtype=_DTYPE, device="meta")
        for _ in range(2 if method.needs_attention else 0)
    ]
    count = None if reducer.settles_count else kept
    bound = BoundMethod(method, reducer, {"count": count} if "count" in method.arguments else {})
    queries, keys = attention or (None, None)
    with torch.inference_mode(), _KernelRecorder() as recorder:
        try:
            bound.reduce(features, queries, keys, heads=heads, class_token=class_token)
        except ReducerError:
            raise
        except (NotImplementedError, RuntimeError) as error:  # numbers that meta tensors lack
            raise ReducerError(
                f"{reducer.name} states no cost, and its code cannot be traced without a picture "
                f"({_first_line(error)}): give it `extra_ops`"
            ) from None
        except Exception as error:  # of somebody else's code
            raise ReducerError(
                f"{reducer.name} fails at {_place(error)}: {type(error).__name__}: "
                f"{_first_line(error)}"
            ) from error
    kernels: list[Kernel] = recorder.kernels
    return kernels


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _place(error: Exception) -> str:
    """The last line that ran outside torch and this package."""
    frames = [f for f in extract_tb(error.__traceback__) if not _OURS.search(f.filename)]
    return f"{Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else "its call"


class _KernelRecorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes kernels; operators made of others count as what they are made of."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kernels: list[Kernel] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        packet, name = func.overloadpacket, func._schema.name
        if packet not in flop_registry:
            with self:
                parts = func.decompose(*args, **kwargs)
            if parts is not NotImplemented:
                return parts
        result = func(*args, **kwargs)
        written = _tensors(result)
        if written and not (func.is_view or name in _NO_KERNEL or "empty" in name):
            counted = flop_registry.get(packet)
            flops = float(counted(*args, **kwargs, out_val=result)) if counted else 0.0
            short = name.removeprefix("aten::").strip("_")
            reads = list(map(_elements, _tensors((args, kwargs))))
            writes = sum(map(_elements, written))
            if name in _OVERWRITING:
                del reads[0]
            elif short in _LOOKUPS:
                reads[0] = min(reads[0], writes)
            results = float(sum(tensor.numel() for tensor in written))
            shape = _matrices(written[0], flops)
            self.kernels.append(Kernel(short, sum(reads), writes, results, flops, shape))
        return result


def _matrices(result: Tensor, flops: float) -> tuple[int, int, int] | None:
    """m, k, n: FLOPs are 2·m·k·n; None of what multiplies no matrices."""
    if not flops or not result.ndim or not result.numel():
        return None
    n = result.shape[-1]
    m = result.numel() // n
    return m, round(flops / (2 * m * n)), n


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _elements(tensor: Tensor) -> float:
    """As many of 16 bits; a broadcast element counts once."""
    distinct = 1
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        distinct *= size if stride else 1
    return distinct * tensor.element_size() / _DTYPE.itemsize


TRACERS.register("meta", traced_ops)
