"""The models that ship against the configs that they are made of, and those against PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from torch.utils.flop_counter import FlopCounterMode
from transformers import CONFIG_MAPPING

from roofline import count, model_from_config
from roofline.engine.parts import in_full
from roofline.errors import SpecError
from roofline.specs.catalog import load_model
from roofline.specs.models import LanguageModel, Lmm
from roofline.torch_side.oracle.decoders import config_of, decoder_on_meta, filled_cache, run
from tools.catalogue import catalogued, configs, main, shape

CONFIGS = configs()
NOT_EXPRESSED = {
    "blip2-flan-t5-xl": "'t5'",
    "idefics-80b": "'idefics'",
    "idefics-9b": "'idefics'",
    "kimi-k2.5": "'kimi_k25'",
    "lfm2-vl-1.6b": "'lfm2_vl'",
    "lfm2-vl-450m": "'lfm2_vl'",
    "llava-video-7b": "'llava_qwen'",
    "minicpm-llama3-v-2.5": "'minicpmv'",
    "minicpm-v-2.6": "'minicpmv'",
    "molmo2-8b": "'molmo2'",
    "ovis2-8b": "'ovis2'",
    "phi-3.5-vision": "'phi3_v'",
    "phi-4-multimodal": "'phi4_multimodal'",
    "qwen-vl-chat": "visual: is not understood",
    "shikra-7b": "'shikra'",
}
"""And what is named instead of guessing: a model type, or a field."""
LLMS = {
    name: read["config"]
    for name, read in CONFIGS.items()
    if name not in NOT_EXPRESSED
    and isinstance(catalogued(name, read), LanguageModel)
    and read["config"]["model_type"] in CONFIG_MAPPING
}
NO_WITNESS = {"internlm2.5-1.8b", "internlm2.5-20b", "internlm2.5-7b"}
"""LLMs whose class is on the hub alone."""
LAYERS = 4
"""Deep enough for a dense layer, one of experts, and both kinds of windows."""


@pytest.mark.parametrize("name", NOT_EXPRESSED)
def test_what_cannot_be_expressed_is_named(name: str) -> None:
    with pytest.raises(SpecError, match=NOT_EXPRESSED[name]):
        catalogued(name, CONFIGS[name])


@pytest.mark.parametrize("name", sorted(CONFIGS.keys() - NOT_EXPRESSED))
def test_what_ships_is_what_its_config_says(name: str) -> None:
    """Whether its file is made of it or was written by hand, and whatever parts it names."""
    made, ships = catalogued(name, CONFIGS[name]), in_full(load_model(name))
    if isinstance(made, Lmm):
        assert isinstance(ships, Lmm)
        for part in ("vision", "connector"):
            assert shape(getattr(made, part)) == shape(getattr(ships, part))
        mine: Any = ships.llm
        vocabulary = ships.llm_vocab_size or mine.vocab_size
        assert shape(made.llm) == shape(shaped(mine, vocab_size=vocabulary))
        assert (made.image_tokens, made.images) == (ships.image_tokens, ships.images)
    else:
        assert shape(made) == shape(ships)


def shaped(model: Any, **changes: Any) -> Any:
    return type(model)(**{**{f: getattr(model, f) for f in model.__struct_fields__}, **changes})


def test_files_are_made_of_the_configs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(check=True) == 0, capsys.readouterr().out


def test_llms_without_a_witness() -> None:
    others = {
        name
        for name, read in CONFIGS.items()
        if name not in NOT_EXPRESSED and isinstance(catalogued(name, read), LanguageModel)
    }
    assert others - LLMS.keys() == NO_WITNESS


def shallow(config: Mapping[str, Any]) -> dict[str, Any]:
    """The same of fewer layers."""
    depth = "n_layer" if "n_layer" in config else "num_hidden_layers"
    cut = {**config, depth: min(config[depth], LAYERS)}
    return cut | ({"layer_types": config["layer_types"][:LAYERS]} if "layer_types" in cut else {})


@pytest.mark.parametrize("name", LLMS)
def test_flops_of_an_llm_are_pytorch_s(name: str) -> None:
    """Of a prompt and of a step, at the full width and a few layers."""
    config = shallow(LLMS[name])
    spec = model_from_config(config)
    model = decoder_on_meta(config_of(config), "eager")

    def counted(before: int, tokens: int) -> int:
        cache = filled_cache(model, batch=1, tokens=before)
        with FlopCounterMode(display=False) as counter:
            run(model, cache, batch=1, tokens=tokens)
        return int(counter.get_total_flops())

    prompt = count(spec, text_tokens=37, visual_tokens=0)
    step = count(spec, text_tokens=37, visual_tokens=0, stage="decode")
    assert prompt.llm.flops == counted(0, 37)
    assert step.llm.flops == counted(37, 1)
    assert prompt.llm.weight_bytes == 2 * sum(p.numel() for p in model.parameters())
