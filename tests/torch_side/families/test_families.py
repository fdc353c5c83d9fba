"""Every family of the registry: from a shipped spec to a model, and the model taken apart.

A family is held to the spec, to PyTorch's own view of the model, and to what the model answers.
"""

from __future__ import annotations

from typing import Any

import pytest
import tiny_lmms
import torch
from msgspec.structs import replace
from torch import nn

import roofline
from roofline.errors import InputError, SpecError, UnknownNameError
from roofline.specs.catalog import all_models, load_component, load_model
from roofline.specs.models import LanguageModel, Lmm, MlpConnector, VisionEncoder
from roofline.torch_side.families import FamilyError, families, family_of, register
from roofline.torch_side.families.base import cache_keyword
from roofline.torch_side.families.llava import Llava

NAMES = ["llava", "video-llava"]
"""Those that are taken apart block by block; the others are tried in `test_families_of_today`."""
TINY = {
    spec.architecture: spec
    for spec in all_models()
    if isinstance(spec, Lmm) and spec.name.endswith("-tiny")
}

every_family = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    return {name: roofline.load_model(TINY[name]) for name in NAMES}


def test_every_family_has_a_tiny_spec_to_be_tried_with() -> None:
    assert set(TINY) == set(NAMES)
    assert set(tiny_lmms.TINY) | set(NAMES) == set(families.names())


@every_family
def test_a_model_finds_its_family(name: str, models: dict[str, Any]) -> None:
    assert family_of(models[name]) is families.find(name)


@every_family
def test_the_parts_are_the_whole(name: str, models: dict[str, Any]) -> None:
    """Each weight is in one of tower, connector, decoder and head; names tell the component."""
    model, family = models[name], families.find(name)
    towers = [visual.tower.module for visual in family.inputs(model)]
    parts: dict[str, list[nn.Module]] = {
        "vision": towers,
        "connector": [family.connector(model)],
        "llm": [family.decoder(model).module, model.get_output_embeddings()],
    }

    owner = {
        id(weight): component
        for component, modules in parts.items()
        for module in modules
        for weight in module.parameters()
    }
    for path, weight in model.named_parameters():
        owners = {family.components[part] for part in path.split(".") if part in family.components}
        assert owners == {owner.pop(id(weight))}, path
    assert not owner


@every_family
def test_sizes_are_those_of_the_spec(name: str, models: dict[str, Any]) -> None:
    spec, model, family = TINY[name], models[name], families.find(name)
    vision = load_component(spec.vision, VisionEncoder)
    llm = load_component(spec.llm, LanguageModel)

    for visual in family.inputs(model):
        tower = visual.tower
        assert tower.blocks == vision.num_hidden_layers
        assert tower.tokens == vision.tokens
        assert tower.patches == vision.patches
        assert (tower.width, tower.heads) == (vision.hidden_size, vision.num_attention_heads)
        assert tower.image_size == vision.image_size_px
        assert tower.class_token == vision.class_token
        assert visual.blocks == vision.num_hidden_layers + 1 + spec.vision_feature_layer
    decoder = family.decoder(model)
    assert len(decoder.layers) == llm.num_hidden_layers
    query, key = decoder.query_and_key(decoder.layers[0])
    assert (query.out_features, key.out_features) == (llm.attention_width, llm.kv_width)
    assert decoder.unranked(decoder.layers[0]) == ""
    assert family.pad_id(model.config) == spec.pad_token_id


@every_family
def test_the_sample_input_is_what_the_analysis_prices(name: str, models: dict[str, Any]) -> None:
    spec, model = TINY[name], models[name]
    visual = families.find(name).sample_input(model)

    assert spec.images * visual.unreduced == roofline.analyze(spec, "v100").inputs["visual_tokens"]
    assert visual.video == (spec.images > 1)


@every_family
@torch.no_grad()
def test_the_model_takes_the_pixels_under_the_name_told(name: str, models: dict[str, Any]) -> None:
    """As many placeholders as told, and no other number of them."""
    spec, model = TINY[name], models[name]
    visual = families.find(name).sample_input(model)
    side = visual.tower.image_size
    pixels = torch.randn(1, spec.images, 3, side, side)
    given = {visual.arguments[0]: pixels if visual.video else pixels.flatten(0, 1)}
    run = [visual.placeholder] * spec.images * visual.unreduced

    full = model(input_ids=torch.tensor([[5, *run, 6]]), **given).logits
    with pytest.raises(ValueError, match="tokens"):
        model(input_ids=torch.tensor([[5, *run[1:], 6]]), **given)

    assert full.shape[1] == len(run) + 2
    pictures = visual.pictures(given)
    assert pictures is not None
    assert pictures.pixels.shape == (spec.images, 3, side, side)


