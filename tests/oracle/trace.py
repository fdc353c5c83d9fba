"""Record what a PyTorch model does: every aten call, where it ran, which storages it touched.

Tensors are told apart by storage, so that a view, a transpose or a slice is the tensor it looks
into, and costs nothing. Only shapes, strides and types enter: meta tensors will do.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple
from unittest import mock

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers.cache_utils import DynamicCache, DynamicLayer
from transformers.models.llama import modeling_llama

Kind = Literal["parameter", "kv", "activation"]

FUNCTIONS: tuple[tuple[Any, str], ...] = (
    (modeling_llama, "apply_rotary_pos_emb"),
    (DynamicLayer, "update"),
)
"""Functions that get a path of their own, as if they were modules."""


class Region(NamedTuple):
    """The elements of a storage that one tensor addresses; a broadcast element counts once."""

    storage: int
    layout: tuple[Any, ...]
    elements: int
    itemsize: int

    @property
    def nbytes(self) -> int:
        return self.elements * self.itemsize


class Storage(NamedTuple):
    """One allocation."""

    nbytes: int
    dtype: torch.dtype
    kind: Kind


@dataclass(frozen=True)
class Call:
    """One aten call that moves data."""

    index: int
    op: str
    path: str
    """Qualified name of the innermost module (or function of `FUNCTIONS`) that it ran in."""
    owner: str
    """Class of that module, or name of that function."""
    reads: tuple[Region, ...]
    writes: tuple[Region, ...]


@dataclass(frozen=True)
class Trace:
    """All calls of one forward pass, and the storages they name."""

    calls: tuple[Call, ...]
    storages: Mapping[int, Storage]
    outputs: frozenset[int]
    """Storages that the model returns."""

    @functools.cached_property
    def producers(self) -> dict[int, Call]:
        """The first call that writes each storage; what came from outside has none."""
        return {r.storage: call for call in reversed(self.calls) for r in call.writes}

    @functools.cached_property
    def consumers(self) -> dict[int, list[Call]]:
        """All calls that read a storage."""
        readers: dict[int, list[Call]] = {}
        for call in self.calls:
            for storage in {r.storage for r in call.reads}:
                readers.setdefault(storage, []).append(call)
        return readers


def record(model: nn.Module, *inputs: torch.Tensor, cache: DynamicCache | None = None) -> Trace:
    """Run `model(*inputs, cache)` and return its trace."""
    recorder = _Recorder()
    cached = _cached(cache)
    with torch.no_grad(), recorder.paths_of(model), recorder:
        output = model(*inputs) if cache is None else model(*inputs, cache)
    kinds: dict[int, Kind] = dict.fromkeys(
        map(recorder.identify, (*model.parameters(), *model.buffers())), "parameter"
    )
    kinds |= dict.fromkeys(map(recorder.identify, (*cached, *_cached(cache))), "kv")
    return Trace(
        tuple(recorder.calls),
        {
            key: Storage(
                tensor.untyped_storage().nbytes(), tensor.dtype, kinds.get(key, "activation")
            )
            for key, tensor in recorder.tensors.items()
        },
        frozenset(map(recorder.identify, _tensors(output))),
    )


class _Recorder(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.tensors: dict[int, torch.Tensor] = {}
        """One tensor of each storage: while it is held, no other can take its identity."""
        self.stack: list[tuple[str, str]] = [("", "")]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        reads = [self._region(t) for t in _tensors((args, kwargs)) if t.numel()]
        writes = [self._region(t) for t in _tensors(output)]
        op = func.overloadpacket.__name__
        if op == "embedding":  # a lookup reads the rows that it copies, not its whole table
            reads[0] = reads[0]._replace(elements=writes[0].elements)
        alias = {r.storage for r in writes} <= {r.storage for r in reads}
        if writes and (func._schema.is_mutable or not alias):
            path, owner = self.stack[-1]
            self.calls.append(Call(len(self.calls), op, path, owner, tuple(reads), tuple(writes)))
        return output

    def identify(self, tensor: torch.Tensor) -> int:
        """Key of the tensor's storage."""
        key = tensor.untyped_storage()._cdata
        self.tensors.setdefault(key, tensor)
        return key

    @contextmanager
    def paths_of(self, model: nn.Module) -> Iterator[None]:
        """Keep `stack` at the module or function that runs."""
        with ExitStack() as stack:
            for name, module in model.named_modules():
                entry = (name, type(module).__name__)
                before = module.register_forward_pre_hook(
                    lambda *_, entry=entry: self.stack.append(entry)
                )
                after = module.register_forward_hook(lambda *_: self._leave())
                stack.callback(before.remove)
                stack.callback(after.remove)
            for place, name in FUNCTIONS:
                function = self._as_module(getattr(place, name))
                stack.enter_context(mock.patch.object(place, name, function))
            yield

    def _as_module(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def entered(*args: Any, **kwargs: Any) -> Any:
            name = function.__name__
            self.stack.append((f"{self.stack[-1][0]}.{name}", name))
            result = function(*args, **kwargs)
            self._leave()
            return result

        return entered

    def _leave(self) -> None:
        self.stack.pop()

    def _region(self, tensor: torch.Tensor) -> Region:
        layout = (tensor.storage_offset(), tuple(tensor.shape), tensor.stride())
        sizes = zip(tensor.shape, tensor.stride(), strict=True)
        elements = math.prod(size for size, stride in sizes if stride or not size)
        return Region(self.identify(tensor), layout, elements, tensor.itemsize)


def _tensors(tree: Any) -> Iterable[torch.Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def _cached(cache: DynamicCache | None) -> list[torch.Tensor]:
    if cache is None:
        return []
    return [t for layer in cache.layers if layer.is_initialized for t in (layer.keys, layer.values)]
