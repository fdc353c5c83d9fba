"""FLOPs against PyTorch's `FlopCounterMode` on the Hugging Face model, to the last FLOP.

Models are built on the meta device: real shapes, no memory. Attention is Hugging Face's eager one,
whose matmuls any version of the counter sees; SDPA on meta tensors is checked to count the same.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from msgspec.structs import replace

import roofline
from roofline.specs.catalog import load_model
from roofline.specs.models import LanguageModel, VisionEncoder

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from flop_counts import matmul_flops  # noqa: E402  # torch may be missing
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

LANGUAGE_MODELS = ["llama-2-7b", "llama-3-8b", "qwen2-7b", "vicuna-13b", "vicuna-7b"]
"""Those of Llama's shape; all others with the configs that they are made of."""
SHALLOW = 3
"""Layers of a model whose passes are counted: all of them are alike."""


def language_config(name: str, **overrides: Any) -> Any:
    """Llama's, or Qwen2's, whose code has biases of q, k and v alone."""
    spec = load_model(name)
    assert isinstance(spec, LanguageModel)
    qwen2 = spec.attention_bias and not spec.output_bias
    config = transformers.Qwen2Config if qwen2 else transformers.LlamaConfig
    return config(
        hidden_size=spec.hidden_size,
        intermediate_size=spec.intermediate_size,
        num_attention_heads=spec.num_attention_heads,
        num_key_value_heads=spec.kv_heads,
        vocab_size=spec.vocab_size,
        tie_word_embeddings=spec.tie_word_embeddings,
        attn_implementation="eager",
        **{"num_hidden_layers": spec.num_hidden_layers, **overrides},
    )


def vision_config(name: str = "clip-vit-l-336") -> Any:
    spec = load_model(name)
    assert isinstance(spec, VisionEncoder)
    return transformers.CLIPVisionConfig(
        hidden_size=spec.hidden_size,
        intermediate_size=spec.intermediate_size,
        num_hidden_layers=spec.num_hidden_layers,
        num_attention_heads=spec.num_attention_heads,
        image_size=spec.image_size_px,
        patch_size=spec.patch_size_px,
        attn_implementation="eager",
    )


@cache
def language_model(name: str, **overrides: Any) -> Any:
    config = language_config(name, **overrides)
    return on_meta(transformers.AutoModelForCausalLM.from_config, config)


def on_meta(model_class: Any, config: Any) -> Any:
    with torch.device("meta"):
        return model_class(config).half().eval()


