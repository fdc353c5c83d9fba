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
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from roofline.errors import (
    UnsupportedModeError,
)
from roofline.torch_side.measure.language import bucket
from roofline.torch_side.measure.modes import compiled, graphed

FIXED_BEFORE_LLM = [item for item in FIXED.items() if item[0] != "fastv"]


def tensors_of(result: Any) -> list[Tensor]:
    """All tensors in what a step returns."""
    if isinstance(result, Tensor):
        return [result]
    if dataclasses.is_dataclass(result):
        result = [getattr(result, field.name) for field in dataclasses.fields(result)]
    return [] if result is None else [tensor for part in result for tensor in tensors_of(part)]


class Capturing(TorchDispatchMode):
    """Refuses what CUDA refuses while a stream is captured: values read back, or made on the host.

    `lift_fresh` is what `torch.tensor` of a list calls: on a GPU a copy from pageable memory. Of a
    mask as an index the ones are counted first.
    """

    READS = ("_local_scalar_dense", "nonzero", "unique", "masked_select")

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.name()
        dtypes = [t.dtype for t in tree_leaves(args[1:2]) if isinstance(t, Tensor)]
        if (
            any(read in name for read in self.READS)
            or (name == "aten::lift_fresh" and args[0].dim())
            or (name.startswith("aten::index.") and torch.bool in dtypes)
        ):
            raise RuntimeError(f"{name}: not permitted when a stream is capturing")
        return func(*args, **(kwargs or {}))


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
        with Capturing():
            result = function()

        def replay() -> None:
            self.log.append(f"replay {number}")
            for tensor, new in zip(tensors_of(result), tensors_of(function()), strict=True):
                tensor.copy_(new)

        return replay, result


def test_the_recorder_refuses_what_a_capture_does() -> None:
    for forbidden in (
        lambda: torch.ones(3).sum().item(),
        lambda: torch.tensor([1.0, 2.0]),
        lambda: torch.ones(3)[torch.ones(3) > 0],
    ):
        with pytest.raises(RuntimeError, match="not permitted when a stream is capturing"):
            Replayer().record(forbidden)


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


class TestStatic:
    """Prompts filled up to a bucket, and one graph for all steps behind them."""

    @pytest.mark.parametrize(("name", "options"), [*FIXED_BEFORE_LLM, *ADAPTIVE.items()])
    def test_same_answers_over_padding_and_a_whole_cache(
        self, llava: Any, prompts: Prompts, made: Made, name: str | None, options: dict[str, Any]
    ) -> None:
        given = prompts(llava, ["ttit", "itt"])
        eager = made(llava, given, name, options, output_tokens=STEPS)

        static = made(llava, given, name, options, output_tokens=STEPS, static=Replayer())

        assert static._language.bucket > static.prompt_tokens
        torch.testing.assert_close(static.prefill(), eager.prefill())
        torch.testing.assert_close(static.decode_step(), eager.decode_step())
        assert torch.equal(static.generate(), eager.generate())
        torch.testing.assert_close(static.decode_step(), eager.decode_step())

    @pytest.mark.parametrize("name", [None, "prumerge"])
    def test_masks_are_what_eager_attention_adds(
        self, llava: Any, prompts: Prompts, made: Made, name: str | None
    ) -> None:
        llava.set_attn_implementation("eager")
        given = prompts(llava, ["ttit", "itt"])
        eager = made(llava, given, name, {}, output_tokens=STEPS)
        static = made(llava, given, name, {}, output_tokens=STEPS, static=Replayer())
        torch.testing.assert_close(static.prefill(), eager.prefill())
        assert torch.equal(static.generate(), eager.generate())

    def test_flash_attn_takes_no_mask(
        self, llava: Any, prompts: Prompts, made: Made, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        config = llava.model.language_model.config
        monkeypatch.setattr(config, "_attn_implementation_internal", "flash_attention_2")
        with pytest.raises(UnsupportedModeError, match="use attention sdpa, or mode cuda-graph"):
            made(llava, prompts(llava, ["tit"]), None, {}, static=Replayer())

    def test_replays_compute_anew_from_the_pixels(
        self, llava: Any, prompts: Prompts, made: Made
    ) -> None:
        given, other = prompts(llava, ["tit"]), prompts(llava, ["tit"], seed=1)
        other["input_ids"] = given["input_ids"]
        options = {"count": COUNT}
        static = made(llava, given, "prumerge", options, output_tokens=STEPS, static=Replayer())
        static._pixels.copy_(other["pixel_values"])

        eager = made(llava, other, "prumerge", options, output_tokens=STEPS)
        torch.testing.assert_close(static.prefill(), eager.prefill())
        assert torch.equal(static.generate(), eager.generate())

    def test_three_graphs_do_for_an_answer_of_any_length(
        self, llava: Any, prompts: Prompts, made: Made
    ) -> None:
        """Vision 0, reducer 1, connector 2; of the LLM prefill 3, first step 4, the others 5."""
        recorder = Replayer()
        pipeline = made(
            llava, prompts(llava, ["tit"]), "prumerge", {"count": COUNT},
            output_tokens=STEPS, static=recorder,
        )  # fmt: skip
        assert [entry for entry in recorder.log if entry.startswith("record")] == [
            f"record {number}" for number in range(6)
        ]
        recorder.log.clear()
        pipeline.generate()
        assert recorder.log == [f"replay {number}" for number in (0, 1, 2, 3, 4, 5, 5, 5)]
        recorder.log.clear()
        pipeline.decode_step()
        pipeline.decode_step()
        assert recorder.log == ["replay 4"] * 2

    def test_what_reads_a_count_back_runs_eagerly_and_the_llm_does_not(
        self, llava: Any, prompts: Prompts, made: Made
    ) -> None:
        recorder = Replayer()
        pipeline = made(
            llava, prompts(llava, ["tit"]), "prumerge", {}, output_tokens=1, static=recorder
        )
        recorder.log.clear()
        pipeline.prefill()
        assert recorder.log == ["replay 0", "replay 1"]  # vision, LLM

    def test_tokens_that_go_inside_the_llm_are_refused(
        self, llava: Any, prompts: Prompts, made: Made
    ) -> None:
        with pytest.raises(UnsupportedModeError, match="static-graph keeps one length"):
            made(llava, prompts(llava, ["tit"]), "fastv", FIXED["fastv"], static=Replayer())
        assert not any(layer._forward_pre_hooks for layer in llava.modules())

    @pytest.mark.parametrize(("tokens", "filled"), [(1, 64), (64, 64), (65, 128), (616, 640)])
    def test_buckets(self, tokens: int, filled: int) -> None:
        assert bucket(tokens) == filled


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
