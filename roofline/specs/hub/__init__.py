"""Models from `config.json` files of the Hugging Face hub, found by their `model_type`.

A family of configs is a small file in one of the packages below, which registers a `HubConfig` for
each of its model types. Neither torch nor transformers is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from msgspec import Struct

from roofline.errors import SpecError, UnknownNameError
from roofline.registry import Registry
from roofline.specs.hub.fields import ConfigFields
from roofline.specs.models import MODEL_KINDS, Model
from roofline.specs.reading import build

SpecFields: TypeAlias = Mapping[str, Any]
"""What a model's YAML file would hold, but for `name`, `title` and `source`."""


class HubConfig(Struct, frozen=True):
    """How configs of one `model_type` are read."""

    spec_fields: Callable[[ConfigFields], SpecFields]
    defaults: Mapping[str, Any]
    """Of the fields that are read, as the config's class in transformers has them."""


HUB_CONFIGS: Registry[HubConfig] = Registry("model_type of a config", "roofline.specs.hub")


def model_from_config(
    config: Mapping[str, Any],
    *,
    name: str | None = None,
    source: str | None = None,
    preprocessor: Mapping[str, Any] | None = None,
) -> Model:
    """The model that a `config.json` describes.

    name: of the model; left out, what the config says it was loaded from, or its `model_type`.
    source: where the config is from. preprocessor: the model's `preprocessor_config.json`, of one
        that takes pictures.

    Raises SpecError for a `model_type` that is not known, and for each field that may change the
    cost and that nobody has read: no field is guessed.
    """
    model_type = str(config.get("model_type", ""))
    name = name or str(config.get("_name_or_path") or model_type or "model")
    try:
        family = HUB_CONFIGS.find(model_type)
    except UnknownNameError as error:
        raise SpecError(f"config of {name}", [("model_type", str(error))]) from None
    fields = ConfigFields(config, family.defaults, f"config of {name}", preprocessor)
    plain = {"kind": "language-model", **family.spec_fields(fields)}
    fields.check_all_read()
    words = {"name": name, "title": name, "source": source or f"config.json, {model_type}"}
    kind = plain.pop("kind")
    model: Any = build(MODEL_KINDS.find(kind), words | plain, fields.file)
    return model  # type: ignore[no-any-return]