def counted(run: Callable[[], Any]) -> tuple[int, Any]:
    """FLOPs of a call, and what it returns."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        result = run()
    return matmul_flops(counter), result


def ids(batch: int, tokens: int) -> Any:
    return torch.zeros(batch, tokens, dtype=torch.long, device="meta")


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("tokens", [(21, 40), (1, 1), (576, 41)])
@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_llm_prefill_and_decode_step(name: str, tokens: tuple[int, int], batch: int) -> None:
    visual, text = tokens
    model = language_model(name, num_hidden_layers=SHALLOW)
    spec = replace(load_model(name), num_hidden_layers=SHALLOW)
    prompt = {"visual_tokens": visual, "text_tokens": text, "batch": batch}

    prefill, output = counted(lambda: model(ids(batch, visual + text), logits_to_keep=1))
    assert roofline.count(spec, **prompt).llm.flops == prefill

    step, _ = counted(lambda: model(ids(batch, 1), past_key_values=output.past_key_values))
    assert roofline.count(spec, stage="decode", **prompt).llm.flops == step


def test_sdpa_counts_as_eager() -> None:
    config = language_config("llama-3-8b", num_hidden_layers=SHALLOW)
    eager, _ = counted(lambda: on_meta(transformers.LlamaForCausalLM, config)(ids(2, 33)))
    config._attn_implementation = "sdpa"
    sdpa, _ = counted(lambda: on_meta(transformers.LlamaForCausalLM, config)(ids(2, 33)))
    assert sdpa == eager


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_llm_parameters(name: str) -> None:
    model = language_model(name)
    held = 2 * sum(p.numel() for p in model.parameters())
    assert roofline.count(name).llm.weight_bytes == held


def test_layers_that_see_fewer_tokens() -> None:
    """Prune between layers as an in-LLM reducer does, and count what is left."""
    model = on_meta(transformers.LlamaForCausalLM, language_config("vicuna-7b"))
    kept = 40 + 144

    def prune(module: Any, args: Any, kwargs: Any) -> Any:
        hidden = (args[0] if args else kwargs.pop("hidden_states"))[:, :kept]
        cos, sin = kwargs["position_embeddings"]
        shorter = {"position_embeddings": (cos[:, :kept], sin[:, :kept])}
        if kwargs.get("attention_mask") is not None:
            shorter["attention_mask"] = kwargs["attention_mask"][..., :kept, :kept]
        return (hidden,), {**kwargs, **shorter}

    for layer in model.model.layers[2:]:
        layer.register_forward_pre_hook(prune, with_kwargs=True)
    flops, _ = counted(lambda: model(ids(1, 616), logits_to_keep=1))
    estimate = roofline.count("vicuna-7b", llm_layers=[(2, 576), (30, 144)])
    assert estimate.llm.flops == flops


@pytest.mark.parametrize("batch", [1, 3])
def test_whole_llava(batch: int) -> None:
    """Vision tower up to the layer used, connector and LLM of LLaVA-1.5, each and together."""
    config = transformers.LlavaConfig(
        vision_config=vision_config(),
        text_config=language_config("vicuna-7b"),
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
    )
    config.text_config.vocab_size = 32064
    model = on_meta(transformers.LlavaForConditionalGeneration, config)
    estimate = roofline.count("llava-1.5-7b", batch=batch)
    parts = {name: part.flops for name, part in estimate.components.items()}

    pixels = torch.zeros(batch, 3, 336, 336, device="meta", dtype=torch.float16)
    tower = model.model.vision_tower
    blocks = tower.encoder.layers
    del blocks[23:]  # the block whose output nobody reads
    tower.config.num_hidden_layers = len(blocks)
    vision, encoded = counted(lambda: tower(pixels, output_hidden_states=True))
    features = encoded.hidden_states[23][:, 1:]
    connector, embedded = counted(lambda: model.model.multi_modal_projector(features))
    text = torch.zeros(batch, 40, 4096, device="meta", dtype=torch.float16)
    prompt = torch.cat([embedded, text], dim=1)
    hidden = model.model.language_model
    llm, output = counted(lambda: hidden(inputs_embeds=prompt))
    head, _ = counted(lambda: model.lm_head(output.last_hidden_state[:, -1:]))

    assert parts == {"vision": vision, "connector": connector, "llm": llm + head}
    assert estimate.end_to_end.flops == vision + connector + llm + head


def test_llava_parameters() -> None:
    config = transformers.LlavaConfig(
        vision_config=vision_config(), text_config=language_config("vicuna-13b")
    )
    config.text_config.vocab_size = 32064
    model = on_meta(transformers.LlavaForConditionalGeneration, config)
    parts = roofline.count("llava-1.5-13b").components
    modules = {
        "vision": [model.model.vision_tower],
        "connector": [model.model.multi_modal_projector],
        "llm": [model.model.language_model, model.lm_head],
    }
    for name, owners in modules.items():
        held = 2 * sum(p.numel() for owner in owners for p in owner.parameters())
        assert parts[name].weight_bytes == held, name


def test_clip_with_all_its_blocks() -> None:
    tower = on_meta(transformers.CLIPVisionModel, vision_config())
    pixels = torch.zeros(2, 3, 336, 336, device="meta", dtype=torch.float16)
    flops, _ = counted(lambda: tower(pixels))
    assert roofline.count("clip-vit-l-336", batch=2).end_to_end.flops == flops
