"""Write the models that ship from configs of the hub: `python tools/catalogue.py [--check]`.

`tests/specs/hub_configs/NAME.json` holds the fields of a model's config as they were read, with
where; `models/NAME.yaml` is the spec that `roofline models --from-hf` makes of it. Parts that the
catalog has under a name of their own are named, not written out again. Files that were written by
hand stay; a test holds them to the same configs.

With `--check` nothing is written; stale files are named and the exit code is 1.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from roofline.errors import SpecError
from roofline.specs.catalog import load_model
from roofline.specs.hub import model_from_config
from roofline.specs.models import LanguageModel, Lmm, Model
from roofline.specs.writing import model_yaml

ROOT = Path(__file__).resolve().parents[1]
CONFIGS, MODELS = ROOT / "tests" / "specs" / "hub_configs", ROOT / "models"
HEAD = "# yaml-language-server: $schema=model.schema.json\n"
MADE = "# Made of {} by tools/catalogue.py\n"
_NAMING = {"name": "", "title": "", "source": "", "aliases": (), "unsure": (), "used_in": None}
"""Fields that say which model it is, not what it is like."""
_OWN_PARTS = ("vicuna-7b", "vicuna-13b", "clip-vit-l-336", "clip-vit-l-224", "llava-connector")
"""Written by hand."""
_OF_NO_CONFIG = ("parameters_b", "preprocessor")
"""What a file of a config may be unsure of beside the config."""


@cache
def configs() -> dict[str, Mapping[str, Any]]:
    """What was read, by the name that the catalog gives the model."""
    return {file.stem: json.loads(file.read_text()) for file in sorted(CONFIGS.glob("*.json"))}


def catalogued(name: str, read: Mapping[str, Any]) -> Model:
    """The spec of a config. Raises SpecError where it cannot be expressed."""
    hub = read["hub"]
    source = f"https://huggingface.co/{hub}/blob/main/config.json, as read at {read['source']}"
    model = model_from_config(
        read["config"], name=name, source=source, preprocessor=read["preprocessor"]
    )
    base = hub.rpartition("/")[2]
    aliases = dict.fromkeys([base.lower(), hub.lower()])
    aliases.pop(name, None)
    named: Any = model
    return replace(  # type: ignore[no-any-return]
        named,
        title=base.replace("-", " "),
        aliases=tuple(aliases),
        unsure=tuple(one for one in read["unsure"] if not one.startswith(_OF_NO_CONFIG)),
    )


def shape(model: Any) -> Any:
    """A model without what only says which it is, what may be left out filled in."""
    known: dict[str, Any] = {name: value for name, value in _NAMING.items() if hasattr(model, name)}
    if isinstance(model, LanguageModel):
        known |= {"num_key_value_heads": model.kv_heads, "head_dim": model.head_size}
    return replace(model, **known)


def generated() -> Iterator[tuple[Path, str]]:
    """Every file that is made, and what it should hold."""
    specs: dict[str, Model] = {}
    for name, read in configs().items():
        try:
            specs[name] = catalogued(name, read)
        except SpecError:
            continue  # a test lists them, and why
    owners = Counter(read["hub"] for read in configs().values())
    for name, spec in specs.items():
        if owners[configs()[name]["hub"]] > 1 and not isinstance(spec, Lmm):
            specs[name] = replace(spec, aliases=())  # the repository is that of the whole
    parts = {_any_vocabulary(load_model(name)): [name] for name in _OWN_PARTS}
    for name, spec in specs.items():
        if not isinstance(spec, Lmm):
            parts.setdefault(_any_vocabulary(spec), []).append(name)
    for name, spec in specs.items():
        file = MODELS / f"{name}.yaml"
        made = MADE.format((CONFIGS / f"{name}.json").relative_to(ROOT))
        if file.exists() and made not in file.read_text(encoding="utf-8"):
            continue  # by hand
        kind = _text_type(configs()[name]["config"])
        named = _with_named_parts(spec, parts, kind) if isinstance(spec, Lmm) else spec
        yield file, HEAD + made + model_yaml(named)


def _text_type(config: Mapping[str, Any]) -> str | None:
    """What a config calls its LLM, where it says so."""
    text = config.get("text_config") or config.get("llm_config") or {}
    kind: str | None = text.get("model_type")
    return kind


def _with_named_parts(lmm: Lmm, parts: Mapping[Model, Sequence[str]], text: str | None) -> Lmm:
    """An LLM is the same whatever its embedding's rows: an LMM says how many it has.

    text: model type of the LLM, which is preferred among several of one shape.
    """
    found: dict[str, Any] = {}
    for field in ("vision", "connector", "llm"):
        part = getattr(lmm, field)
        if names := parts.get(_any_vocabulary(part)):
            read = configs()
            own = (name for name in names if name in read and _type_of(read[name]) == text)
            found[field] = next(own, names[0])
            if isinstance(part, LanguageModel):
                found["llm_vocab_size"] = part.vocab_size
    return replace(lmm, **found)


def _type_of(read: Mapping[str, Any]) -> str | None:
    kind: str | None = read["config"].get("model_type")
    return kind


def _any_vocabulary(model: Model) -> Any:
    plain = shape(model)
    return replace(plain, vocab_size=1) if isinstance(plain, LanguageModel) else plain


def main(check: bool) -> int:
    """Write, or name what is stale; the exit code."""
    stale = [
        (file, text)
        for file, text in generated()
        if not file.exists() or file.read_text(encoding="utf-8") != text
    ]
    for file, text in stale:
        if not check:
            file.write_text(text, encoding="utf-8")
        print(f"{'stale' if check else 'written'}: {file.relative_to(ROOT)}")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv))
