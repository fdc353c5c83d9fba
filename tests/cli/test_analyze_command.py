"""`roofline analyze`: what it prints in each format."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from roofline import analyze
from roofline.cli import analyze as command
from roofline.report.text import estimates as tables

Cli = Callable[..., Any]

README = ["--model", "vicuna-7b", "--hw", "v100", "--quant", "int4", "--visual-tokens", "40"]
LLAVA = ["--model", "llava-1.5-7b"]
SEVERAL = [
    *("--model", "vicuna-7b", "--hw", "v100", "--hw", "a100", "--quant", "fp16", "--quant", "int4"),
    *("--visual-tokens", "40", "--visual-tokens", "144", "--visual-tokens", "576"),
]
COMBINATIONS = [
    (hardware, quant, visual)
    for hardware in ("v100", "a100-80gb")
    for quant in ("fp16", "int4")
    for visual in (40, 144, 576)
]


def vicuna_7b_flops(tokens: int) -> int:
    """32 layers of 4 d × d and 3 d × f matrices, scores of 4·S²·d, logits of the last token."""
    d, f, vocabulary = 4096, 11008, 32000
    layer = 2 * tokens * (4 * d * d + 3 * d * f) + 4 * tokens**2 * d
    return 32 * layer + 2 * d * vocabulary


def test_the_restated_choices_are_those_of_the_library() -> None:
    assert set(command.FORMATS) == set(tables.FORMATS)


def test_a_table_says_what_it_is_about_and_what_comes_out(run: Cli) -> None:
    code, out, err = run("analyze", *README)

    assert (code, err) == (0, "")
    for words in ("vicuna-7b", "v100", "int4", "40 visual + 40 text tokens", "dp4a"):
        assert words in out
    (flops,) = [line.split() for line in out.splitlines() if line.startswith("FLOPs")]
    reduced, full = vicuna_7b_flops(80), vicuna_7b_flops(616)
    assert flops[1:] == [
        *(f"{reduced / 1e12:.2f}", "TFLOP", f"{full / 1e12:.2f}", "TFLOP"),
        f"{full / reduced:.1f}x",
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        README,
        [*README, "--quant", "fp16"],
        [*LLAVA, "--hw", "v100"],
        [*LLAVA, "--hw", "v100", "--visual-tokens", "40"],
        [*LLAVA, "--hw", "v100", "--visual-tokens", "40", "--per-op"],
        [*LLAVA, "--hw", "a100", "--stage", "generate", "--output-tokens", "64"],
        ["--model", "clip-vit-l-336", "--hw", "h100"],
        LLAVA,
        [*LLAVA, "--visual-tokens", "40", "--per-op"],
        [*LLAVA, "--visual-tokens", "0", "--hw", "h200"],
        [*LLAVA, "--visual-tokens", "560", "--hw", "h200"],
        [*LLAVA, "--hw", "h200", "--reducer", "prumerge,fastv,none"],
        [*LLAVA, "--hw", "h200", "--stage", "decode", "--visual-tokens", "40"],
        ["--model", "llava-1.5-7b,vicuna-7b", "--hw", "h200,v100", "--visual-tokens", "40"],
        [*LLAVA, "--hw", "h200", "--batch", "1,8", "--text-tokens", "0,40", "--quant", "fp16,int8"],
    ],
    ids=" ".join,
)
def test_a_table_fits_80_columns(arguments: list[str], call: Cli) -> None:
    code, out, _ = call("analyze", *arguments)

    assert code == 0
    assert [line for line in out.splitlines() if len(line) > 80] == []
    assert out.endswith("\n")
    assert not out.endswith("\n\n")


def test_json_is_the_document_of_the_library(run: Cli) -> None:
    code, out, err = run("analyze", *README, "--format", "json")

    assert (code, err) == (0, "")
    document = json.loads(out)
    assert document == analyze("vicuna-7b", "v100", quant="int4", visual_tokens=40).to_dict()
    assert list(document) == [
        *("inputs", "device", "components", "end_to_end", "comparison", "reducer"),
        "launch_bound_tokens",
    ]
    assert document["components"]["llm"]["flops"] == vicuna_7b_flops(80)
    assert document["comparison"]["full_components"]["llm"]["flops"] == vicuna_7b_flops(616)
    assert document["inputs"] == {
        "model": "vicuna-7b",
        "hardware": "v100",
        "quant": "int4",
        "visual_tokens": 40,
        "pictures": None,
        "text_tokens": 40,
        "batch": 1,
        "output_tokens": 0,
        "stage": "prefill",
        "attention": "flash",
        "runtime": None,
        "kernels": "unfused",
        "library": None,
        "accounting": "exact",
        "reducer": None,
    }


def test_every_option_reaches_the_library(call: Cli) -> None:
    given = {
        "quant": "w4a8kv8",
        "visual_tokens": 144,
        "text_tokens": 7,
        "batch": 3,
        "stage": "generate",
        "output_tokens": 5,
        "attention": "eager",
        "accounting": "llm-viewer",
    }
    options = [word for k, v in given.items() for word in (f"--{k.replace('_', '-')}", str(v))]
    out = call("analyze", "--model", "vicuna-7b", "--hw", "a100", *options, "--format", "json").out

    expected = {"model": "vicuna-7b", "hardware": "a100-80gb", **given}
    assert expected.items() <= json.loads(out)["inputs"].items()
    assert json.loads(out) == analyze("vicuna-7b", "a100", **given).to_dict()  # type: ignore[arg-type]


def test_csv_has_a_header_and_the_figures_of_the_json(call: Cli) -> None:
    (row,) = csv.DictReader(io.StringIO(call("analyze", *README, "--format", "csv").out))
    document = json.loads(call("analyze", *README, "--format", "json").out)

    expected = {
        **document["inputs"],
        **{f"end_to_end_{name}": value for name, value in document["end_to_end"].items()},
        **{f"llm_{name}": value for name, value in document["components"]["llm"].items()},
        "flops_saving": document["comparison"]["end_to_end"]["flops_saving"],
        **{n: document["comparison"][n] for n in ("speedup", "roofline_speedup", "tie")},
        "full_fits": document["comparison"]["full_fits"],
    }
    assert row == {name: "" if value is None else str(value) for name, value in expected.items()}
    assert float(row["llm_flops"]) == vicuna_7b_flops(80)


@pytest.mark.parametrize("arguments", [README, SEVERAL], ids=["one", "several"])
@pytest.mark.parametrize("per_op", [[], ["--per-op"]], ids=["totals", "per op"])
def test_markdown_tables_are_whole(arguments: list[str], per_op: list[str], call: Cli) -> None:
    out = call("analyze", *arguments, *per_op, "--format", "md").out
    blocks = [block.splitlines() for block in out.split("\n\n") if block.startswith("|")]

    assert blocks
    for lines in blocks:
        assert set(lines[1]) <= set("|-: ")
        assert len({line.count("|") for line in lines}) == 1
        assert len(lines) > 2


def test_per_op_in_json(call: Cli) -> None:
    document = json.loads(call("analyze", *README, "--per-op", "--format", "json").out)

    ops = {op["name"]: op for op in document["ops"]}
    assert len(ops) == len(document["ops"])
    assert ops["gate_proj"]["flops"] == 32 * 2 * 80 * 4096 * 11008
    assert sum(op["flops"] for op in document["ops"]) == document["end_to_end"]["flops"]


def test_per_op_in_csv(call: Cli) -> None:
    out = call("analyze", *SEVERAL, "--per-op", "--format", "csv").out
    rows = list(csv.DictReader(io.StringIO(out)))

    for hardware, quant, visual in COMBINATIONS:
        inputs = {"hardware": hardware, "quant": quant, "visual_tokens": str(visual)}
        mine = [row for row in rows if inputs.items() <= row.items()]
        flops = sum(float(row["flops"]) for row in mine if row["component"] == "llm")
        assert flops == vicuna_7b_flops(visual + 40)


@pytest.mark.parametrize("form", ["table", "md"])
def test_per_op_in_text(form: str, call: Cli) -> None:
    plain = call("analyze", *README, "--format", form).out
    detailed = call("analyze", *README, "--per-op", "--format", form).out

    assert detailed.startswith(plain.rstrip("\n"))
    for name in ("embed_tokens", "q_proj", "attention", "down_proj", "lm_head"):
        assert name in detailed.removeprefix(plain.rstrip("\n"))


def test_a_figure_is_explained_instead_of_tabled(
    call: Cli, tmp_path: Path, in_an_empty_folder: None
) -> None:
    done = call("analyze", *README, "--explain", "q_proj")

    assert done.code == 0
    assert done.out == str(analyze("vicuna-7b", "v100", "int4", 40).explain("q_proj"))
    assert call("analyze", *README, "--explain", "kv", "-o", "kv.txt").code == 0
    assert (tmp_path / "kv.txt").read_text(encoding="utf-8").startswith("KV cache: vicuna-7b")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--explain", "q_porj"], "unknown figure 'q_porj': did you mean q_proj or"),
        (["--explain", "kv", "--format", "json"], "--explain is text of its own"),
        (["--explain", "kv", "--per-op"], "--explain is text of its own"),
        (["--explain", "kv", "--batch", "1,2"], "--explain takes one configuration"),
    ],
)
def test_what_cannot_be_explained(words: list[str], message: str, call: Cli) -> None:
    done = call("analyze", *README, *words)

    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines()[-1].startswith(f"roofline: error: {message}")


def test_several_configurations_in_json_are_a_list(call: Cli) -> None:
    documents = json.loads(call("analyze", *SEVERAL, "--format", "json").out)

    found = [
        tuple(d["inputs"][key] for key in ("hardware", "quant", "visual_tokens")) for d in documents
    ]
    assert found == COMBINATIONS
    for document in documents:
        tokens = document["inputs"]["visual_tokens"] + 40
        assert document["components"]["llm"]["flops"] == vicuna_7b_flops(tokens)


def test_several_configurations_in_csv_are_rows(call: Cli) -> None:
    out = call("analyze", *SEVERAL, "--format", "csv").out
    rows = list(csv.DictReader(io.StringIO(out)))

    keys = ("hardware", "quant", "visual_tokens")
    assert [tuple(row[key] for key in keys) for row in rows] == [
        (hardware, quant, str(visual)) for hardware, quant, visual in COMBINATIONS
    ]


def test_what_cannot_be_is_left_out_of_the_table_and_said_once(call: Cli) -> None:
    """A V100 has no fp8 units: the H100's rows are there all the same."""
    command = ["analyze", "--model", "vicuna-7b", "--hw", "v100,h100", "--quant", "fp8,fp16"]
    code, out, err = call(*command, "--visual-tokens", "40,144", "--format", "csv")

    rows = [(row["hardware"], row["quant"]) for row in csv.DictReader(io.StringIO(out))]
    assert code == 0
    assert rows == [("v100", "fp16")] * 2 + [("h100-sxm", "fp8")] * 2 + [("h100-sxm", "fp16")] * 2
    assert err.startswith("roofline: left out: v100 has no fp8 peak")
    assert err.count("\n") == 1


