"""Variables that are no axes, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from roofline.model.polynomial import Point
from roofline.model.variables import images, prompt_tokens, steps


@pytest.mark.parametrize(
    ("visual", "per_sample", "samples"),
    [(0, 576, 0), (1, 576, 1), (576, 576, 1), (577, 576, 2), (1152, 576, 2), (1153, 576, 3)],
)
@pytest.mark.parametrize("frames", [1, 8])
@pytest.mark.parametrize("batch", [1, 5])
def test_images_of_a_prompt(
    visual: int, per_sample: int, samples: int, frames: int, batch: int
) -> None:
    point = Point(
        {"batch": np.asarray(float(batch)), "visual_tokens": np.asarray(float(visual))},
        [images(frames, per_sample)],
    )

    assert point["images"] == batch * samples * frames


@pytest.mark.parametrize("unknown", [None, 0])
def test_one_sample_where_nobody_knows_what_an_image_gives(unknown: int | None) -> None:
    point = Point({"batch": np.asarray([1.0, 4.0])}, [images(8, unknown)])

    assert np.array_equal(point["images"], [8, 32])


def test_tokens_of_a_prompt() -> None:
    given = {"visual_tokens": np.asarray([[0.0], [576.0]]), "text_tokens": np.asarray([0.0, 40.0])}

    assert np.array_equal(Point(given, [prompt_tokens()])["prompt_tokens"], [[0, 40], [576, 616]])


@pytest.mark.parametrize(
    ("stage", "expected"), [("prefill", 0), ("decode", 1), ("generate", 7)], ids=str
)
def test_steps_of_a_stage(stage: str, expected: int) -> None:
    point = Point({"output_tokens": np.asarray(7.0)}, [steps(stage)])

    assert point["steps"] == expected
