"""`roofline hardware` and `roofline models`: what there is, and who says so."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

Cli = Callable[..., Any]

ROOT = Path(__file__).parents[2]
FILES = {folder: sorted((ROOT / folder).glob("*.yaml")) for folder in ("hardware", "models")}


@pytest.mark.parametrize("folder", FILES)
def test_a_list_has_a_line_for_each_and_fits_80_columns(folder: str, run: Cli) -> None:
    code, out, err = run(folder)

    assert (code, err) == (0, "")
    listed = [line.split()[0] for line in out.splitlines() if line.strip()]
    assert {file.stem for file in FILES[folder]} <= set(listed)
    assert [line for line in out.splitlines() if len(line) > 80] == []


def test_the_list_of_devices_shows_dense_peaks(call: Cli) -> None:
    table, *_ = call("hardware").out.split("\n\n")
    rows = {line.split()[0]: line.split() for line in table.splitlines()}
    columns = rows["Hardware"]

    v100, h100 = (dict(zip(columns, rows[n], strict=True)) for n in ("v100", "h100-sxm"))
    assert v100 == {
        "Hardware": "v100",
        "GiB": "16",
        "GB/s": "900",
        "fp32": "14",
        "fp16": "112",
        "bf16": "-",
        "fp8": "-",
        "int8": "62",
        "int4": "-",
    }
    assert (h100["bf16"], h100["int8"]) == ("989", "1979")


def test_the_list_of_devices_shows_their_other_names(call: Cli) -> None:
    _, _, others = call("hardware").out.split("\n\n")

    words = " ".join(others.split())
    for file in FILES["hardware"]:
        data = yaml.safe_load(file.read_text(encoding="utf-8"))
        assert f"{data['name']} {', '.join(data['aliases'])}" in words


@pytest.mark.parametrize("file", FILES["hardware"], ids=lambda file: file.stem)
def test_a_device_is_shown_with_every_figure_and_every_source(file: Path, call: Cli) -> None:
    data = yaml.safe_load(file.read_text(encoding="utf-8"))
    code, out, err = call("hardware", file.stem)

    assert (code, err) == (0, "")
    assert out.startswith(f"{data['name']}: {data['title']}\n")
    figures = {k: v for k, v in data.items() if isinstance(v, dict) and "value" in v}
    rows = {line.split()[0]: line.split() for line in out.splitlines() if line.strip()}
    for key, figure in {**figures, **data["matmul_peaks"]}.items():
        assert rows[key][1:3] == [f"{figure['value']:g}", figure["source"]]
    words = " ".join(out.split())
    for key, text in data["sources"].items():
        assert f"[{key}] {' '.join(text.split())}" in words
    for alias in data.get("aliases", []):
        assert alias in words


@pytest.mark.parametrize("file", FILES["models"], ids=lambda file: file.stem)
def test_a_model_is_shown_with_its_sizes_and_its_source(file: Path, call: Cli) -> None:
    data = yaml.safe_load(file.read_text(encoding="utf-8"))
    code, out, err = call("models", file.stem)

    assert (code, err) == (0, "")
    assert data["title"] in out
    assert data["source"] in " ".join(out.split())
    rows = {line.split()[0]: line.split() for line in out.splitlines() if line.strip()}
    for key, value in data.items():
        if isinstance(value, int | str) and key.endswith(("_size", "_layers", "_heads", "_px")):
            assert rows[key][1] == str(value)


def test_aliases_show_the_same(call: Cli) -> None:
    assert call("hardware", "h100") == call("hardware", "H100-SXM")
    assert call("models", "vicuna-7b-v1.5") == call("models", "vicuna-7b")


def test_a_users_device_is_listed(
    call: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (ROOT / "hardware" / "v100.yaml").read_text(encoding="utf-8")
    (tmp_path / "mine.yaml").write_text(text.replace("name: v100", "name: mine"), encoding="utf-8")
    monkeypatch.setenv("ROOFLINE_PATH", str(tmp_path))

    assert "\nmine " in call("hardware").out
    assert call("hardware", "mine").out.startswith("mine: ")
