"""Explanations are arithmetic: each line is computed again from its text, and held to figures."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from made_up import device
from toy import lmm

import roofline
from roofline import analyze, count
from roofline.device.laws.matmul import MatmulLaw
from roofline.engine.estimate import Counts
from roofline.engine.explain import SUBJECTS, Explanation
from roofline.engine.explain.formulas import worked
from roofline.engine.explain.ops import flops
from roofline.engine.result import OpTotals
from roofline.errors import ScenarioError, UnknownNameError
from roofline.model.op import MatmulShape
from roofline.model.polynomial import Point, Polynomial
from roofline.specs.catalog import load_hardware, load_model
from roofline.units import percent, si

PREFIX = {
    "n": 1e-9,
    "µ": 1e-6,
    "m": 1e-3,
    "": 1.0,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
    "P": 1e15,
}
NUMBER = re.compile(r"(\d[\d,]*(?:\.\d+)?)(²|³)?(?: ([nµmkMGTP]?)(FLOP/s|OP/s|B/s|FLOP|OP|B|s)\b)?")
NAMES = (
    r"(?:weights|activations|cache|KV) (?:read|written|cache)|"
    r"\b(?:vision|reducer|connector|llm|weights|activations)\b"
)
"""Of what is added up."""
CASES: dict[str, dict[str, Any]] = {
    "a reduced prompt": {"visual_tokens": 40, "reducer": "prumerge"},
    "two prompts": {"batch": 2, "quant": "w4a16"},
    "layers that differ": {"reducer": "fastv", "visual_tokens": 100, "stage": "generate",
                           "output_tokens": 3},
    "a step": {"stage": "decode", "attention": "eager", "quant": "int8"},
    "text alone": {"visual_tokens": 0},
    "an answer of nothing": {"stage": "generate", "output_tokens": 0},
}  # fmt: skip


def value(text: str) -> float | None:
    """Of a product, quotient or sum of numbers; None where words stand in it."""

    def one(match: re.Match[str]) -> str:
        number = float(match[1].replace(",", ""))
        power = {"²": 2, "³": 3}.get(match[2], 1)
        return repr(number**power * PREFIX[match[3] or ""])

    plain = re.sub(r" \([a-z_]+(, [a-z_]+)*\)", "", text)  # tensors, roles
    plain = re.sub(NAMES, "", plain)
    plain = NUMBER.sub(one, plain).replace("×", "*").replace("÷", "/")
    if re.search(r"[^\d.e+*/() -]", plain) or not plain.strip():
        return None
    return float(eval(plain))


def agrees(line: str) -> int:
    """Asserts that all parts of an equation that are numbers are equal; how many there were."""
    values = [known for part in line.split(" = ") if (known := value(part)) is not None]
    for each in values:
        # the result is printed with three digits, and so is what a sum adds
        np.testing.assert_allclose(each, values[-1], rtol=0.011, err_msg=line)
    return len(values)


def line_of(explanation: Explanation, name: str) -> str:
    return next(text for s in explanation.parts for label, text in s.lines if label == name)


@pytest.mark.parametrize("given", CASES.values(), ids=CASES)
@pytest.mark.parametrize("hardware", ["a100-80gb", None])
def test_every_equation_holds(given: dict[str, Any], hardware: str | None) -> None:
    estimate: Counts = (
        analyze("llava-1.5-7b", hardware, **given) if hardware else count("llava-1.5-7b", **given)
    )
    ops = {f"{op.component}.{op.name}" for op in estimate.ops}
    subjects = [
        s
        for s in (*SUBJECTS, *estimate.components, *sorted(ops))
        if hardware or s not in ("time", "energy")
    ]
    equations = 0
    for subject in subjects:
        for paragraph in estimate.explain(subject).parts:
            for _, text in paragraph.lines:
                equations += sum(agrees(part) > 1 for part in text.split("; ") if " = " in part)
    assert equations > 3 * len(ops)


def test_an_op_worked_by_hand() -> None:
    estimate = analyze("llava-1.5-7b", "a100-80gb", visual_tokens=40)
    explained = estimate.explain("q_proj")

    assert line_of(explained, "FLOPs") == (
        "2 × rows × in × out = 2 × 80 × 4,096 × 4,096 = 2.68 GFLOP"
    )
    assert line_of(explained, "Weights read") == "4,096 × 4,096 × 2 B = 33.6 MB"
    assert line_of(explained, "Matmul units") == "2.68 GFLOP ÷ 312 TFLOP/s = 8.60 µs"
    assert line_of(explained, "DRAM") == "34.9 MB ÷ 2.04 TB/s = 17.1 µs"
    assert line_of(explained, "Roofline") == "17.1 µs, the slowest: DRAM"
    op = next(op for op in estimate.ops if (op.component, op.name) == ("llm", "q_proj"))
    assert isinstance(op, OpTotals)
    attained = si(op.attainable_time_s, "s")
    assert line_of(explained, "All").startswith(
        f"32 times: 547 µs at the roofline, {attained} attainable; "
    )
    hardware = roofline.load_hardware("a100-80gb")
    assert dict(explained.sources)["2.04 TB/s"] == " ".join(hardware.sources["datasheet"].split())


def test_a_law_of_another_type_is_called_by_its_name() -> None:
    """The A100's matmuls were measured in bf16: what goes for fp16 is that law."""
    explained = analyze("llava-1.5-7b", "a100-80gb").explain("gate_proj")

    assert "by the law of bf16 matmuls (fitted; " in line_of(explained, "Attainable")


