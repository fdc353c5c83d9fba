"""The analysis against `FlopCounterMode` on the real reduced model, to the last FLOP."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest
import torch
from flop_counts import aside_flops, matmul_flops
from msgspec.structs import replace
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import roofline
from roofline import reducers
from roofline.reducers.ats import ATS
from roofline.reducers.token_schedules import stages_of
from roofline.specs.catalog import load_component, load_model
from roofline.specs.models import LanguageModel, Lmm, VisionEncoder
from roofline.torch_side.families import families
from roofline.torch_side.reduce.methods import METHODS, find
from roofline.torch_side.reduce.methods.ats import ATSBlocks

Prompts = Callable[..., dict[str, Tensor]]

TEXT = 9
FIXED = [name for name in reducers.names() if not reducers.find(name).by_picture]
"""Of the others the counts depend on the image; the analysis tells the most there can be."""


def with_patches(name: str, side: int) -> Lmm:
    """A shipped model on images of side × side patches."""
    spec = load_model(name)
    assert isinstance(spec, Lmm)
    vision = load_component(spec.vision, VisionEncoder)
    return replace(spec, vision=replace(vision, image_size_px=side * vision.patch_size_px))


SPECS = {
    "36 patches": with_patches("llava-tiny", 6),  # as many as PruMerge's neighbours, or fewer
    "144 patches": with_patches("llava-tiny", 12),
    "video": with_patches("video-llava-tiny", 6),
}


@cache
def model_of(spec: str) -> Any:
    return roofline.load_model(SPECS[spec], attention="eager")


def prompt_of(spec: Lmm, batch: int) -> dict[str, Tensor]:
    """Text around the visual tokens of one sample; two rows differ in nothing but noise."""
    vision = load_component(spec.vision, VisionEncoder)
    pixels = torch.randn(
        batch, spec.images, 3, vision.image_size_px, vision.image_size_px,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    whole = spec.vision_feature_select_strategy == "full"
    placeholder = spec.video_token_index if spec.images > 1 else spec.image_token_index
    run = [placeholder] * spec.images * (vision.patches + whole)
    ids = torch.tensor([[*range(5, 9), *run, *range(9, 14)]]).expand(batch, -1)
    if spec.images > 1:
        return {"input_ids": ids, "pixel_values_videos": pixels}
    return {"input_ids": ids, "pixel_values": pixels.flatten(0, 1)}


def measured(model: Any, given: dict[str, Any]) -> tuple[dict[str, int], Any]:
    """FLOPs of a prefill that yields one token's logits: all, and by module."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        output = model(**given, logits_to_keep=1, use_cache=True)
    by_module = {name: sum(ops.values()) for name, ops in counter.get_flop_counts().items()}
    root = type(model).__name__

    def within(*names: str) -> int:
        return sum(by_module.get(f"{root}.{name}", 0) for name in names)

    blocks = range(len(next(iter(_towers(model))).encoder.layers))
    towers = ("vision_tower", "image_tower", "video_tower")
    counts = {
        "all": matmul_flops(counter),
        "connector": within("model.multi_modal_projector"),
        "llm": within("model.language_model", "lm_head") - aside_flops(counter),
        "vision": within(
            *(f"model.{tower}.embeddings" for tower in towers),
            *(f"model.{tower}.encoder.layers.{block}" for tower in towers for block in blocks),
        ),
    }
    return counts, output.past_key_values


def _towers(model: Any) -> list[Any]:
    names = ("vision_tower", "video_tower", "image_tower")
    return [getattr(model.model, name) for name in names if hasattr(model.model, name)]


def expected(spec: Lmm, name: str, tokens: int | None, batch: int, stage: str = "prefill") -> Any:
    return roofline.analyze(
        spec,
        "v100",
        visual_tokens=tokens,
        text_tokens=TEXT,
        batch=batch,
        stage=stage,
        attention="eager",
        reducer=name,
    )


def default_tokens(spec: Lmm, name: str) -> int:
    return int(roofline.count(spec, reducer=name).inputs["visual_tokens"])


def attached_count(spec: Lmm, name: str, tokens: int) -> int:
    """Of a sequence where the reducer acts in the LLM, of each image elsewhere."""
    images = 1 if reducers.find(name).site == "llm" else spec.images
    assert not tokens % images
    return tokens // images