def test_a_model_without_a_rule_for_pictures_leaves_the_others_their_rows(call: Cli) -> None:
    code, out, err = call("analyze", "--model", "llava-1.5-7b,kimi-vl-a3b", "--format", "csv")

    assert code == 0
    assert {row["model"] for row in csv.DictReader(io.StringIO(out))} == {"llava-1.5-7b"}
    assert err.startswith("roofline: left out: ")
    assert "kimi-vl-a3b" in err
    assert err.count("\n") == 1


def test_a_saving_of_flops_needs_no_device(call: Cli) -> None:
    out = call("analyze", *LLAVA, "--reducer", "prumerge", "--format", "csv").out
    (row,) = csv.DictReader(io.StringIO(out))
    full = json.loads(call("analyze", *LLAVA, "--format", "json").out)["end_to_end"]["flops"]

    assert float(row["flops_saving"]) == full / float(row["end_to_end_flops"])
    assert row["speedup"] == ""


def test_several_configurations_in_a_table_are_lines(run: Cli) -> None:
    """A table of each device, under its name: a column more would be too wide."""
    code, out, err = run("analyze", *SEVERAL)

    assert (code, err) == (0, "")
    found, device = [], ""
    for row in filter(None, (line.split() for line in out.splitlines())):
        device = row[0] if len(row) == 1 else device
        found += [(device, row[0], int(row[1]))] if row[0] in ("fp16", "int4") else []
    assert found == COMBINATIONS


