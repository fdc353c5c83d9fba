"""What is drawn is what the model is fed with."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPImageProcessor

from roofline import reducers
from roofline.errors import RooflineError
from roofline.torch_side.families.clip_tower import ClipTower
from roofline.torch_side.load import load_model
from roofline.torch_side.pictures import PictureError, crop, normalise, read
from roofline.torch_side.reduce import kept_patches
from roofline.torch_side.reduce.attach import attach, detach
from roofline.torch_side.reduce.encode import encode
from roofline.torch_side.reduce.kept_patches import (
    inspect_tokens,
    look,
    look_by_position,
)
from roofline.torch_side.reduce.methods import MERGED, METHODS, bind, find, reduce_tokens
from roofline.torch_side.reduce.methods.base import ReducerError, Reduction, class_attention

SIDE, PIXELS, PLACEHOLDER = 6, 84, 500
PATCHES = SIDE**2
DRAWABLE = [name for name in reducers.names() if reducers.find(name).site != "llm"]


@pytest.fixture(scope="module")
def model() -> Any:
    """A tiny LLaVA in fp32 whose weights fp16 can hold, with a class token that takes sides."""
    built = load_model("llava-tiny", dtype="fp16").float()
    with torch.no_grad():
        for layer in built.model.vision_tower.encoder.layers:
            for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
                getattr(layer.self_attn, name).weight.mul_(16)
        built.model.vision_tower.embeddings.patch_embedding.weight.mul_(4)
    return built


@pytest.fixture(scope="module")
def checkpoint(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    model.save_pretrained(folder)
    return folder


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    random = np.random.default_rng(seed)
    return Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    return normalise(np.array(crop(noise(100, 90), PIXELS)))


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    file = tmp_path / "photo.png"
    noise(100, 90).save(file)
    return file


def ranking(model: Any, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """PruMerge's attention [N] and keys [N, C], from the encoder itself."""
    encoded = encode(ClipTower(model.model.vision_tower), pixels, 3, attention_of=3)
    assert encoded.queries is not None
    assert encoded.keys is not None
    queries = encoded.queries.expand_as(encoded.keys)
    return class_attention(queries, encoded.keys)[0], encoded.keys[0, 1:]


@contextmanager
def recording(name: str) -> Iterator[list[Reduction]]:
    """All that a reducer returns, whoever calls it."""
    method, reductions = find(name), []

    def record(function: Callable[..., Reduction]) -> Callable[..., Reduction]:
        @wraps(function)
        def recorded(*args: Any, **options: Any) -> Reduction:
            reductions.append(function(*args, **options))
            return reductions[-1]

        return recorded

    def blocks(reducer: Any, *, count: int | None = None) -> Any:
        assert method.blocks is not None
        driver: Any = method.blocks(reducer, count=count)
        driver.finish = record(driver.finish)
        return driver

    METHODS.register(
        name,
        replace(
            method,
            reduce=method.reduce and record(method.reduce),
            blocks=method.blocks and blocks,
        ),
    )
    try:
        yield reductions
    finally:
        METHODS.register(method.name, method)


@torch.inference_mode()
@pytest.mark.parametrize("count", [None, 12])
@pytest.mark.parametrize("name", DRAWABLE)
def test_kept_patches_are_those_that_the_llm_gets(
    name: str, count: int | None, model: Any, pixels: torch.Tensor
) -> None:
    kept = look(model, pixels, name, count)

    with recording(name) as reductions:
        attach(model, name, **({} if count is None else {"count": count}))
        try:
            prompt = torch.tensor([[1, *[PLACEHOLDER] * PATCHES, 2]])
            logits = model(input_ids=prompt, pixel_values=pixels).logits
        finally:
            detach(model)
    indices = reductions[-1].indices[0]
    assert kept.indices.tolist() == indices[indices != MERGED].tolist()
    assert kept.tokens == len(indices) == logits.shape[1] - 2
    assert kept.total == f"{len(indices)} of {PATCHES} tokens"
    reducer = reducers.find(name)
    if count is None and reducer.needs_count:
        assert kept.tokens == reducer.default_kept(PATCHES, blocks=3)
    if kept.merging is not None:
        assert kept.merges
        assert kept.merging.sum() == pytest.approx(1)
        assert kept.merging.min() >= 0


@torch.inference_mode()
def test_nobody_keeps_every_patch(model: Any, pixels: torch.Tensor) -> None:
    for kept in (look(model, pixels, "none", 9), look_by_position("none", PATCHES)):
        assert kept.indices.tolist() == list(range(PATCHES))
        assert kept.total == f"{PATCHES} of {PATCHES} tokens"