@pytest.mark.parametrize("name", reducers.names())
@pytest.mark.parametrize("model", ["llava-tiny", "video-llava-tiny"])
def test_default_counts_are_accepted(name: str, model: str) -> None:
    spec = load_model(model)
    assert isinstance(spec, Lmm)

    count = attached_count(spec, name, default_tokens(spec, name))
    roofline.attach(roofline.load_model(spec), name, count=count)


CASES = [
    *(("36 patches", tokens) for tokens in (6, 12, 30)),
    *(("144 patches", tokens) for tokens in (25, 36, 120)),
    ("video", 64),
]


@pytest.mark.parametrize("name", FIXED)
@pytest.mark.parametrize(("kind", "tokens"), CASES)
@pytest.mark.parametrize("batch", [1, 2])
def test_flops_of_the_reduced_model(name: str, kind: str, tokens: int, batch: int) -> None:
    spec, model = SPECS[kind], model_of(kind)
    estimate = expected(spec, name, tokens, batch)
    roofline.attach(model, name, count=attached_count(spec, name, tokens))

    check(model, spec, name, estimate, batch)


OPTIONS = [
    *(
        (kind, name)
        for kind in ("36 patches", "144 patches", "video")
        for name in FIXED
        if not reducers.find(name).needs_count and reducers.find(name).site != "features"
    ),
    *(("36 patches", f"fastv:k={k}:ratio={ratio}") for k, ratio in [(1, 0.5), (3, 0.75), (2, 0.3)]),
    *(("144 patches", f"tome:r={r}") for r in (0, 5, 60)),
    *(("144 patches", f"crossget:r={r}") for r in (0, 2, 5, 40)),
    *(("144 patches", f"evit:{options}") for options in ("rate=0.5", "stages=1", "rule=paper")),
    ("144 patches", "evit:rate=0.4:stages=0,2:rule=paper"),
    *(
        (kind, f"{name}:variant={variant}:ratio={ratio}:k={k}")
        for kind in ("36 patches", "144 patches")
        for name in ("prumerge", "prumerge+")
        for variant, ratio, k in [
            ("released", 0.125, 32), ("released", 0.25, 0), ("paper", 0.25, 5), ("released", 0, 3),
            ("released", 0.6, 32), ("released", 1, 5),  # prumerge+ keeps more than there are
        ]
    ),
    *(("144 patches", f"visionzip:contextual={c}") for c in (0, 1, 8)),
    ("144 patches", "spatial:grid=3,7"),
    ("video", "fastv:ratio=0.3"),
    ("video", "tome:r=7"),
    ("video", "prumerge+:variant=paper:ratio=0.25"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "text"), OPTIONS)
def test_flops_with_options(kind: str, text: str) -> None:
    """The count follows from the options, where they tell it, on both sides."""
    spec, model, reducer = SPECS[kind], model_of(kind), reducers.find(text)
    estimate = expected(spec, text, None, 1)
    options = {}
    if not reducer.settles_count and reducer.needs_count:
        options["count"] = attached_count(spec, text, int(estimate.inputs["visual_tokens"]))
    roofline.attach(model, text, **options)

    check(model, spec, text, estimate, 1)


def check(model: Any, spec: Lmm, name: str, estimate: Any, batch: int) -> None:
    """An attached model's FLOPs by component, of a prompt and the step behind it."""
    counted, past = measured(model, prompt_of(spec, batch))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(input_ids=torch.full((batch, 1), 7), past_key_values=past)
    roofline.detach(model)

    parts = {part: total.flops for part, total in estimate.components.items()}
    own = parts["reducer"]
    assert counted["all"] == estimate.end_to_end.flops
    assert counted["connector"] == parts["connector"]
    reducer_site = reducers.find(name).site
    if reducer_site != "vision":
        assert counted["vision"] == parts["vision"]
    assert counted["llm"] == parts["llm"] + (own if reducer_site == "llm" else 0)
    tokens = estimate.inputs["visual_tokens"]
    step = expected(spec, name, tokens, batch, stage="decode")
    assert matmul_flops(counter) == step.end_to_end.flops


