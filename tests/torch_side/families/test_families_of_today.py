"""Families whose pictures have any shape, tiles, places or kinds of tokens: models and reducers.

Held to the classes of transformers, which see whole prompts, and to what is put together by hand
from their features and the attention that they compute.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from attaching import close
from PIL import Image
from prompts_of_families import SIZES, model_of, prompt_of
from tiny_lmms import IMAGE, TINY, VIDEO, tiny
from torch import Tensor

import roofline
from roofline.errors import InputError
from roofline.torch_side.families import family_of
from roofline.torch_side.measure.pipeline import build_pipeline
from roofline.torch_side.reduce.kept_patches import look

every_family = pytest.mark.parametrize("name", TINY)
NEW = 4


def tokens_of_picture(model: Any, given: dict[str, Any], picture: int = 0) -> int:
    """Visual tokens of one picture, without learned rows."""
    visual = family_of(model).sample_input(model)
    pictures = visual.pictures(given)
    assert pictures is not None
    if pictures.runs is None:
        return pictures.sizes[picture]
    return int((pictures.runs[picture] >= 0).sum())


@every_family
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("reducer", ["sequential", "divprune", "fastervlm", "fastv"])
@torch.no_grad()
def test_logits_are_bit_equal_with_nothing_dropped(name: str, side: str, reducer: str) -> None:
    model = model_of(name)
    given = prompt_of(model, ["titt", "ttittt"], side, [SIZES[0]] * 2)
    expected, real = model(**given).logits, given["attention_mask"].bool()
    everything = {"count": tokens_of_picture(model, given)}
    if reducer == "fastv":
        everything = {"ratio": 0.0, "k": 3}
        if name == "gemma3":
            pytest.skip("refused, which another test holds")

    roofline.attach(model, reducer, **everything)

    assert torch.equal(model(**given).logits[real], expected[real])


@every_family
@torch.no_grad()
def test_several_pictures_in_one_prompt_and_an_answer(name: str) -> None:
    """Of different shapes, where the family has such; with everything kept, as without."""
    model = model_of(name)
    given = prompt_of(model, ["titit"])
    options = {"max_new_tokens": NEW, "eos_token_id": None, "do_sample": False}
    expected = model.generate(**given, **options)
    # as many as the smaller has do for both where all have as many; else prefixes are compared
    alike = tokens_of_picture(model, given) == tokens_of_picture(model, given, 1)

    roofline.attach(model, "sequential", count=tokens_of_picture(model, given, 1))
    if not alike:
        roofline.attach(model, "fastv", ratio=0.0, k=3)

    assert torch.equal(model.generate(**given, **options), expected)


@contextmanager
def recorded(tower: Any) -> Iterator[list[Tensor]]:
    """Probabilities of attention [B, heads, queries, keys] in a tower, call by call."""
    module = sys.modules[type(tower).__module__]
    original, seen = module.eager_attention_forward, list[Tensor]()

    def record(*args: Any, **kwargs: Any) -> Any:
        output, weights = original(*args, **kwargs)
        seen.append(weights)
        return output, weights

    module.eager_attention_forward = record
    try:
        yield seen
    finally:
        module.eager_attention_forward = original


def tokens_of_patches(model: Any, given: dict[str, Any], weights: Tensor) -> Tensor:
    """Attention that is paid to tokens [views, N], of weights [views, heads, patches, patches]."""
    config = model.config
    name, paid = config.model_type, weights.mean(dim=(1, 2))
    if name == "llava_next":
        return weights.mean(dim=1)[:, 0, 1:]
    if name.startswith("qwen"):
        groups = paid.unflatten(1, (-1, 4)).mean(dim=2)
        if name != "qwen2_5_vl":
            return groups
        vision, module = config.vision_config, sys.modules[type(model.model.visual).__module__]
        order, _ = module.get_vision_window_index(
            given["image_grid_thw"],
            spatial_merge_size=vision.spatial_merge_size,
            window_size=vision.window_size,
            patch_size=vision.patch_size,
            kwargs={},
        )
        return groups[:, order.argsort()]
    if name == "internvl":  # of patches to patches, whatever the class token has
        inside = weights[:, :, 1:, 1:]
        paid = (inside / inside.sum(dim=-1, keepdim=True)).mean(dim=(1, 2))
    along = {"internvl": 2, "gemma3": 4}.get(name, 1)
    side = round(paid.shape[1] ** 0.5)
    square = paid.unflatten(1, (side // along, along, side // along, along))
    return square.mean(dim=(2, 4)).flatten(1)


def places_of(model: Any, kept: list[list[int]]) -> list[int]:
    """Where tokens kept of each view stand in the run of a square picture: the whole picture, then
    rows of two by two tiles with a learned row behind each, which goes.
    """
    tokens = tiny(model.config.model_type).vision.view.rows  # type: ignore[union-attr]
    if model.config.model_type not in ("llava_next", "llava_onevision"):
        each = len(kept) and family_of(model).sample_input(model)
        offset = each.unreduced if model.config.model_type == "internvl" else 0
        return [view * offset + token for view, own in enumerate(kept) for token in own]
    places, width = set(kept[0]), 2 * tokens + 1
    for tile, own in enumerate(kept[1:]):
        for token in own:
            row = tile // 2 * tokens + token // tokens
            start = tokens**2 + row * width
            places.add(start + tile % 2 * tokens + token % tokens)
    return sorted(places)


@every_family
@pytest.mark.parametrize("each", [3, 5])
@torch.no_grad()
def test_logits_are_those_of_a_prompt_put_together_by_hand(name: str, each: int) -> None:
    """Of each view the tokens stay whose patches are paid most attention; so do their places."""
    model = model_of(name, "eager")
    given = prompt_of(model, ["ttitt"], sizes=[(252, 252)])
    inner, ids = model.model, given["input_ids"]
    tower = inner.visual if hasattr(inner, "visual") else inner.vision_tower
    beside = {key: given[key] for key in ("image_grid_thw", "image_sizes") if key in given}
    with recorded(getattr(tower, "vision_model", tower)) as seen:
        found = inner.get_image_features(given["pixel_values"], **beside)
    rows = found.pooler_output
    rows = torch.cat(list(rows)) if not isinstance(rows, Tensor) else rows.flatten(0, 1)
    watched = seen[-2] if name == "llava_next" else seen[-1]
    paid = tokens_of_patches(model, given, watched)
    kept = [sorted(own.topk(each).indices.tolist()) for own in paid]
    places = torch.tensor(places_of(model, kept))
    columns = torch.cat([(ids[0] != IMAGE).nonzero().flatten(), 2 + places]).sort().values
    text = ids[0].masked_fill(ids[0] == IMAGE, 0)
    embeddings = model.get_input_embeddings()(text).index_copy(
        0, (ids[0] == IMAGE).nonzero().flatten(), rows.to(model.dtype)
    )[columns][None]
    more: dict[str, Any] = {}
    if "image_grid_thw" in given:
        types = given["mm_token_type_ids"]
        positions, _ = inner.get_rope_index(ids, types, image_grid_thw=given["image_grid_thw"])
        more["position_ids"] = positions[:, :, columns]
    if "token_type_ids" in given:
        more["token_type_ids"] = given["token_type_ids"][:, columns]
    if hasattr(found, "deepstack_features"):
        taps = [
            torch.cat(list(tap)) if isinstance(tap, tuple) else tap
            for tap in found.deepstack_features
        ]
        more["visual_pos_masks"] = (ids[0] == IMAGE)[columns][None]
        more["deepstack_visual_embeds"] = [tap[places] for tap in taps]
        hidden = inner.language_model(inputs_embeds=embeddings, **more).last_hidden_state
        expected = model.lm_head(hidden)
    else:
        expected = model(inputs_embeds=embeddings, **more).logits

    whole = not name.startswith(("internvl", "llava"))
    roofline.attach(model, "fastervlm", count=each if whole else each * len(kept))

    close(model(**given).logits, expected)


@every_family
def test_reducers_inside_the_vit_say_what_they_lack(name: str) -> None:
    model = model_of(name)
    before = dict(model.__dict__)
    for reducer in ("tome", "ats", "evit", "crossget"):
        if name == "llava_next":
            continue
        with pytest.raises(InputError, match=f"{reducer} (needs a class token|drops patches)"):
            roofline.attach(model, reducer)
    assert model.__dict__ == before


@every_family
@pytest.mark.parametrize("reducer", ["visionzip", "fastv:k=3", None])
@torch.no_grad()
def test_what_is_timed_is_what_runs(name: str, reducer: str | None) -> None:
    """A pipeline's logits and answer, against those of the model with the reducer attached."""
    if name == "gemma3" and reducer == "fastv:k=3":
        pytest.skip("refused, which another test holds")
    model, spec = model_of(name), tiny(name)
    count = 8 if reducer == "visionzip" else None
    with build_pipeline(
        spec, loaded=model, reducer=reducer, visual_tokens=count, text_tokens=5, output_tokens=NEW
    ) as pipeline:
        logits, answer = pipeline.prefill(), pipeline.generate()
        visual = family_of(model).sample_input(model)
    random = torch.Generator().manual_seed(0)
    pictures = visual.noise([(1280, 720)], spec.image_tokens, random)
    given = prompt_of(model, ["i"], sizes=[(1280, 720)]) | pictures
    text = pipeline._layout.ids[:, -5:]
    given["input_ids"] = torch.cat([given["input_ids"], text], dim=1)
    given["attention_mask"] = torch.ones_like(given["input_ids"])
    given |= family_of(model).token_type_values(model, given["input_ids"])

    if reducer is not None:
        roofline.attach(model, reducer, **({} if count is None else {"count": count}))
    options = {"max_new_tokens": NEW, "eos_token_id": None, "do_sample": False}
    generated = model.generate(**given, **options)

    close(model(**given).logits[:, -1], logits)
    assert torch.equal(generated[:, -NEW:], answer)
    assert IMAGE not in answer