@torch.inference_mode()
@pytest.mark.parametrize("name", ["prumerge", "prumerge+"])
def test_outliers_lie_above_the_fence_and_sampled_patches_on_the_grid(
    name: str, model: Any, pixels: torch.Tensor
) -> None:
    kept = look(model, pixels, name)
    attention = ranking(model, pixels)[0].double().numpy()
    q1, q3 = np.percentile(attention, [25, 75])
    fence = q3 + 1.5 * (q3 - q1)
    above = np.flatnonzero(attention > fence)
    assert len(above) > 1

    assert kept.attention == pytest.approx(attention)
    assert kept.fence == pytest.approx(fence)
    assert sorted(kept.patches["outlier"]) == above.tolist()
    if name == "prumerge+":
        stride = int(PATCHES / len(above)) // 3
        grid = [patch for patch in range(0, PATCHES - 1, stride) if patch not in above]
        assert kept.patches["sampled"].tolist() == grid
        assert kept.parts == f"{len(above)} outliers + {len(grid)} sampled + 1 merged"


@torch.inference_mode()
def test_a_count_keeps_the_strongest(model: Any, pixels: torch.Tensor) -> None:
    descending = ranking(model, pixels)[0].argsort(descending=True).tolist()

    prumerge, plus = (look(model, pixels, name, 13) for name in ("prumerge", "prumerge+"))

    assert prumerge.patches["strongest"].tolist() == descending[:12]
    assert plus.patches["strongest"].tolist() == descending[:3]
    assert plus.parts == "3 strongest + 9 sampled + 1 merged"


@torch.inference_mode()
@pytest.mark.parametrize("name", ["prumerge", "prumerge+"])
def test_prumerge_merges_by_attention_patch_by_patch(
    name: str, model: Any, pixels: torch.Tensor
) -> None:
    kept = look(model, pixels, name)
    attention, keys = ranking(model, pixels)
    cosines = torch.nn.functional.cosine_similarity(keys[:, None], keys[None], dim=-1)

    merged = np.zeros(PATCHES)
    for centre in kept.indices:
        others = [patch for patch in range(PATCHES) if patch != centre]
        for patch in sorted(others, key=lambda other: -float(cosines[centre, other]))[:32]:
            merged[patch] += float(attention[patch])
    for patch in set(range(PATCHES)) - set(kept.indices.tolist()):  # the extra token
        merged[patch] += float(attention[patch])

    assert kept.merging == pytest.approx(merged / merged.sum(), abs=1e-6)


@torch.inference_mode()
def test_tome_merges_into_means(model: Any, pixels: torch.Tensor) -> None:
    kept = look(model, pixels, "tome")
    driver: Any = bind("tome").blocks()
    encode(ClipTower(model.model.vision_tower), pixels, 3, reducer=driver)
    into = driver.positions[0].tolist()

    shares = [
        0.0 if patch in kept.indices else 1 / into.count(token) for patch, token in enumerate(into)
    ]
    assert kept.merging == pytest.approx(np.array(shares) / sum(shares))


@torch.inference_mode()
@pytest.mark.parametrize(
    "name", [name for name in DRAWABLE if reducers.find(name).site == "features"]
)
def test_what_merges_hands_on_other_tokens_than_the_encoder_s(
    name: str, model: Any, pixels: torch.Tensor
) -> None:
    """What only prunes hands on rows of the features as they are: then nothing may be drawn."""
    features = model.model.vision_tower(pixels, output_hidden_states=True).hidden_states[-2][0, 1:]
    if reducers.find(name).connects_all:
        features = model.model.multi_modal_projector(features)
    count = 12 if reducers.find(name).needs_count else None  # few enough leave nothing to merge
    with recording(name) as reductions:
        kept = look(model, pixels, name, count)

    tokens, patches = reductions[0].tokens[0], reductions[0].indices[0]
    own = patches != MERGED
    as_they_are = bool(own.all()) and torch.allclose(tokens, features[patches], atol=1e-5)
    assert kept.merges != as_they_are
    assert (kept.merging is None) == as_they_are


@torch.inference_mode()
@pytest.mark.parametrize("name", DRAWABLE)
def test_reducers_say_what_the_picture_decides(name: str, model: Any, pixels: torch.Tensor) -> None:
    """Which patches are kept, unless it goes by position; and of some, how many of a count."""
    other = normalise(np.array(crop(noise(100, 90, seed=1), PIXELS)))
    reducer = reducers.find(name)

    kept = [look(model, image, name, 12) for image in (pixels, other)]

    assert (kept[0].indices.tolist() == kept[1].indices.tolist()) == reducer.by_position
    assert ({one.tokens for one in kept} != {12}) == reducer.by_picture


