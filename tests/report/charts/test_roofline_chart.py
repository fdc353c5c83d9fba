"""The roofline chart: where ops lie, where they were, roofs and what was measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from artists import charted, compared, labels, the_series
from made_up import bare

import roofline
from roofline.explore.study import Study, study
from roofline.records.measurement import Achieved, Record
from roofline.units import percent

NAME, MODEL = "roofline", "llava-1.5-7b"
KEPT: dict[str, Any] = {"visual_tokens": 40, "reducer": "prumerge"}


def test_ops_lie_where_an_analysis_says_and_where_they_were(attainable: Study) -> None:
    (panel,) = charted(NAME, attainable).panels
    device = attainable.prompts[0].device

    def place(name: str, given: dict[str, Any]) -> tuple[float, float]:
        ops = roofline.analyze(MODEL, device, **given).ops_frame()
        (op,) = ops[(ops.component == "llm") & (ops.name == name)].to_dict("records")
        work = op["flops"] or op["vector_flops"]
        return work / op["memory_access_bytes"], work / op["attainable_time_s"]

    after, moved = the_series(panel, "op", "llm"), the_series(panel, "moved", "llm")
    dots = np.array([after.x, after.y]).T
    arrows = np.array([moved.x, moved.y]).T, np.array(moved.origins)
    for name in ("o_proj", "attention", "down_proj", "lm_head"):
        here, was = place(name, KEPT), place(name, {})
        assert np.isclose(dots, here, rtol=0.05).all(axis=1).any(), name
        if not np.allclose(here, was, rtol=0.05):
            ends, starts = arrows
            hits = np.isclose(starts, was, rtol=0.05) & np.isclose(ends, here, rtol=0.05)
            assert hits.all(axis=1).any(), name


def test_what_did_not_move_has_no_arrow(one: Study) -> None:
    (panel,) = charted(NAME, one).panels
    moved = [series for series in panel.series if series.role == "moved"]

    # PruMerge picks among the tower's tokens when it is through with all of them
    assert {series.of for series in moved} == {"connector", "llm"}
    for series in moved:
        ends, starts = np.array([series.x, series.y], float).T, np.array(series.origins)
        assert (np.abs(np.log10(ends / starts)).max(axis=1) > 0.01).all()


def test_ops_on_a_bound_lie_on_the_roof(one: Study) -> None:
    (panel,) = charted(NAME, one).panels
    ops = [series for series in panel.series if series.role == "op"]
    x, y = (np.concatenate([getattr(series, axis) for series in ops]) for axis in "xy")
    roof = np.minimum(900e9 * x, 112e12)  # of the V100's data sheet

    assert len(x) > 10
    assert np.allclose(y, roof, rtol=1e-6)


def test_shares_are_of_the_time(attainable: Study) -> None:
    (panel,) = charted(NAME, attainable).panels
    shares = {series.of: sum(series.shares) for series in panel.series if series.role == "op"}
    ops = roofline.analyze(MODEL, attainable.prompts[0].device, **KEPT).ops_frame()
    counted = ops[(ops.flops + ops.vector_flops > 0) & (ops.memory_access_bytes > 0)]

    for name, some in counted.groupby("component"):
        expected = some.attainable_time_s.sum() / ops.attainable_time_s.sum()
        assert shares[str(name)] == pytest.approx(expected)
    assert sum(shares.values()) == pytest.approx(1.0, abs=0.02)  # embeddings compute nothing


def test_roofs_are_the_devices(attainable: Study) -> None:
    chart = charted(NAME, attainable)
    (panel,) = chart.panels
    for name, bytes_per_s in (("DRAM", 2039e9), ("L2", 5500e9)):
        slope = the_series(panel, "slope", name)
        assert np.divide(np.array(slope.y, float), slope.x) == pytest.approx([bytes_per_s] * 2)
        assert slope.label == f"{name} {bytes_per_s / 1e9:.0f} GB/s"
    ceiling = the_series(panel, "ceiling", "fp16 bf16")
    assert ceiling.y == (312e12, 312e12)
    assert ceiling.x[0] == pytest.approx(312e12 / 2039e9)
    assert ceiling.label == "fp16, bf16 312 T"
    assert the_series(panel, "ceiling", "vector").label == "vector 19.5 T"
    assert the_series(panel, "other ceiling", "int8").label == "int8 624 T"
    ceilings = [series for series in panel.series if series.role.endswith("ceiling")]
    used = [series.role == "ceiling" for series in ceilings]
    assert used == sorted(used, reverse=True)  # their names have room first
    for kind in (True, False):
        rates = [series.y[0] for series, own in zip(ceilings, used, strict=True) if own is kind]
        assert rates == sorted(rates, reverse=True)  # type: ignore[type-var]
        assert len(set(rates)) == len(rates) > 0
    assert panel.x.label == "FLOP per byte of DRAM traffic"
    assert panel.y.label == "FLOP/s"
    assert {"L2 cache", "other types", "roofs in use"} <= set(labels(chart))


def test_the_legend_speaks_of_what_is_there(one: Study) -> None:
    assert labels(charted(NAME, one)) == [
        *("vision", "reducer", "connector", "LLM", "all visual tokens"),
        *("fewest; area: share of time", "roofs in use", "other types", "L2 cache"),
    ]
    text = labels(charted(NAME, study(model=["llama-3-8b"], hardware=[bare("v100")])))
    assert text[:2] == ["LLM", "area: share of time"]


@pytest.mark.parametrize(
    ("device", "quant", "names"),
    [
        ("rtx-4090", "fp16", {"fp16, bf16 165 T", "tf32, vector 82.6 T"}),
        ("rtx-4090", "fp32", {"tf32, fp32, vector 82.6 T"}),
        ("xeon-8480", "fp32", {"fp32, vector 7.17 T"}),
    ],
)
def test_roofs_in_use_are_known(device: str, quant: str, names: set[str]) -> None:
    found = study(model=[MODEL], hardware=[bare(device)], quant=[quant], visual_tokens=[40])
    (panel,) = charted(NAME, found).panels
    assert {series.label for series in panel.series if series.role == "ceiling"} == names


def test_measured_ops_lie_at_what_they_achieved(recorded: Study) -> None:
    chart = charted(NAME, recorded)
    (panel,) = chart.panels
    llm, vision = (the_series(panel, "measured", of) for of in ("llm", "vision"))

    assert (llm.x, llm.y) == ((9e14 / 3e12,), (9e14,))
    assert (vision.x, vision.y) == ((4e14 / 1e12,), (4e14,))
    assert "measured" in labels(chart)


def test_what_was_slow_is_within_the_axes(record: Callable[..., Record]) -> None:
    slow = Achieved("llm", "q_proj", "linear", 32, 64, 3e-4, 1e-4, 2e-4, 1e5, 1e8, 0.667)
    (panel,) = charted(NAME, compared(record(ops=[slow]))).panels
    (left, right), (low, high) = panel.x.limits, panel.y.limits
    series = the_series(panel, "measured", "llm")

    assert (series.x, series.y) == ((1e5 / 1e8,), (1e5,))
    assert left is not None
    assert right is not None
    assert left < 1e5 / 1e8 < right
    assert low is not None
    assert high is not None
    assert low < 1e5 < high


@pytest.mark.parametrize(("tokens", "measured"), [(40, True), (576, True), (144, False)])
@pytest.mark.parametrize("quant", ["fp16", "int8"])
def test_of_records_those_count_whose_prompt_has_dots(
    tokens: int, measured: bool, quant: str, record: Callable[..., Record]
) -> None:
    made = record(inputs={"visual_tokens": tokens, "quant": quant})
    (panel,) = charted(NAME, compared(made, visual_tokens=[40, 144])).panels
    found = [series for series in panel.series if series.role == "measured"]
    assert bool(found) is (measured and quant == "fp16")
    assert panel.title == f"{MODEL}, h200, fp16\n576 to 40 prumerge"


def test_the_alt_text_has_the_share_of_time_that_memory_binds(one: Study) -> None:
    said = []
    for name, given in (("576", {}), ("40 prumerge", KEPT)):
        ops = roofline.analyze(MODEL, bare("v100"), **given).ops_frame()
        slow = ops[ops.memory_access_bytes / 900e9 >= ops.roofline_time_s * (1 - 1e-9)]
        share = slow.roofline_time_s.sum() / ops.roofline_time_s.sum()
        said.append(f"{percent(share)} with {name}")

    assert said[0].split()[0] != said[1].split()[0]
    assert charted(NAME, one).alt == (
        "Roofline charts: each op a dot at its FLOP per byte and FLOP per second, under the "
        "device's ceilings; arrows lead from all visual tokens to the fewest. Share of time in ops "
        f"that are bound by memory: {MODEL}, v100, fp16: {', '.join(said)}."
    )
    tower = charted(NAME, study(model=["clip-vit-l-336"], hardware=[bare("h200")]))
    assert "arrows" not in tower.alt


def test_what_a_page_has_no_room_for_is_said(studies: dict[str, Study]) -> None:
    several = study(
        model=["llama-2-7b"], hardware=[bare("v100")], quant=["int4"], visual_tokens=[576, 144, 40]
    )
    assert charted(NAME, several).left_out == ("2 more prompts not shown",)
    chart = charted(NAME, studies["nine"])
    assert len(chart.panels) == 6
    assert chart.left_out == ("3 more deployments not shown",)
    assert chart.alt.count(" with 576, ") == 6
    assert chart.alt.endswith("; and 3 more.")