@every_family
@torch.no_grad()
def test_blocks_in_pieces_are_the_blocks(name: str, models: dict[str, Any]) -> None:
    """Norm, attention by hand over the projections, MLP: what the block's own `forward` returns."""
    tower = families.find(name).sample_input(models[name]).tower
    hidden = tower.embed(torch.randn(2, 3, tower.image_size, tower.image_size))
    assert hidden.shape == (2, tower.tokens, tower.width)

    for index in range(tower.blocks):
        block = tower.block(index)
        normed = block.norm1(hidden)
        query, key, value = (
            projection(normed).view(2, tower.tokens, tower.heads, block.head_size)
            for projection in block.projections
        )
        logits = torch.einsum("bqhe,bkhe->bhqk", query, key) * block.head_size**-0.5
        mixed = torch.einsum("bhqk,bkhe->bqhe", logits.softmax(dim=-1), value)
        middle = hidden + block.out(mixed.flatten(2))
        expected = middle + block.mlp(block.norm2(middle))

        hidden = block(hidden)

        torch.testing.assert_close(hidden, expected, rtol=1e-4, atol=1e-5)
    assert tower.heads * tower.block(0).head_size == tower.width


@every_family
def test_special_tokens_are_no_text(name: str, models: dict[str, Any]) -> None:
    spec, family = TINY[name], families.find(name)
    placeholders = {visual.placeholder for visual in family.inputs(models[name])}

    special = family.special_tokens(models[name].config)

    assert special == {*placeholders, spec.pad_token_id}


@every_family
def test_the_connector_by_itself_is_the_model_s(name: str, models: dict[str, Any]) -> None:
    family = families.find(name)
    alone = family.connector_class()(models[name].config)
    own = family.connector(models[name])

    assert type(own) is type(alone)
    shapes = [
        {key: value.shape for key, value in part.state_dict().items()} for part in (own, alone)
    ]
    assert shapes[0] == shapes[1]


@every_family
def test_parts_of_a_model_are_of_no_family(name: str, models: dict[str, Any]) -> None:
    model = models[name]
    for part in (model.model, families.find(name).decoder(model).module, nn.Linear(1, 1)):
        with pytest.raises(FamilyError, match=f"{type(part).__name__} is of no known family"):
            family_of(part)


class TestWhatAClassCannotBe:
    @pytest.mark.parametrize(
        ("part", "changes", "fault"),
        [
            (
                "llm",
                {"attention_output_bias": True},
                "attention_output_bias: a llama .* without it",
            ),
            ("vision", {"pre_norm": False}, "class_token, pre_norm, patch_bias: .*CLIP.*SigLIP"),
            ("connector", {"num_linear_layers": 3}, "num_linear_layers: .* two linear layers"),
        ],
    )
    @every_family
    def test_a_part(self, name: str, part: str, changes: dict[str, Any], fault: str) -> None:
        spec = TINY[name]
        kinds = {"llm": LanguageModel, "vision": VisionEncoder, "connector": MlpConnector}
        changed = replace(load_component(getattr(spec, part), kinds[part]), **changes)

        with pytest.raises(SpecError, match=fault):
            roofline.load_model(replace(spec, **{part: changed}))

    def test_a_class_token_to_drop_where_there_is_none(self) -> None:
        vision = load_component(TINY["llava"].vision, VisionEncoder)
        siglip = replace(vision, class_token=False, pre_norm=False, patch_bias=True)

        with pytest.raises(SpecError, match="vision_feature_select_strategy: must be full"):
            roofline.load_model(replace(TINY["llava"], vision=siglip))


class Lava(Llava):
    """A user's own: LLaVA under another name."""

    name = "lava"
    model_type = "lava"

    def config_of(self, spec: Lmm, attention: str = "sdpa") -> Any:
        config = super().config_of(spec, attention)
        config.model_type = self.model_type
        return config


def test_a_family_of_one_s_own(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = replace(TINY["llava"], architecture="lava")
    monkeypatch.setattr(families, "_things", dict(families._things))
    with pytest.raises(InputError, match="lava"):
        roofline.load_model(spec)

    register(Lava())

    model = roofline.load_model(spec)
    assert isinstance(family_of(model), Lava)
    roofline.attach(model, "sequential", count=4)
    ids = torch.tensor([[5, *[spec.image_token_index] * 36, 6]])
    assert model(input_ids=ids, pixel_values=torch.zeros(1, 3, 84, 84)).logits.shape[1] == 2 + 4


def test_every_family_has_a_model_and_others_say_that_none_loads_them() -> None:
    assert {spec.architecture for spec in all_models() if isinstance(spec, Lmm)} >= set(NAMES)
    with pytest.raises(UnknownNameError, match="'glm4v_moe'"):
        roofline.load_model("glm-4.5v")
    assert load_model("llava-1.5-7b").architecture == "llava"  # left out in the file


def test_a_cache_has_the_name_that_its_transformers_gives_it() -> None:
    class Before(torch.nn.Module):
        def forward(self, x: Any, past_key_values: Any = None) -> Any: ...

    class Since(torch.nn.Module):
        def forward(self, x: Any, cache: Any = None, **kwargs: Any) -> Any: ...

    assert (cache_keyword(Before()), cache_keyword(Since())) == ("past_key_values", "cache")
