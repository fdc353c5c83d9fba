"""Configs made of specs: against those of the hub, and what transformers builds of either."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from msgspec.structs import replace
from tiny_lmms import TINY, VOCABULARY, tiny
from transformers import CONFIG_MAPPING

import roofline
from roofline.engine.parts import in_full
from roofline.errors import InputError, SpecError
from roofline.specs.catalog import all_models
from roofline.specs.models import Lmm
from roofline.specs.models.language import ExpertMixture, QueryKeyNorm
from roofline.torch_side.families import families, family_of
from tools.catalogue import configs, shape

CATALOGUE = {
    spec.name: spec for spec in all_models() if isinstance(spec, Lmm) and spec.architecture in TINY
}
HUB = {
    name: read["config"]
    for name, read in configs().items()
    if name in CATALOGUE and read["config"]["model_type"] in CONFIG_MAPPING
}
"""Configs that transformers reads."""
every_model = pytest.mark.parametrize("name", CATALOGUE)
every_family = pytest.mark.parametrize("name", TINY)
FP32 = 4  # bytes

ANY_ID = ("_token_id", "_token_index")
"""Ends of fields that name tokens: with random weights any do."""
NO_COST = {
    "hidden_size": "of the whole of PaliGemma: nothing reads it",
    "text_config.max_window_layers": "of windows, which are off",
    "text_config.model_type": "a Mistral without windows is a Llama",
    "text_config.query_pre_attn_scalar": "a factor of the logits",
    "text_config.rope_parameters.full_attention.rope_type": "other angles",
    "text_config.rope_parameters.rope_type": "other angles",
    "text_config.tie_word_embeddings": "the whole says",
    "vision_config.projection_dim": "of CLIP's projection, which the tower alone has not",
    "vision_config.tokens_per_second": "other positions of a video's frames",
}
"""Fields that a spec does not tell, and why none has to."""


def on_meta(architecture: str, config: Any) -> Any:
    with torch.device("meta"):
        return families.find(architecture).model_class()(config)


def config_of(spec: Lmm) -> Any:
    return families.find(spec.architecture).config_of(spec)


def hub_config(name: str) -> Any:
    """As transformers reads it."""
    fields = {field: value for field, value in HUB[name].items() if field != "model_type"}
    return CONFIG_MAPPING[HUB[name]["model_type"]](**fields)


def leaves(section: Mapping[Any, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in section.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", value


def weights(model: Any) -> int:
    """A tied one once."""
    return sum(weight.numel() for weight in model.parameters())


def test_all_but_those_whose_class_is_on_the_hub_are_held_to_its_config() -> None:
    assert {CATALOGUE[name].architecture for name in CATALOGUE.keys() - HUB} == {"internvl_chat"}
    assert {CATALOGUE[name].architecture for name in CATALOGUE} == set(TINY)


@pytest.mark.parametrize("name", HUB)
def test_weights_and_buffers_are_those_of_the_hub_s_config(name: str) -> None:
    """By path, shape and type: a checkpoint of the one fits the other."""

    def held(config: Any) -> dict[str, tuple[torch.Size, torch.dtype]]:
        model = on_meta(CATALOGUE[name].architecture, config)
        tensors = [*model.named_parameters(), *model.named_buffers()]
        return {path: (tensor.shape, tensor.dtype) for path, tensor in tensors}

    assert held(config_of(CATALOGUE[name])) == held(hub_config(name))


@pytest.mark.parametrize("name", HUB)
def test_fields_are_those_of_the_hub_s_config(name: str) -> None:
    """All that both have, but for what changes no cost."""
    ours, theirs = (
        dict(leaves(config.to_dict())) for config in (config_of(CATALOGUE[name]), hub_config(name))
    )

    other = {field for field in ours.keys() & theirs if ours[field] != theirs[field]}

    assert {field for field in other if not field.endswith(ANY_ID)} <= NO_COST.keys()


@every_model
def test_read_back_it_is_the_spec(name: str) -> None:
    spec: Any = in_full(CATALOGUE[name])
    read: Any = roofline.model_from_config(config_of(spec).to_dict(), name=name)

    rows = spec.llm_vocab_size or spec.llm.vocab_size
    assert shape(read.vision) == shape(spec.vision)
    assert shape(read.connector) == shape(spec.connector)
    assert shape(read.llm) == shape(replace(spec.llm, vocab_size=rows))
    parts = {part: getattr(spec, part) for part in ("vision", "connector", "llm")}
    settled = {"llm_vocab_size": spec.llm_vocab_size, "architecture": spec.architecture}
    assert shape(replace(read, **parts, **settled)) == shape(spec)


@every_model
def test_a_class_has_the_weights_that_are_counted(name: str) -> None:
    spec = CATALOGUE[name]

    model = on_meta(spec.architecture, config_of(spec))

    assert roofline.count(name, "fp32").end_to_end.weight_bytes == FP32 * weights(model)


@every_model
@torch.no_grad()
def test_a_small_one_runs_a_text(name: str) -> None:
    """Longer than the windows; with logits that do not depend on the kernel of attention."""
    ids = torch.arange(3, 40)[None]
    fused, eager = (
        roofline.load_model(tiny(name), attention=attention) for attention in ("sdpa", "eager")
    )
    types = family_of(eager).token_type_values(eager, ids)  # without, PaliGemma's kernels disagree

    fused, eager = (model(input_ids=ids, **types).logits for model in (fused, eager))

    assert fused.shape == (1, ids.shape[1], VOCABULARY)
    assert fused.isfinite().all()
    torch.testing.assert_close(fused, eager, rtol=1e-4, atol=1e-5)


@every_model
def test_what_no_checkpoint_holds_is_as_the_class_makes_it(name: str) -> None:
    """Angles, scales and numbers of positions, beside weights of another precision."""
    built = families.find(CATALOGUE[name].architecture).model_class()(config_of(tiny(name)))
    held = dict(built.named_buffers())

    loaded = dict(roofline.load_model(tiny(name), dtype="bf16").named_buffers())

    assert loaded.keys() == held.keys()
    assert held.keys() - built.state_dict().keys()
    for path, buffer in held.items():
        assert loaded[path].dtype == buffer.dtype, path
        assert torch.equal(loaded[path], buffer), path


@every_family
def test_ids_are_inside_a_small_vocabulary(name: str) -> None:
    named = {
        field: value
        for field, value in leaves(config_of(tiny(name)).to_dict())
        if field.endswith(ANY_ID) and value is not None
    }

    assert named
    assert {field: value for field, value in named.items() if value >= VOCABULARY} == {}


class TestCheckpoints:
    @every_model
    @torch.no_grad()
    def test_what_was_saved_is_loaded(self, name: str, tmp_path: Path) -> None:
        model, ids = roofline.load_model(tiny(name), seed=7), torch.arange(3, 40)[None]
        model.save_pretrained(tmp_path)

        loaded = roofline.load_model(tiny(name), checkpoint=tmp_path, dtype="fp32")

        saved, found = model.state_dict(), loaded.state_dict()
        assert saved.keys() == found.keys()
        assert all(torch.equal(found[path], weight) for path, weight in saved.items())
        assert torch.equal(loaded(input_ids=ids).logits, model(input_ids=ids).logits)

    @every_family
    def test_one_of_other_sizes_is_refused(self, name: str, tmp_path: Path) -> None:
        spec: Any = tiny(name)
        config_of(replace(spec, llm=replace(spec.llm, intermediate_size=96))).save_pretrained(
            tmp_path
        )

        with pytest.raises(InputError, match=r"text_config\.intermediate_size is 96, .* has 128"):
            roofline.load_model(spec, checkpoint=tmp_path)


FEW = ExpertMixture(num_experts=4, num_experts_per_tok=2, intermediate_size=32)
CHANGES: dict[str, dict[str, tuple[Any, ...]]] = {
    "vision": {
        "num_channels": (1,),
        "temporal_patch_size": (1, 2),
        "head_dim": (8,),
        "num_attention_heads": (6,),
        "num_hidden_layers": (5,),
        "intermediate_size": (100, 144),
        "class_token": (True, False),
        "register_tokens": (2,),
        "mask_token": (True, False),
        "positions": (("learned",), ("rotary",)),
        "position_rows": (49,),
        "norm": ("rms_norm", "layer_norm"),
        "pre_norm": (True, False),
        "last_norm": ("pooled", "features", None),
        "pooling_head": (True,),
        "patch_bias": (True, False),
        "without_bias": ((), ("q_proj",), ("q_proj", "k_proj", "v_proj"), ("fc1",)),
        "qk_norm": ("width", "head", None),
        "layer_scale": (True, False),
        "gated_mlp": (True, False),
        "windows": (None,),
        "patch_size_px": (7,),
        "hidden_act": ("silu",),
    },
    "llm": {
        "num_hidden_layers": (1,),
        "num_key_value_heads": (1, 4),
        "head_dim": (32,),
        "attention_bias": (True, False),
        "attention_output_bias": (True, False),
        "mlp_bias": (True,),
        "lm_head_bias": (True,),
        "norm": ("layer_norm",),
        "norm_weight": (False,),
        "block_norms": ("before", "after", "both"),
        "parallel_norms": (1,),
        "mlp": ("plain",),
        "hidden_act": ("gelu", "silu", "gelu_tanh"),
        "qk_norm": (QueryKeyNorm(), QueryKeyNorm(over="width"), None),
        "positions": ("none",),
        "partial_rotary_factor": (0.5,),
        "rotary_pattern": ((True, False),),
        "sliding_window": (None, 8),
        "attention_pattern": (("full",), ("sliding", "full")),
        "attention_sinks": (True,),
        "attn_logit_softcapping": (None, 30.0),
        "final_logit_softcapping": (None, 30.0),
        "scaled": ((), ("embeddings",), ("logits",)),
        "tie_word_embeddings": (True, False),
        "moe": (None, FEW, replace(FEW, shared_intermediate_size=32), replace(FEW, every=2)),
        "vocab_size": (600,),
    },
    "": {
        "vision_feature_layer": (-1, -2, "last", (-1, -2)),
        "vision_feature_select_strategy": ("default", "full"),
        "llm_vocab_size": (700,),
        "vision_towers": (2,),
        "images": (3,),
        "learned_rows": (0, 1, 5),
    },
}


def changed(spec: Any) -> Iterator[tuple[str, Lmm, int]]:
    """The same in all but one field, and its bytes, wherever such a spec may be."""
    for part, table in CHANGES.items():
        owner = getattr(spec, part) if part else spec
        for field, values in table.items():
            for value in values:
                try:
                    other = replace(owner, **{field: value})
                    whole = replace(spec, **{part: other}) if part else other
                    counts = roofline.count(whole, "fp32", visual_tokens=4)
                except ValueError:  # fields that contradict each other
                    continue
                yield f"{part} {field} {value}", whole, counts.end_to_end.weight_bytes


@every_family
def test_a_field_that_differs_is_refused_or_has_its_weights(name: str) -> None:
    """Nothing else: no error of a class, and nothing left out."""
    refused, built = 0, 0
    for which, spec, held in changed(tiny(name)):
        try:
            config = config_of(spec)
        except SpecError:
            refused += 1
            continue
        assert FP32 * weights(on_meta(spec.architecture, config)) == held, which
        built += 1

    assert refused > 20
    assert built > 20


@pytest.mark.parametrize(
    ("name", "part", "field", "value"),
    [
        ("llava_next", "", "vision_feature_layer", "last"),
        ("llava_onevision", "", "vision_feature_layer", "last"),
        ("llava_onevision", "llm", "head_dim", 32),
        ("internvl", "llm", "head_dim", 32),
        ("qwen2_5_vl", "", "vision_feature_layer", -2),
        ("qwen2_5_vl", "llm", "moe", FEW),
        ("gemma3", "vision", "qk_norm", "head"),
        ("paligemma", "", "learned_rows", 3),
    ],
)
def test_the_field_that_a_class_cannot_have_is_named(
    name: str, part: str, field: str, value: Any
) -> None:
    spec: Any = tiny(name)
    owner = getattr(spec, part) if part else spec
    other = replace(owner, **{field: value})

    with pytest.raises(SpecError, match=f"{owner.name}: {field}: "):
        config_of(replace(spec, **{part: other}) if part else other)
