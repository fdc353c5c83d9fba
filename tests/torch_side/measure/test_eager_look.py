"""Memory and attention are looked at while a run is eager, whatever it is timed as."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from pipelines import COUNT, Made, Prompts

from roofline.torch_side.measure import eager_look as module
from roofline.torch_side.measure.eager_look import eager_look, peak_memory_bytes
from roofline.torch_side.measure.modes import graphed
from roofline.torch_side.measure.new_length import PREFILLS, new_length
from roofline.torch_side.measure.pipeline import Pipeline, build_pipeline


class Allocator:
    """Of a GPU that is none: a run allocates and frees, a graph keeps what it allocated."""

    def __init__(self) -> None:
        self.allocated = self.peak = 1000

    def run(self, mark: Callable[[str], None]) -> None:
        self.peak = max(self.peak, self.allocated + 500)
        mark("llm")

    def reset_peak_memory_stats(self, device: Any) -> None:
        self.peak = self.allocated

    def max_memory_allocated(self, device: Any) -> int:
        return self.peak


@pytest.fixture
def allocator(monkeypatch: pytest.MonkeyPatch) -> Allocator:
    fake = Allocator()
    for name in ("reset_peak_memory_stats", "max_memory_allocated"):
        monkeypatch.setattr(torch.cuda, name, getattr(fake, name))
    monkeypatch.setattr(module, "synchronizer", lambda device: lambda: None)
    return fake


CUDA = torch.device("cuda")


def test_the_peak_is_of_the_run_alone(allocator: Allocator) -> None:
    allocator.peak = 9999  # loading took more
    assert peak_memory_bytes(lambda: allocator.run(str), CUDA) == 1500
    assert eager_look(allocator.run, CUDA).peak_memory_bytes == 1500


def test_a_cpu_keeps_no_count() -> None:
    with build_pipeline("llava-tiny") as pipeline:
        look = eager_look(pipeline.prefill, torch.device("cpu"))
    assert look.peak_memory_bytes is None
    assert set(look.attention_kernels) == {"vision", "llm"}


@pytest.mark.parametrize("how", ["cuda-graph", "static-graph"])
def test_it_is_looked_at_before_anything_is_captured(
    llava: Any, prompts: Prompts, made: Made, how: str
) -> None:
    """A graph holds on to memory: once there is one, the peak is no run's any more."""
    captured: list[str] = []

    class Recorder:
        def warm_up(self, function: Callable[[], object]) -> None:
            function()

        def record(self, function: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
            captured.append("graph")
            return lambda: None, function()

    def look(pipeline: Pipeline) -> None:
        assert not captured
        pipeline.prefill()
        captured.append("looked")

    modes: dict[str, dict[str, Any]] = {
        "cuda-graph": {"mode": partial(graphed, recorder=Recorder())},
        "static-graph": {"static": Recorder()},
    }
    made(llava, prompts(llava, ["tit"]), "prumerge", {"count": COUNT}, on_eager=look, **modes[how])
    assert captured[0] == "looked"
    assert set(captured[1:]) == {"graph"}


def test_a_length_is_new_once() -> None:
    """Kernels that plan for 30 s at each length that they have not met, and run for 2 s."""
    now, planned, lengths = [0.0], set(), []

    def prefill_of(tokens: int) -> Callable[[], None]:
        def run() -> None:
            lengths.append(tokens)
            now[0] += 2.0 + (0.0 if tokens in planned else 30.0)
            planned.add(tokens)

        return run

    found = new_length(prefill_of, 616, synchronize=lambda: None, clock=lambda: now[0])
    assert (found.tokens, found.first_s, found.again_s) == (618, 32.0, 2.0)
    assert lengths == [617, 617, 618, 618]
    assert len(lengths) == PREFILLS


@pytest.mark.parametrize("reducer", [None, "fastv"])
def test_another_prompt_leaves_the_pipelines_own_as_it_is(reducer: str | None) -> None:
    with build_pipeline("llava-tiny", reducer=reducer, visual_tokens=12) as pipeline:
        before = pipeline.prefill().clone()
        logits = pipeline.prefill_of(pipeline.prompt_tokens + 1)().logits  # type: ignore[attr-defined]
        assert logits.shape == before.shape
        assert torch.equal(pipeline.prefill(), before)