class TestATS:
    """By hand from the counts that the driver reports; images are padded to the longest."""

    @pytest.fixture
    def drivers(self) -> Iterator[list[ATSBlocks]]:
        made: list[ATSBlocks] = []

        def driver(reducer: ATS, *, count: int | None = None) -> ATSBlocks:
            made.append(ATSBlocks(reducer, count=count))
            return made[-1]

        method = find("ats")
        METHODS.register(method.name, dataclasses.replace(method, blocks=driver))
        yield made
        METHODS.register(method.name, method)

    @pytest.mark.parametrize("count", [8, 20, 30])
    @pytest.mark.parametrize("images", [1, 3])
    def test_flops_follow_the_counts_drawn(
        self, llava: Any, prompts: Prompts, drivers: list[ATSBlocks], count: int, images: int
    ) -> None:
        llava.set_attn_implementation("eager")
        given = prompts(llava, ["t" * TEXT + "i"] * images)

        flops, most = self.check(llava, SPECS["36 patches"], drivers, given, count)

        assert flops <= most

    def test_even_attention_draws_all_that_may_be(self, drivers: list[ATSBlocks]) -> None:
        spec, model = SPECS["36 patches"], model_of("36 patches")

        flops, most = self.check(model, spec, drivers, prompt_of(spec, 2), 12)
        roofline.detach(model)

        assert drivers[-1].counts[-1] == [12, 12]
        assert flops == most

    def test_all_patches_and_layers_of_a_full_size_tower(self, drivers: list[ATSBlocks]) -> None:
        """Of LLaVA-1.5's, at the tiny width, which counts are only multiplied by."""
        full, tiny = load_model("llava-1.5-7b"), SPECS["36 patches"]
        assert isinstance(full, Lmm)
        large = load_component(full.vision, VisionEncoder)
        vision = replace(
            load_component(tiny.vision, VisionEncoder),
            num_hidden_layers=large.num_hidden_layers,
            image_size_px=large.image_size_px,
            patch_size_px=large.patch_size_px,
        )
        spec = replace(tiny, vision=vision)
        model = roofline.load_model(spec, attention="eager")

        flops, most = self.check(model, spec, drivers, prompt_of(spec, 1), 144)

        assert flops <= most

    @staticmethod
    def check(
        model: Any, spec: Lmm, drivers: list[ATSBlocks], given: dict[str, Tensor], count: int
    ) -> tuple[int, float]:
        """What is counted, after it was found right, and the analysis's upper bound."""
        roofline.attach(model, "ats", count=count)

        counted, _ = measured(model, given)

        images, drawn = len(given["pixel_values"]), drivers[-1].counts[-1]
        vision = load_component(spec.vision, VisionEncoder)
        c, f = vision.hidden_size, vision.intermediate_size
        by_hand = 2 * vision.patches * 3 * vision.patch_size_px**2 * c
        stages = stages_of(len(drivers[-1].token_counts))
        for block, (before, after) in enumerate(drivers[-1].token_counts):
            by_hand += 6 * before * c**2 + 4 * after * before * c + 2 * after * c**2  # attention
            by_hand += 4 * after * c * f + (2 * before * c if block in stages else 0)
        sizes = {"text_tokens": TEXT, "batch": images, "attention": "eager"}
        longest = roofline.analyze(spec, "v100", visual_tokens=max(drawn), **sizes)
        llm = load_component(spec.llm, LanguageModel)
        assert counted["connector"] == 2 * sum(drawn) * llm.hidden_size * (c + llm.hidden_size)
        assert counted["llm"] == longest.components["llm"].flops
        assert counted["all"] == images * by_hand + counted["connector"] + counted["llm"]
        return counted["all"], expected(spec, "ats", count, images).end_to_end.flops


# at full size -------------------------------------------------------------------------------------


@cache
def llava_on_meta() -> Any:
    spec = load_model("llava-1.5-7b")
    assert isinstance(spec, Lmm)
    family = families.find(spec.architecture)
    with torch.device("meta"):
        return family.model_class()(family.config_of(spec, "eager")).half().eval()


@pytest.mark.parametrize("name", FIXED)  # ATS needs values, not shapes alone
def test_flops_of_llava_7b(name: str) -> None:
    spec, model = load_model("llava-1.5-7b"), llava_on_meta()
    assert isinstance(spec, Lmm)
    tokens = default_tokens(spec, name)
    given = prompt_of(spec, 1)
    given["pixel_values"] = given["pixel_values"].to("meta", torch.float16)
    roofline.attach(model, name, count=tokens)

    counted, _ = measured(model, given)
    roofline.detach(model)

    assert counted["all"] == expected(spec, name, tokens, 1).end_to_end.flops
