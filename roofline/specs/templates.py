"""Specs to begin with: a commented YAML file of each kind, whose comments are the fields' own docs.

A template is a spec that ships, written out with every field that its kind has: those it gives as
they are, the others commented out at their defaults. It is valid as it stands.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from textwrap import dedent, wrap
from typing import Any

import msgspec
from msgspec.structs import replace

from roofline.errors import UnknownNameError
from roofline.specs.catalog import load_hardware, load_model
from roofline.specs.hardware import Hardware
from roofline.specs.models import MODEL_KINDS
from roofline.specs.writing import as_plain
from roofline.specs.yaml_text import dump

_WIDTH = 98
"""Of a comment's words."""
_DEVICE = "h100-sxm"
_MODELS = {
    "language-model": "llama-3-8b",
    "vision-encoder": "clip-vit-l-336",
    "connector": "llava-connector",
    "lmm": "llava-1.5-7b",
}
"""Specs that stand for their kinds."""
_CONNECTORS_OF = {
    "step-connector": "qwen2.5-vl-7b",
    "q-former": "blip2-opt-2.7b",
    "perceiver": "idefics2-8b",
}
"""LMMs whose connectors, written out in place, do so for theirs."""
_LEFT_OUT = {"kernel_laws", "correction"}
"""Fields that are measured and fitted, not written: `roofline calibrate` and `fit` make them."""


def hardware_template() -> str:
    """A device's file to fill in."""
    head = (
        "A device, for --hw. Replace the values; every number needs a key of `sources`. Peaks are "
        "dense. Attainable times come from the relative in `laws_from`, or from a calibration: "
        "`roofline calibrate` writes a whole file."
    )
    return _template(load_hardware(_DEVICE), Hardware, head)


def model_template(kind: str) -> str:
    """A model's file to fill in. Raises UnknownNameError for a kind that there is none of."""
    head = f"For --model. Replace the values. {_summary(MODEL_KINDS.find(kind))}"
    return _template(example(kind), MODEL_KINDS.find(kind), head)


def example(kind: str) -> Any:
    """The shipped spec that stands for a kind. Raises UnknownNameError for one without."""
    if kind in _CONNECTORS_OF:
        lmm: Any = load_model(_CONNECTORS_OF[kind])
        return replace(lmm.connector, name=f"{_CONNECTORS_OF[kind]}-connector")
    if kind not in _MODELS:
        raise UnknownNameError("kind of model", kind, [*_MODELS, *_CONNECTORS_OF])
    return load_model(_MODELS[kind])


def _template(spec: Any, kind: type[msgspec.Struct], head: str) -> str:
    given, docs = as_plain(spec), _field_docs(kind)
    given |= {"name": f"my-{given['name']}", "aliases": [], "unsure": []}
    tag = kind.__struct_config__.tag_field
    lines = [*_comment(head), "", *(_written(tag, given[tag]) if tag else [])]
    for field in msgspec.structs.fields(kind):
        name = field.encode_name
        if name in _LEFT_OUT:
            continue
        lines += _comment(docs.get(field.name, ""))
        default = None if field.default is msgspec.NODEFAULT else as_plain(field.default)
        has_own = field.required or given.get(name, default) not in (default, [])
        written = _written(name, given[name] if has_own else default)
        lines += written if has_own else [f"# {line}" for line in written]
    return "\n".join(lines) + "\n"


def _written(name: str, value: Any) -> list[str]:
    """A field; a sourced figure and a list on one line."""
    figures = isinstance(value, dict) and name != "sources"
    return dump({name: value}, in_lines=not figures and not isinstance(value, list)).splitlines()


def _comment(text: str) -> Iterator[str]:
    for line in wrap(" ".join(text.split()), _WIDTH):
        yield f"# {line}"


def _summary(kind: type) -> str:
    return dedent(kind.__doc__ or "").strip().partition("\n\n")[0]


@cache
def _field_docs(kind: type) -> dict[str, str]:
    """What stands below each field of a class in its source."""
    docs: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if not base.__module__.startswith("roofline."):
            continue
        [tree] = ast.parse(dedent(inspect.getsource(base))).body
        body = tree.body if isinstance(tree, ast.ClassDef) else []
        for field, below in pairwise(body):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(below, ast.Expr)
                and isinstance(below.value, ast.Constant)
                and isinstance(below.value.value, str)
            ):
                docs[field.target.id] = below.value.value
    return docs