def test_bytes_are_elements_times_their_width() -> None:
    estimate = count("vicuna-7b", "w4a16kv8", visual_tokens=40)

    assert line_of(estimate.explain("v_proj"), "Cache written").endswith(
        "= 4,096 × 1 × 80 × 1 B = 328 kB"
    )
    assert line_of(estimate.explain("attention"), "Cache read").startswith("8,192 × batch × prompt")
    assert line_of(estimate.explain("kv"), "KV cache").endswith("262,144 × 1 × 80 × 1 B = 21.0 MB")
    assert line_of(estimate.explain("memory"), "  llm") == (
        "6,476,005,376 × 0.519531 B + 131,072,000 × 2 B (embedding) + 131,072,000 × 2 B (lm_head) "
        "+ 266,240 × 2 B (norms, biases) = 3.89 GB"
    )
    video = count("video-llava-7b").explain("memory")
    assert line_of(video, "  vision").startswith("2 × (")


def test_sums_are_those_of_the_estimate() -> None:
    estimate = analyze("llava-1.5-7b", "h100", reducer="visionzip", visual_tokens=64)
    figures = {
        ("flops", "End to end"): estimate.end_to_end.flops,
        ("time", "Roofline"): estimate.end_to_end.roofline_time_s,
        ("time", "Attainable"): estimate.end_to_end.attainable_time_s,
        ("memory", "Peak memory"): estimate.end_to_end.peak_memory_bytes,
        ("memory", "Weights"): estimate.end_to_end.weight_bytes,
        ("memory", "Peak activations"): estimate.end_to_end.peak_activation_bytes,
        ("kv", "KV cache"): estimate.end_to_end.kv_cache_bytes,
    }
    for (subject, line), figure in figures.items():
        result = line_of(estimate.explain(subject), line).split(" = ")[-1].split(",")[0]
        assert figure is not None
        np.testing.assert_allclose(value(result), float(figure), rtol=0.006, err_msg=line)


def test_a_name_of_several_components_is_the_main_ones_unless_said() -> None:
    estimate = count("llava-1.5-7b")

    assert estimate.explain("q_proj").title.startswith("q_proj of the llm: ")
    assert estimate.explain("vision.q_proj").title.startswith("q_proj of the vision: ")
    assert estimate.explain("fc1").title.startswith("fc1 of the vision: ")


def test_phases_and_layers_stand_apart() -> None:
    estimate = analyze("llava-1.5-7b", "h100", reducer="fastv", stage="generate", output_tokens=4)
    headings = [paragraph.heading for paragraph in estimate.explain("attention").parts]

    assert headings == [
        "Prefill, layers 0-1",
        "Prefill, layers 2-31",
        "First decode step, layers 0-1",
        "First decode step, layers 2-31",
    ]


def test_a_convention_is_explained_by_its_own_formulas() -> None:
    estimate = analyze("vicuna-7b", "v100", "int4", 40, accounting="llm-viewer")

    assert line_of(estimate.explain("flops"), "  lm_head") == "131,072,000 × 1 = 131 MFLOP"
    assert line_of(estimate.explain("memory"), "Weights") == "llm 3.24 GB"
    assert "Attainable" not in str(estimate.explain("time"))
    assert line_of(estimate.explain("q_proj"), "Matmul units").endswith("OP ÷ 62.0 TOP/s = 43.3 µs")