def test_without_visual_tokens_the_model_says_how_many(call: Cli) -> None:
    out = call("analyze", "--model", "llava-1.5-7b", "--hw", "v100", "--format", "json").out

    assert json.loads(out)["inputs"]["visual_tokens"] == 576


def test_without_a_device_there_are_counts_alone(call: Cli) -> None:
    code, out, err = call("analyze", "--model", "vicuna-7b", "--visual-tokens", "40")
    document, priced = (
        json.loads(call("analyze", *options, "--format", "json").out)
        for options in (README[:2] + README[4:], README)
    )
    rows = csv.DictReader(io.StringIO(call("analyze", *SEVERAL[:2], "--format", "csv").out))

    assert (code, err) == (0, "")
    assert f"{vicuna_7b_flops(80) / 1e12:.2f} TFLOP" in out
    assert not any(word in out for word in ("time", "Bound", " ms", "Peak, "))
    assert document["inputs"] == priced["inputs"] | {"hardware": None}
    assert "device" not in document
    figures = document["components"]["llm"]
    assert figures.items() <= priced["components"]["llm"].items()
    assert figures["flops"] == vicuna_7b_flops(80)
    assert document["comparison"]["components"]["llm"]["flops_saving"] == pytest.approx(
        vicuna_7b_flops(616) / vicuna_7b_flops(80), rel=1e-15
    )
    assert [float(row["llm_flops"]) for row in rows] == [vicuna_7b_flops(616)]


