"""A config.json, a folder with one, and the id of a model on the hub."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from roofline.errors import InputError, SpecError
from roofline.specs.catalog import load_model
from roofline.specs.hub.files import imported
from roofline.specs.models import LanguageModel
from roofline.specs.writing import model_yaml

CONFIG = {
    "model_type": "llama",
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "vocab_size": 100,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "My-Model"
    made.mkdir()
    (made / "config.json").write_text(json.dumps(CONFIG))
    return made


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, folder: Path) -> list[tuple[str, str]]:
    """A hub that has the folder's files; gives back what it was asked for."""
    wanted: list[tuple[str, str]] = []

    def download(model: str, file: str) -> str:
        wanted.append((model, file))
        if not (folder / file).is_file():
            raise RuntimeError(f"404 Client Error\nno {file} in {model}")
        return str(folder / file)

    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(hf_hub_download=download))
    return wanted


def test_a_folder_and_its_file_are_the_same_model(folder: Path) -> None:
    by_folder, by_file = imported(str(folder)), imported(str(folder / "config.json"))

    assert by_folder == by_file
    assert isinstance(by_folder, LanguageModel)
    assert (by_folder.name, by_folder.hidden_size) == ("my-model", 64)
    assert by_folder.source == str(folder / "config.json")


def test_the_hub_is_asked_for_what_is_no_file(hub: list[tuple[str, str]]) -> None:
    model: Any = imported("some-org/Some-Model")

    assert hub[0] == ("some-org/Some-Model", "config.json")
    assert model.name == "some-model"
    assert model.source == "https://huggingface.co/some-org/Some-Model/blob/main/config.json"


def test_what_it_makes_reads_back_as_the_same_model(folder: Path, tmp_path: Path) -> None:
    model = imported(str(folder), name="mine")
    file = tmp_path / "mine.yaml"
    file.write_text(model_yaml(model), encoding="utf-8")

    assert load_model(str(file)) == model


def test_what_ships_reads_back_when_it_is_written_out(tmp_path: Path) -> None:
    for name in ("llava-tiny", "clip-vit-l-336", "llava-connector", "qwen2-7b"):
        file = tmp_path / f"{name}.yaml"
        file.write_text(model_yaml(load_model(name)), encoding="utf-8")

        assert load_model(str(file)) == load_model(name)


def test_a_model_that_the_hub_does_not_give(hub: list[tuple[str, str]], folder: Path) -> None:
    (folder / "config.json").unlink()

    with pytest.raises(InputError, match=r"the hub does not give its .*404 Client Error\): "):
        imported("org/m")


def test_without_the_hub_s_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)

    with pytest.raises(InputError, match="needs huggingface_hub"):
        imported("org/m")


@pytest.mark.parametrize("config", ["nothing", "no such file.json", "a/b/c", ""])
def test_what_is_neither_is_one_line(config: str) -> None:
    with pytest.raises(SpecError, match="is no file, no folder, and no id"):
        imported(config)


@pytest.mark.parametrize(
    ("content", "fault"),
    [("{", "is not valid JSON"), ("[]", "expected a mapping"), ("{}", "model_type")],
)
def test_a_file_that_is_no_config(folder: Path, content: str, fault: str) -> None:
    (folder / "config.json").write_text(content)

    with pytest.raises(SpecError, match=fault):
        imported(str(folder))
