"""Tables say what the estimate says."""

import csv
import io
import json
import re
from typing import Any

import pytest

from roofline import analyze, count
from roofline.engine.axes import VARIED
from roofline.engine.estimate import Counts, Estimate
from roofline.report.text.estimates import FORMATS, render
from roofline.tables import grid
from roofline.units import si


def estimate(model: str = "vicuna-7b", hardware: str = "v100", **options: Any) -> Estimate:
    return analyze(model, hardware, **({"visual_tokens": 40} | options))


def counts_of(*visual_tokens: int) -> list[Counts]:
    return [count("llava-1.5-7b", visual_tokens=n) for n in visual_tokens]


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


@pytest.mark.parametrize("model", ["vicuna-7b", "llava-1.5-7b"])
def test_the_totals_are_those_of_all_components_together(model: str) -> None:
    one = estimate(model)
    whole = one.end_to_end
    shown = fields(render([one], "table"))

    for label, value, unit in [
        ("FLOPs", whole.flops, "FLOP"),
        ("Vector FLOPs", whole.vector_flops, "FLOP"),
        ("Memory traffic", whole.memory_access_bytes, "B"),
        ("Activations stored", whole.activation_store_bytes, "B"),
        ("Weights", whole.weight_bytes, "B"),
        ("KV cache", whole.kv_cache_bytes, "B"),
        ("Peak activations", whole.peak_activation_bytes, "B"),
        ("Peak memory", whole.peak_memory_bytes, "B"),
        ("Prefill time, roofline", whole.roofline_time_s, "s"),
        ("Prefill time, attainable", whole.attainable_time_s, "s"),
    ]:
        assert " ".join(shown[label].split()).startswith(si(value, unit))
    assert shown["Bound"].split()[0] == str(whole.bound)


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
        *si(reduced.llm.flops, "FLOP").split(),
        *si(full.llm.flops, "FLOP").split(),
        f"{full.llm.flops / reduced.llm.flops:.1f}x",
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
    assert parts == pytest.approx(100, abs=1.5)  # each to a whole percent: ±15 % allow no more


def test_shares_show_as_many_digits_as_their_error_allows() -> None:
    """Exact at the roofline, which has no error: three digits. Attainable to ±20 %: two at most."""
    exact = fields(render([estimate("llava-1.5-7b", "xeon", quant="bf16")], "table"))
    rough = fields(render([estimate("llava-1.5-7b", "v100")], "table"))

    assert [len(s.replace(".", "")) for s in re.findall(r"([\d.]+) %", exact["llm"])] == [3]
    assert re.fullmatch(r"\d\d", re.search(r"([\d.]+) %", rough["llm"])[1])  # type: ignore[index]


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
    assert " ".join(shown.split()).startswith(si(one.end_to_end.roofline_time_s, "s"))


def test_attainable_time_says_its_band_and_what_it_rests_on() -> None:
    one = estimate(hardware="a100")
    text = " ".join(render([one], "table").split())

    whole = one.end_to_end
    low, high = whole.attainable_time_low_s, whole.attainable_time_high_s
    assert f"Attainable {si(low, 's')} to {si(high, 's')}" in text
    assert "fitted from public measurements" in text
    # nobody measured vector ops on it
    assert "typical for this architecture" in text
    assert "measured on this machine" not in text


def test_a_device_without_laws_shows_the_bound_alone() -> None:
    text = render([estimate(hardware="xeon", quant="bf16")], "table")

    assert "Prefill time, roofline" in text
    assert "ttainable" not in text


def test_kernels_at_the_roofline_make_an_elapsed_time_a_lower_end() -> None:
    """Nobody knows what they take above it: no band says that this is all."""
    runs = [estimate(hardware="mi300x", runtime=name) for name in ("vllm", "eager")]
    alone, both = render(runs[:1], "table"), render(runs, "table")

    seconds = si(runs[0].end_to_end.predicted_time_s, "s")
    assert f"The prefill takes at least {seconds} elapsed" in alone
    assert f"at least {seconds}: kernels" in alone
    assert f"≥ {seconds}" in both
    assert "±" not in alone + both


