"""Pipelines as CUDA graphs and compiled: what they yield is what they yield eagerly."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from pipelines import (
    ADAPTIVE,
    COUNT,
    FIXED,
    STEPS,
    Made,
    Prompts,
    fixed,
)
from torch import Tensor

from roofline.errors import (
    UnsupportedModeError,
)
from roofline.torch_side.measure.modes import compiled, graphed


def tensors_of(result: Any) -> list[Tensor]:
    """All tensors in what a step returns."""
    if isinstance(result, Tensor):
        return [result]
    if dataclasses.is_dataclass(result):
        result = [getattr(result, field.name) for field in dataclasses.fields(result)]
    return [] if result is None else [tensor for part in result for tensor in tensors_of(part)]


class Replayer:
    """A recorder that needs no GPU: a replay runs the function and fills the recorded result."""

    def __init__(self) -> None:
        self.log: list[str] = []

    def warm_up(self, function: Callable[[], object]) -> None:
        self.log.append("warm up")
        function()

    def record(self, function: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
        number = sum(entry.startswith("record") for entry in self.log)
        self.log.append(f"record {number}")
        result = function()

        def replay() -> None:
            self.log.append(f"replay {number}")
            for tensor, new in zip(tensors_of(result), tensors_of(function()), strict=True):
                tensor.copy_(new)

        return replay, result


class TestGraphs:
    @fixed
    def test_replays_compute_anew_from_the_pixels(
        self, llava: Any, prompts: Prompts, made: Made, name: str | None, options: dict[str, Any]
    ) -> None:
        given, other = prompts(llava, ["tit", "itt"]), prompts(llava, ["tit", "itt"], seed=1)
        other["input_ids"] = given["input_ids"]
        graphs = made(
            llava, given, name, options,
            output_tokens=STEPS, mode=partial(graphed, recorder=Replayer()),
        )  # fmt: skip

        graphs._pixels.copy_(other["pixel_values"])
        logits, step = graphs.prefill().clone(), graphs.decode_step().clone()
        answer = graphs.generate()

        graphs.close()  # of two FastVs the second would prune what the first has left
        eager = made(llava, other, name, options, output_tokens=STEPS)
        assert torch.equal(logits, eager.prefill())
        assert torch.equal(step, eager.decode_step())
        assert torch.equal(answer, eager.generate())

    def test_each_step_is_recorded_once_and_replayed_in_order(
        self, llava: Any, prompts: Prompts, made: Made
    ) -> None:
        """Steps: vision 0, reducer 1, connector 2, llm 3, and four decode steps from 4 on."""
        recorder = Replayer()
        given = prompts(llava, ["tit"])
        pipeline = made(
            llava, given, "prumerge", {"count": COUNT},
            output_tokens=STEPS, mode=partial(graphed, recorder=recorder),
        )  # fmt: skip
        prefill = [f"replay {step}" for step in range(4)]
        setup = recorder.log[: -len(prefill)]
        assert setup == ["warm up"] * 2 + [f"record {step}" for step in range(8)]
        assert recorder.log[len(setup) :] == prefill
        recorder.log.clear()
        marks: list[str] = []

        pipeline.decode_step(marks.append)
        pipeline.generate(lambda part: recorder.log.append(part))

        assert marks == ["decode"]
        steps = [f"replay {step}" for step in range(8)]
        parts = [*pipeline.components, *["decode"] * STEPS]
        marked = [entry for pair in zip(steps, parts, strict=True) for entry in pair]
        assert recorder.log == ["replay 4", *marked]

    @pytest.mark.parametrize(("name", "options"), ADAPTIVE.items())
    def test_counts_that_the_image_decides_on_are_refused(
        self, llava: Any, prompts: Prompts, made: Made, name: str, options: dict[str, Any]
    ) -> None:
        with pytest.raises(UnsupportedModeError, match="image decides"):
            made(
                llava, prompts(llava, ["tit"]), name, options,
                mode=partial(graphed, recorder=Replayer()),
            )  # fmt: skip


class TestCompiled:
    @pytest.mark.compiled
    @pytest.mark.parametrize("name", ["fastervlm", "prumerge", "fastv"])
    def test_same_results(
        self,
        llava: Any,
        prompts: Prompts,
        made: Made,
        monkeypatch: pytest.MonkeyPatch,
        name: str | None,
    ) -> None:
        """What is traced is run as it is: generating code takes minutes."""
        monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
        given, options = prompts(llava, ["tit", "itt"]), FIXED[name]
        eager = made(llava, given, name, options, output_tokens=3)

        pipeline = made(llava, given, name, options, output_tokens=3, mode=compiled)

        torch.testing.assert_close(pipeline.prefill(), eager.prefill())
        torch.testing.assert_close(pipeline.decode_step(), eager.decode_step())
        assert torch.equal(pipeline.generate(), eager.generate())

    def test_no_compiler(
        self, llava: Any, prompts: Prompts, made: Made, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*arguments: Any, **options: Any) -> Any:
            raise RuntimeError("Failed to find C compiler.\nPlease specify via CC.")

        monkeypatch.setattr(torch, "compile", broken)

        with pytest.raises(UnsupportedModeError) as caught:
            made(llava, prompts(llava, ["tit"]), None, {}, mode=compiled)

        assert str(caught.value) == (
            "torch.compile does not work on cpu here (Failed to find C compiler.): use mode eager"
        )
