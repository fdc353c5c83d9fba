"""The pipeline that is timed: the attached Hugging Face model, split where the analysis is."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flop_counts import matmul_flops
from PIL import Image
from pipelines import (
    COUNT,
    FIXED,
    FRAMES,
    PATCHES,
    STEPS,
    Made,
    Prompts,
    fixed,
    named,
)
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import roofline
from roofline import reducers
from roofline.errors import (
    InputError,
    ScenarioError,
    SpecError,
    UnknownNameError,
    UnsupportedModeError,
)
from roofline.torch_side.measure.pipeline import Pipeline, build_pipeline
from roofline.torch_side.pictures import PictureError, crop, normalise
from roofline.torch_side.reduce.methods import ReducerError
from roofline.torch_side.reduce.methods.fastv import FastVLayers
from roofline.torch_side.reduce.splice import PromptError


@torch.no_grad()
def attached(
    model: Any, given: dict[str, Tensor], name: str | None, options: dict[str, Any]
) -> tuple[Tensor, Tensor]:
    """Last logits and greedy answer of the Hugging Face model that has the reducer on."""
    if name is not None:
        roofline.attach(model, name, **options)
    model.generation_config.eos_token_id = None
    logits = model(**given, logits_to_keep=1).logits[:, -1]
    answer = model.generate(**given, max_new_tokens=STEPS, do_sample=False)[:, -STEPS:]
    roofline.detach(model)
    return logits, answer


class TestTheRealThing:
    @named
    @pytest.mark.parametrize("batch", [1, 2])
    def test_images(
        self,
        llava: Any,
        prompts: Prompts,
        made: Made,
        name: str | None,
        options: dict[str, Any],
        batch: int,
    ) -> None:
        given = prompts(llava, ["ttittt", "ittttt"][:batch])
        logits, answer = attached(llava, given, name, options)

        pipeline = made(llava, given, name, options, output_tokens=STEPS)

        assert torch.equal(pipeline.prefill(), logits)
        assert torch.equal(pipeline.generate(), answer)

    @pytest.mark.parametrize("name", [None, "prumerge", "tome", "divprune", "fastv"])
    def test_videos(self, video_llava: Any, prompts: Prompts, made: Made, name: str | None) -> None:
        given, options = prompts(video_llava, ["tv", "vt"]), FIXED[name]
        logits, answer = attached(video_llava, given, name, options)

        pipeline = made(video_llava, given, name, options, output_tokens=STEPS)

        assert torch.equal(pipeline.prefill(), logits)
        assert torch.equal(pipeline.generate(), answer)

    @pytest.mark.parametrize("attention", ["sdpa", "eager"])
    @torch.no_grad()
    def test_a_decode_step_is_one_more_token(
        self, llava: Any, prompts: Prompts, made: Made, attention: str
    ) -> None:
        llava.set_attn_implementation(attention)
        given = prompts(llava, ["tti", "tit"])
        pipeline = made(llava, given, None, {}, output_tokens=STEPS)
        token = llava(**given).logits[:, -1:].argmax(dim=-1)
        given["input_ids"] = torch.cat([given["input_ids"], token], dim=1)
        given["attention_mask"] = torch.ones_like(given["input_ids"])
        expected = llava(**given).logits[:, -1]

        first = pipeline.decode_step()
        pipeline.generate()

        torch.testing.assert_close(first, expected, rtol=1e-4, atol=1e-4)
        assert torch.equal(pipeline.decode_step(), first)
        pipeline.prefill()
        assert torch.equal(pipeline.decode_step(), first)

    @torch.no_grad()
    def test_fewer_tokens_without_a_reducer(self, llava: Any, prompts: Prompts, made: Made) -> None:
        """The first ones: what sequential sampling keeps."""
        given = prompts(llava, ["tit"])
        logits, _ = attached(llava, given, "sequential", {"count": 5})

        pipeline = made(llava, given, None, {"count": 5})

        assert pipeline.components == ("vision", "connector", "llm")
        assert pipeline.visual_tokens == [5]
        assert torch.equal(pipeline.prefill(), logits)

    @fixed
    def test_nothing_waits_for_the_device(
        self, llava: Any, prompts: Prompts, made: Made, name: str | None, options: dict[str, Any]
    ) -> None:
        """On the meta device there is nothing to read: whatever waits for a value would raise."""
        given = prompts(llava, ["ttitt", "tittt"])

        pipeline = made(llava.to("meta"), given, name, options, output_tokens=2)

        assert pipeline.prefill().shape == pipeline.decode_step().shape == (2, 512)
        assert pipeline.generate().shape == (2, 2)

    def test_the_cache_stays_where_it_is(self, llava: Any, prompts: Prompts, made: Made) -> None:
        pipeline = made(llava, prompts(llava, ["tit"]), None, {}, output_tokens=STEPS)
        before = [layer.keys.data_ptr() for layer in pipeline._language._cache.layers]

        pipeline.generate()
        pipeline.prefill()

        assert [layer.keys.data_ptr() for layer in pipeline._language._cache.layers] == before
        held = pipeline._language._cache.layers[0].keys.untyped_storage().nbytes()
        assert held == 2 * 16 * (PATCHES + 2 + STEPS) * 4  # heads, width, tokens, bytes


class TestComponents:
    @pytest.mark.parametrize(
        ("name", "components"),
        [
            (None, "vision connector llm"),
            ("prumerge", "vision reducer connector llm"),
            ("divprune", "vision connector reducer llm"),
            ("tome", "vision connector llm"),
            ("fastv", "vision connector llm"),
        ],
    )
    def test_marks_come_in_order(
        self, llava: Any, prompts: Prompts, made: Made, name: str | None, components: str
    ) -> None:
        pipeline = made(llava, prompts(llava, ["tit"]), name, FIXED[name], output_tokens=STEPS)
        marks: dict[str, list[str]] = {"prefill": [], "decode_step": [], "generate": []}

        for run, seen in marks.items():
            getattr(pipeline, run)(seen.append)

        assert pipeline.components == tuple(components.split())
        assert marks["prefill"] == components.split()
        assert marks["decode_step"] == ["decode"]
        assert marks["generate"] == [*components.split(), *["decode"] * STEPS]

    @pytest.mark.parametrize("kind", ["llava-tiny", "video-llava-tiny"])
    @pytest.mark.parametrize("name", FIXED)
    def test_flops_of_each_are_those_of_the_analysis(self, kind: str, name: str | None) -> None:
        """PyTorch's counter between two marks. Own work inside the ViT and the LLM is theirs."""
        tokens = COUNT * (FRAMES if kind.startswith("video") else 1)
        scenario = {"visual_tokens": tokens, "text_tokens": 9, "batch": 2, "attention": "eager"}
        counted: dict[str, int] = {}
        with build_pipeline(kind, reducer=name, **scenario) as pipeline:
            with FlopCounterMode(display=False) as counter:
                pipeline.prefill(lambda part: counted.update({part: matmul_flops(counter)}))
            with FlopCounterMode(display=False) as step:
                pipeline.decode_step()
        sums = list(counted.values())
        parts = {
            part: total - before
            for part, total, before in zip(counted, sums, [0, *sums], strict=False)
        }

        analyzed = partial(roofline.analyze, kind, "v100", reducer=name, **scenario)
        expected = {part: total.flops for part, total in analyzed().components.items()}
        if name is not None and reducers.find(name).site != "features":
            host = reducers.find(name).site
            expected[host] += expected.pop("reducer")
        assert parts == expected
        assert matmul_flops(step) == analyzed(stage="decode").end_to_end.flops

    def test_visual_tokens_are_told_for_each_sequence(
        self, llava: Any, prompts: Prompts, made: Made
    ) -> None:
        given = prompts(llava, ["tit", "tit"])
        alone = [
            made(llava, prompts_of(given, row), "prumerge", {}).visual_tokens[0] for row in (0, 1)
        ]

        together = made(llava, given, "prumerge", {})

        assert together.visual_tokens == alone
        assert len(set(alone)) == 2
        assert together.prompt_tokens == max(alone) + 2


