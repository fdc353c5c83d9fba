"""The roofline chart: dots, arrows, roofs and what was measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from artists import compared, legend, offsets, the_line
from made_up import bare
from matplotlib.quiver import Quiver

from roofline.explore.study import Study, study
from roofline.records.measurement import Achieved, Record
from roofline.report.plots import FIGURES
from roofline.report.plots.style import SINGLE_IN


def test_dots_stand_where_their_ops_do_and_arrows_lead_to_them(attainable: Study) -> None:
    (axes,) = FIGURES["roofline"].draw(attainable).axes
    whole, reduced = attainable.prompts

    def place(estimate: Any, name: str) -> tuple[float, float]:
        (op,) = (o for o in estimate.op_table() if (o["component"], o["name"]) == ("llm", name))
        work = op["flops"] or op["vector_flops"]
        return work / op["memory_access_bytes"], work / op["attainable_time_s"]

    (after,) = (c for c in axes.collections if c.get_gid() == "after llm")
    (before,) = (c for c in axes.collections if c.get_gid() == "before llm")
    (arrows,) = (c for c in axes.collections if c.get_gid() == "arrows llm")
    assert isinstance(arrows, Quiver)
    starts, ends = before.get_offsets(), np.array([arrows.X + arrows.U, arrows.Y + arrows.V]).T
    for name in ("o_proj", "attention", "down_proj", "lm_head"):
        here, was = place(reduced.estimate, name), place(whole.estimate, name)
        assert np.isclose(after.get_offsets(), here, rtol=0.05).all(axis=1).any(), name
        if not np.allclose(here, was, rtol=0.05):
            hits = np.isclose(starts, was, rtol=0.05) & np.isclose(ends, here, rtol=0.05)
            assert hits.all(axis=1).any(), name


def test_dots_on_a_bound_lie_on_the_roof(one: Study) -> None:
    (axes,) = FIGURES["roofline"].draw(one).axes
    places = np.concatenate(
        [c.get_offsets() for c in axes.collections if str(c.get_gid()).startswith("after")]
    )
    x, y = places.T
    roof = np.minimum(900e9 * x, 112e12)  # of the V100's data sheet

    assert len(places) > 10
    assert np.allclose(y, roof, rtol=1e-6)


def test_areas_of_dots_share_out_the_time(attainable: Study) -> None:
    (axes,) = FIGURES["roofline"].draw(attainable).axes
    sizes = [
        size
        for collection in axes.collections
        if str(collection.get_gid()).startswith("after")
        for size in collection.get_sizes()
    ]
    shares = sum((size - min(sizes)) / 90 for size in sizes)

    assert shares == pytest.approx(1.0, abs=0.02)  # embeddings compute nothing: they have no dot


def test_roofs_are_the_devices(attainable: Study) -> None:
    page = FIGURES["roofline"].draw(attainable)
    (axes,) = page.axes
    x, y = the_line(axes, "DRAM roof")
    assert np.allclose(y / x, 2039e9)
    x, y = the_line(axes, "L2 roof")
    assert np.allclose(y / x, 5500e9)
    x, y = the_line(axes, "ceiling fp16 bf16")
    assert np.allclose(y, 312e12)
    assert x[0] == pytest.approx(312e12 / 2039e9)
    shown = {text.get_text() for text in axes.texts}
    assert {"fp16, bf16 312 T", "vector 19.5 T", "L2 5500 GB/s\nDRAM 2039 GB/s"} <= shown
    assert axes.get_xlabel() == "FLOP per byte of DRAM traffic"
    assert axes.get_ylabel() == "FLOP/s"
    assert "L2 cache" in legend(page)


def test_measured_ops_have_a_dot(recorded: Study) -> None:
    page = FIGURES["roofline"].draw(recorded)

    assert offsets(page.axes[0], "measured") == [[9e14 / 3e12, 9e14], [4e14 / 1e12, 4e14]]
    assert "measured" in legend(page)


def test_what_was_slow_is_within_the_axes(record: Callable[..., Record]) -> None:
    slow = Achieved("llm", "q_proj", "linear", 32, 64, 3e-4, 1e-4, 2e-4, 1e5, 1e8, 0.667)
    found = compared(record(ops=[slow]))
    (axes,) = FIGURES["roofline"].draw(found).axes
    (x, y), (left, right), (low, high) = (1e5 / 1e8, 1e5), axes.get_xlim(), axes.get_ylim()

    assert offsets(axes, "measured") == [[x, y]]
    assert left < x < right
    assert low < y < high


@pytest.mark.parametrize(("tokens", "crosses"), [(40, 2), (576, 2), (144, 0)])
def test_of_records_those_count_whose_prompt_has_dots(
    tokens: int, crosses: int, record: Callable[..., Record]
) -> None:
    found = compared(record(inputs={"visual_tokens": tokens}), visual_tokens=[40, 144])
    (axes,) = FIGURES["roofline"].draw(found).axes
    assert len(offsets(axes, "measured")) == crosses
    assert axes.get_title(loc="left") == "llava-1.5-7b, h200, fp16\n576 to 40 prumerge"


@pytest.mark.parametrize(
    ("device", "quant", "names"),
    [
        ("rtx-4090", "fp16", {"fp16, bf16 165 T", "tf32, vector 82.6 T"}),
        ("rtx-4090", "fp32", {"tf32, fp32, vector 82.6 T"}),
        ("xeon-8480", "fp32", {"fp32, vector 7.17 T"}),
    ],
)
def test_roofs_in_use_have_names(device: str, quant: str, names: set[str]) -> None:
    found = study(["llava-1.5-7b"], [bare(device)], [quant], visual_tokens=[40])
    page = FIGURES["roofline"].draw(found, SINGLE_IN)
    assert names <= {text.get_text() for text in page.axes[0].texts}