def test_kernels_that_follow_the_runtime_are_not_said_of_all() -> None:
    runs = [estimate(hardware="h100", runtime=name) for name in ("vllm", "eager")]

    assert "fused" not in render(runs, "table")
    assert "fused kernels" in render(runs[:1], "table")


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


VALUES: dict[str, tuple[Any, Any]] = {
    "model": ("llava-1.5-7b", "video-llava-7b"),
    "hardware": ("h100-pcie", "v100-sxm2-16gb"),
    "quant": ("fp16", "int8"),
    "reducer": ("prumerge+", "none"),
    "visual_tokens": (144, 512),
    "text_tokens": (40, 10_000),
    "batch": (1, 128),
    "output_tokens": (8, 1024),
    "runtime": ("eager", "vllm"),
}


@pytest.mark.parametrize("first", range(len(VARIED)))
@pytest.mark.parametrize("count", [2, 5, len(VARIED)])
def test_any_axes_that_differ_fit_a_terminal(first: int, count: int) -> None:
    """So many axes, from some one on: what does not fit beside the figures becomes a title."""
    names = [VARIED[(first + i) % len(VARIED)].name for i in range(count)]
    fixed = {n: values[0] for n, values in VALUES.items() if n not in names}
    estimates = [
        analyze(**fixed | {n: VALUES[n][k] for n in names}, stage="generate") for k in (0, 1)
    ]
    text = render(estimates, "table", per_op=True)

    assert max(map(len, text.splitlines())) <= 80
    table = text[: text.index("Peak, ")].replace("no reducer", "none")
    for name in names:
        for value in VALUES[name]:
            assert re.search(rf"(?<!\w){re.escape(str(value))}(?!\w)", table), (name, value)
    assert table.count("\nAll figures are end to end.") == 1


def test_what_is_the_same_on_all_rows_of_a_table_is_its_title() -> None:
    several = [
        estimate("llava-1.5-7b", hardware, quant=quant, batch=batch, text_tokens=text, reducer=who)
        for hardware in ("v100", "h200")
        for quant in ("fp16", "int8")
        for who in ("prumerge", "none")
        for batch in (1, 8)
        for text in (40, 80)
    ]
    blocks = render(several, "table").split("\n\n")
    titles = [i for i, block in enumerate(blocks) if block in ("v100, fp16", "h200, int8")]

    assert len(titles) == 2
    for i in titles:
        header, _, *rows = blocks[i + 1].splitlines()
        assert header.split()[:4] == ["Reducer", "Text", "Batch", "Roofline"]
        assert [tuple(row.split()[:3]) for row in rows] == [
            (who, text, batch)
            for who in ("prumerge", "none")
            for batch in ("1", "8")
            for text in ("40", "80")
        ]
    # a page has room: there they are one table
    assert len(re.findall(r"^\| Hardware ", render(several, "md"), re.M)) == 1


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
        for name in ("end_to_end", "llm"):
            part = document["end_to_end"] if name == "end_to_end" else document["components"][name]
            for key, value in part.items():
                assert row[f"{name}_{key}"] == ("" if value is None else str(value))
        for key in ("speedup", "roofline_speedup", "tie"):
            assert row[key] == str(document["comparison"][key])


def test_several_estimates_say_in_the_heading_only_what_they_share() -> None:
    text = render([estimate(quant="fp16"), estimate(quant="int8")], "table")
    heading, _, table, *_ = text.split("\n\n")
    columns = table.splitlines()[0]

    assert "v100" in heading
    assert "40 visual + 40 text" in heading
    assert "fp16" not in heading
    assert "Quant" in columns.split()
    assert "Hardware" not in columns.split()