def driven(name: str, model: Any, pixels: torch.Tensor) -> tuple[Any, Reduction]:
    """A fresh driver of a reducer inside the ViT behind its pass, and what it left."""
    driver: Any = bind(name).blocks()
    reduction = encode(ClipTower(model.model.vision_tower), pixels, 3, reducer=driver).reduction
    assert reduction is not None
    return driver, reduction


@torch.inference_mode()
def test_sampling_inside_the_vit_merges_nothing(model: Any, pixels: torch.Tensor) -> None:
    """Every token of ATS is a patch of its own, and fewer tokens than patches are left."""
    _, reduction = driven("ats", model, pixels)

    kept = look(model, pixels, "ats")

    patches = reduction.indices[0].tolist()
    assert MERGED not in patches
    assert len(set(patches)) == len(patches) == kept.tokens < PATCHES
    assert (kept.merging, kept.merges) == (None, False)


@torch.inference_mode()
def test_merging_that_leaves_no_record_is_said_to_be_there(
    model: Any, pixels: torch.Tensor
) -> None:
    """EViT fuses the rest into one token; CrossGET's tokens hold more than one patch."""
    _, fused = driven("evit", model, pixels)
    cross, _ = driven("crossget", model, pixels)
    assert fused.indices[0].tolist().count(MERGED) == 1
    assert cross.sizes.sum() == 1 + PATCHES + 1  # class token, patches, cross token
    assert cross.sizes.max() > 1

    for name in ("evit", "crossget"):
        kept = look(model, pixels, name)
        assert (kept.merging, kept.merges) == (None, True)
        assert sum(kept.others.values()) == 1


@torch.inference_mode()
def test_fastervlm_ranks_by_the_mean_over_heads(model: Any, pixels: torch.Tensor) -> None:
    """Of the probabilities that transformers itself gives out, of the last block that runs."""
    kept = look(model, pixels, "fastervlm", 5)

    tower = copy.deepcopy(model.model.vision_tower)
    tower.set_attn_implementation("eager")
    heads = tower(pixels, output_attentions=True).attentions[2][0]  # [H, 1 + N, 1 + N]
    attention = heads.mean(dim=0)[0, 1:]
    assert kept.attention == pytest.approx(attention.numpy(), rel=1e-4, abs=1e-7)
    assert set(kept.indices) == set(attention.topk(5).indices.tolist())
    assert kept.fence is None


def test_without_outliers_the_one_kept_is_called_the_strongest(pixels: torch.Tensor) -> None:
    even = load_model("llava-tiny")
    kept = look(even, pixels, "prumerge")

    assert kept.attention is not None
    assert kept.attention.max() < (kept.fence or 0)
    assert kept.parts == "1 strongest + 1 merged"


