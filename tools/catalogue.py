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
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from roofline.errors import SpecError
from roofline.specs.hub import model_from_config
from roofline.specs.models import Lmm, Model
from roofline.specs.writing import model_yaml

ROOT = Path(__file__).resolve().parents[1]
CONFIGS, MODELS = ROOT / "tests" / "specs" / "hub_configs", ROOT / "models"
HEAD = "# yaml-language-server: $schema=model.schema.json\n"
MADE = "# Made of {} by tools/catalogue.py\n"
_NAMING = {"name": "", "title": "", "source": "", "aliases": (), "unsure": ()}
"""Fields that say which model it is, not what it is like."""
_OF_NO_CONFIG = ("parameters_b", "preprocessor")
"""What a file of a config may be unsure of beside the config."""


def configs() -> dict[str, Mapping[str, Any]]:
    """What was read, by the name that the catalog gives the model."""
    return {file.stem: json.loads(file.read_text()) for file in sorted(CONFIGS.glob("*.json"))}


def catalogued(name: str, read: Mapping[str, Any]) -> Model:
    """The spec of a config. Raises SpecError where it cannot be expressed."""
    model = model_from_config(
        read["config"], name=name, source=read["source"], preprocessor=read["preprocessor"]
    )
    hub = read["hub"]
    base = hub.rpartition("/")[2]
    aliases = dict.fromkeys([base.lower(), hub.lower()])
    aliases.pop(name, None)
    return replace(
        model,
        title=base.replace("-", " "),
        aliases=tuple(aliases),
        unsure=tuple(one for one in read["unsure"] if not one.startswith(_OF_NO_CONFIG)),
    )


def without_names(model: Model) -> Model:
    """What tells no two models of one shape apart is left out."""
    return replace(model, **{k: v for k, v in _NAMING.items() if hasattr(model, k)})


def generated() -> Iterator[tuple[Path, str]]:
    """Every file that is made, and what it should hold."""
    specs: dict[str, Model] = {}
    for name, read in configs().items():
        try:
            specs[name] = catalogued(name, read)
        except SpecError:
            continue  # a test lists them, and why
    parts = {without_names(spec): name for name, spec in specs.items() if not isinstance(spec, Lmm)}
    for name, spec in specs.items():
        file = MODELS / f"{name}.yaml"
        made = MADE.format((CONFIGS / f"{name}.json").relative_to(ROOT))
        if file.exists() and made not in file.read_text(encoding="utf-8"):
            continue  # by hand
        named = _with_named_parts(spec, parts) if isinstance(spec, Lmm) else spec
        yield file, HEAD + made + model_yaml(named)


def _with_named_parts(lmm: Lmm, parts: Mapping[Model, str]) -> Lmm:
    found: dict[str, Any] = {}
    for field in ("vision", "connector", "llm"):
        part = getattr(lmm, field)
        name = None if isinstance(part, str) else parts.get(without_names(part))
        if name is not None:
            found[field] = name
    return replace(lmm, **found)


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