def prompts_of(given: dict[str, Tensor], row: int) -> dict[str, Tensor]:
    return {name: value[row : row + 1] for name, value in given.items()}


class TestHooks:
    @torch.no_grad()
    def test_closing_leaves_the_model_as_it_was(self, llava: Any, prompts: Prompts) -> None:
        given = prompts(llava, ["tti"])
        expected = llava(**given).logits

        with Pipeline(
            llava, reducer="fastv", pixels=given["pixel_values"], ids=given["input_ids"]
        ) as pipeline:
            pipeline.generate()

        assert not any(module._forward_pre_hooks for module in llava.modules())
        assert torch.equal(llava(**given).logits, expected)

    def test_failing_leaves_none(self, llava: Any, prompts: Prompts, made: Made) -> None:
        with pytest.raises(ReducerError, match="`count` is 37"):
            made(llava, prompts(llava, ["tti"]), "fastv", {"count": PATCHES + 1})

        assert not any(module._forward_pre_hooks for module in llava.modules())

    def test_fastv_plans_a_prompt_once(
        self, llava: Any, prompts: Prompts, made: Made, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plans, planned = [], FastVLayers._planned
        monkeypatch.setattr(
            FastVLayers, "_planned", lambda *arguments: plans.append(1) or planned(*arguments)
        )
        pipeline = made(llava, prompts(llava, ["tti"]), "fastv", {})

        pipeline.prefill()
        pipeline.prefill()

        assert len(plans) == 1


class TestBuild:
    def test_sizes(self) -> None:
        with build_pipeline(
            "video-llava-tiny", reducer="tome", visual_tokens=80, batch=2, text_tokens=7,
            output_tokens=3,
        ) as pipeline:  # fmt: skip
            assert pipeline.visual_tokens == [80, 80]
            assert pipeline.prompt_tokens == 87
            assert pipeline.generate().shape == (2, 3)
            ids = pipeline._layout.ids
        assert (ids[:, :80] == 502).all()
        assert not torch.isin(ids[:, 80:], torch.tensor([500, 501, 502])).any()

    def test_a_model_at_hand_and_its_seed(self, llava: Any) -> None:
        """Placeholders first, then text: as the model itself answers."""
        runs = {
            seed: build_pipeline("llava-tiny", loaded=llava, batch=2, text_tokens=5, seed=seed)
            for seed in (0, 1)
        }
        again = build_pipeline("llava-tiny", loaded=llava, batch=2, text_tokens=5, seed=1)
        pixels, ids = again._pixels, again._layout.ids

        assert pixels.shape == (2, 3, 84, 84)
        assert not torch.equal(pixels[0], pixels[1])
        assert torch.equal(again.prefill(), runs[1].prefill())
        assert not torch.equal(again.prefill(), runs[0].prefill())
        with torch.no_grad():
            expected = llava(input_ids=ids, pixel_values=pixels, logits_to_keep=1).logits[:, -1]
        assert torch.equal(again.prefill(), expected)

    def test_a_picture_serves_for_all(self, llava: Any, tmp_path: Path) -> None:
        random = np.random.default_rng(0)
        picture = Image.fromarray(random.integers(0, 256, (90, 100, 3), dtype=np.uint8))
        picture.save(tmp_path / "photo.png")
        pixels = normalise(np.array(crop(picture, 84)))

        pipeline = build_pipeline(
            "llava-tiny", loaded=llava, image=tmp_path / "photo.png", batch=2, reducer="prumerge"
        )

        assert torch.equal(pipeline._pixels, pixels.expand(2, -1, -1, -1))
        given = build_pipeline("llava-tiny", loaded=llava, image=pixels, batch=2)
        assert torch.equal(given._pixels, pipeline._pixels)
        assert len(set(pipeline.visual_tokens)) == 1

    def test_fastv_keeps_its_count_of_the_whole_prompt(self) -> None:
        with build_pipeline("video-llava-tiny", reducer="fastv", visual_tokens=48) as pipeline:
            assert pipeline.visual_tokens == [FRAMES * (PATCHES + 1)]
            first, last = pipeline._language._cache.layers[0], pipeline._language._cache.layers[-1]
            lengths = [layer.keys.shape[2] for layer in (first, last)]
        assert lengths == [FRAMES * (PATCHES + 1) + 40, 48 + 40]

    @pytest.mark.parametrize(
        ("wrong", "kind", "message"),
        [
            ({"reducer": "prumerg"}, UnknownNameError, "did you mean prumerge"),
            ({"reducer": "prumerge", "visual_tokens": 37}, ReducerError, "36 patches, not 37"),
            ({"visual_tokens": 37}, ReducerError, "36 patches, not 37"),
            ({"visual_tokens": 0}, ScenarioError, "visual tokens"),
            ({"batch": 0}, ScenarioError, "batch must be"),
            ({"mode": "fast"}, UnsupportedModeError, "eager, compile, cuda-graph"),
            ({"mode": "cuda-graph"}, UnsupportedModeError, "use mode eager"),
            ({"device": "cuda:99"}, UnsupportedModeError, "no cuda:99 here"),
            ({"image": "nowhere.png"}, PictureError, "nowhere.png"),
            ({"image": torch.zeros(3, 3, 84, 84)}, PromptError, "placeholders"),
        ],
    )
    def test_errors_are_one_line(
        self, wrong: dict[str, Any], kind: type[InputError], message: str
    ) -> None:
        with pytest.raises(kind, match=message) as caught:
            build_pipeline("llava-tiny", **wrong)

        assert len(str(caught.value).splitlines()) == 1

    def test_other_models(self) -> None:
        with pytest.raises(SpecError, match="lmm"):
            build_pipeline("vicuna-7b")
        with pytest.raises(ScenarioError, match="no multiple of 8"):
            build_pipeline("video-llava-tiny", reducer="tome", visual_tokens=81)
        with pytest.raises(UnknownNameError, match="known: count"):
            Pipeline(
                roofline.load_model("llava-tiny"),
                options={"ratio": 0.5},
                pixels=torch.zeros(1, 3, 84, 84),
                ids=torch.full((1, PATCHES), 500),
            )

    def test_a_prompt_without_placeholders(self, llava: Any) -> None:
        with pytest.raises(PromptError, match="no placeholder"):
            Pipeline(llava, pixels=torch.zeros(1, 3, 84, 84), ids=torch.full((1, 4), 7))