QWEN = [name for name in TINY if name.startswith("qwen")]


def video_prompt(model: Any) -> dict[str, Any]:
    """Text, a picture, and a video of two frames, which have runs of their own in Qwen3-VL."""
    visual = {one.video: one for one in family_of(model).inputs(model)}
    given = prompt_of(model, ["ti"], sizes=[(252, 252)])
    grid, values = torch.tensor([[2, 8, 12]]), visual[True].tower.patch_values
    pixels = torch.randn(2 * 8 * 12, values, generator=torch.Generator().manual_seed(2))
    frame = [VIDEO] * 24
    apart = [9] if model.config.model_type.startswith("qwen3") else []
    row = torch.tensor([[*frame, *apart, *frame, 10, 11]])
    ids = torch.cat([given["input_ids"], row], dim=1)
    types = family_of(model).token_type_values(model, ids)
    more = {"pixel_values_videos": pixels, "video_grid_thw": grid, "input_ids": ids, **types}
    if model.config.model_type == "qwen2_5_vl":
        more["second_per_grid_ts"] = torch.tensor([1.0])
    return {**given, **more, "attention_mask": torch.ones_like(ids)}


@pytest.mark.parametrize("name", QWEN)
@torch.no_grad()
def test_a_video_beside_a_picture(name: str) -> None:
    """With everything kept as without; with less, frames share a count, and places stay."""
    model = model_of(name)
    given = video_prompt(model)
    options = {"max_new_tokens": NEW, "eos_token_id": None, "do_sample": False}
    expected, answer = model(**given).logits, model.generate(**given, **options)
    seen: list[Tensor] = []
    handle = model.model.language_model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["position_ids"]), with_kwargs=True
    )
    model(**given)

    roofline.attach(model, "fastv", ratio=0.0, k=3)
    assert torch.equal(model(**given).logits, expected)
    assert torch.equal(model.generate(**given, **options), answer)
    roofline.attach(model, "spatial", count=6)
    model(**given)
    handle.remove()

    whole, reduced = seen[0], seen[-1]
    ids = given["input_ids"][0]
    apart = name.startswith("qwen3")
    kept = 6 * (3 if apart else 2)  # of the picture; of the video, or of each of its frames
    assert reduced.shape[-1] == int(((ids != IMAGE) & (ids != VIDEO)).sum()) + kept
    assert {tuple(place) for place in reduced[:, 0].T.tolist()} <= {
        tuple(place) for place in whole[:, 0].T.tolist()
    }
    assert torch.equal(reduced[..., -2:], whole[..., -2:])


