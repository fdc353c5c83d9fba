"""From specs to configs of `transformers`: the LLMs of several families, and what none can say.

A config is read back (`roofline.model_from_config`) and held to the spec it was made of: whatever a
class cannot have is named, and nothing is left out in silence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from msgspec.structs import fields

from roofline.errors import SpecError
from roofline.specs.catalog import load_component, where
from roofline.specs.hub import HUB_CONFIGS, model_from_config
from roofline.specs.models import AnyConnector, LanguageModel, Lmm, VisionEncoder
from roofline.specs.models.connector import MergeStep, PoolStep

_ACTIVATIONS = {"gelu_tanh": "gelu_pytorch_tanh"}
"""Functions that transformers calls otherwise than the specs."""
_WORDS = frozenset({"name", "title", "source", "aliases", "unsure", "used_in"})
"""Fields of a spec that say who it is, not what."""
_SETTLED = frozenset({"rope_theta", "max_position_embeddings", "vocab_size", "image_size_px"})
"""Fields that an LMM says itself, or that change nothing that is computed."""
_RESOLVED: Mapping[str, Callable[[Any], Any]] = {
    "num_key_value_heads": lambda spec: spec.kv_heads,
    "head_dim": lambda spec: spec.head_size,
    "attention_output_bias": lambda spec: spec.output_bias,
    "attention_pattern": lambda llm: [
        llm.layer_kind(layer).window for layer in range(llm.num_hidden_layers)
    ],
}
"""What goes for a field, whether it is given or not, and in however many words."""
_SLIDING, _FULL = "sliding_attention", "full_attention"


def activation(function: str) -> str:
    """A function's name in transformers."""
    return _ACTIVATIONS.get(function, function)


def tower_sizes(spec: VisionEncoder) -> dict[str, Any]:
    """What configs of CLIP's tower and of those made like it say by the same names."""
    return {
        "hidden_size": spec.hidden_size,
        "intermediate_size": spec.intermediate_size,
        "num_hidden_layers": spec.num_hidden_layers,
        "num_attention_heads": spec.num_attention_heads,
        "num_channels": spec.num_channels,
        "image_size": spec.image_size_px,
        "patch_size": spec.patch_size_px,
        "layer_norm_eps": spec.layer_norm_eps,
        "hidden_act": activation(spec.hidden_act),
    }


def text_config(spec: Lmm, *kinds: str) -> Any:
    """The config of an LMM's LLM: of the first of these model types that can be what it is.

    Raises SpecError where none can.
    """
    import transformers

    llm = load_component(spec.llm, LanguageModel)
    faults = []
    for kind in kinds:
        sizes = _sizes(spec, llm, kind) | _OF_KIND.get(kind, _nothing)(llm)
        config = transformers.CONFIG_MAPPING[kind](**sizes)
        try:
            found = unlike(llm, _read(config, llm.name))
        except SpecError as error:  # it would be given what it does not know
            own = {field.name for field in fields(llm)}
            found = [name for name, _ in error.faults if name in own]
            if not found:
                continue
        if not found:
            return config
        faults.append((kind, found))
    if not faults:
        raise SpecError(
            where(llm), [("kind", f"none of {', '.join(kinds)} of transformers is such")]
        )
    kind, found = min(faults, key=lambda fault: len(fault[1]))
    fault = f"a {kind} of transformers is without it: leave it out"
    raise SpecError(where(llm), [(name, fault) for name in found])


def _sizes(spec: Lmm, llm: LanguageModel, kind: str) -> dict[str, Any]:
    split = llm.head_size * llm.num_attention_heads == llm.hidden_size
    own_heads = "head_dim" in HUB_CONFIGS.find(kind).defaults or not split
    vocabulary = spec.llm_vocab_size or llm.vocab_size
    told = {"head_dim": llm.head_size} if own_heads else {}
    return (
        told
        | _ends_outside(kind, vocabulary)
        | {
            "hidden_size": llm.hidden_size,
            "intermediate_size": llm.intermediate_size,
            "num_hidden_layers": llm.num_hidden_layers,
            "num_attention_heads": llm.num_attention_heads,
            "num_key_value_heads": llm.kv_heads,
            "vocab_size": vocabulary,
            "max_position_embeddings": llm.max_position_embeddings or 4096,
            "rms_norm_eps": llm.rms_norm_eps,
            "rope_parameters": {"rope_type": "default", "rope_theta": llm.rope_theta},
            "tie_word_embeddings": llm.tie_word_embeddings,
            "pad_token_id": spec.pad_token_id,
        }
    )


def _ends_outside(kind: str, vocabulary: int) -> dict[str, None]:
    """Begin and end of a text, where the class has them outside of a small vocabulary."""
    import transformers

    made = transformers.CONFIG_MAPPING[kind]
    ends = ("bos_token_id", "eos_token_id")
    return {name: None for name in ends if (getattr(made, name, None) or 0) >= vocabulary}


def _nothing(llm: LanguageModel) -> dict[str, Any]:
    return {}


def _llama(llm: LanguageModel) -> dict[str, Any]:
    return {"attention_bias": llm.attention_bias, "mlp_bias": llm.mlp_bias}


