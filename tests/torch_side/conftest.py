"""Tiny models with random weights, and prompts for them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch
from attaching import padded
from torch import Tensor

import roofline

PATCHES, FRAMES, PAD = 36, 8, 501
TEXT = 400
"""Ids below it are text."""
LIVELY = 6.0


@pytest.fixture(scope="session", autouse=True)
def _single_threaded() -> Iterator[None]:
    """Tensors are tiny, and several test processes may share the cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def lively(model: Any) -> Any:
    """Greater weights: attention far from uniform, ranks that no rounding turns over."""
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.mul_(LIVELY)
    return model


@pytest.fixture(scope="session")
def _models() -> dict[str, Any]:
    return {name: lively(roofline.load_model(name)) for name in ("llava-tiny", "video-llava-tiny")}


@pytest.fixture
def llava(_models: dict[str, Any]) -> Any:
    return copy.deepcopy(_models["llava-tiny"])


@pytest.fixture
def video_llava(_models: dict[str, Any]) -> Any:
    return copy.deepcopy(_models["video-llava-tiny"])


def runs_of(model: Any) -> dict[str, list[int]]:
    """What an `i` and a `v` of a prompt stand for."""
    config = model.config
    video = (
        [config.video_token_id] * FRAMES * (PATCHES + 1)
        if hasattr(config, "video_token_id")
        else []
    )
    whole = config.model_type == "llava" and config.vision_feature_select_strategy == "full"
    return {"i": [config.image_token_id] * (PATCHES + whole), "v": video}


@pytest.fixture
def prompts() -> Callable[..., dict[str, Tensor]]:
    """What a processor would give for rows such as "ttit": t is text, i an image, v a video."""

    def build(
        model: Any, rows: Sequence[str], side: str = "left", seed: int = 0
    ) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        runs = runs_of(model)
        sequences = [
            [
                token
                for kind in row
                for token in (
                    runs.get(kind) or torch.randint(3, TEXT, (1,), generator=generator).tolist()
                )
            ]
            for row in rows
        ]
        given = padded(sequences, PAD, side)
        images, videos = ("".join(rows).count(kind) for kind in "iv")
        if images:
            given["pixel_values"] = _pictures(images, generator=generator)
        if videos:
            frames = _pictures(videos * FRAMES, generator=generator)
            given["pixel_values_videos"] = frames.unflatten(0, (videos, FRAMES))
        return given

    return build


def _pictures(count: int, generator: torch.Generator) -> Tensor:
    """Noise over broad patches of light, of several contrasts: adaptive counts then differ."""
    light = torch.randn(count, 3, 3, 3, generator=generator)
    light = torch.nn.functional.interpolate(light, size=84)
    contrast = torch.linspace(0.3, 2.0, count).view(-1, 1, 1, 1)
    return contrast * (2 * light + torch.randn(count, 3, 84, 84, generator=generator))