HEADLINE = r"(\d[\d.]*)x \((\d[\d.]*)x\)"


@pytest.mark.parametrize("reducer", [None, "prumerge"])
def test_the_headline_is_one_in_every_form(reducer: str | None) -> None:
    """End to end, attainable, the roofline's beside it: one prompt, a row of several, JSON, CSV."""
    one = estimate("llava-1.5-7b", "h200", reducer=reducer)
    whole = one.end_to_end
    before = estimate("llava-1.5-7b", "h200", visual_tokens=576).end_to_end
    attainable = before.attainable_time_s / whole.attainable_time_s
    roofline = before.roofline_time_s / whole.roofline_time_s
    shown = f"{attainable:.1f}", f"{roofline:.1f}"
    single = render([one], "table")
    several = render([one, estimate("llava-1.5-7b", "a100", reducer=reducer)], "table")
    (row,) = [line for line in several.splitlines() if line.startswith("h200 ") and "x" in line]
    document = json.loads(render([one], "json"))["comparison"]
    (cells,) = csv.DictReader(io.StringIO(render([one], "csv")))

    flowing = " ".join(single.split())
    assert f"makes it {shown[0]}x as fast ({shown[1]}x at the roofline)." in flowing
    assert fields(single)["Prefill time, attainable"].split()[-1] == f"{shown[0]}x"
    assert fields(single)["Prefill time, roofline"].split()[-1] == f"{shown[1]}x"
    assert re.findall(HEADLINE, row) == [shown]
    assert document["speedup"] == pytest.approx(attainable, rel=1e-12)
    assert document["roofline_speedup"] == pytest.approx(roofline, rel=1e-12)
    assert document["end_to_end"]["speedup"] == document["speedup"]
    assert (float(cells["speedup"]), float(cells["roofline_speedup"])) == (
        document["speedup"],
        document["roofline_speedup"],
    )


def test_an_llm_alone_says_so_and_an_lmm_is_end_to_end() -> None:
    lmm, llm = estimate("llava-1.5-7b", "h200"), estimate("vicuna-7b", "h200")
    together = render([lmm, llm], "table")

    assert "All figures are end to end; of vicuna-7b the LLM's." in " ".join(together.split())
    assert "All figures are the LLM's." in render([llm, estimate("vicuna-13b", "h200")], "table")
    assert "at the roofline) end to end, bound by" in " ".join(render([lmm], "table").split())
    assert "end to end" not in render([llm], "table")
    for one in (lmm, llm):
        (row,) = [r for r in together.splitlines() if r.startswith(one.inputs["model"])]
        assert si(one.end_to_end.flops, "") in row
        assert si(one.end_to_end.roofline_time_s, "s") in row
        assert si(one.end_to_end.peak_memory_bytes, "B") in row


def test_a_difference_inside_the_error_band_is_a_tie_everywhere() -> None:
    """16 of 576 tokens less, on times that are known to ±15 %."""
    one, other = (estimate("llava-1.5-7b", "h200", visual_tokens=n) for n in (560, 40))
    whole, before = one.end_to_end, one.comparison.full_end_to_end  # type: ignore[union-attr]
    assert before.attainable_time_s - whole.attainable_time_s < whole.attainable_error_s
    text, rows = render([one], "table"), render([one, other], "table")

    assert fields(text)["Prefill time, attainable"].split()[-1] == "tie"
    assert "is a tie, inside the error (1.03x as fast" in " ".join(text.split())
    assert "makes it" not in text
    assert [line.split()[-2:] for line in rows.splitlines() if line.startswith("560 ")] == [
        ["tie", "(1.03x)"]
    ]
    assert "tie: the difference is inside the error band" in rows
    assert json.loads(render([one], "json"))["comparison"]["tie"] is True
    assert json.loads(render([other], "json"))["comparison"]["tie"] is False


