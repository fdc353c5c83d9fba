"""Record what a PyTorch model does: every aten call, where it ran, which storages it touched.

Tensors are told apart by storage, so that a view, a transpose or a slice is the tensor it looks
into, and costs nothing. Only shapes, strides and types enter: meta tensors will do.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal, NamedTuple
from unittest import mock

import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers.cache_utils import CacheLayerMixin, DynamicCache

from roofline.torch_side.families.base import OpOwners

TensorKind = Literal["parameter", "kv", "activation"]


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
    kind: TensorKind


@dataclass(frozen=True)
class Call:
    """One aten call that moves data."""

    index: int
    op: str
    path: str
    """Qualified name of the innermost module (or function of `_functions`) that it ran in."""
    owner: str
    """Class of that module, or name of that function."""
    reads: tuple[Region, ...]
    writes: tuple[Region, ...]
    turn: int = 0
    """How often the outermost module that it ran in had been entered: which step of many."""


@dataclass(frozen=True)
class Trace:
    """All calls of a run, and the storages they name."""

    calls: tuple[Call, ...]
    storages: Mapping[int, Storage]
    owners: OpOwners
    """Whose calls are which op: of the family of the model that ran."""
    outputs: frozenset[int] = frozenset()
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


def record(
    model: nn.Module,
    *inputs: torch.Tensor,
    owners: OpOwners,
    cache: DynamicCache | None = None,
) -> Trace:
    """Run `model(*inputs, cache)` and return its trace."""
    recorder = CallRecorder(owners)
    cached = _cached(cache)
    with torch.no_grad(), recorder.inside(model), recorder:
        output = model(*inputs) if cache is None else model(*inputs, cache)
    return recorder.trace(model, kv=(*cached, *_cached(cache)), output=output)


class CallRecorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While active, notes all calls; they know where they run `inside` a model."""

    def __init__(self, owners: OpOwners) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.owners = owners
        self.calls: list[Call] = []
        self._storages: dict[int, tuple[StorageWeakRef, int, torch.dtype]] = {}
        """While a reference is held, weak as it is, no other storage can take its identity."""
        self._stack: list[tuple[str, str]] = [("", "")]
        self._turns = Counter[str]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if torch.is_inference_mode_enabled():  # calls come before they are taken apart
            with self:
                output = func.decompose(*args, **(kwargs or {}))
            if output is not NotImplemented:
                return output
        output = self.run(func, args, kwargs or {})
        reads = [self._region(t) for t in _tensors((args, kwargs)) if t.numel()]
        writes = [self._region(t) for t in _tensors(output)]
        op = func.overloadpacket.__name__
        if op == "new_empty":  # of a tensor it asks for nothing but its type
            reads = []
        if op == "embedding":  # a lookup reads the rows that it copies, not its whole table
            reads[0] = reads[0]._replace(elements=writes[0].elements)
        alias = {r.storage for r in writes} <= {r.storage for r in reads}
        if writes and (func._schema.is_mutable or not alias):
            path, owner = self._stack[-1]
            turn = self._turns[self._stack[1][0]] if len(self._stack) > 1 else 0
            index = len(self.calls)
            self.calls.append(Call(index, op, path, owner, tuple(reads), tuple(writes), turn))
        return output

    @property
    def path(self) -> str:
        """Qualified name of the innermost module or function that runs."""
        return self._stack[-1][0]

    def run(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Make the call: a place to do something around it."""
        return func(*args, **kwargs)

    def trace(
        self, model: nn.Module, *, kv: Iterable[torch.Tensor] = (), output: Any = None
    ) -> Trace:
        """Everything up to now; `kv` are tensors of the KV cache, `output` is what is wanted."""
        kinds: dict[int, TensorKind] = dict.fromkeys(
            map(self._identify, (*model.parameters(), *model.buffers())), "parameter"
        )
        kinds |= dict.fromkeys(map(self._identify, kv), "kv")
        storages = {
            key: Storage(nbytes, dtype, kinds.get(key, "activation"))
            for key, (_, nbytes, dtype) in self._storages.items()
        }
        outputs = frozenset(map(self._identify, _tensors(output)))
        return Trace(tuple(self.calls), storages, self.owners, outputs)

    @contextmanager
    def inside(self, model: nn.Module) -> Iterator[None]:
        """Tell calls apart by the module or function of the model that runs."""
        with ExitStack() as stack:
            for name, module in model.named_modules():
                entry = (name, type(module).__name__)
                before = module.register_forward_pre_hook(
                    lambda *_, entry=entry: self._enter(*entry)
                )
                after = module.register_forward_hook(lambda *_: self._leave(), always_call=True)
                stack.callback(before.remove)
                stack.callback(after.remove)
            for owner, name in _functions(self.owners):
                function = self._as_module(getattr(owner, name))
                stack.enter_context(mock.patch.object(owner, name, function))
            yield

    def _as_module(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def entered(*args: Any, **kwargs: Any) -> Any:
            name = function.__name__
            self._enter(f"{self._stack[-1][0]}.{name}", name)
            try:
                return function(*args, **kwargs)
            finally:
                self._leave()

        return entered

    def _enter(self, path: str, owner: str) -> None:
        if len(self._stack) == 1:
            self._turns[path] += 1
        self._stack.append((path, owner))

    def _leave(self) -> None:
        self._stack.pop()

    def _identify(self, tensor: torch.Tensor) -> int:
        """Key of the tensor's storage."""
        storage = tensor.untyped_storage()
        key: int = storage._cdata
        if key not in self._storages:
            alive = StorageWeakRef(storage)  # type: ignore[no-untyped-call]
            self._storages[key] = (alive, storage.nbytes(), tensor.dtype)
        return key

    def _region(self, tensor: torch.Tensor) -> Region:
        layout = (tensor.storage_offset(), tuple(tensor.shape), tensor.stride())
        sizes = zip(tensor.shape, tensor.stride(), strict=True)
        elements = math.prod(size for size, stride in sizes if stride or not size)
        return Region(self._identify(tensor), layout, elements, tensor.itemsize)


def _functions(owners: OpOwners) -> list[tuple[Any, str]]:
    """Functions that get a path of their own, as if they were modules: where, and their names."""
    layers = [cls for cls in _subclasses(CacheLayerMixin) if "update" in vars(cls)]
    functions = [(import_module(owner), name) for owner, name in owners.functions]
    return [*functions, *((cls, "update") for cls in layers)]


def _subclasses(cls: type) -> set[type]:
    return set(cls.__subclasses__()).union(*map(_subclasses, cls.__subclasses__()))


def _tensors(tree: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def _cached(cache: DynamicCache | None) -> list[torch.Tensor]:
    if cache is None:
        return []
    layers: list[Any] = [layer for layer in cache.layers if getattr(layer, "is_initialized", False)]
    return [tensor for layer in layers for tensor in (layer.keys, layer.values)]
