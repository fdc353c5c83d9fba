"""Every fault of a file at once, each with file, path and what was expected."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from roofline.errors import SpecError
from roofline.specs.catalog import load_hardware, load_model

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
    assert found["memory_capacity_gib.value"] == "expected float > 0.0"
    assert "expected float, got str" in found["memory_bandwidth_gb_per_s.value"]
    assert found["vector_peak_fp32_tflops.valeu"] == "unknown field; did you mean value?"
    assert found["vector_peak_fp32_tflops.value"] == "is missing; expected number > 0"
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
        ("rope_theta", -1.0, "expected float > 0.0"),
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
    assert found["vocab_size"] == "is missing; expected integer > 0"


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
        "connector.num_linear_layers": "expected int >= 1",
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
    ["? [a, b]\n: c\n", "? {a: 1}\n: c\n", "a: 2020-13-45\n", "a: !!python/object:os.system 1\n"],
    ids=["list as key", "mapping as key", "no such date", "no plain data"],
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
