"""`roofline models` and `roofline hardware` where they begin a spec, or find one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from roofline.specs import this_machine
from roofline.specs.this_machine import FoundDevice

Cli = Callable[..., Any]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "config.json"
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    rest = {"intermediate_size": 96, "vocab_size": 100}
    file.write_text(json.dumps({"model_type": "llama", **sizes, **rest}))
    return file


def test_an_imported_model_can_be_analyzed(run: Cli, call: Cli, config: Path) -> None:
    target = config.with_name("my-model.yaml")
    assert run("models", "--from-hf", str(config), "-o", str(target)) == (0, "", "")

    out = call("analyze", "--model", str(target), "--hw", "h100", "--text-tokens", "100").out
    assert "my-model" in out


def test_a_field_that_is_not_understood_is_named_and_nothing_is_written(
    run: Cli, config: Path
) -> None:
    config.write_text(json.dumps(json.loads(config.read_text()) | {"new_trick": 3}))
    target = config.with_name("my-model.yaml")

    code, out, err = run("models", "--from-hf", str(config), "-o", str(target))

    assert (code, out) == (2, "")
    assert "new_trick: is not understood" in err
    assert len(err.splitlines()) == 1
    assert not target.exists()


@pytest.mark.parametrize("command", [["models", "--new", "lmm"], ["hardware", "--new"]])
def test_a_file_to_fill_in_is_not_written_over_another(
    run: Cli, command: list[str], tmp_path: Path
) -> None:
    target = tmp_path / "mine.yaml"
    assert run(*command, "-o", str(target))[0] == 0
    written = target.read_bytes()

    code, _, err = run(*command, "-o", str(target))

    assert code == 2
    assert "mine.yaml" in err
    assert target.read_bytes() == written
    assert run(*command, "-o", str(target), "--force")[0] == 0


@pytest.mark.parametrize(
    "command",
    [
        ["models", "vicuna-7b", "--new", "lmm"],
        ["models", "--from-hf", "x", "--new", "lmm"],
        ["hardware", "v100", "--detect"],
        ["hardware", "--new", "--detect"],
    ],
)
def test_one_thing_at_a_time(run: Cli, command: list[str]) -> None:
    code, out, err = run(*command)

    assert (code, out) == (2, "")
    assert "do not go together" in err


def test_the_devices_of_a_machine(call: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from roofline.specs.catalog import load_hardware

    here = [
        FoundDevice("NVIDIA H100 80GB HBM3", load_hardware("h100")),
        FoundDevice("NVIDIA RTX 9999", None),
    ]
    monkeypatch.setattr(this_machine, "devices_here", lambda: here)

    out = call("hardware", "--detect").out

    first, *_ = out.split("\n\n")
    assert "This machine has NVIDIA H100 80GB HBM3: give --hw h100-sxm." in first
    assert "NVIDIA RTX 9999: no spec has that name." in " ".join(first.split())
    assert "memory_bandwidth_gb_per_s" in out
    assert [line for line in out.splitlines() if len(line) > 80] == []
