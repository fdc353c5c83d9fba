"""Every fault of a file at once, each with file, path and what was expected."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from msgspec.structs import replace

from roofline.errors import SpecError
from roofline.specs.catalog import json_schema, load_hardware, load_model
from roofline.specs.sourced import Sourced
from roofline.specs.yaml_text import dump, load

Data = dict[str, Any]
SpecWriter = Callable[..., Path]


def faults(file: Path, load: Any = load_hardware) -> dict[str, str]:
    """Path → text, after checking that the message has a line for each with the file's name."""
    with pytest.raises(SpecError) as caught:
        load(str(file))
    found = caught.value.faults
    assert str(caught.value) == "\n".join(f"{file}: {path}: {text}" for path, text in found)
    assert caught.value.exit_code == 2
    assert len({path for path, _ in found}) == len(found)
    return dict(found)


def test_the_device_of_these_tests_is_sound(write_spec: SpecWriter, device: Data) -> None:
    assert load_hardware(str(write_spec(device))).name == "toy"


def test_many_faults_are_all_reported(write_spec: SpecWriter, device: Data) -> None:
    del device["vendor"]
    device["title"] = 7
    device["kind"] = "abacus"
    device["memory_capacity_gib"] = {"value": -1, "source": "here"}
    device["memory_bandwidth_gb_per_s"] = {"value": "fast", "source": "here"}
    device["vector_peak_fp32_tflops"] = {"valeu": 1, "source": "here"}
    device["matmul_peaks"] = {
        "fp16_tflops": {"value": 0, "source": "here", "sparse": -4},
        "int8_tflops": {"value": 1, "source": "here"},
    }
    device["aliases"] = ["fine", 3]
    device["tdp_w"] = 250
    device["memory_capcity_gb"] = 16

    found = faults(write_spec(device))

    assert set(found) == {
        "vendor",
        "title",
        "kind",
        "memory_capacity_gib.value",
        "memory_bandwidth_gb_per_s.value",
        "vector_peak_fp32_tflops.valeu",
        "vector_peak_fp32_tflops.value",
        "matmul_peaks.fp16_tflops.value",
        "matmul_peaks.fp16_tflops.sparse",
        "matmul_peaks.int8_tflops",
        "aliases",
        "tdp_w",
        "memory_capcity_gb",
    }
    assert found["vendor"] == "is missing; expected string"
    assert "expected str, got int" in found["title"]
    assert "abacus" in found["kind"]
    assert found["memory_capacity_gib.value"] == "expected float >= 1e-12, got -1"
    assert "expected float, got str" in found["memory_bandwidth_gb_per_s.value"]
    assert found["vector_peak_fp32_tflops.valeu"] == "unknown field; did you mean value?"
    assert found["vector_peak_fp32_tflops.value"] == "is missing; expected number of 1e-12 to 1e+12"
    assert found["matmul_peaks.int8_tflops"].startswith("unknown field; did you mean int8_tops")
    assert found["memory_capcity_gb"] == "unknown field; did you mean memory_capacity_gib?"


@pytest.mark.parametrize(
    ("field", "wrong", "expectation"),
    [
        ("hidden_size", -8, "expected int >= 1"),
        ("hidden_size", 0, "expected int >= 1"),
        ("hidden_size", "8", "expected int, got str"),
        ("hidden_size", 8.5, "expected int, got float"),
        ("num_hidden_layers", None, "expected int, got null"),
        ("attention_bias", 3, "expected bool, got int"),
        ("rope_theta", -1.0, "expected float >= 1e-12, got -1"),
    ],
)
def test_a_wrong_value_of_a_model_says_what_was_expected(
    field: str, wrong: object, expectation: str, write_spec: SpecWriter, language_model: Data
) -> None:
    found = faults(write_spec({**language_model, field: wrong}), load_model)

    assert list(found) == [field]
    assert found[field].startswith(expectation)


@pytest.mark.parametrize("value", [".inf", ".nan"])
def test_a_figure_must_be_finite(value: str, write_spec: SpecWriter, device: Data) -> None:
    device["memory_bandwidth_gb_per_s"] = {"value": float(value[1:]), "source": "here"}

    assert list(faults(write_spec(device))) == ["memory_bandwidth_gb_per_s.value"]


def test_many_faults_of_a_model_are_all_reported(
    write_spec: SpecWriter, language_model: Data
) -> None:
    del language_model["vocab_size"], language_model["source"]
    language_model |= {"hidden_size": -8, "num_heads": 4, "mlp_bias": "no"}

    found = faults(write_spec(language_model), load_model)

    assert set(found) == {"vocab_size", "source", "hidden_size", "num_heads", "mlp_bias"}
    assert found["vocab_size"] == "is missing; expected integer of 1 to 1e+09"


