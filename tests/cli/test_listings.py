"""`roofline hardware`, `models`, `reducers`, `quantization`: what there is, and who says so."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from roofline import reducers
from roofline.specs.catalog import quantization_modes

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


def test_every_reducer_is_listed_and_shown(call: Cli) -> None:
    listed = call("reducers").out
    assert max(map(len, listed.splitlines())) <= 80

    for name in reducers.names():
        assert f"\n{name} " in listed
        code, out, err = call("reducers", name)
        reducer, words = reducers.find(name), " ".join(out.split())
        assert (code, err) == (0, "")
        assert max(map(len, out.splitlines())) <= 80
        assert out.startswith(f"{name}: ")
        assert f"Source {reducer.source}" in words
        assert reducer.default_source in words
        assert [line.split()[0] for line in out.splitlines() if line.split()[0:1] == ["It"]] == (
            [] if reducer.options else ["It"]
        )
        for option in reducer.options:
            assert f"\n{option} " in out


def test_an_option_of_a_reducer_has_default_values_and_words(call: Cli) -> None:
    out = call("reducers", "prumerge").out
    rows = {line.split()[0]: line.split() for line in out.splitlines() if line.strip()}

    assert rows["variant"][1:5] == ["released", "paper", "or", "released"]
    assert rows["k"][1] == "32"
    assert "Written prumerge:variant=VALUE" in out
    assert "40 of LLaVA-1.5's 576 visual tokens by default" in " ".join(out.split())


def test_every_mode_is_listed_and_shown(call: Cli) -> None:
    listed = call("quantization").out
    assert max(map(len, listed.splitlines())) <= 80

    for name, mode in quantization_modes().items():
        row = next(line.split() for line in listed.splitlines() if line.split()[:1] == [name])
        widths = [str(n) for n in (mode.weight_bits, mode.activation_bits, mode.kv_bits)]
        assert row[1:4] == widths
        code, out, err = call("quantization", name)
        assert (code, err) == (0, "")
        assert max(map(len, out.splitlines())) <= 80
        words = " ".join(out.split())
        assert words.startswith(f"{name}: {mode.title}")
        assert f"Source {mode.source}" in words


def test_a_mode_says_its_bytes_and_where_it_runs(call: Cli) -> None:
    words = " ".join(call("quantization", "w4a16").out.split())

    assert "Weights of linear layers 4 0.5195" in words  # (4 + 20/128) / 8
    assert "Embedding, lm_head 16 2" in words
    assert "Scales 16 bits a 128 weights, and a zero point of 4" in words
    assert "Runs not on" not in words
    fp8 = " ".join(call("quantization", "fp8").out.split())
    capable = [f.stem for f in FILES["hardware"] if "fp8_tflops" in f.read_text(encoding="utf-8")]
    assert f"Runs in fp8 {', '.join(sorted(capable))} Runs not on" in fp8
    assert call("quantization", "w4a8kv4").out.startswith("w4a8kv4: 4-bit weights")


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (("reducers", "prumerg"), "unknown reducer 'prumerg': did you mean prumerge"),
        (("quantization", "int5"), "unknown quantization mode 'int5': did you mean int"),
    ],
)
def test_what_is_not_there_is_an_error(command: tuple[str, ...], told: str, call: Cli) -> None:
    code, out, err = call(*command)

    assert (code, out) == (2, "")
    assert told in err


def test_a_reducer_of_ones_own_is_listed_and_shown(run: Cli) -> None:
    plugin = ROOT / "examples" / "my_reducers.py"
    listed = run("reducers", "--plugin", str(plugin))
    shown = run("reducers", "strided", "--plugin", str(plugin))

    assert (listed.code, shown.code) == (0, 0)
    assert "\nstrided " in listed.out
    assert shown.out.startswith("strided: ")
    assert "Own work" in shown.out