def test_no_reducer_is_the_prompt_without_one(call: Cli) -> None:
    given = [*LLAVA, "--hw", "h200", "--visual-tokens", "40", "--format", "json"]

    assert call("analyze", *given, "--reducer", "none") == call("analyze", *given)
    many = json.loads(call("analyze", *given, "--reducer", "prumerge,none").out)
    assert [document["inputs"]["reducer"] for document in many] == ["prumerge", None]
    assert many[1] == json.loads(call("analyze", *given).out)


def test_a_spec_of_the_users_own(call: Cli, tmp_path: Path) -> None:
    shipped = Path(__file__).parents[2] / "hardware" / "v100.yaml"
    file = tmp_path / "mine.yaml"
    text = shipped.read_text(encoding="utf-8").replace("name: v100", "name: mine")
    file.write_text(text, encoding="utf-8")
    arguments = ["--model", "vicuna-7b", "--hw", str(file), "--format", "json"]

    assert json.loads(call("analyze", *arguments).out)["inputs"]["hardware"] == "mine"


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["analyze", "--help"]], ids=" ".join)
def test_help(arguments: list[str], run: Cli) -> None:
    code, out, err = run(*arguments)

    assert (code, err) == (0, "")
    assert out.startswith("Usage: roofline")


def test_version(run: Cli) -> None:
    from roofline import __version__

    assert run("--version") == (0, f"roofline {__version__}\n", "")


def test_without_a_command_the_help_is_no_error_message(run: Cli) -> None:
    _, out, err = run()

    assert "Usage: roofline" in out + err
    assert "roofline: error:" not in out + err


def test_a_convention_that_knows_llms_alone_is_a_table_too(call: Cli) -> None:
    for form in tables.FORMATS:
        code, out, err = call("analyze", *README, "--accounting", "llm-viewer", "--format", form)

        assert (code, err) == (0, "")
        assert "nan" not in out.lower()


@pytest.mark.parametrize("command", [["analyze"], ["report", "-o", "out"]], ids=" ".join)
def test_two_specs_of_one_name_are_refused(command: list[str], call: Cli, tmp_path: Path) -> None:
    shipped = Path(__file__).parents[2] / "hardware" / "v100.yaml"
    text = shipped.read_text(encoding="utf-8")
    (tmp_path / "a.yaml").write_text(text, encoding="utf-8")
    (tmp_path / "b.yaml").write_text(text.replace("value: 900", "value: 800"), encoding="utf-8")
    code, out, err = call(*command, "--model", "llava-1.5-7b", "--hw", "a.yaml,b.yaml")

    assert (code, out) == (2, "")
    assert err == (
        "roofline: error: a.yaml and b.yaml are both named v100: give each a name of its own\n"
    )


def test_one_device_by_two_of_its_names_is_one(call: Cli) -> None:
    assert call("analyze", *LLAVA, "--hw", "v100,v100-pcie").code == 0
