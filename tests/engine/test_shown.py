"""How an estimate and its parts show themselves in Python: as frames, and on a line each."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from made_up import bare
from toy import lmm, toy

from roofline import analyze, count, matmul_time
from roofline.units import figures


def test_rows_of_frames_are_numbered_through() -> None:
    many = toy(lmm(), visual_tokens=[1, 2, 3])

    for frame in (many.to_frame(), many.ops_frame()):
        assert list(frame.index) == list(range(len(frame)))
    assert list(many.to_frame()["visual_tokens"]) == [1, 2, 3] * 4
    assert set(many.to_frame()["model"]) == {"toy-lmm"}


def test_columns_of_a_frame_are_called_as_in_the_json() -> None:
    given = {"visual_tokens": 40, "reducer": "prumerge", "runtime": "eager"}
    estimate = analyze("llava-1.5-7b", "h200", **given)
    frame, document = estimate.to_frame(), estimate.to_dict()
    row = frame.set_index("component").loc["llm"]
    saving = document["comparison"]["components"]["llm"]

    part = document["components"]["llm"]
    assert set(document["inputs"]) | set(part) < set(frame.columns)
    assert {name: row[name] for name in part if part[name] is not None} == {
        name: value for name, value in part.items() if value is not None
    }
    assert len(saving) == 8
    assert {name: row[name] for name in saving} == saving


def test_a_frame_says_what_each_component_saves() -> None:
    reduced, full = (
        analyze("llava-1.5-7b", bare("h200"), visual_tokens=n).llm.roofline_time_s
        for n in (40, 576)
    )
    frame = analyze("llava-1.5-7b", bare("h200"), visual_tokens=[40, 576]).to_frame()
    llm = frame[frame["component"] == "llm"].set_index("visual_tokens")

    assert llm["speedup"].to_list() == pytest.approx([full / reduced, 1.0])
    assert frame["attainable_time_s"].isna().all()  # null in the JSON
    assert frame["tie"].isna().all()


def test_what_has_nothing_to_be_compared_with_leaves_its_columns_empty() -> None:
    reduced = analyze("llava-1.5-7b", "h200", visual_tokens=40, reducer="prumerge").to_frame()
    whole = analyze("llava-1.5-7b", "h200").to_frame()
    counts = count("llava-1.5-7b", visual_tokens=40).to_frame()

    own = reduced[reduced["component"] == "reducer"]
    assert np.isnan(own["speedup"].item())
    assert own["tie"].isna().all()
    assert list(whole.columns) == list(reduced.columns)
    assert whole["speedup"].isna().all()
    assert "speedup" not in counts
    assert counts["flops_saving"].to_list()[-1] == pytest.approx(8.57e12 / 1.41e12, rel=0.01)


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