def test_a_decode_step_is_the_first_one() -> None:
    """Attention of an answer takes longer step by step; each line is of one step, or of all."""
    step = analyze("llava-1.5-7b", "h100", stage="decode").explain("attention")
    answer = analyze("llava-1.5-7b", "h100", stage="generate", output_tokens=4000)
    prefill, first = answer.explain("attention").parts

    assert (prefill.heading, first.heading) == ("Prefill", "First decode step")
    for name in ("FLOPs", "DRAM", "Roofline", "Attainable"):
        assert dict(first.lines)[name] == line_of(step, name)
    total = dict(first.lines)["All"]
    assert total.startswith("128,000 times: ")


def test_what_never_runs_is_said_to() -> None:
    idle = analyze("llava-1.5-7b", "h100", stage="generate", output_tokens=0).explain("q_proj")
    assert dict(idle.parts[-1].lines)["All"] == "it does not run"
    assert "vision" in str(count("llava-1.5-7b", stage="decode").explain("flops"))


def test_sources_come_in_the_order_of_what_they_are_of() -> None:
    explained = analyze("llava-1.5-7b", "h100", "int4").explain("time")
    widths = [figure for figure, _ in explained.sources if figure.startswith("widths")]
    assert widths == ["widths of fp16", "widths of int4"]


def test_what_does_not_fit_is_said() -> None:
    small = analyze("llava-1.5-13b", "t4").explain("memory")

    assert line_of(small, "Device").endswith(": it does not fit")
    assert line_of(analyze(lmm(), device()).explain("memory"), "Device").endswith(": it fits")


def test_what_cannot_be_explained_is_one_line() -> None:
    with pytest.raises(ScenarioError, match="one configuration"):
        count("llava-1.5-7b", visual_tokens=[40, 80]).explain("flops")
    with pytest.raises(UnknownNameError, match="unknown figure 'q_porj': did you mean q_proj"):
        count("llava-1.5-7b").explain("q_porj")
    with pytest.raises(UnknownNameError, match="unknown figure"):
        count("llava-1.5-7b").explain("vision.gate_proj")
    with pytest.raises(ScenarioError, match="nothing takes time on no device"):
        count("llava-1.5-7b").explain("time")
    with pytest.raises(ScenarioError, match="no KV cache"):
        count("clip-vit-l-336").explain("kv")


def test_without_laws_times_are_the_rooflines() -> None:
    explained = analyze(lmm(), device(kernel_laws=None)).explain("llm")

    assert "Attainable" not in dict(explained.parts[0].lines)
    assert line_of(analyze(lmm().vision, device()).explain("memory"), "KV cache") == "0 B"


def test_the_host_stands_beside_the_kernels() -> None:
    estimate = analyze(lmm(), device())
    assert estimate.end_to_end.host_time_s
    host_s = si(estimate.end_to_end.host_time_s, "s")
    assert line_of(estimate.explain("time"), "Host").endswith(f"= {host_s}")

    by_eager = analyze(lmm(), device(), runtime="eager")
    elapsed_s, explained = by_eager.end_to_end.elapsed_time_s, by_eager.explain("time")
    assert elapsed_s is not None
    assert line_of(explained, "Elapsed").endswith(f"= {si(elapsed_s, 's')}")
    assert "longer of kernels and host" in line_of(explained, "  of a component")


def test_a_host_that_issues_kernels_says_how_many() -> None:
    """The counts of docs/runtime.md and docs/reducers.md."""
    given: dict[str, Any] = {"reducer": "ats", "visual_tokens": 144}
    whole = {"stage": "generate", "output_tokens": 2}
    eager = analyze("llava-1.5-7b", "h100-sxm", **given, **whole, runtime="eager").explain("time")
    assert line_of(eager, "  launches") == (
        "vision 327 + reducer 115 + connector 4 + llm 1,303 = 1,749; 9 numbers read back"
    )
    assert line_of(eager, "  of a step") == "llm 1,302"
    for runtime in (None, "cuda-graph", "vllm"):
        other = analyze("llava-1.5-7b", "h100-sxm", **given, runtime=runtime).explain("time")
        assert "  launches" not in dict(other.parts[0].lines)


