"""BLIP-2 and InstructBLIP: EVA-CLIP, a Q-Former, an LLM."""

from __future__ import annotations

from typing import Any

from roofline.specs.hub import HUB_CONFIGS, HubConfig
from roofline.specs.hub.fields import ACTIVATIONS, ConfigFields
from roofline.specs.hub.multimodal.parts import lmm

BLIP2: dict[str, Any] = {
    "vision_config": None,
    "qformer_config": None,
    "text_config": None,
    "num_query_tokens": 32,
}
Q_FORMER: dict[str, Any] = {
    "vocab_size": 30522,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "max_position_embeddings": 512,
    "cross_attention_frequency": 2,
}


def blip2(fields: ConfigFields) -> dict[str, Any]:
    """Queries alone."""
    return _with_queries(fields, "blip_2_vision_model", instructed=False)


def instruct_blip(fields: ConfigFields) -> dict[str, Any]:
    """The Q-Former has words of its own, which attend with the queries."""
    return _with_queries(fields, "instructblip_vision_model", instructed=True)


def _with_queries(fields: ConfigFields, vision: str, *, instructed: bool) -> dict[str, Any]:
    fields.skip("image_text_hidden_size", "use_decoder_only_language_model", "initializer_factor")
    section = ConfigFields(fields.section("qformer_config"), Q_FORMER, fields.file)
    section.skip("encoder_hidden_size", "layer_norm_eps", "position_embedding_type")
    if section.config.get("use_qformer_text_input"):
        raise fields.fault("qformer_config", "a Q-Former for retrieval is no part of an LMM")
    section.skip("use_qformer_text_input")
    words, positions = section.count("vocab_size"), section.count("max_position_embeddings")
    connector = {
        "kind": "q-former",
        "num_query_tokens": fields.count("num_query_tokens"),
        "hidden_size": section.count("hidden_size"),
        "num_hidden_layers": section.count("num_hidden_layers"),
        "num_attention_heads": section.count("num_attention_heads"),
        "intermediate_size": section.count("intermediate_size"),
        "cross_attention_frequency": section.count("cross_attention_frequency"),
        "hidden_act": section.mapped("hidden_act", ACTIVATIONS),
    }
    if instructed:
        connector |= {"instruction_vocab_size": words, "instruction_positions": positions}
    section.check_all_read()
    fields.skip("tie_word_embeddings")  # the text's own, whose class has the head
    return lmm(
        fields,
        vision,
        "opt",
        connector,
        vision_feature_layer="last",
        vision_feature_select_strategy="full",
    )


HUB_CONFIGS.register("blip-2", HubConfig(blip2, BLIP2))
HUB_CONFIGS.register("instructblip", HubConfig(instruct_blip, BLIP2))
