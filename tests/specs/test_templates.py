"""Files to begin a spec with: valid as they stand, and every field of the kind is in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import fields, replace

from roofline.errors import UnknownNameError
from roofline.specs.catalog import load_hardware, load_model
from roofline.specs.hardware import Hardware
from roofline.specs.models import MODEL_KINDS, kind_of
from roofline.specs.templates import example, hardware_template, model_template
from roofline.specs.yaml_text import load


def uncommented(text: str, names: set[str]) -> dict[str, Any]:
    """With the fields that are commented out."""
    lines = [
        line.removeprefix("# ") if line.removeprefix("# ").partition(":")[0] in names else line
        for line in text.splitlines()
    ]
    return load("\n".join(lines).encode())  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", MODEL_KINDS.names())
def test_the_template_of_a_model_is_a_model(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(model_template(kind), encoding="utf-8")
    spec = load_model(str(file))

    assert kind_of(spec) == kind
    shipped = example(kind)
    assert spec.name == f"my-{shipped.name}"
    assert spec == replace(shipped, name=spec.name, aliases=())


@pytest.mark.parametrize("kind", MODEL_KINDS.names())
def test_it_has_every_field_with_its_default(kind: str) -> None:
    names = {field.encode_name for field in fields(MODEL_KINDS.find(kind))}

    assert names | {"kind"} == set(uncommented(model_template(kind), names))


def test_the_template_of_a_device_is_a_device(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(hardware_template(), encoding="utf-8")
    spec, shipped = load_hardware(str(file)), load_hardware("h100-sxm")

    without = {"name": spec.name, "aliases": (), "kernel_laws": None, "correction": None}
    assert spec == replace(shipped, **without)


def test_fields_say_what_they_are() -> None:
    text = hardware_template()
    names = {field.encode_name for field in fields(Hardware)}

    assert "# General-purpose (CUDA-core, SIMD) fp32 rate: norms, softmax" in text
    assert names - set(uncommented(text, names)) == {"kernel_laws", "correction"}


def test_a_kind_that_there_is_none_of() -> None:
    with pytest.raises(UnknownNameError, match=r"kind of model 'lm': .*lmm"):
        model_template("lm")
