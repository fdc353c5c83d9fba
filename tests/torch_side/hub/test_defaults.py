"""Each table of a config's defaults says what the config's class in transformers says."""

from __future__ import annotations

from dataclasses import MISSING, fields

import pytest
from transformers import CONFIG_MAPPING

from roofline.specs.hub import HUB_CONFIGS

OF_REMOTE_CODE: frozenset[str] = frozenset(
    {"internlm2", "qwen", "kimi_k2", "intern_vit_6b", "internvl_chat", "moonvit", "kimi_vl"}
)
"""Model types whose class is on the hub, not in transformers."""


@pytest.mark.parametrize("model_type", sorted(set(HUB_CONFIGS.names()) - OF_REMOTE_CODE))
def test_defaults_are_those_of_transformers(model_type: str) -> None:
    config_class = CONFIG_MAPPING[model_type]
    theirs = {
        field.name: field.default for field in fields(config_class) if field.default is not MISSING
    }
    theirs |= {"rope_theta": config_class.default_theta}
    theirs |= {
        name: value
        for name, value in (getattr(config_class(), "rope_parameters", None) or {}).items()
        if name == "partial_rotary_factor"
    }
    ours = HUB_CONFIGS.find(model_type).defaults

    assert {name: theirs.get(name, "no such field") for name in ours} == dict(ours)
