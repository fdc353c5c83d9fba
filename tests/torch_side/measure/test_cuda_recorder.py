"""CUDA graphs by a `torch.cuda` that is not there: a capture that fails leaves nothing behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from roofline.errors import UnsupportedModeError
from roofline.torch_side.measure import modes
from roofline.torch_side.measure.modes import CudaRecorder


class FakeStream:
    def __init__(self, name: str) -> None:
        self.name = name

    def wait_stream(self, other: FakeStream) -> None:
        pass


class FakeGraphs:
    """Streams, pools and captures as torch's: a capture that CUDA breaks raises at its end, before
    it gives back the stream, the pool and the random generator, and its error comes up at the next
    synchronisation. Whatever else is raised inside passes through.
    """

    def __init__(self) -> None:
        self.stream_now = FakeStream("default")
        self.pools = 0
        self.recording: set[int] = set()
        self.capturing = self.generator_captures = False
        self.pending: list[Exception] = []
        self.replayed: list[int] = []

    def graph_pool_handle(self) -> int:
        self.pools += 1
        return self.pools

    def Stream(self, device: object) -> FakeStream:  # noqa: N802  # torch's name
        return FakeStream(f"side {self.pools}")

    def CUDAGraph(self) -> Any:  # noqa: N802
        return self

    def replay(self) -> None:
        self.replayed.append(self.pools)

    def current_stream(self, device: object) -> FakeStream:
        return self.stream_now

    def current_device(self) -> int:
        return 0

    def randn(self) -> None:
        if self.generator_captures and not self.capturing:
            raise RuntimeError("Offset increment outside graph capture encountered unexpectedly")

    def _sleep(self, cycles: int) -> None:
        pass

    def synchronize(self, device: object) -> None:
        if self.pending:
            raise self.pending.pop()

    @contextmanager
    def device(self, device: object) -> Iterator[None]:
        yield

    @contextmanager
    def stream(self, stream: FakeStream) -> Iterator[None]:
        before, self.stream_now = self.stream_now, stream
        try:
            yield
        finally:
            self.stream_now = before

    @contextmanager
    def graph(self, graph: object, *, stream: FakeStream, pool: int = 0) -> Iterator[None]:
        assert not self.pending
        assert not self.recording
        before, self.stream_now = self.stream_now, stream
        self.recording.add(pool)
        self.capturing = self.generator_captures = True
        try:
            yield
        except RuntimeError:
            self.capturing = False
            self.pending.append(RuntimeError("capture invalidated"))
            raise RuntimeError("operation failed due to a previous error") from None
        except Exception:
            self._end(pool, before)
            raise
        self._end(pool, before)

    def _end(self, pool: int, before: FakeStream) -> None:
        self.capturing = self.generator_captures = False
        self.recording.remove(pool)
        self.stream_now = before


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeGraphs:
    fake = FakeGraphs()

    def stop(device: int, pool: int) -> None:
        if pool not in fake.recording:
            raise RuntimeError("not currently recording to mempool_id")
        fake.recording.remove(pool)

    monkeypatch.setattr(torch._C, "_cuda_endAllocateToPool", stop, raising=False)
    return fake


def reads_back() -> object:
    raise RuntimeError("operation not permitted when stream is capturing")


def test_what_is_recorded_can_be_replayed(cuda: FakeGraphs) -> None:
    recorder = CudaRecorder(torch.device("cuda"), cuda)
    recorder.warm_up(lambda: None)
    replay, result = recorder.record(lambda: "result")
    replay()

    assert (result, cuda.replayed) == ("result", [1])
    assert cuda.stream_now.name == "default"


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_a_broken_capture_says_what_broke_it_and_poisons_none_after_it(
    cuda: FakeGraphs, device: str
) -> None:
    recorder = CudaRecorder(torch.device(device), cuda)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="not permitted when stream is capturing"):
            recorder.record(reads_back)
        assert cuda.stream_now.name == "default"
        assert not cuda.recording
        cuda.randn()
        replay, _ = recorder.record(cuda.randn)
        replay()

    assert cuda.replayed == [2, 3]  # a pool anew after each


def missing() -> object:
    try:
        return {}["kernel"]
    except KeyError:
        raise UnsupportedModeError("no such kernel: use eager") from None


def missing_in_cuda() -> object:
    try:
        return missing()
    except UnsupportedModeError as error:
        raise RuntimeError("the kernel failed") from error


@pytest.mark.parametrize(
    ("function", "kind", "words"),
    [
        (missing, UnsupportedModeError, "no such kernel: use eager"),
        (missing_in_cuda, RuntimeError, "the kernel failed"),
    ],
)
def test_the_error_is_the_function_s_own_not_what_it_came_from(
    cuda: FakeGraphs, function: Callable[[], object], kind: type[Exception], words: str
) -> None:
    recorder = CudaRecorder(torch.device("cuda"), cuda)
    with pytest.raises(kind, match=words) as caught:
        recorder.record(function)

    assert type(caught.value) is kind
    recorder.record(cuda.randn)[0]()


def test_a_failure_before_anything_is_taken_from_the_pool(
    cuda: FakeGraphs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> Any:
        raise RuntimeError("out of memory")

    recorder = CudaRecorder(torch.device("cuda"), cuda)
    with monkeypatch.context() as patch:
        patch.setattr(cuda, "graph", refuse)
        with pytest.raises(RuntimeError, match="out of memory"):
            recorder.record(lambda: None)

    recorder.record(lambda: None)[0]()
    assert cuda.replayed == [2]


def test_an_older_torch_has_another_name_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped: list[Any] = []

    def older(*given: object) -> None:
        stopped.append(given)

    monkeypatch.delattr(torch._C, "_cuda_endAllocateToPool", raising=False)
    monkeypatch.setattr(torch._C, "_cuda_endAllocateCurrentStreamToPool", older, raising=False)
    modes._stop_recording(1, (0, 3))
    monkeypatch.delattr(torch._C, "_cuda_endAllocateCurrentStreamToPool")
    modes._stop_recording(1, (0, 3))

    assert stopped == [(1, (0, 3))]
