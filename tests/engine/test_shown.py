"""How an estimate shows itself in Python: as frames."""

from __future__ import annotations

import numpy as np
import pytest
from made_up import bare
from toy import lmm, toy

from roofline import analyze, count


def test_rows_of_frames_are_numbered_through() -> None:
    many = toy(lmm(), visual_tokens=[1, 2, 3])

    for frame in (many.to_frame(), many.ops_frame()):
        assert list(frame.index) == list(range(len(frame)))
    assert list(many.to_frame()["visual_tokens"]) == [1, 2, 3] * 4
    assert set(many.to_frame()["model"]) == {"toy-lmm"}


def test_columns_of_a_frame_are_called_as_in_the_json() -> None:
    estimate = analyze("llava-1.5-7b", "h200", visual_tokens=40, reducer="prumerge")
    frame, document = estimate.to_frame(), estimate.to_dict()
    row = frame.set_index("component").loc["llm"]
    saving = document["comparison"]["components"]["llm"]

    part = document["components"]["llm"]
    assert set(document["inputs"]) | set(part) < set(frame.columns)
    assert {name: row[name] for name in part if part[name] is not None} == {
        name: value for name, value in part.items() if value is not None
    }
    for name in ("speedup", "roofline_speedup", "attainable_speedup", "tie"):
        assert row[name] == saving[name]
    for name in ("flops", "memory_access_bytes", "peak_memory_bytes"):
        assert row[f"{name}_saving"] == saving[name]


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