@torch.no_grad()
def test_what_is_counted_is_counted_anew() -> None:
    """No places: positions of a reduced prompt follow one another."""
    model = model_of("llava_next")
    given = prompt_of(model, ["titt"], sizes=[(252, 252)])
    length = given["input_ids"].shape[1]
    given["position_ids"] = torch.arange(7, 7 + length)[None]
    seen: list[Tensor] = []
    handle = model.model.language_model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["position_ids"]), with_kwargs=True
    )

    roofline.attach(model, "divprune", count=20)
    model(**given)
    handle.remove()

    assert seen[0][0].tolist() == list(range(7, 7 + seen[0].shape[1]))
    assert seen[0].shape[1] < length


def test_a_video_that_is_interpolated_is_refused() -> None:
    model = model_of("llava_onevision")
    roofline.attach(model, "divprune", count=5)
    with pytest.raises(InputError, match="pools the frames of a video by interpolation"):
        model(input_ids=torch.tensor([[5]]), pixel_values_videos=torch.zeros(1, 2, 3, 84, 84))
    with pytest.raises(InputError, match="give `image_sizes`"):
        model(input_ids=torch.tensor([[5]]), pixel_values=torch.zeros(1, 5, 3, 84, 84))


def test_a_grid_that_is_scaled_down_is_refused() -> None:
    model = model_of("llava_onevision")
    model.config.vision_aspect_ratio = "anyres_max_1"
    try:
        roofline.attach(model, "divprune", count=5)
        with pytest.raises(InputError, match="scales its features down"):
            model(**prompt_of(model, ["ti"], sizes=[(252, 252)]))
    finally:
        model.config.vision_aspect_ratio = "anyres_max_9"


