"""Tables say what the estimate says."""

import csv
import io
import json
from typing import Any

import pytest

from roofline import analyze
from roofline.engine.estimate import Estimate
from roofline.report.text.estimates import FORMATS, render
from roofline.report.text.grid import grid
from roofline.units import si


def estimate(model: str = "vicuna-7b", hardware: str = "v100", **options: Any) -> Estimate:
    return analyze(model, hardware, **({"visual_tokens": 40} | options))


def fields(text: str) -> dict[str, str]:
    """First words of a line → the rest of it."""
    return dict(line.split("  ", 1) for line in text.splitlines() if "  " in line)


def test_a_grid_puts_words_left_and_numbers_right() -> None:
    text = grid([["a", "1", "x"], ["bb", "22", "yy"]], ["Name", "Number", "Word"], words=["Word"])

    # columns as wide as their widest cell (4, 6, 4), two blanks between them
    assert [line.rstrip() for line in text.splitlines()] == [
        "Name  Number  Word",
        "----  ------  ----",
        "a          1  x",
        "bb        22  yy",
    ]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("per_op", [False, True])
def test_every_format_ends_in_one_newline(form: str, per_op: bool) -> None:
    for estimates in ([estimate()], [estimate(), estimate(quant="int4")]):
        text = render(estimates, form, per_op=per_op)
        assert text.endswith("\n")
        assert not text.endswith("\n\n")


def test_the_totals_are_those_of_the_estimate() -> None:
    one = estimate()
    shown = fields(render([one], "table"))

    for label, value, unit in [
        ("FLOPs", one.flops, "FLOP"),
        ("Vector FLOPs", one.vector_flops, "FLOP"),
        ("Memory traffic", one.memory_access_bytes, "B"),
        ("Activations stored", one.activation_store_bytes, "B"),
        ("Weights", one.weight_bytes, "B"),
        ("KV cache", one.kv_cache_bytes, "B"),
        ("Peak activations", one.peak_activation_bytes, "B"),
        ("Peak memory", one.peak_memory_bytes, "B"),
        ("Prefill time, roofline", one.time_s, "s"),
        ("Prefill time, attainable", one.attainable_time_s, "s"),
    ]:
        assert " ".join(shown[label].split()).startswith(si(value, unit))
    assert shown["Bound"].split()[0] == str(one.bound)


@pytest.mark.parametrize(
    ("hardware", "quant", "words"),
    [
        ("v100", "int4", "int8 62.0 TOP/s (dp4a on CUDA cores); no int4 on this device"),
        ("a100", "int4", "int4 1.25 POP/s (tensor cores)"),
        ("v100", "fp16", "fp16 112 TFLOP/s (tensor cores)"),
        ("a100", "w4a8kv16", "int8 624 TOP/s (tensor cores); attention fp16 312 TFLOP/s"),
    ],
)
def test_the_peak_that_was_used_is_said(hardware: str, quant: str, words: str) -> None:
    assert words in render([estimate(hardware=hardware, quant=quant)], "table")


def test_the_ridge_point_is_peak_over_bandwidth() -> None:
    # 112 TFLOP/s at 900 GB/s
    ridge = fields(render([estimate()], "table"))["Ridge point"]

    assert ridge.split()[:2] == [f"{112e12 / 900e9:.0f}", "FLOP/B,"]


@pytest.mark.parametrize(("hardware", "verdict"), [("v100", "does not fit"), ("a100", "fits in")])
def test_whether_it_fits(hardware: str, verdict: str) -> None:
    # 13 · 10^9 weights of 2 bytes are 26 GB: more than 16 GiB, less than 80
    assert verdict in render([estimate("vicuna-13b", hardware=hardware)], "table")