def _mistral(llm: LanguageModel) -> dict[str, Any]:
    return {"sliding_window": llm.sliding_window}


def _gemma(llm: LanguageModel) -> dict[str, Any]:
    return {
        "hidden_act": activation(llm.hidden_act),
        "hidden_activation": activation(llm.hidden_act),
        "attention_bias": llm.attention_bias,
    }


def _gemma2(llm: LanguageModel) -> dict[str, Any]:
    pattern = llm.attention_pattern
    return _gemma(llm) | {
        "sliding_window": llm.sliding_window,
        "layer_types": [
            _FULL if pattern[layer % len(pattern)] == "full" else _SLIDING
            for layer in range(llm.num_hidden_layers)
        ],
        "attn_logit_softcapping": llm.attn_logit_softcapping,
        "final_logit_softcapping": llm.final_logit_softcapping,
        "query_pre_attn_scalar": llm.head_size,
    }


def _gemma3(llm: LanguageModel) -> dict[str, Any]:
    rope = {"rope_type": "default", "rope_theta": llm.rope_theta}
    local = {"rope_type": "default", "rope_theta": 10000.0}
    return _gemma2(llm) | {"rope_parameters": {_FULL: rope, _SLIDING: local}}


def _sections(shares: tuple[int, int, int]) -> Callable[[LanguageModel], dict[str, Any]]:
    """Half a head in parts that turn by frame, row and column."""

    def fields_of(llm: LanguageModel) -> dict[str, Any]:
        half = llm.head_size // 2
        rows = half * shares[1] // sum(shares)
        columns = half * shares[2] // sum(shares)
        parts = [half - rows - columns, rows, columns]
        return {
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": llm.rope_theta,
                "mrope_section": parts,
            }
        }

    return fields_of


def _experts(llm: LanguageModel) -> dict[str, Any]:
    moe = llm.moe
    return {
        "num_experts": moe.num_experts if moe else 0,
        "num_experts_per_tok": moe.num_experts_per_tok if moe else 0,
        "moe_intermediate_size": moe.intermediate_size if moe else 0,
        "decoder_sparse_step": moe.every if moe else 1,
        "mlp_only_layers": [],
        "norm_topk_prob": True,  # as released; a spec does not tell
    }


_OF_KIND: Mapping[str, Callable[[LanguageModel], dict[str, Any]]] = {
    "llama": _llama,
    "mistral": _mistral,
    "gemma": _gemma,
    "gemma2": _gemma2,
    "gemma3_text": _gemma3,
    "qwen2_vl_text": _sections((16, 24, 24)),
    "qwen2_5_vl_text": _sections((16, 24, 24)),
    "qwen3_vl_text": _sections((24, 20, 20)),
    "qwen3_moe": _experts,
    "qwen3_vl_moe_text": lambda llm: _sections((24, 20, 20))(llm) | _experts(llm),
}
"""Fields beyond the sizes that all have."""


def whole_config(spec: Lmm, model_type: str, attention: Any, **told: Any) -> Any:
    """The config of an LMM of that model type, of these fields.

    Raises SpecError where, read back, it has not the parts of the spec.
    """
    import transformers

    made: Any = transformers.CONFIG_MAPPING[model_type]
    config = made(**told, attn_implementation=attention)
    _check_told(spec, config)
    return config


def _check_told(spec: Lmm, config: Any) -> None:
    read = _read(config, spec.name)
    parts = (
        (load_component(spec.vision, VisionEncoder), read.vision),
        (connector_of(spec), read.connector),
        (load_component(spec.llm, LanguageModel), read.llm),
        (spec, read),
    )
    for ours, theirs in parts:
        found = unlike(ours, theirs)
        if found:
            fault = f"a {config.model_type} of transformers is without it, or has another"
            raise SpecError(where(ours), [(name, fault) for name in found])


def _read(config: Any, name: str) -> Any:
    return model_from_config(config.to_dict(), name=name)


def unlike(ours: Any, theirs: Any) -> list[str]:
    """Fields in which two specs are not the same model."""
    if type(ours) is not type(theirs):
        return ["kind"]

    def told(spec: Any, name: str) -> Any:
        return _RESOLVED[name](spec) if name in _RESOLVED else getattr(spec, name)

    parts = {"vision", "connector", "llm", "image_tokens", "llm_vocab_size", "architecture"}
    tokens = {"image_token_index", "video_token_index", "pad_token_id"}
    aside = _WORDS | _SETTLED | parts | tokens
    return [
        field.name
        for field in fields(ours)
        if field.name not in aside and told(ours, field.name) != told(theirs, field.name)
    ]


def connector_of(spec: Lmm) -> Any:
    """An LMM's connector, of whatever kind."""
    anything: Any = AnyConnector
    return load_component(spec.connector, anything)


def merge_size(spec: Lmm) -> int:
    """Patches along a side of what the connector makes one token of; 1 where it merges none."""
    connector = connector_of(spec)
    sizes = [
        step.size
        for step in getattr(connector, "steps", ())
        if isinstance(step, MergeStep | PoolStep)
    ]
    return int(sizes[0]) if sizes else 1
