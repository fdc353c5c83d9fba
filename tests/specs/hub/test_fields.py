"""Reading a config: values with their defaults, and no field left over that may cost."""

from __future__ import annotations

from typing import Any

import pytest

import roofline
from roofline.errors import SpecError
from roofline.specs.hub import model_from_config
from roofline.specs.hub.fields import ConfigFields, Rope
from roofline.specs.models import LanguageModel

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "intermediate_size": 212,
    "rope_theta": 500000.0,
    "bos_token_id": 1,
    "torch_dtype": "bfloat16",
}


def test_a_config_becomes_a_model() -> None:
    model = roofline.model_from_config(LLAMA, name="odd", source="made up")

    assert model == LanguageModel(
        name="odd",
        title="odd",
        source="made up",
        hidden_size=96,
        num_hidden_layers=3,
        num_attention_heads=6,
        intermediate_size=212,
        vocab_size=32000,
        max_position_embeddings=2048,
        rope_theta=500000.0,
        rms_norm_eps=1e-6,
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_size": "96"}, "hidden_size: expected a whole number of at least 0, got '96'"),
        ({"hidden_size": -96}, "hidden_size: expected a whole number"),
        ({"mlp_bias": 1}, "mlp_bias: expected true or false, got 1"),
        ({"hidden_act": "maxout"}, "hidden_act: "),
        ({"model_type": "lama"}, "model_type: "),
        ({"lora_rank": 8}, "lora_rank: is not understood"),
        ({"num_attention_heads": 7}, "num_attention_heads"),
    ],
)
def test_what_cannot_be_read_is_named_on_one_line(change: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as raised:
        model_from_config(LLAMA | change, name="odd")

    assert message in str(raised.value)
    assert "config of odd" in str(raised.value)
    assert "\n" not in raised.value.line


def test_a_field_without_a_default_must_be_there() -> None:
    with pytest.raises(SpecError, match="experts: is missing"):
        ConfigFields({}, {}, "a config").count("experts")


def test_fields_that_are_null_ask_for_nothing() -> None:
    assert model_from_config(LLAMA | {"novelty": None, "_commit_hash": "1"})


@pytest.mark.parametrize(
    ("config", "rope"),
    [
        ({}, Rope(10000.0, 1.0)),
        ({"rope_theta": 7, "partial_rotary_factor": 0.5}, Rope(7.0, 0.5)),
        ({"rope_parameters": {"rope_theta": 5.0, "partial_rotary_factor": 0.25}}, Rope(5.0, 0.25)),
        ({"rope_parameters": {"full": {"rope_theta": 5.0}, "part": {}}}, Rope(5.0, 1.0)),
    ],
)
def test_rotary_positions_in_configs_old_and_new(config: dict[str, Any], rope: Rope) -> None:
    fields = ConfigFields(config, {}, "a config")

    assert fields.rope() == rope
    fields.check_all_read()
