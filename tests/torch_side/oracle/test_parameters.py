"""Parameters that follow from the blocks against those that Hugging Face's models have."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from roofline import count
from roofline.engine.layout import lay_out
from roofline.model.block import parameters
from roofline.specs.catalog import load_component, load_model
from roofline.specs.models import LanguageModel, Lmm, VisionEncoder

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

MODELS = [
    *("clip-vit-l-224", "clip-vit-l-336", "llama-2-7b", "llama-3-8b", "llava-1.5-13b"),
    *("llava-1.5-7b", "llava-small", "llava-tiny", "qwen2-7b", "vicuna-13b", "vicuna-7b"),
    *("video-llava-7b", "video-llava-tiny"),
]
"""CLIP's and Llama's shapes; all others with the configs that they are made of."""
FP32 = 4  # bytes


def text_config(spec: LanguageModel, vocab_size: int | None = None) -> Any:
    """Llama's, or Qwen2's, whose code has biases of q, k and v alone."""
    qwen2 = spec.attention_bias and not spec.output_bias
    config = transformers.Qwen2Config if qwen2 else transformers.LlamaConfig
    return config(
        hidden_size=spec.hidden_size,
        intermediate_size=spec.intermediate_size,
        num_hidden_layers=spec.num_hidden_layers,
        num_attention_heads=spec.num_attention_heads,
        num_key_value_heads=spec.kv_heads,
        head_dim=spec.head_size,
        vocab_size=vocab_size or spec.vocab_size,
        tie_word_embeddings=spec.tie_word_embeddings,
    )


def vision_config(spec: VisionEncoder) -> Any:
    return transformers.CLIPVisionConfig(
        hidden_size=spec.hidden_size,
        intermediate_size=spec.intermediate_size,
        num_hidden_layers=spec.num_hidden_layers,
        num_attention_heads=spec.num_attention_heads,
        image_size=spec.image_size_px,
        patch_size=spec.patch_size_px,
    )


def built(spec: Any) -> Any:
    """The Hugging Face model of a spec, on the meta device."""
    with torch.device("meta"):
        if isinstance(spec, LanguageModel):
            return transformers.AutoModelForCausalLM.from_config(text_config(spec))
        if isinstance(spec, VisionEncoder):
            return transformers.CLIPVisionModel(vision_config(spec))
        llm = load_component(spec.llm, LanguageModel)
        configs = {
            "text_config": text_config(llm, spec.llm_vocab_size),
            "vision_config": vision_config(load_component(spec.vision, VisionEncoder)),
        }
        if spec.vision_towers == 2:  # one for images and one for frames
            config = transformers.VideoLlavaConfig(**configs)
            return transformers.VideoLlavaForConditionalGeneration(config)
        return transformers.LlavaForConditionalGeneration(transformers.LlavaConfig(**configs))


def elements(model: Any) -> int:
    """Of all parameters, a tied one once."""
    return sum(parameter.numel() for parameter in model.parameters())


def test_there_are_models_of_every_kind() -> None:
    kinds = {type(load_model(name)) for name in MODELS}

    assert kinds == {LanguageModel, VisionEncoder, Lmm}


@pytest.mark.parametrize("name", MODELS)
def test_parameters_are_those_of_the_hugging_face_model(name: str) -> None:
    theirs = elements(built(load_model(name)))
    held = sum(part.copies * parameters(part.loaded).total for part in lay_out(name).components)

    assert held == theirs
    assert count(name, "fp32").end_to_end.weight_bytes == FP32 * theirs


@pytest.mark.parametrize("name", ["llava-1.5-7b", "video-llava-7b", "llava-tiny"])
def test_parameters_of_each_component(name: str) -> None:
    model = built(load_model(name))
    inner = model.model
    towers = (
        [inner.image_tower, inner.video_tower]
        if hasattr(inner, "video_tower")
        else [inner.vision_tower]
    )
    theirs = {
        "vision": sum(map(elements, towers)),
        "connector": elements(inner.multi_modal_projector),
        "llm": elements(inner.language_model) + elements(model.lm_head),
    }
    found = count(name, "fp32").components

    assert {part: found[part].weight_bytes for part in found} == {
        part: FP32 * n for part, n in theirs.items()
    }


@pytest.mark.parametrize("stage", ["prefill", "decode"])
@pytest.mark.parametrize("visual", [0, 40])
def test_a_model_is_loaded_whatever_it_runs(stage: str, visual: int) -> None:
    theirs = elements(built(load_model("llava-tiny")))
    found = count("llava-tiny", "fp32", visual_tokens=visual, stage=stage)

    assert found.end_to_end.weight_bytes == FP32 * theirs


def test_a_tied_head_is_one_matrix() -> None:
    tied = replace(load_component("llama-3-8b", LanguageModel), tie_word_embeddings=True)

    assert count(tied, "fp32").llm.weight_bytes == FP32 * elements(built(tied))