def test_flops_that_no_shape_says_are_a_polynomial() -> None:
    point = Point({"batch": np.asarray(2.0)})
    amount = 99.0 * Polynomial.variable("batch")

    assert flops(MatmulShape(1.0, 2.0, 3.0), amount, point) == "99 × batch = 99 × 2 = 198 FLOP"
    assert flops(None, Polynomial.of(5.0), point) == "5 = 5.00 FLOP"


def test_it_prints_itself_in_eighty_columns() -> None:
    explained = analyze("llava-1.5-7b", "a100-80gb", reducer="prumerge").explain("time")

    assert repr(explained) == str(explained)
    assert all(len(line) <= 80 for line in str(explained).splitlines())
    assert str(explained).count("Sources\n") == 1


def test_rows_phases_and_launches_have_their_words() -> None:
    reduced = analyze("llava-1.5-7b", "a100-80gb", visual_tokens=40, reducer="prumerge")
    (q_proj,), (select,) = reduced.explain("q_proj").parts, reduced.explain("select").parts

    assert [name for name, _ in q_proj.lines] == [
        *("FLOPs", "Rows", "Weights read", "Activations read", "Activations written", "Traffic"),
        *("Matmul units", "DRAM", "Roofline", "Attainable", "Law", "All"),
    ]
    law = load_hardware("a100-80gb").kernel_laws.of(MatmulLaw)["bf16"]  # type: ignore[union-attr]
    assert dict(q_proj.lines)["Law"] == law.terms
    assert law.terms.startswith(f"{law.launch_us:.3g} µs a launch + FLOPs at up to ")
    assert dict(q_proj.lines)["Rows"] == "batch × prompt tokens = 1 × 80 = 80"
    assert "launch" not in dict(q_proj.lines)["Attainable"]
    assert dict(select.lines)["Attainable"].endswith(", 13 launches")
    assert "All" not in dict(select.lines)
    assert (q_proj.heading, select.heading) == ("", "")

    step = analyze("llava-1.5-7b", "a100-80gb", stage="decode").explain("attention").parts[0]
    assert dict(step.lines)["FLOPs"].endswith("2 × 2 × 1 × 32 × 1 × 617 × 128 = 10.1 MFLOP")
    assert "+ 160 × 1 × 1 = 98.7 kFLOP" in dict(step.lines)["Vector FLOPs"]


def test_a_component_lists_its_ops_with_what_each_comes_to() -> None:
    estimate = analyze("llava-1.5-7b", "a100-80gb", visual_tokens=40)
    totals, ops = estimate.explain("vision").parts
    listed = {name.strip(): text for name, text in ops.lines}

    assert [name for name, _ in totals.lines] == [
        *("FLOPs", "Traffic", "Weights", "Roofline", "Attainable")
    ]
    assert listed["layer_norm1"].startswith("23 times; 54.5 MB; 26.7 µs at the roofline (memory)")
    assert listed["pre_layrnorm"].startswith("2.37 MB; ")
    assert listed["q_proj"].startswith("23 × 2 × 577 × 1,024 × 1,024 = 27.8 GFLOP; 103 MB; ")
    assert set(listed) == {op.name for op in estimate.ops if op.component == "vision"}


def test_sizes_widths_and_rates_have_their_sources() -> None:
    estimate = analyze("llava-1.5-7b", "a100-80gb", reducer="prumerge")

    assert list(dict(estimate.explain("time").sources)) == [
        *("312 TFLOP/s", "2.04 TB/s", "19.5 TFLOP/s", "laws", "sizes of clip-vit-l-336"),
        *("prumerge", "sizes of llava-connector", "sizes of vicuna-7b", "widths of fp16"),
    ]
    assert list(dict(estimate.explain("kv").sources)) == ["sizes of vicuna-7b", "widths of fp16"]
    assert next(iter(dict(estimate.explain("memory").sources))) == "80 GiB"
    assert "widths of fp16" not in dict(estimate.explain("flops").sources)
    source = load_model("vicuna-7b").source
    assert dict(estimate.explain("kv").sources)["sizes of vicuna-7b"] == source


@pytest.mark.parametrize("hardware", ["xeon-8480", "a100-80gb"])
def test_a_host_that_nobody_measured_is_not_spoken_of(hardware: str) -> None:
    lines = [name for name, _ in analyze("llava-1.5-7b", hardware).explain("time").parts[0].lines]
    assert "Host" not in lines


