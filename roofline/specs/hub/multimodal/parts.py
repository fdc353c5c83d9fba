"""A config of an LMM: its sections as specs, and what all such configs have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from roofline.specs.hub import model_from_config
from roofline.specs.hub.fields import ACTIVATIONS, ConfigFields
from roofline.specs.models import LanguageModel, VisionEncoder

SECTIONS: dict[str, Any] = {
    "vision_config": None,
    "text_config": None,
    "tie_word_embeddings": False,
}
_IDS = (
    *("image_token_id", "image_token_index", "video_token_id", "video_token_index"),
    *("vision_start_token_id", "vision_end_token_id", "vision_token_id", "boi_token_index"),
    *("eoi_token_index", "image_start_token_id", "image_end_token_id", "video_start_token_id"),
    *("video_end_token_id", "ignore_index", "image_seq_length", "video_seq_length", "is_vlm"),
    *("rope_theta", "rope_parameters", "hidden_size", "vocab_size", "max_position_embeddings"),
)
"""Ids and lengths of placeholders, and copies of the text's fields, which its section says."""


def lmm(
    fields: ConfigFields,
    vision: str,
    text: str,
    connector: Mapping[str, Any],
    *,
    text_section: str = "text_config",
    text_ties: bool = False,
    **more: Any,
) -> dict[str, Any]:
    """An LMM with a tower and an LLM of these model types, where the sections do not say theirs.

    connector: its fields, `kind` first. text_ties: whether the head is tied where the text's
    section says so, too, as the class of the whole has it. more: fields of the LMM.
    """
    fields.skip(*_IDS)
    name = fields.file.removeprefix("config of ")
    words = {"name": f"{name} connector", "title": "Its connector", "source": "the same config"}
    return {
        "kind": "lmm",
        "vision": tower(fields, vision),
        "connector": {**connector, **words},
        "llm": llm(fields, text, text_section, text_ties),
        "architecture": fields.config["model_type"],
        **more,
    }


def tower(fields: ConfigFields, model_type: str, section: str = "vision_config") -> VisionEncoder:
    """The vision encoder of a section. Raises SpecError."""
    found = _part(fields, section, model_type, "vision")
    if not isinstance(found, VisionEncoder):
        raise fields.fault(section, f"is no vision encoder but a {type(found).__name__}")
    return found


def llm(fields: ConfigFields, model_type: str, section: str, text_ties: bool) -> LanguageModel:
    """The LLM of a section; whether its head is tied says the LMM, if it says anything."""
    found = _part(fields, section, model_type, "text")
    if not isinstance(found, LanguageModel):
        raise fields.fault(section, f"is no language model but a {type(found).__name__}")
    if "tie_word_embeddings" not in fields.defaults:
        return found
    by_text = text_ties and fields.section(section).get("tie_word_embeddings") is True
    tied = fields.flag("tie_word_embeddings") or by_text
    return replace(found, tie_word_embeddings=tied)


def _part(fields: ConfigFields, section: str, model_type: str, noun: str) -> Any:
    config = dict(fields.section(section))
    given = str(config.get("model_type") or model_type)
    if given == fields.config.get("model_type"):  # older configs name the whole in each section
        given = model_type
    name = f"{fields.file.removeprefix('config of ')} {noun}"
    return model_from_config({**config, "model_type": given}, name=name)


def mlp(fields: ConfigFields, bias: bool = True) -> list[dict[str, Any]]:
    """A matrix, a function, a matrix."""
    act = fields.mapped("projector_hidden_act", ACTIVATIONS)
    linear = {"step": "linear", "bias": bias}
    return [linear, {"step": "activation", "function": act}, linear]


def steps(*one_by_one: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """A connector of steps."""
    return {"kind": "step-connector", "steps": list(one_by_one), **more}


def feature_layer(fields: ConfigFields) -> int | Sequence[int]:
    """Index, or indexes, of the hidden states that are features."""
    name = "vision_feature_layer"
    value = fields.value(name)
    if isinstance(value, list | tuple) and all(isinstance(one, int) for one in value):
        return tuple(value) if len(value) != 1 else int(value[0])
    if not isinstance(value, int):
        raise fields.fault(name, f"expected a whole number or a list of such, got {value!r}")
    return value