def test_a_component_written_out_in_place_has_its_path(write_spec: SpecWriter) -> None:
    lmm = {
        "kind": "lmm",
        "name": "toy",
        "title": "Toy",
        "source": "made up",
        "vision": "clip-vit-l-336",
        "connector": {
            "kind": "connector",
            "name": "p",
            "title": "P",
            "source": "made up",
            "num_linear_layers": 0,
            "bais": True,
        },
        "llm": "vicuna-7b",
    }

    found = faults(write_spec(lmm), load_model)

    assert found == {
        "connector.num_linear_layers": "expected int >= 1, got 0",
        "connector.bais": "unknown field; did you mean bias?",
    }


def test_a_rule_over_several_fields(write_spec: SpecWriter, language_model: Data) -> None:
    language_model |= {"num_attention_heads": 3}

    (text,) = faults(write_spec(language_model), load_model).values()

    assert "hidden_size is no multiple of num_attention_heads" in text


def test_kv_heads_must_divide_heads(write_spec: SpecWriter, language_model: Data) -> None:
    language_model |= {"num_attention_heads": 4, "num_key_value_heads": 3}

    (text,) = faults(write_spec(language_model), load_model).values()

    assert "must be a multiple of num_key_value_heads" in text


def test_a_figure_that_cites_an_unlisted_source(write_spec: SpecWriter, device: Data) -> None:
    device["matmul_peaks"]["fp16_tflops"]["source"] = "hearsay"
    device["tdp_w"] = {"value": 1, "source": "rumour"}

    (text,) = faults(write_spec(device)).values()

    assert "matmul_peaks.fp16_tflops cites 'hearsay'" in text
    assert "tdp_w cites 'rumour'" in text


def test_a_missing_file() -> None:
    assert "No such file" in faults(Path("/nowhere/toy.yaml"))["file"]


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    folder = tmp_path / "toy.yaml"
    folder.mkdir()

    assert "cannot be read" in faults(folder)["file"]


@pytest.mark.parametrize("text", ["", "- 1\n- 2\n", "just words\n", "42\n"])
def test_not_a_mapping(text: str, write_spec: SpecWriter) -> None:
    assert faults(write_spec(text)) == {"file": "expected a mapping of fields"}
    assert faults(write_spec(text), load_model) == {"file": "expected a mapping of fields"}


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("name: toy\ntitle: [a\n", "line 3", "expected ',' or ']'"),
        ("name: toy\nkind: gpu: cpu\n", "line 2", "mapping values are not allowed"),
        ("name: toy\n\n\ttitle: x\n", "line 3", "found"),
        ("name: toy\nkind: gpu\nname: toy2\n", "line 3", "the key 'name' is given twice"),
        ("a: {b: 1,\n  b: 2}\n", "line 2", "the key 'b' is given twice"),
    ],
)
def test_a_syntax_error_has_its_line(
    text: str, line: str, problem: str, write_spec: SpecWriter
) -> None:
    found = faults(write_spec(text))

    assert list(found) == [line]
    assert problem in found[line]


@pytest.mark.parametrize("content", [b"name: caf\xe9\n", b"name: caf\xe9", b"a: \x80b\n"])
def test_text_that_is_not_utf8(content: bytes, write_spec: SpecWriter) -> None:
    ((_, text),) = faults(write_spec(content)).items()

    assert "UTF-8" in text


@pytest.mark.parametrize(
    "text",
    [
        "? [a, b]\n: c\n",
        "? {a: 1}\n: c\n",
        "a: !!python/object:os.system 1\n",
        "a: !!timestamp x\n",
        "a: !!bool x\n",
        "a: !!int 1e5\n",
        "a: !!map x\n",
        "a: !!binary x\n",
        f"a: {'9' * 5000}\n",
        "[" * 50_000,
        "- " * 50_000,
    ],
    ids=[
        *(
            "list as key",
            "mapping as key",
            "no plain data",
            "no date",
            "no truth",
            "no whole number",
        ),
        *("no mapping", "bytes", "thousands of digits", "brackets", "dashes"),
    ],
)
def test_yaml_that_is_no_plain_data_is_no_crash(text: str, write_spec: SpecWriter) -> None:
    assert len(faults(write_spec(text))) == 1


def test_keys_that_are_no_strings(write_spec: SpecWriter, device: Data) -> None:
    found = faults(write_spec({**device, 5: "five"}))  # type: ignore[dict-item]

    assert found == {"5": "unknown field"}


def test_a_model_is_no_device_and_the_other_way_round(
    write_spec: SpecWriter, device: Data, language_model: Data
) -> None:
    as_device = faults(write_spec(language_model))
    as_model = faults(write_spec(device), load_model)

    assert "language-model" in as_device["kind"]
    assert as_model["kind"].startswith("expected one of connector, language-model, lmm")


