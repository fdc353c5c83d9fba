"""What a config asks that cannot be expressed is named, field by field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from roofline import count, model_from_config
from roofline.errors import ScenarioError, SpecError
from roofline.specs.hub.files import imported
from roofline.specs.models.connector import LinearStep, MergeStep, QFormer, StepConnector
from roofline.specs.models.image_rules import SplitImage

FOLDER = Path(__file__).parents[1] / "hub_configs"


def config_of(name: str, section: str | None = None, **changes: Any) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())["config"]
    if section is None:
        return config | changes
    return config | {section: dict(config.get(section) or {}) | changes}


@pytest.mark.parametrize(
    ("config", "fault"),
    [
        (config_of("internvl2-8b", dynamic_image_size=False), "dynamic_image_size: only true"),
        (config_of("mistral-small-3.1-24b", vision_feature_layer=-2), "only -1 can be"),
        (config_of("llava-1.5-7b", vision_feature_layer="x"), "expected a whole number or a list"),
        (config_of("llava-1.5-7b", vision_config={"model_type": "llama"}), "is no vision encoder"),
        (
            config_of("llava-1.5-7b", text_config={"model_type": "clip_vision_model"}),
            "is no language model",
        ),
        (
            config_of("blip2-opt-2.7b", "qformer_config", use_qformer_text_input=True),
            "a Q-Former for retrieval",
        ),
        (config_of("qwen3-8b", hidden_act="strange"), "hidden_act: "),
        (
            config_of("gpt-oss-20b", layer_types=["linear_attention"] * 24),
            "is no layer of a decoder",
        ),
    ],
)
def test_a_field_that_cannot_be_expressed(config: dict[str, Any], fault: str) -> None:
    with pytest.raises(SpecError, match=fault):
        model_from_config(config)


def test_a_connector_with_another_function_is_one_of_steps() -> None:
    model: Any = model_from_config(config_of("llava-1.5-7b", projector_hidden_act="silu"))

    assert isinstance(model.connector, StepConnector)


def test_pan_and_scan_where_it_is_switched_on() -> None:
    given = {"do_pan_and_scan": True, "pan_and_scan_max_num_crops": 4}
    model: Any = model_from_config(config_of("gemma-3-4b"), preprocessor=given)

    assert model.image_tokens.max_num_crops == 4
    assert count(model, pictures="2000x600").unreduced_visual_tokens > 256  # type: ignore[operator]


def test_a_checkpoint_s_own_code_is_no_config(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="config"):
        imported(str(tmp_path))


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"steps": (MergeStep(),)}, "must have a `linear`"),
        ({"steps": (LinearStep(),), "taps": (1,)}, "go together"),
    ],
)
def test_steps_that_do_not_go(fields: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        StepConnector(name="a", title="", source="", **fields)


def test_an_instruction_needs_words() -> None:
    sizes = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
    with pytest.raises(ValueError, match="need an `instruction_vocab_size`"):
        QFormer(
            name="a", title="", source="", num_query_tokens=4, intermediate_size=8,
            instruction_tokens=3, **sizes,
        )  # fmt: skip


@pytest.mark.parametrize("size", [(9000, 9000), (9000, 10), (10, 9000)])
def test_no_side_of_a_split_image_is_longer_than_the_most(size: tuple[int, int]) -> None:
    rule = SplitImage(longest_edge_px=8192, tile_size_px=512, patch_size_px=16, tokens_per_tile=64)

    assert rule.image(*size).views[0].count <= 1 + 8 * 8


def test_a_picture_no_larger_than_a_tile_is_not_cut() -> None:
    rule = SplitImage(longest_edge_px=512, tile_size_px=512, patch_size_px=16, tokens_per_tile=64)

    assert rule.image(100, 100).views[0].count == 1


def test_no_picture_at_all() -> None:
    with pytest.raises(ScenarioError, match="no picture is given"):
        count("llava-1.5-7b", pictures=[])


def test_layers_of_pictures_of_several_shapes() -> None:
    with pytest.raises(ScenarioError, match="of pictures of one shape"):
        count("qwen2.5-vl-7b", vision_layers=[(32, 4)])