def test_video_llava_is_looked_at_through_its_image_tower() -> None:
    video = load_model("video-llava-tiny")
    size = video.config.vision_config.image_size
    kept = look(video, torch.zeros(1, 3, size, size), "spatial")

    assert kept.of == (size // video.config.vision_config.patch_size) ** 2


@pytest.mark.parametrize(
    "name", [name for name in reducers.names() if reducers.find(name).by_position]
)
def test_positions_need_no_checkpoint(name: str, photo: Path) -> None:
    inspection = inspect_tokens(photo, [name], model="llava-tiny", count=9)

    direct = reduce_tokens(name, torch.zeros(1, 1 + PATCHES, 1), count=9)
    assert inspection.kept[0].indices.tolist() == direct.indices[0].tolist()
    assert inspection.side == SIDE
    assert np.array_equal(inspection.image, np.array(crop(noise(100, 90), PIXELS)))


def test_a_checkpoint_is_looked_through(
    photo: Path, checkpoint: Path, model: Any, pixels: torch.Tensor
) -> None:
    names = ["prumerge+", "divprune", "prumerge+"]
    inspection = inspect_tokens(photo, names, model="llava-tiny", checkpoint=checkpoint)

    assert [one.reducer for one in inspection.kept] == ["prumerge+", "divprune"]
    for one in inspection.kept:
        direct = look(model, pixels, one.reducer)
        assert one.parts == direct.parts
        assert one.indices.tolist() == direct.indices.tolist()
    assert (inspection.title, inspection.model) == ("photo.png", "llava-tiny")
    assert inspection.image.shape == (PIXELS, PIXELS, 3)


def test_photos_are_looked_at_each_once_through_one_model(
    photo: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = photo.parent / "other.png"
    noise(90, 100).save(other)
    loads = []
    loaded = kept_patches._loaded
    monkeypatch.setattr(
        kept_patches, "_loaded", lambda *given: loads.append(given) or loaded(*given)
    )
    names = ["prumerge", "divprune"]
    found = kept_patches.inspect_photos(
        [photo, other, photo], names, model="llava-tiny", checkpoint=checkpoint
    )

    assert len(loads) == 1
    assert [one.title for one in found] == ["photo.png", "other.png"]
    for file, one in zip((photo, other), found, strict=True):
        alone = inspect_tokens(file, names, model="llava-tiny", checkpoint=checkpoint)
        assert np.array_equal(one.image, alone.image)
        for kept, expected in zip(one.kept, alone.kept, strict=True):
            assert kept.indices.tolist() == expected.indices.tolist()


def test_photos_of_one_name_are_told_apart_by_their_paths(photo: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    noise(90, 100).save(folder / photo.name)
    files = [photo, folder / photo.name]
    found = kept_patches.inspect_photos(files, ["spatial"], model="llava-tiny")
    assert [one.title for one in found] == [str(file) for file in files]


def preprocessed(folder: Path, checkpoint: Path, **settings: Any) -> Path:
    """The checkpoint with a preprocessor of its own."""
    for file in checkpoint.iterdir():
        (folder / file.name).symlink_to(file)
    settings = {"image_processor_type": "CLIPImageProcessor", **settings}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder


def test_a_checkpoints_own_preprocessor_is_used(
    photo: Path, checkpoint: Path, tmp_path: Path
) -> None:
    own = preprocessed(
        tmp_path, checkpoint, size={"shortest_edge": 99}, crop_size=PIXELS, image_mean=[0.5] * 3
    )
    inspection = inspect_tokens(photo, ["prumerge"], model="llava-tiny", checkpoint=own)

    resized = noise(100, 90).resize((110, 99), Image.Resampling.BICUBIC)
    expected = np.array(resized.crop((13, 7, 13 + PIXELS, 7 + PIXELS)))
    assert np.array_equal(inspection.image, expected)


def test_a_preprocessor_of_another_size_is_an_error(
    photo: Path, checkpoint: Path, tmp_path: Path
) -> None:
    own = preprocessed(tmp_path, checkpoint, size={"shortest_edge": 56}, crop_size=56)

    with pytest.raises(PictureError, match="makes 56×56 pixels; its encoder takes 84×84"):
        inspect_tokens(photo, ["prumerge"], model="llava-tiny", checkpoint=own)


@pytest.mark.parametrize("size", [(150, 211), (211, 150), (84, 84), (20, 31), (300, 85)])
def test_the_crop_is_clips(size: tuple[int, int]) -> None:
    processor = CLIPImageProcessor(size={"shortest_edge": PIXELS}, crop_size=PIXELS)
    expected = processor(noise(*size), return_tensors="pt")["pixel_values"]

    assert torch.allclose(normalise(np.array(crop(noise(*size), PIXELS))), expected, atol=1e-5)


def test_a_photo_is_turned_the_right_way_up(tmp_path: Path) -> None:
    sideways = Image.Exif()
    sideways[0x0112] = 6  # orientation: turn by 90°
    noise(30, 20).save(tmp_path / "photo.png", exif=sideways)

    assert read(tmp_path / "photo.png").size == (20, 30)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "I;16", "1"])
def test_every_mode_becomes_rgb(mode: str, tmp_path: Path) -> None:
    Image.new(mode, (8, 8)).save(tmp_path / "photo.tiff")

    assert read(tmp_path / "photo.tiff").mode == "RGB"


def test_a_photo_cut_short_is_an_error(tmp_path: Path) -> None:
    noise(64, 64).save(tmp_path / "whole.png")
    whole = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "part.png").write_bytes(whole[: len(whole) // 2])

    with pytest.raises(PictureError, match=r"part\.png"):
        read(tmp_path / "part.png")


def test_damaged_weights_are_an_error(pixels: torch.Tensor) -> None:
    damaged = load_model("llava-tiny")
    with torch.no_grad():
        damaged.model.vision_tower.encoder.layers[0].mlp.fc1.weight[0, 0] = torch.nan

    with pytest.raises(PictureError, match="not finite"):
        look(damaged, pixels, "prumerge")


@pytest.mark.parametrize(
    ("names", "hint"),
    [(["fastv"], "inside the LLM"), (["prumerge"], "--checkpoint"), (["spatil"], "spatial")],
)
def test_what_cannot_be_drawn_is_said_before_the_photo_is_read(
    names: list[str], hint: str, tmp_path: Path
) -> None:
    with pytest.raises(RooflineError, match=hint):
        inspect_tokens(tmp_path / "missing.png", names)


def test_a_count_that_cannot_be_names_the_reducer() -> None:
    with pytest.raises(ReducerError, match=r"^spatial: 31 patches form no grid"):
        look_by_position("spatial", PATCHES, 31)


def test_only_an_lmm_has_visual_tokens(photo: Path) -> None:
    with pytest.raises(RooflineError, match="only an lmm"):
        inspect_tokens(photo, ["spatial"], model="vicuna-7b")
