"""What a pipeline's steps run as: eagerly, compiled, or as CUDA graphs.

A mode takes the steps of prefill and of decode, and what the first of them starts from, and gives
back steps that yield the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)

from roofline.errors import UnsupportedModeError
from roofline.torch_side.measure.timing import Mark
from roofline.torch_side.reduce.path import Step

Steps = list[Step]
Mode = Callable[[Steps, Steps, Tensor], tuple[Steps, Steps]]

T = TypeVar("T")


def keywords_of(name: str, device: torch.device) -> dict[str, Any]:
    """What makes a `Pipeline` run in one of `RUN_MODES`.

    Raises UnsupportedModeError, also for what a device cannot do.
    """
    if name not in RUN_MODES:
        raise UnsupportedModeError(f"unknown mode {name!r}: choose one of {', '.join(RUN_MODES)}")
    if name in GRAPHS and device.type != "cuda":
        raise UnsupportedModeError(
            f"CUDA graphs need a CUDA device, not {device.type}: use mode eager"
        )
    return {"static": CudaRecorder(device)} if name == STATIC else {"mode": _MODES[name]}


def ignore(component: str) -> None:
    """The mark of a run that nobody times."""


def run(steps: Steps, state: Any, mark: Mark = ignore) -> Any:
    """All steps, each from what the one before it made."""
    for name, step in steps:
        state = step(state)
        mark(name)
    return state


def eager(prefill: Steps, decode: Steps, first: Tensor) -> tuple[Steps, Steps]:
    """As they are."""
    return prefill, decode


def compiled(prefill: Steps, decode: Steps, first: Tensor) -> tuple[Steps, Steps]:
    """Through `torch.compile`, now: each step for its own shapes, but decode steps after the first
    for any length. Raises UnsupportedModeError where there is no compiler.
    """
    try:
        torch.compile(lambda tensor: tensor + 1)(first)
    except Exception as error:  # whatever the compiler's kind
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UnsupportedModeError(
            f"torch.compile does not work on {first.device.type} here ({reason}): use mode eager"
        ) from None
    run([*prefill, *decode], first)  # what is made on first use shall not be compiled in
    prefill = [(name, torch.compile(step, dynamic=False)) for name, step in prefill]
    decode = [(name, torch.compile(step)) for name, step in decode]
    with torch._dynamo.config.patch(recompile_limit=_SHAPES):
        run([*prefill, *decode], first)
    return prefill, decode


_SHAPES = 1000
"""For how many steps, prompts and models code may be compiled before torch runs it eagerly."""


class GraphRecorder(Protocol):
    """Records what a function does, so that it can be done again."""

    def warm_up(self, function: Callable[[], object]) -> None:
        """Run it, apart from what is recorded."""
        ...

    def record(self, function: Callable[[], T]) -> tuple[Callable[[], None], T]:
        """A function that does the same to the same tensors, and the result that it fills anew."""
        ...


class CudaRecorder:
    """CUDA graphs in one pool of memory: results must be kept for as long as any is replayed."""

    def __init__(self, device: torch.device, cuda: Any = None) -> None:
        """cuda: stands in for `torch.cuda` in tests."""
        self._device, self._cuda = device, cuda or torch.cuda
        self._begin()

    def _begin(self) -> None:
        self._pool = self._cuda.graph_pool_handle()
        self._stream = self._cuda.Stream(self._device)

    def warm_up(self, function: Callable[[], object]) -> None:
        """On the stream of the captures: libraries make their workspaces there."""
        current = self._cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with self._cuda.stream(self._stream):
            function()
        current.wait_stream(self._stream)

    def record(self, function: Callable[[], T]) -> tuple[Callable[[], None], T]:
        """Raises what the function does, and is then as good as new."""
        graph = self._cuda.CUDAGraph()
        failed: Exception | None = None
        try:
            with self._capture(graph, pool=self._pool):
                try:
                    result = function()
                except Exception as error:
                    failed = error
                    raise
        except Exception as error:
            self._recover()
            # the end of a broken capture has an error of its own, which does not say what broke it
            raise failed or error from None
        return graph.replay, result

    @contextmanager
    def _capture(self, graph: Any, **options: Any) -> Iterator[None]:
        with (
            self._cuda.device(self._device),
            # a capture that fails does not give back the stream itself
            self._cuda.stream(self._stream),
            self._cuda.graph(graph, stream=self._stream, **options),
        ):
            yield

    def _recover(self) -> None:
        """Undo what a capture that failed leaves behind: a pool that memory is still taken from, an
        error that the next call would raise, a random generator that counts for a graph.
        """
        with suppress(RuntimeError):  # where the capture has come as far as that
            index = torch.device(self._device).index
            _stop_recording(self._cuda.current_device() if index is None else index, self._pool)
        with suppress(RuntimeError):
            self._cuda.synchronize(self._device)
        self._begin()
        # the generator draws for nobody else until some capture has come to a good end
        with suppress(RuntimeError), self._capture(self._cuda.CUDAGraph()):
            self._cuda._sleep(1)


def _stop_recording(device: int, pool: Any) -> None:
    """Take no more memory from a pool. Raises RuntimeError where none is taken."""
    for name in ("_cuda_endAllocateToPool", "_cuda_endAllocateCurrentStreamToPool"):  # torch 2.7
        if hasattr(torch._C, name):
            getattr(torch._C, name)(device, pool)
            return


WARM_UPS = 2
"""Runs ahead of a capture: libraries make their plans and workspaces in the first."""


def graphed(
    prefill: Steps, decode: Steps, first: Tensor, recorder: GraphRecorder | None = None
) -> tuple[Steps, Steps]:
    """Each step as a CUDA graph over tensors of its own: what is left without the host's work.

    Raises UnsupportedModeError where a result, such as a number of tokens, would have to be read
    back: a graph has fixed shapes.
    """
    if reads_back(prefill[:-1], first):
        raise UnsupportedModeError(
            "a CUDA graph has fixed shapes, and here the image decides on the number of visual "
            "tokens: give it, take a reducer that keeps to one, or use mode static-graph or eager"
        )
    recorded = _recorded([*prefill, *decode], first, recorder or CudaRecorder(first.device))
    return recorded[: len(prefill)], recorded[len(prefill) :]


def graphed_before_llm(
    prefill: Steps, decode: Steps, first: Tensor, recorder: GraphRecorder
) -> tuple[Steps, Steps]:
    """Each step ahead of the LLM as a CUDA graph, up to the first that reads a value back.

    The LLM makes graphs of its own, of shapes that fit whatever comes (`language.StaticLength`).
    """
    fixed = len(prefill) - 1
    while fixed and reads_back(prefill[:fixed], first):
        fixed -= 1
    recorded = _recorded(prefill[:fixed], first, recorder) if fixed else []
    return [*recorded, *prefill[fixed:]], decode


def _recorded(steps: Steps, first: Tensor, recorder: GraphRecorder) -> Steps:
    for _ in range(WARM_UPS):
        recorder.warm_up(partial(run, steps, first))
    state: Any = first
    recorded: Steps = []
    for name, step in steps:
        replay, state = recorder.record(partial(step, state))
        recorded.append((name, partial(_replayed, replay, state)))
    return recorded


def _replayed(replay: Callable[[], None], result: T, state: object) -> T:
    replay()
    return result


def reads_back(steps: Steps, first: Tensor) -> bool:
    """Whether steps wait for values to decide on shapes: tried on tensors that have none."""
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        try:
            run(steps, mode.from_tensor(first))
        except (DataDependentOutputException, DynamicOutputShapeException):
            return True
    return False


STATIC = "static-graph"
GRAPHS = ("cuda-graph", STATIC)
RUN_MODES = ("eager", "compile", *GRAPHS)
_MODES: dict[str, Mode] = {"eager": eager, "compile": compiled, "cuda-graph": graphed}