@torch.no_grad()
def test_prunings_wait_for_deepstack() -> None:
    with pytest.raises(InputError, match=r"`k` must be at least 3"):
        roofline.attach(model_of("qwen3_vl"), "fastv", k=2)
    with pytest.raises(InputError, match="turn them by different angles"):
        roofline.attach(model_of("gemma3"), "fastv")


@every_family
@torch.no_grad()
def test_beams_see_the_reduced_prompt(name: str) -> None:
    """Of one beam and of several that are the same: the first of two beams is no worse."""
    model = model_of(name)
    given = prompt_of(model, ["titt", "tit"], sizes=[SIZES[0]] * 2)
    roofline.attach(model, "visionzip", count=6)
    options = {"max_new_tokens": NEW, "eos_token_id": None, "do_sample": False}
    scores = [
        model.generate(
            **given, **options, num_beams=beams, return_dict_in_generate=True, output_scores=True
        )
        for beams in (2, 3)
    ]

    for found in scores:
        assert found.sequences.shape == (2, given["input_ids"].shape[1] + NEW)
        assert found.sequences_scores.isfinite().all()


@pytest.mark.parametrize("name", TINY)
@torch.no_grad()
def test_a_copy_of_a_model_runs_its_own_weights(name: str) -> None:
    model = model_of(name)
    given = prompt_of(model, ["titt"], sizes=[(252, 252)])
    roofline.attach(model, "divprune", count=7)
    expected = model(**given).logits
    other = copy.deepcopy(model)
    for weight in other.parameters():
        weight.mul_(1.5)

    assert not torch.equal(other(**given).logits, expected)
    for weight in other.model.parameters():
        weight.div_(1.5)
    changed = family_of(other).connector(other)
    for weight in changed.parameters():
        weight.zero_()
    assert not torch.equal(other(**given).logits, expected)
    assert torch.equal(model(**given).logits, expected)