def test_a_full_prompt_that_does_not_fit_is_said_of_the_saving() -> None:
    """13 G parameters in fp16 and 70 KV caches: 32 GB of 40 tokens, 66 of 576, on 48 GiB."""
    one = estimate("llava-1.5-13b", "l40s", batch=70)
    assert one.end_to_end.fits
    text = render([one], "table")
    rows = render([one, estimate("llava-1.5-13b", "l40s", batch=1)], "table")

    assert "fits in 51.5 GB" in text
    assert "; all 576 do not fit this device." in " ".join(text.split())
    marked = [line for line in rows.splitlines() if line.endswith("*")]
    assert [line.split()[0] for line in marked] == ["70"]
    assert "*  over a prompt that does not fit the device's memory" in rows
    assert "GB!" not in rows
    document = json.loads(render([one], "json"))
    assert (document["end_to_end"]["fits"], document["comparison"]["full_fits"]) == (True, False)


def test_without_laws_the_roofline_stands_alone_or_in_brackets() -> None:
    """Beside a device that has them, what stands before the brackets is attainable."""
    bare = estimate("llava-1.5-7b", "xeon", quant="bf16")
    lawful = estimate("llava-1.5-7b", "h200", quant="bf16")
    other = estimate("llava-1.5-7b", "xeon", quant="fp32")
    saved = bare.comparison.end_to_end.roofline_speedup  # type: ignore[union-attr]

    alone, beside = render([bare, other], "table"), render([bare, lawful], "table")
    assert "Saves: roofline time against all visual tokens." in alone
    assert [row.split()[-1] for row in alone.splitlines() if row.startswith("bf16 ")] == [
        f"{saved:.1f}x"
    ]
    assert [r.split()[-1] for r in beside.splitlines() if r.startswith("xeon-8480  ")][:1] == [
        f"({saved:.1f}x)"
    ]


def test_counts_on_no_device_have_no_time() -> None:
    counts = counts_of(40, 0)
    for text in (render(counts[:1], "table", per_op=True), render(counts, "table", per_op=True)):
        for word in ("time", "Roofline", "ttainable", "Bound", "Peak, ", " ms"):
            assert word not in text
        assert max(map(len, text.splitlines())) <= 80
    fewer, more = (sum(part.flops for part in c.components.values()) for c in counts_of(40, 576))
    rows = [line.split() for line in render(counts, "table").split("\n\n")[2].splitlines()]
    assert [(row[0], row[-1]) for row in rows[2:]] == [("40", f"{more / fewer:.1f}x"), ("0", "-")]
    assert "device" not in json.loads(render(counts[:1], "json"))


def test_nothing_is_none_and_no_text_is_0() -> None:
    several = [
        estimate("llava-1.5-7b", "h200", reducer=who, text_tokens=text)
        for who in ("prumerge", "none")
        for text in (0, 40)
    ]
    rows = [line.split()[:2] for line in render(several, "table").splitlines()]

    assert [row for row in rows if row[:1] in (["prumerge"], ["none"])] == [
        *(["prumerge", "0"], ["prumerge", "40"], ["none", "0"], ["none", "40"])
    ]


def test_no_number_parts_from_what_it_counts() -> None:
    r"""On `\n% typical` or `16\nGB` the eye stumbles."""
    for quant in ("fp16", "int8", "int4"):
        for hardware in ("v100", "h200", "a100", "t4", "l4"):
            text = render([estimate("llava-1.5-13b", hardware, quant=quant)], "table")
            assert not [line for line in text.splitlines() if re.match(r"\s+(%|GB|ms|s)\b", line)]
            assert not re.search(r"\d\n\s+\S", text[text.index("Peak, ") :]), text


def test_ops_of_several_say_which() -> None:
    several = [estimate("llava-1.5-7b", "h200", visual_tokens=n) for n in (40, 144)]
    text = render(several, "table", per_op=True)

    for n in (40, 144):
        assert f"llm, prefill, on h200 at its fp16 peak: {n} visual tokens\n" in text
