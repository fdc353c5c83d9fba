"""A prompt of text alone: no image runs through the tower, whatever stands beside it."""

from __future__ import annotations

import numpy as np
import pytest

from roofline import analyze, count
from roofline.engine.axes import STAGES
from roofline.errors import ScenarioError

SEEING = ("vision", "connector")


@pytest.mark.parametrize("stage", STAGES)
def test_tower_and_connector_are_loaded_and_do_not_run(stage: str) -> None:
    axes = {"text_tokens": 40, "output_tokens": 3, "stage": stage}
    text, seen = (analyze("llava-1.5-7b", "h200", visual_tokens=n, **axes) for n in (0, 40))

    for name in SEEING:
        part = text.components[name]
        assert part.flops == part.memory_access_bytes == part.peak_activation_bytes == 0
        assert part.roofline_time_s == part.attainable_time_s == 0
        assert part.weight_bytes == seen.components[name].weight_bytes > 0
    assert {op.component for op in text.ops} == {"llm"}
    assert text.end_to_end.roofline_time_s == text.llm.roofline_time_s
    assert text.comparison is None


def test_the_llm_computes_what_an_llm_of_text_does() -> None:
    """LLaVA's is Vicuna with 64 more words in its lm_head, which the last token alone goes to."""
    lmm, llm = (count(name, visual_tokens=0).llm for name in ("llava-1.5-7b", "vicuna-7b"))

    assert lmm.flops - llm.flops == 2 * 4096 * 64


def test_beside_prompts_with_images_it_is_as_by_itself() -> None:
    visual, batch = np.array([0, 40, 576, 0]), np.array([[1], [3]])
    every = analyze("llava-1.5-7b", "h200", visual_tokens=visual, batch=batch)
    frame = every.ops_frame()

    for index in np.ndindex(2, 4):
        point = {"visual_tokens": int(visual[index[1]]), "batch": int(batch[index[0], 0])}
        one = analyze("llava-1.5-7b", "h200", **point)
        for name in ("flops", "roofline_time_s", "attainable_time_s", "peak_memory_bytes"):
            assert getattr(every.end_to_end, name)[index] == getattr(one.end_to_end, name)
        rows = frame[
            (frame.visual_tokens == point["visual_tokens"]) & (frame.batch == point["batch"])
        ]
        ran = rows[rows["count"] > 0].drop_duplicates(["component", "name"])
        assert len(ran) == len(one.ops)


def test_neither_text_nor_images_is_no_prompt() -> None:
    with pytest.raises(ScenarioError, match="a prompt needs a token"):
        analyze("llava-1.5-7b", "h200", visual_tokens=[0, 40], text_tokens=0)