def test_the_unreduced_prompt_stands_beside_the_reduced_one() -> None:
    reduced, full = estimate(), estimate(visual_tokens=576)
    text = render([reduced], "table")

    assert "40 visual" in text
    assert "all 576" in text
    line = fields(text)["FLOPs"]
    assert line.split() == [
        *si(reduced.flops, "FLOP").split(),
        *si(full.flops, "FLOP").split(),
        f"{full.flops / reduced.flops:.1f}x",
    ]
    assert "saving" not in render([full], "table")


def test_shares_of_components_sum_to_the_whole() -> None:
    text = render([estimate("llava-1.5-7b")], "table")
    shares = {
        line.split("  ")[0]: float(line.split(" %")[0].split()[-1])
        for line in text.splitlines()
        if line.startswith(("vision", "connector", "llm ", "end to end"))
    }

    assert set(shares) == {"vision", "connector", "llm", "end to end"}
    assert shares["end to end"] == 100
    parts = sum(share for part, share in shares.items() if part != "end to end")
    assert parts == pytest.approx(100, abs=0.2)


@pytest.mark.parametrize(
    ("stage", "label"),
    [
        ("prefill", "Prefill time"),
        ("decode", "Time of one step"),
        ("generate", "Time of prompt and output"),
    ],
)
def test_the_time_says_of_what(stage: str, label: str) -> None:
    one = estimate(stage=stage, output_tokens=8)

    shown = fields(render([one], "table"))[f"{label}, roofline"]
    assert " ".join(shown.split()).startswith(si(one.time_s, "s"))


def test_attainable_time_says_its_band_and_what_it_rests_on() -> None:
    one = estimate(hardware="a100")
    text = " ".join(render([one], "table").split())

    low, high = one.attainable_time_low_s, one.attainable_time_high_s
    assert f"Attainable {si(low, 's')} to {si(high, 's')}" in text
    assert "fitted from public measurements" in text
    # nobody measured vector ops on it
    assert "typical for this architecture" in text
    assert "measured on this machine" not in text


def test_a_device_without_laws_shows_the_bound_alone() -> None:
    text = render([estimate(hardware="xeon", quant="bf16")], "table")

    assert "Prefill time, roofline" in text
    assert "ttainable" not in text


def test_tables_fit_a_terminal_of_80_columns() -> None:
    every = [
        estimate("llava-1.5-7b", hardware=hardware, quant=quant, visual_tokens=count)
        for hardware in ("v100", "h100-sxm")
        for quant in ("fp16", "int4")
        for count in (40, 144)
    ]
    for estimates in (every, every[:1], every[::2]):
        for line in render(estimates, "table", per_op=len(estimates) == 1).splitlines():
            assert len(line) <= 80, line


def test_what_does_not_fit_is_marked_among_several() -> None:
    both = render([estimate("vicuna-13b"), estimate("vicuna-13b", hardware="a100")], "table")
    marked = [line for line in both.splitlines() if "GB!" in line]

    assert [line.split()[0] for line in marked] == ["v100"]
    assert "!  more than the device's memory" in both


def test_generate_without_output_still_renders() -> None:
    one = estimate(stage="generate", output_tokens=0)

    for form in FORMATS:
        text = render([one], form, per_op=True)
        assert "nan" not in text.lower()


def test_csv_and_json_agree() -> None:
    several = [estimate(), estimate(quant="int4"), estimate(visual_tokens=144)]
    rows = list(csv.DictReader(io.StringIO(render(several, "csv"))))
    documents = json.loads(render(several, "json"))

    assert len(rows) == len(documents) == 3
    for row, document in zip(rows, documents, strict=True):
        for name, value in document["totals"].items():
            assert row[name] == ("" if value is None else str(value))


def test_several_estimates_say_in_the_heading_only_what_they_share() -> None:
    text = render([estimate(quant="fp16"), estimate(quant="int8")], "table")
    heading, columns = text.split("\n\n")[0], text.split("\n\n")[1].splitlines()[0]

    assert "v100" in heading
    assert "40 visual + 40 text" in heading
    assert "fp16" not in heading
    assert "Quant" in columns.split()
    assert "Hardware" not in columns.split()
