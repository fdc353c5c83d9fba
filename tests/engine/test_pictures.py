"""Pictures of a sample: how they are written, what they show, what they cost."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import replace

import roofline
from roofline.engine.parts import shown
from roofline.engine.pictures import PictureSize, pictures_of, written
from roofline.engine.scenario import Scenario
from roofline.errors import ScenarioError
from roofline.specs.models import Model, View
from roofline.specs.models.image_rules import Unstated

NATIVE: dict[str, Any] = {
    "model_type": "qwen2_vl",
    "vision_config": {"embed_dim": 64, "depth": 3, "num_heads": 4, "mlp_ratio": 2},
    "text_config": {
        "hidden_size": 96, "num_hidden_layers": 2, "num_attention_heads": 6, "vocab_size": 100,
        "num_key_value_heads": 2, "intermediate_size": 128, "max_position_embeddings": 32768,
    },
}  # fmt: skip


@pytest.fixture
def native() -> Model:
    """Takes pictures as they are; a token a square of 28 px."""
    return roofline.model_from_config(NATIVE, name="native")


@pytest.mark.parametrize("text", ["1280x720", "1280X720", " 1280 × 720 "])
def test_a_picture_is_its_width_and_height(text: str) -> None:
    assert pictures_of(text) == (PictureSize(1280, 720),)
    assert written(pictures_of(text)) == "1280x720"


def test_several_are_a_list_or_have_commas() -> None:
    both = (PictureSize(640, 480), PictureSize(28, 56))

    assert pictures_of("640x480,28x56") == pictures_of(["640x480", "28x56"]) == both


@pytest.mark.parametrize(
    "text", ["1280", "0x7", "1280x", "axb", "1280x720x3", "999999x2", "", "1x1,"]
)
def test_what_is_no_picture_is_one_line(text: str) -> None:
    with pytest.raises(ScenarioError, match="written WIDTHxHEIGHT in pixels"):
        pictures_of(text)


def test_tokens_of_a_picture(native: Model) -> None:
    found = roofline.image_tokens(native, width=1280, height=720)

    assert found.tokens == 26 * 46  # 728 x 1288 px
    assert found.views == (View(52, 92),)
    assert found.features == 52 * 92
    assert found.extra_tokens == 0


def test_a_model_of_one_size_scales_each() -> None:
    assert roofline.image_tokens("llava-1.5-7b", width=4000, height=3).tokens == 576
    assert shown_tokens("llava-1.5-7b", "1x1,5000x5000") == 2 * 576


def shown_tokens(name: str, pictures: str) -> int | None:
    return roofline.count(name, pictures=pictures).unreduced_visual_tokens


def test_the_tower_encodes_what_the_pictures_give(native: Model) -> None:
    """Two pictures cost what each costs, and weights are read once."""
    one, other, both = (
        roofline.count(native, pictures=each, text_tokens=1)
        for each in ("560x280", "84x84", ["560x280", "84x84"])
    )

    for part in ("vision", "connector"):
        costs = [counts.components[part] for counts in (one, other, both)]
        assert costs[2].flops == costs[0].flops + costs[1].flops
        assert costs[2].weight_bytes == costs[0].weight_bytes
        assert costs[2].memory_access_bytes < (
            costs[0].memory_access_bytes + costs[1].memory_access_bytes
        )
    assert both.unreduced_visual_tokens == 20 * 10 + 3 * 3


def test_equal_pictures_are_encoded_as_a_batch(native: Model) -> None:
    model: Any = native
    assert shown(model, pictures_of("84x84,84x84")).views == (View(6, 6, count=2),)


def test_where_no_picture_is_given_one_is_assumed_and_said(native: Model) -> None:
    counts = roofline.count(native)

    assert counts.inputs["pictures"] == "1280x720"
    assert counts.unreduced_visual_tokens == 26 * 46
    assert "picture 1280x720" in str(counts)
    assert roofline.count("llava-1.5-7b").inputs["pictures"] is None


def test_fewer_tokens_of_a_picture_are_held_against_all_of_it(native: Model) -> None:
    few, whole = (
        roofline.analyze(native, "h100", visual_tokens=n, pictures="560x560") for n in (40, 400)
    )

    found = few.comparison
    assert found is not None
    assert found.full_visual_tokens == few.unreduced_visual_tokens == 400
    assert found.full_components["llm"].flops == whole.components["llm"].flops
    assert found.full_components["vision"].flops == few.components["vision"].flops


def test_more_tokens_than_the_pictures_give_are_refused(native: Model) -> None:
    with pytest.raises(ScenarioError, match="84x84 gives native 9 visual tokens, not 10"):
        roofline.count(native, visual_tokens=[3, 10], pictures="84x84")


def test_what_a_model_refuses_is_named(native: Model) -> None:
    with pytest.raises(ScenarioError, match="5000x20 is narrower than 1 to 200"):
        roofline.count(native, pictures="5000x20")
    with pytest.raises(ScenarioError, match="llama-3-8b takes no pictures"):
        roofline.count("llama-3-8b", pictures="84x84")


def test_a_rule_that_nobody_stated_prints_no_saving(native: Model) -> None:
    model: Any = native
    unstated = replace(model, image_tokens=Unstated())

    with pytest.raises(ScenarioError, match="is not in this model's spec"):
        roofline.count(unstated, visual_tokens=10)


def test_an_estimate_of_pictures_loads_again(native: Model, tmp_path: Any) -> None:
    estimate = roofline.analyze(native, "h100", pictures="84x84,560x560")
    file = tmp_path / "estimate.json"
    estimate.save(file)

    again = roofline.load(file)
    assert again.inputs == estimate.inputs
    assert again.to_dict()["end_to_end"] == estimate.to_dict()["end_to_end"]
    assert json.loads(file.read_text())["scenario"]["pictures"] == "84x84,560x560"


def test_pictures_are_checked_where_a_scenario_is_made(native: Model) -> None:
    scenario = Scenario.of(native, pictures=["84x84"])

    assert scenario.pictures == "84x84"
