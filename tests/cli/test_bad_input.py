"""Bad input: exit code 2, one line on stderr that says what to do, nothing else anywhere."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

Cli = Callable[..., Any]

SPECS = Path(__file__).resolve().parents[2]
"""Where `models/` and `hardware/` are."""
ANALYZE = ["analyze", "--model", "vicuna-7b", "--hw", "v100"]


def analyze(**changes: str) -> list[str]:
    """The arguments of a sound command with some options replaced or added."""
    options = {"model": "vicuna-7b", "hw": "v100"} | changes
    words = [word for k, v in options.items() for word in (f"--{k.replace('_', '-')}", v)]
    return ["analyze", *words]


BAD: dict[str, tuple[list[str], str]] = {
    "unknown model": (analyze(model="vicuna-8b"), "vicuna-7b"),
    "unknown hardware": (analyze(hw="v101"), "v100"),
    "unknown quant": (analyze(quant="int5"), "int4"),
    "unparsable quant": (analyze(quant="w4"), "wXaYkvZ"),
    "quant of no bits": (analyze(quant="w0a8"), "1 to 32 bits"),
    "empty model": (analyze(model=""), "unknown model"),
    "model with a line break": (analyze(model="vicuna\n7b"), "unknown model"),
    "no token at all": (analyze(visual_tokens="0", text_tokens="0"), "a prompt needs a token"),
    "negative visual tokens": (analyze(visual_tokens="-3"), "not -3"),
    "visual tokens in words": (analyze(visual_tokens="x"), "'x' is not a whole number"),
    "half a visual token": (analyze(visual_tokens="1.5"), "'1.5' is not a whole number"),
    "an x too many": (analyze(visual_tokens="4x"), "'--visual-tokens': '4x' is not a whole number"),
    "no count": (analyze(batch=""), "'--batch': '' is not a whole number"),
    "two commas": (analyze(visual_tokens="40,,144"), "'40,,144' has an empty place"),
    "a comma at the end": (analyze(quant="fp16,"), "'--quant': 'fp16,' has an empty place"),
    "one bad of several with commas": (analyze(visual_tokens="40,4x"), "'4x' is not a whole"),
    "negative text": (analyze(text_tokens="-1"), "text tokens must be a whole number ≥ 0"),
    "too many tokens": (analyze(text_tokens="10000001"), "text tokens must be at most 10,000,000"),
    "no batch": (analyze(batch="0"), "batch must be a whole number ≥ 1"),
    "generate what": (analyze(stage="generate"), "needs output tokens: give --output-tokens"),
    "unknown reducer": (analyze(model="llava-1.5-7b", reducer="prumrge"), "did you mean prumerge"),
    "reducer of an LLM": (analyze(reducer="prumerge"), "a reducer needs an LMM"),
    "nothing left by a reducer": (
        analyze(model="llava-1.5-7b", reducer="prumerge", visual_tokens="0"),
        "2 to 576 visual tokens",
    ),
    "two stages": (
        [*analyze(stage="prefill"), "--stage", "decode"],
        "'--stage': takes one value, and got 2",
    ),
    "two conventions": (
        [*analyze(accounting="exact"), "--accounting", "llm-viewer"],
        "takes one value, and got 2",
    ),
    "an answer that no stage writes": (analyze(output_tokens="8"), "needs --stage generate"),
    "no precision that any device has": (
        analyze(hw="v100,t4", quant="fp8"),
        "v100 has no fp8 peak",
    ),
    "negative output": (analyze(output_tokens="-1"), "output tokens must be a whole number ≥ 0"),
    "unknown stage": (analyze(stage="train"), "'prefill', 'decode', 'generate'"),
    "unknown attention": (analyze(attention="sparse"), "'flash', 'eager'"),
    "unknown accounting": (analyze(accounting="magic"), "known: exact, llm-viewer"),
    "unknown format": (analyze(format="xml"), "'table', 'json', 'csv', 'md'"),
    "no model": (["analyze", "--hw", "v100"], "Missing option '--model'"),
    "no options": (["analyze"], "Missing option"),
    "unknown option": ([*ANALYZE, "--gpu", "v100"], "--gpu"),
    "an argument too many": ([*ANALYZE, "a100"], "a100"),
    "unknown command": (["analyse"], "analyze"),
    "mode without a peak": (analyze(quant="bf16"), "it serves fp32, fp16"),
    "flash in llm-viewer": (analyze(accounting="llm-viewer", attention="flash"), "eager"),
    "connector alone": (analyze(model="llava-connector"), "analyze an LMM"),
    "decode without LLM": (analyze(model="clip-vit-l-336", stage="decode"), "prefill"),
    "tokens without LLM": (analyze(model="clip-vit-l-336", visual_tokens="5"), "leave them out"),
    "a file that is not there": (analyze(model="missing.yaml"), "No such file"),
    "one bad of several": ([*analyze(quant="fp16"), "--quant", "int5"], "int4"),
    "unknown device to show": (["hardware", "v101"], "v100"),
    "unknown model to show": (["models", "vicuna-8b"], "vicuna-7b"),
    "no time": (["profile", "--model", "llava-tiny", "--seconds", "nan"], "nan is not above 0"),
    "endless": (["calibrate", "-o", "x.yaml", "--seconds", "inf"], "inf is not above 0 and finite"),
    "a device without a name": (["profile", "--model", "llava-tiny", "--device", ""], "''"),
    "no such device": (["profile", "--model", "llava-tiny", "--device", "cpu:9"], "no cpu:9 here"),
    "a mode of thousands of bits": (analyze(quant="w" + "9" * 5000), "wXaYkvZ"),
    "a number of thousands of digits": (analyze(batch="9" * 5000), "is not a whole number"),
    "no table": (["reproduce"], "prumerge-table2"),
    "unknown table": (["reproduce", "table3"], "prumerge-table2"),
}


def check(code: int, out: str, err: str) -> None:
    assert code == 2
    assert out == ""
    assert err.startswith("roofline: error: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")


@pytest.mark.parametrize(("arguments", "hint"), BAD.values(), ids=BAD)
def test_bad_input_is_one_line_that_names_the_remedy(
    arguments: list[str], hint: str, call: Cli
) -> None:
    code, out, err = call(*arguments)

    check(code, out, err)
    assert hint in err


@pytest.mark.parametrize(
    "arguments", [a for a, _ in BAD.values() if a[0] == "analyze"], ids=" ".join
)
def test_bad_input_leaves_no_file(arguments: list[str], call: Cli, tmp_path: Path) -> None:
    assert call(*arguments, "-o", "result.json").code == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "case", ["unknown hardware", "no token at all", "no model", "unknown command"]
)
def test_in_a_process_of_its_own_there_is_no_traceback_either(case: str, run: Cli) -> None:
    arguments, hint = BAD[case]
    code, out, err = run(*arguments)

    check(code, out, err)
    assert hint in err
    assert "Traceback" not in err


def test_all_faults_of_a_spec_are_on_one_line(call: Cli, tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("kind: gpu\nname: 7\nmemory_capacity_gb: 16\n", encoding="utf-8")
    code, out, err = call(*analyze(hw="bad.yaml"))

    check(code, out, err)
    assert err.startswith("roofline: error: bad.yaml: ")
    faults = err.removeprefix("roofline: error: bad.yaml: ").split("; ")
    paths = [fault.split(": ")[0] for fault in faults if ": " in fault]
    assert {"name", "memory_capacity_gb", "title", "vendor", "matmul_peaks"} <= set(paths)
    assert len(paths) == len(set(paths))
    assert "did you mean memory_capacity_gib?" in err


@pytest.mark.parametrize(
    ("shipped", "field"),
    [
        ("models/vicuna-7b.yaml", "used_in"),
        ("models/llava-1.5-7b.yaml", "llm"),
        ("models/llava-1.5-7b.yaml", "vision"),
        ("models/llava-1.5-7b.yaml", "connector"),
        ("hardware/l4.yaml", "laws_from"),
    ],
)
def test_a_spec_that_refers_to_nothing_is_named_with_its_field(
    shipped: str, field: str, call: Cli, tmp_path: Path
) -> None:
    data = yaml.safe_load((SPECS / shipped).read_text(encoding="utf-8"))
    data |= {"name": "mine", "aliases": [], field: "no-such-thing"}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(data), encoding="utf-8")
    option = "hw" if shipped.startswith("hardware") else "model"

    code, out, err = call(*analyze(**{option: "mine.yaml"}))

    check(code, out, err)
    assert err.startswith(f"roofline: error: mine.yaml: {field}: unknown ")


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        (b"name: [1\n", "line 2: is not valid YAML"),
        (b"a: 1\na: 2\n", "the key 'a' is given twice"),
        (b"- 1\n", "expected a mapping"),
        (b"name: caf\xe9\n", "UTF-8"),
        (b"", "expected a mapping"),
    ],
)
def test_a_file_that_is_no_spec_is_one_line(
    content: bytes, hint: str, call: Cli, tmp_path: Path
) -> None:
    (tmp_path / "bad.yaml").write_bytes(content)
    code, out, err = call(*analyze(model="bad.yaml"))

    check(code, out, err)
    assert hint in err


def test_a_search_path_that_does_not_exist(
    call: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROOFLINE_PATH", str(tmp_path / "nowhere"))
    code, out, err = call(*ANALYZE)

    check(code, out, err)
    assert "ROOFLINE_PATH" in err
