"""Configs made of specs: against those of the hub, and against what transformers builds of both."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from msgspec.structs import replace
from tiny_lmms import PAD, TINY, VIDEO, VOCABULARY, tiny
from transformers import CONFIG_MAPPING

import roofline
from roofline.engine.parts import in_full
from roofline.errors import InputError, SpecError
from roofline.specs.catalog import all_models
from roofline.specs.models import Lmm
from roofline.specs.models.language import ExpertMixture, QueryKeyNorm
from roofline.torch_side.families import families
from tools.catalogue import configs, shape

CATALOGUE = {
    spec.name: spec for spec in all_models() if isinstance(spec, Lmm) and spec.architecture in TINY
}
HUB = {
    name: read["config"]
    for name, read in configs().items()
    if name in CATALOGUE and read["config"]["model_type"] in CONFIG_MAPPING
}
"""Configs that transformers reads: all but those of `internvl_chat`, whose class is on the hub."""
every_model = pytest.mark.parametrize("name", CATALOGUE)
every_family = pytest.mark.parametrize("name", TINY)
FP32 = 4  # bytes


def on_meta(architecture: str, config: Any) -> Any:
    with torch.device("meta"):
        return families.find(architecture).model_class()(config)


def made_of(spec: Lmm) -> Any:
    return families.find(spec.architecture).config_of(spec)


def hub_config(name: str) -> Any:
    """As transformers reads it."""
    config = HUB[name]
    return CONFIG_MAPPING[config["model_type"]](
        **{field: value for field, value in config.items() if field != "model_type"}
    )


class TestTheCatalogue:
    def test_every_config_of_a_class_is_tried(self) -> None:
        others = {CATALOGUE[name].architecture for name in CATALOGUE.keys() - HUB.keys()}
        assert others == {"internvl_chat"}

    @pytest.mark.parametrize("name", HUB)
    def test_weights_and_buffers_are_those_of_the_hub_s_config(self, name: str) -> None:
        """Each by its path, shape and type: a checkpoint of the one fits the other."""
        architecture = CATALOGUE[name].architecture

        def held(config: Any) -> dict[str, tuple[torch.Size, torch.dtype]]:
            model = on_meta(architecture, config)
            tensors = [*model.named_parameters(), *model.named_buffers()]
            return {path: (tensor.shape, tensor.dtype) for path, tensor in tensors}

        assert held(made_of(CATALOGUE[name])) == held(hub_config(name))

    @pytest.mark.parametrize("name", HUB)
    def test_fields_are_those_of_the_hub_s_config(self, name: str) -> None:
        """All that both have; but those that name tokens, and such as change no cost."""
        ours, theirs = (
            dict(leaves(config.to_dict()))
            for config in (made_of(CATALOGUE[name]), hub_config(name))
        )
        differ = {
            field for field in ours.keys() & theirs.keys() if ours[field] != theirs[field]
        }

        assert {field for field in differ if not field.endswith(("_token_id", "_token_index"))} <= (
            NO_COST
        )

    @every_model
    def test_weights_are_those_that_are_counted(self, name: str) -> None:
        spec = CATALOGUE[name]
        held = sum(
            weight.numel() for weight in on_meta(spec.architecture, made_of(spec)).parameters()
        )

        assert roofline.count(name, "fp32").end_to_end.weight_bytes == FP32 * held

    @every_model
    def test_read_back_it_is_the_spec(self, name: str) -> None:
        ours: Any = in_full(CATALOGUE[name])
        read: Any = roofline.model_from_config(made_of(ours).to_dict(), name=name)

        assert shape(read.vision) == replace(shape(ours.vision), image_size_px=side_of(read.vision))
        assert shape(read.connector) == shape(ours.connector)
        vocabulary = ours.llm_vocab_size or ours.llm.vocab_size
        assert same_layers(read.llm) == same_layers(replace(ours.llm, vocab_size=vocabulary))
        assert (read.images, read.learned_rows) == (ours.images, ours.learned_rows)
