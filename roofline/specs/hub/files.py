"""Configs as they lie on a disk or on the hub → models."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from roofline.errors import InputError, SpecError
from roofline.specs.hub import model_from_config
from roofline.specs.models import Model
from roofline.specs.reading import read_json

_CONFIG = "config.json"
_PREPROCESSORS = ("preprocessor_config.json", "processor_config.json")
"""What says how pictures are cut up: the first that there is."""
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_HUB = "https://huggingface.co"


def imported(config: str, *, name: str | None = None) -> Model:
    """The model of a config.json, of a folder that holds one, or of an id on the hub.

    name: of the model; left out, that of the folder or of the id.

    Raises SpecError for what is no config, cannot be had, or has fields that are not understood;
    InputError where the hub cannot be asked.
    """
    path = Path(config)
    if config and path.exists():
        file = path / _CONFIG if path.is_dir() else path
        beside = [file.parent / each for each in _PREPROCESSORS]
        preprocessor = next((each for each in beside if each.is_file()), None)
        named, source = file.resolve().parent.name, str(file)
    elif _HUB_ID.fullmatch(config):
        file = _from_hub(config, _CONFIG)
        there = (_optional(config, each) for each in _PREPROCESSORS)
        preprocessor = next(filter(None, there), None)
        named, source = config.partition("/")[2], f"{_HUB}/{config}/blob/main/{_CONFIG}"
    else:
        fault = "is no file, no folder, and no id of a model on the hub, such as org/name"
        raise SpecError(config, [("config", fault)])
    return model_from_config(
        _mapping(file),
        name=name or named.lower(),
        source=source,
        preprocessor=None if preprocessor is None else _mapping(preprocessor),
    )


def _mapping(file: Path) -> Mapping[str, Any]:
    content = read_json(file)
    if not isinstance(content, dict):
        raise SpecError(file, [("file", "expected a mapping of fields")])
    return content


def _from_hub(model: str, file: str) -> Path:
    try:
        from huggingface_hub import hf_hub_download
    except ImportError:
        raise InputError(
            f"{model} is no file here, and to ask the hub needs huggingface_hub: "
            "pip install '.[profile]', or give the model's config.json"
        ) from None
    try:
        return Path(hf_hub_download(model, file))
    except Exception as error:  # of many kinds: no network, no such model, no permission
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"{model}: the hub does not give its {file} ({reason}): download it, and give the file"
        ) from None


def _optional(model: str, file: str) -> Path | None:
    try:
        return _from_hub(model, file)
    except InputError:
        return None
