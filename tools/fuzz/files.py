"""Damaged specs and records, and the commands that read them."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import yaml
from damage import as_json, as_yaml, damaged, scrawled, stretched

from roofline.engine.axes import KERNELS, RUNTIMES

ROOT = Path(__file__).resolve().parents[2]
RECORDS = ROOT / "tools" / "fuzz" / "records"
NAME = "damaged.yaml"
"""The one file of a case of its kind, in the folder where the command runs."""
RECORD = "damaged.json"
_SAYS_WHERE = (
    "knows decoders of Llama's shape only",  # by the model's name
    " peak, which ",
    "visual tokens",
    "images a sample",
    "a prompt needs a token",
    "analyze an LMM",
    "leave them out",
    "has no llm",
    "reducer",
    "stage",
    "knows LLMs only",
    "of the library",
)
"""Errors about what was asked of a spec that is sound, not about its file."""


class Case(NamedTuple):
    """Files, and what to run beside them."""

    files: dict[str, bytes]
    arguments: list[str]
    named: tuple[str, ...] = ()
    """One of these an error must hold."""
    is_json: bool = False


def spec_case(draw: Random) -> Case:
    """A damaged device, model, mode or file of laws, and a command that reads it."""
    kind = draw.choice(("hardware", "hardware", "models", "models", "laws", "quantization"))
    form = draw.choice(("json", "json", "table", "csv", "md"))
    if kind == "models":
        data = draw.choice(_specs("models"))
        content = _spec(data, draw)
        show, options = "models", ["--model", NAME, "--hw", draw.choice(("v100", "a100"))]
    elif kind == "quantization":
        data = draw.choice(_modes())
        content = _spec(data, draw)
        show, options = "", ["--model", "llava-1.5-7b", "--hw", "a100", "--quant", NAME]
    else:
        data = draw.choice(_specs("hardware", with_laws=kind == "laws"))
        content = _spec(data, draw)
        model = draw.choice(("vicuna-7b", "llava-1.5-7b"))
        show, options = "hardware", ["--model", model, "--hw", NAME]
    if show and draw.random() < 0.15:
        return Case({NAME: content}, [show, NAME], (NAME,))
    asked = ["analyze", *options, "--format", form]
    asked += draw.choice(
        (
            [],
            ["--visual-tokens", "40"],
            ["--visual-tokens", "40", "--per-op"],
            ["--stage", "decode"],
            ["--stage", "generate", "--output-tokens", "8"],
            ["--accounting", "llm-viewer"],
            ["--batch", "8", "--text-tokens", "200"],
            ["--runtime", draw.choice(RUNTIMES)],
            ["--kernels", draw.choice(KERNELS)],
            ["--library", draw.choice(("vllm", "trtllm", "nobody"))],
        )
    )
    if kind != "quantization" and draw.random() < 0.3:
        asked += ["--quant", draw.choice(("int8", "fp32", "w4a16", "bf16", "int4"))]
    return Case({NAME: content}, asked, (NAME, *_SAYS_WHERE), form == "json")


def record_case(draw: Random) -> Case:
    """A damaged record, alone or beside a sound one."""
    sound = draw.choice(sound_records())
    data = json.loads(sound)
    how = draw.random()
    if how < 0.3:
        content = as_json(stretched(data, draw))
    else:
        content = as_json(damaged(data, draw)) if how < 0.75 else scrawled(sound, draw)
    form = draw.choice(("json", "json", "table", "md"))
    files = {RECORD: content}
    names = [RECORD]
    if draw.random() < 0.5:
        files["sound.json"] = sound
        names.append("sound.json")
        draw.shuffle(names)
    if draw.random() < 0.03:
        asked = ["report", "--model", "llava-tiny", "--hw", "h200", "-o", "out"]
        return Case(files, [*asked, *(w for n in names for w in ("--record", n))])
    return Case(files, ["compare", *names, "--format", form], (RECORD,), form == "json")


def _spec(data: Any, draw: Random) -> bytes:
    how = draw.random()
    if how < 0.4:
        return as_yaml(stretched(data, draw))
    if how < 0.75:
        return as_yaml(damaged(data, draw))
    return scrawled(as_yaml(data), draw)


@cache
def _specs(folder: str, *, with_laws: bool = False) -> tuple[Any, ...]:
    found = []
    for file in sorted((ROOT / folder).glob("*.yaml")):
        data = yaml.safe_load(file.read_text(encoding="utf-8"))
        laws = data.get("kernel_laws")
        if isinstance(laws, str):
            text = (ROOT / folder / laws).read_text(encoding="utf-8")
            data["kernel_laws"] = json.loads(text)
        if not with_laws or laws:
            found.append(data)
    return tuple(found)


@cache
def _modes() -> tuple[Any, ...]:
    file = ROOT / "roofline" / "data" / "quantization.yaml"
    modes = yaml.safe_load(file.read_text(encoding="utf-8"))
    return tuple({"name": name, **fields} for name, fields in modes.items())


@cache
def sound_records() -> tuple[bytes, ...]:
    return tuple(file.read_bytes() for file in sorted(RECORDS.glob("*.json")))
