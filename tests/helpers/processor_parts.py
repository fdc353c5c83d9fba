"""Functions of Hugging Face's processors, cut out of files that only import with torchvision."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import math
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from transformers.image_utils import PILImageResampling

POSTPONED = importlib.import_module("__future__").annotations.compiler_flag
"""Annotations name types that are not imported here."""


def parts_of(module: str, **globals_: Any) -> SimpleNamespace:
    """All functions of a module of `transformers.models`, and methods of its classes, by name.

    Decorators are left off: they document or cache.
    """
    spec = importlib.util.find_spec(f"transformers.models.{module}")
    assert spec
    assert spec.origin
    tree = ast.parse(Path(spec.origin).read_text())
    found = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    for node in found:
        node.decorator_list = []
    names: dict[str, Any] = {
        "math": math, "np": np, "torch": torch, "defaultdict": defaultdict,
        "PILImageResampling": PILImageResampling, **globals_,
    }  # fmt: skip
    cut = ast.Module(found, type_ignores=[])
    exec(compile(cut, spec.origin, "exec", flags=POSTPONED, dont_inherit=True), names)
    return SimpleNamespace(**{node.name: names[node.name] for node in found})