def test_a_host_that_computes_itself_issues_nothing() -> None:
    own = analyze(lmm(), device(kind="cpu"))
    assert own.end_to_end.host_time_s == 0
    assert "Host" not in dict(own.explain("time").parts[0].lines)


def test_time_has_the_ten_longest_the_longest_first() -> None:
    estimate = analyze("llava-1.5-7b", "a100-80gb", visual_tokens=40)
    (totals, longest) = estimate.explain("time").parts
    ranked = sorted(estimate.ops, key=lambda op: -float(op.attainable_time_s or 0))

    assert longest.heading == "The 10 that take longest"
    assert [name.strip() for name, _ in longest.lines] == [
        f"{op.component}.{op.name}" for op in ranked[:10]
    ]
    assert dict(totals.lines)["  bound"] == "ops bound by 86 % memory, 14 % compute"


def test_powers_are_written_as_such() -> None:
    x = Polynomial.variable("x_y")
    point = Point({"x_y": np.asarray(3.0)})
    cube, fourth = x * x * x, x * x * x * x

    assert worked(cube, point, "B") == "x y³ = 3³ = 27.0 B"
    assert worked(2.5 * fourth, point, "B") == "2.5 × x y^4 = 2.5 × 3^4 = 202 B"
    assert worked(cube + 0.0 * x, point, "B", "2 B") == "x y³ × 2 B = 3³ × 2 B = 54.0 B"
    assert worked(Polynomial({}), point, "B") == "0 = 0 B"


def test_shares_layers_and_peaks_are_of_what_they_say() -> None:
    estimate = analyze("llava-1.5-7b", "a100-80gb", visual_tokens=40)
    (q_proj,) = (op for op in estimate.ops if op.name == "q_proj" and op.component == "llm")
    share = float(q_proj.roofline_time_s) / float(estimate.end_to_end.roofline_time_s)
    total = line_of(estimate.explain("q_proj"), "All")
    assert total.endswith(f"; {percent(share)} of the whole roofline time")

    fastv = analyze("llava-1.5-7b", "a100-80gb", reducer="fastv")
    assert line_of(fastv.explain("kv"), "Layers") == (
        "2 that see text tokens + 576, 30 that see prompt tokens"
    )
    large = analyze("llava-1.5-7b", "a100-80gb")  # 576 tokens take more in the LLM than in the ViT
    assert line_of(large.explain("memory"), "Peak activations").endswith(", in the llm")
    assert line_of(estimate.explain("memory"), "Peak activations").endswith(", in the vision")
    assert "2.04 TB/s" not in dict(estimate.explain("flops").sources)


def test_two_figures_as_large_have_a_source_each() -> None:
    cited = analyze("llava-1.5-7b", "h100", "fp32").explain("time").sources
    assert len({source for figure, source in cited if figure == "67.0 TFLOP/s"}) == 2


def test_decode_and_moved_bytes_have_their_words() -> None:
    answer = analyze("llava-1.5-7b", "a100-80gb", stage="generate", output_tokens=4)
    names = [name.strip() for name, _ in answer.explain("time").parts[1].lines]
    assert "llm.gate_proj (decode)" in names
    q_proj = answer.explain("q_proj").parts[0]
    assert dict(q_proj.lines)["Traffic"].startswith("weights read 33.6 MB + activations read ")
    assert answer.explain("q_proj").title.startswith("q_proj of the llm: llava-1.5-7b, generate")


def test_vectors_tokens_and_steps_are_counted_as_they_are() -> None:
    estimate = analyze("llava-1.5-7b", "a100-80gb", visual_tokens=40)
    assert line_of(estimate.explain("input_layernorm"), "Weights read") == "4,096 × 2 B = 8.19 kB"
    assert line_of(estimate.explain("kv"), "Of a token") == (
        "2 × 32 heads × 128 = 8,192 elements a layer"
    )
    step = analyze("llava-1.5-7b", "a100-80gb", stage="decode").explain("flops")
    assert line_of(step, "  q_proj (decode)") == "32 × 2 × 1 × 4,096 × 4,096 = 1.07 GFLOP"
    answer = analyze("llava-1.5-7b", "a100-80gb", stage="generate", output_tokens=2)
    assert line_of(answer.explain("flops"), "  q_proj (decode)") == "64 × 33.6 MFLOP = 2.15 GFLOP"