@pytest.mark.parametrize("kind", ["transformer", None, 3, ["lmm"]])
def test_an_unknown_kind_of_model(
    kind: object, write_spec: SpecWriter, language_model: Data
) -> None:
    found = faults(write_spec({**language_model, "kind": kind}), load_model)

    assert list(found) == ["kind"]
    assert "language-model" in found["kind"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e5", 100000.0),
        ("1.5e-3", 0.0015),
        ("+7", 7),
        ("017", 17),
        ("0x1f", 31),
        ("12:30:45", "12:30:45"),
        ("1_000", "1_000"),
        ("2026-11-26", "2026-11-26"),
        ("no", "no"),
        ("true", True),
        ("~", None),
        (".inf", float("inf")),
    ],
)
def test_a_word_is_what_yaml_1_2_says_that_it_is(text: str, value: object) -> None:
    assert load(f"a: {text}".encode()) == {"a": value}


@pytest.mark.parametrize(
    "text", ["1e5", "017", "12:30:45", "2026-11-26", "no", "true", "", "null", "5", ".5"]
)
def test_text_is_written_so_that_it_reads_as_text(text: str) -> None:
    assert load(dump({"a": text}).encode()) == {"a": text}
    assert yaml.safe_load(dump({"a": text})) == {"a": text}  # to others, too


@pytest.mark.parametrize(
    ("value", "remedy"),
    [
        ("1e5", "expected int, got float: write 100000"),
        ("12:30:45", "expected int, got str '12:30:45': write digits alone"),
        ("1_000", "write digits alone"),
        ("9" * 400, "expected int <= 1000000, got inf"),
        ("1000000000000", "expected int <= 1000000, got 1e+12"),
    ],
)
def test_a_number_that_is_none_has_a_remedy(
    value: str, remedy: str, write_spec: SpecWriter, language_model: Data
) -> None:
    language_model["hidden_size"] = 8
    text = yaml.safe_dump(language_model).replace("hidden_size: 8", f"hidden_size: {value}")

    assert remedy in faults(write_spec(text), load_model)["hidden_size"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("memory_capacity_gib", 1e-300),
        ("memory_bandwidth_gb_per_s", 5e-324),
        ("memory_bandwidth_gb_per_s", 1e300),
        ("vector_peak_fp32_tflops", 10**400),
        ("sm_count", 1e-30),
        ("boost_clock_mhz", 1e9),
        ("l2_cache_mib", 1e9),
        ("l2_bandwidth_gb_per_s", 1e-11),
        ("launch_overhead_us", 1e9),
        ("tdp_w", 1e9),
    ],
)
def test_a_figure_has_a_plausible_range(
    field: str, value: float, write_spec: SpecWriter, device: Data
) -> None:
    device[field] = {"value": value, "source": "here"}

    assert list(faults(write_spec(device))) == [f"{field}.value"]


def test_the_ranges_are_those_of_the_schema(write_spec: SpecWriter, device: Data) -> None:
    device["sm_count"] = {"value": 0.5, "source": "here"}
    (text,) = faults(write_spec(device)).values()
    field = json_schema("hardware")["$defs"]["Hardware"]["properties"]["sm_count"]
    limits = field["properties"]["value"]

    assert text == f"expected {limits['minimum']:g} to {limits['maximum']:g}, got 0.5"


def test_a_peak_has_a_range(write_spec: SpecWriter, device: Data) -> None:
    device["matmul_peaks"]["fp16_tflops"]["value"] = 1e9

    assert list(faults(write_spec(device))) == ["matmul_peaks.fp16_tflops.value"]


def test_a_device_made_in_python_has_them_too() -> None:
    v100 = load_hardware("v100")

    with pytest.raises(ValueError, match=r"`tdp_w.value`: expected"):
        replace(v100, tdp_w=Sourced(value=1e9, source="datasheet"))


@pytest.mark.parametrize("family", ["matmul", "attention"])
def test_corrections_of_the_wrong_length(family: str, tmp_path: Path) -> None:
    shipped = Path(__file__).parents[2] / "hardware"
    laws = json.loads((shipped / "laws" / "a100-80gb.json").read_text(encoding="utf-8"))
    next(iter(laws[family].values()))["corrections"] = [0.1, 0.2]
    (tmp_path / "laws").mkdir()
    (tmp_path / "laws" / "a100-80gb.json").write_text(json.dumps(laws), encoding="utf-8")
    device = (shipped / "a100-80gb.yaml").read_text(encoding="utf-8")
    (tmp_path / "mine.yaml").write_text(device, encoding="utf-8")

    with pytest.raises(SpecError, match="corrections holds 2 numbers: give"):
        load_hardware(str(tmp_path / "mine.yaml"))


def test_a_pipe_is_no_spec(tmp_path: Path) -> None:
    pipe = tmp_path / "toy.yaml"
    os.mkfifo(pipe)

    assert faults(pipe) == {"file": "cannot be read: No regular file"}


def test_a_name_longer_than_any_file(tmp_path: Path) -> None:
    assert "File name too long" in faults(tmp_path / f"{'x' * 5000}.yaml")["file"]