@torch.no_grad()
def test_a_count_is_what_is_left_of_a_picture_s_tiles() -> None:
    """No multiple of them, in a picture whose grid is padded."""
    model = model_of("llava_next")
    given = prompt_of(model, ["titt"])
    roofline.attach(model, "divprune", count=23)

    assert model(**given).logits.shape[1] == 3 + 23
    roofline.attach(model, "divprune", count=500)
    with pytest.raises(InputError, match="`count` is 500, but a picture has"):
        model(**given)


def preprocessor(name: str) -> Any:
    """Of a few families, for tiny tiles."""
    from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
    from transformers.models.llava_next.image_processing_pil_llava_next import (
        LlavaNextImageProcessorPil,
    )
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    square = {"height": 84, "width": 84}
    grids = [[84, 168], [168, 84], [168, 168]]
    if name == "qwen2_vl":
        return Qwen2VLImageProcessorPil(size={"shortest_edge": 784, "longest_edge": 100_000})
    if name == "internvl":
        return GotOcr2ImageProcessorPil(size=square, crop_to_patches=True)
    size = {"shortest_edge": 84}
    return LlavaNextImageProcessorPil(size=size, crop_size=square, image_grid_pinpoints=grids)


@pytest.mark.parametrize(
    ("name", "pixels"),
    [
        ("qwen2_vl", (2 * 14 * 22, 1176)),  # 200 × 300 rounded to squares of 28
        ("llava_next", (2 * 5, 3, 84, 84)),
        ("internvl", (2 * 7, 3, 84, 84)),
    ],
)
def test_a_photo_is_cut_by_a_checkpoint_s_preprocessor(
    name: str, pixels: tuple[int, ...], tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    photo = Image.fromarray(random.integers(0, 256, (200, 300, 3), dtype=np.uint8))
    photo.save(tmp_path / "photo.png")
    preprocessor(name).save_pretrained(tmp_path)
    asked: dict[str, Any] = {"loaded": model_of(name), "image": tmp_path / "photo.png"}

    with build_pipeline(
        tiny(name), **asked, checkpoint=tmp_path, batch=2, reducer="visionzip", visual_tokens=7
    ) as pipeline:
        assert pipeline.visual_tokens == [7, 7]
        assert pipeline._pixels.shape == pixels
    with pytest.raises(InputError, match="a checkpoint whose preprocessor cuts it"):
        build_pipeline(tiny(name), **asked)


@every_family
@pytest.mark.parametrize("reducer", ["visionzip", "prumerge", "divprune", "spatial", "none"])
def test_what_is_kept_of_a_square_picture_is_drawn(name: str, reducer: str) -> None:
    model = model_of(name)
    visual = next(one for one in family_of(model).inputs(model) if not one.video)
    random = torch.Generator().manual_seed(3)
    pixels = torch.randn(1, 3, visual.side_px, visual.side_px, generator=random)
    count = 6 if reducer in ("visionzip", "divprune", "spatial") else None

    kept = look(model, pixels, reducer, count)

    assert kept.of == visual.square(pixels).sizes[0]
    assert kept.tokens == (count or kept.tokens)
    assert (kept.indices < kept.of).all()
