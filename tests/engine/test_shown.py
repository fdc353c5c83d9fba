"""How an estimate shows itself in Python: as text, and as a frame."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from made_up import bare, device
from msgspec.structs import replace
from toy import llm, lmm, toy

from roofline import analyze, count, matmul_time
from roofline.units import figures


def test_an_estimate_reads_as_what_was_asked_and_a_line_a_component() -> None:
    text = repr(toy(lmm(), device(kernel_laws=None)))
    first, *lines = text.splitlines()

    assert first.startswith("Estimate(model='toy-lmm', hardware='toy', quant='fp16', visual_tok")
    assert "reducer" not in first  # nobody asked for one
    assert [line.split(":")[0] for line in lines] == [
        *("  vision", "  connector", "  llm", "  end_to_end"),
    ]
    # 5 tokens of the LLM with 576 weights a layer and scores [2, 5, 5], e = 4; logits of one
    flops = 2 * (2 * 5 * 576 + 2 * (2 * 50 * 4)) + 2 * 8 * 10
    assert lines[2].startswith(f"  llm: flops={float(flops):.4g}, peak_memory_bytes=")
    assert re.search(r", bound=(memory|compute)$", lines[2])


def test_counts_read_without_times() -> None:
    found = count(llm(), visual_tokens=2)
    names = ("flops", "memory_access_bytes", "peak_memory_bytes")
    figures = ", ".join(f"{name}={getattr(found.llm, name):.4g}" for name in names)

    assert repr(found).splitlines()[1] == f"  llm: {figures}"


def test_many_configurations_read_as_ranges() -> None:
    many = analyze("vicuna-7b", bare("v100"), visual_tokens=[1, 2000, 40])
    few, most = (
        analyze("vicuna-7b", bare("v100"), visual_tokens=n).llm.roofline_time_s for n in (1, 2000)
    )
    line = repr(many).splitlines()[1]

    assert f"roofline_time_s={few:.4g}…{most:.4g}, " in line
    assert line.endswith("bound=compute/memory")
    assert repr(toy(visual_tokens=[])).splitlines()[1].endswith("bound=none")


@pytest.mark.parametrize(("longer", "cut"), [(0, ""), (1, "…")])
def test_a_long_question_is_cut_after_160_characters(longer: int, cut: str) -> None:
    def inputs_line(name: str) -> str:
        first = repr(count(replace(llm(), name=name), visual_tokens=2)).splitlines()[0]
        return first.removeprefix("Counts(").removesuffix(")")

    name = "x" * (1 + longer + 160 - len(inputs_line("x")))
    assert len(inputs_line("x")) < 160
    assert "…" not in inputs_line("x")
    assert len(inputs_line(name)) == 160 + len(cut)
    assert inputs_line(name).endswith(cut)


def test_rows_of_frames_are_numbered_through() -> None:
    many = toy(lmm(), visual_tokens=[1, 2, 3])

    for frame in (many.to_frame(), many.ops_frame()):
        assert list(frame.index) == list(range(len(frame)))
    assert list(many.to_frame()["visual_tokens"]) == [1, 2, 3] * 4
    assert set(many.to_frame()["model"]) == {"toy-lmm"}


def test_a_comparison_reads_as_a_line_a_component() -> None:
    comparison = toy(lmm(), bare("h200"), visual_tokens=4, reducer="prumerge").comparison
    first, *lines = repr(comparison).splitlines()

    assert comparison is not None
    share = f"{comparison.reducer_share:.4g}"
    assert first == f"Comparison(full_visual_tokens=9, full_fits=True, reducer_share={share})"
    assert [line.split(":")[0].strip() for line in lines] == [
        *("vision", "connector", "llm", "end_to_end")
    ]
    assert re.fullmatch(r"  llm: speedup=\S+, roofline_speedup=\S+, flops_saving=\S+, .*", lines[2])


def test_parts_of_an_answer_read_on_a_line() -> None:
    estimate = toy(lmm(), visual_tokens=4)
    assert estimate.comparison is not None
    shown = {
        "Totals": estimate.end_to_end,
        "Quantities": count(lmm(), visual_tokens=4).end_to_end,
        "OpTotals": estimate.ops[0],
        "OpQuantities": count(lmm(), visual_tokens=4).ops[0],
        "Saving": estimate.comparison.end_to_end,
        "KernelTime": matmul_time("h200", [16, 32], 64, 64),
    }

    for name, part in shown.items():
        assert repr(part).startswith(f"{name}(")
        assert "\n" not in repr(part)
        assert len(repr(part)) < 250
    assert repr(estimate.ops[0]).startswith(
        "OpTotals(vision prefill patch_embedding: count=1, flop"
    )


def test_a_kernel_reads_as_what_is_known_of_it() -> None:
    bound = matmul_time(bare("h200"), [16, 32], 64, 64)
    few, many = bound.roofline_time_s

    assert repr(bound) == f"KernelTime(roofline_time_s={few:.4g}…{many:.4g})"
    assert repr(matmul_time("h200", 16, 64, 64)).endswith("origin=fitted)")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "None"),
        (True, "True"),
        (np.float64(1234.5678), "1235"),
        (np.array([np.nan, 2.0, 1.0]), "1…2"),
        (np.array([np.nan]), "nan"),
        (np.array([True, False]), "False/True"),
        (np.array([]), "none"),
    ],
)
def test_figures_of_any_kind_have_words(value: Any, text: str) -> None:
    assert figures({"a": value, "b": 1}) == f"a={text}, b=1"
