"""The hub's configs that importing is tested with: their form, and the size of what they make."""

from __future__ import annotations

import importlib
import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from roofline import count, model_from_config
from roofline.errors import SpecError

FILES = sorted((Path(__file__).parent / "hub_configs").glob("*.json"))
KEYS = ["hub", "source", "parameters_b", "config", "preprocessor", "unsure"]

files = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


def read(file: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return data


def test_there_are_configs_of_language_models_of_lmms_and_of_towers() -> None:
    types = {read(file)["config"]["model_type"] for file in FILES}
    assert types >= {"llama", "qwen2", "gemma2", "mixtral", "gemma3", "internvl", "dinov2"}


@files
def test_name_is_as_users_write_it(file: Path) -> None:
    assert re.fullmatch(r"[a-z0-9]+([.-][a-z0-9]+)*", file.stem)


@files
def test_form(file: Path) -> None:
    data = read(file)
    assert list(data) == KEYS
    assert re.fullmatch(r"[\w.-]+/[\w.-]+", data["hub"])
    assert len(data["source"]) > 10
    assert isinstance(data["config"]["model_type"], str)
    assert data["preprocessor"] is None or isinstance(data["preprocessor"], dict)
    assert all(re.match(r"[\w. ,*-]+: \S", doubt) for doubt in data["unsure"])


@files
def test_nothing_is_kept_that_is_no_shape(file: Path) -> None:
    """Ids, paths and versions say nothing of a model's cost, and hide what does."""

    def names(value: Any) -> list[str]:
        if not isinstance(value, dict):
            return []
        return [*value, *(name for part in value.values() for name in names(part))]

    idle = {"architectures", "auto_map", "_name_or_path", "transformers_version", "use_cache"}
    assert not idle & set(names(read(file)["config"]))


OF_REMOTE_CODE = {
    "intern_vit_6b",
    "internlm2",
    "internvl_chat",
    "kimi_vl",
    "llava_qwen",
    "minicpmv",
    "phi3_v",
    "qwen",
    "shikra",
}
"""Model types whose class is on the hub, not in transformers."""


def built(config: dict[str, Any]) -> Any:
    """Transformers' model of a config, on the meta device."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    initialization = importlib.import_module("transformers.initialization")
    if config["model_type"] not in transformers.CONFIG_MAPPING:
        pytest.skip(f"transformers {transformers.__version__} has no {config['model_type']}")
    fields = {name: value for name, value in config.items() if name != "model_type"}
    made = transformers.AutoConfig.for_model(config["model_type"], **fields)
    auto = transformers.models.auto.modeling_auto
    for kind in (
        auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
        auto.MODEL_FOR_CAUSAL_LM_MAPPING,
        auto.MODEL_MAPPING,
    ):
        if type(made) in kind:
            model_class = kind[type(made)]
            break
    else:  # a tower that only its own LMM builds
        model_class = getattr(transformers, type(made).__name__.replace("Config", "Model"))
    with torch.device("meta"), initialization.no_init_weights():
        return model_class._from_config(made)


SIZED = [
    file
    for file in FILES
    if read(file)["parameters_b"] and read(file)["config"]["model_type"] not in OF_REMOTE_CODE
]


@pytest.mark.parametrize("file", SIZED, ids=lambda file: file.stem)
def test_model_has_the_published_number_of_parameters(file: Path) -> None:
    """Within 2 %: what is published is rounded. Ours has exactly as many as transformers'."""
    data = read(file)
    published = data["parameters_b"]
    assert list(published) == ["value", "source"]
    assert published["source"].startswith("https://")

    model = built(data["config"])
    model.tie_weights()
    parameters = sum(parameter.numel() for parameter in model.parameters())
    assert parameters / 1e9 == pytest.approx(published["value"], rel=0.02)
    with suppress(SpecError):  # one that cannot be expressed; tests/torch_side/hub lists them
        spec = model_from_config(data["config"], preprocessor=data["preprocessor"])
        assert count(spec, "fp32").end_to_end.weight_bytes == 4 * parameters
