"""The roofline chart: where ops lie, where they were, roofs and what was measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from artists import charted, compared, labels, the_series
from made_up import bare
from made_up_prompts import deployed, op, prompt, studied, totals, ways

import roofline
from roofline.engine.result import OpTotals
from roofline.explore.study import Deployment, MeasuredRun, Study, study
from roofline.records.measurement import Achieved, Record
from roofline.report.charts.roofline_points import dots, named
from roofline.units import percent

NAME, MODEL = "roofline", "llava-1.5-7b"
KEPT: dict[str, Any] = {"visual_tokens": 40, "reducer": "prumerge"}


def test_ops_lie_where_an_analysis_says_and_where_they_were(attainable: Study) -> None:
    (panel,) = charted(NAME, attainable).panels
    device = attainable.prompts[0].device

    def point(name: str, given: dict[str, Any]) -> tuple[float, float]:
        ops = roofline.analyze(MODEL, device, **given).ops_frame()
        (op,) = ops[(ops.component == "llm") & (ops.name == name)].to_dict("records")
        work = op["flops"] or op["vector_flops"]
        return work / op["memory_access_bytes"], work / op["attainable_time_s"]

    after, moved = the_series(panel, "op", "llm"), the_series(panel, "moved", "llm")
    dots = np.array([after.x, after.y]).T
    arrows = np.array([moved.x, moved.y]).T, np.array(moved.origins)
    for name in ("o_proj", "attention", "down_proj", "lm_head"):
        here, was = point(name, KEPT), point(name, {})
        assert np.isclose(dots, here, rtol=0.05).all(axis=1).any(), name
        if not np.allclose(here, was, rtol=0.05):
            ends, starts = arrows
            hits = np.isclose(starts, was, rtol=0.05) & np.isclose(ends, here, rtol=0.05)
            assert hits.all(axis=1).any(), name


def test_what_did_not_move_has_no_arrow(one: Study) -> None:
    (panel,) = charted(NAME, one).panels
    moved = [series for series in panel.series if series.role == "moved"]

    # PruMerge picks among the tower's tokens when it is through with all of them
    assert {series.of for series in moved} == {"llm"}
    for series in moved:
        ends, starts = np.array([series.x, series.y], float).T, np.array(series.origins)
        assert (np.abs(np.log10(ends / starts)).max(axis=1) > 0.01).all()


def test_ops_on_a_bound_lie_on_the_roof(one: Study) -> None:
    (panel,) = charted(NAME, one).panels
    ops = [series for series in panel.series if series.role == "op"]
    x, y = (np.concatenate([getattr(series, axis) for series in ops]) for axis in "xy")
    roof = np.minimum(900e9 * x, 112e12)  # of the V100's data sheet

    assert len(x) > 4
    assert np.allclose(y, roof, rtol=1e-6)


def test_shares_are_of_the_time(attainable: Study) -> None:
    (panel,) = charted(NAME, attainable).panels
    shares = {series.of: sum(series.shares) for series in panel.series if series.role == "op"}
    ops = roofline.analyze(MODEL, attainable.prompts[0].device, **KEPT).ops_frame()
    counted = ops[(ops.flops + ops.vector_flops > 0) & (ops.memory_access_bytes > 0)]

    found: dict[str, float] = {}
    for dot in dots(attainable.deployments[0]):
        found[dot.component] = found.get(dot.component, 0.0) + dot.share
    for name, some in counted.groupby("component"):
        expected = some.attainable_time_s.sum() / ops.attainable_time_s.sum()
        assert found[str(name)] == pytest.approx(expected)
    assert sum(found.values()) == pytest.approx(1.0, abs=0.02)  # embeddings compute nothing
    # what is below a hundredth is not shown, and said not to be
    kept = [dot for dot in dots(attainable.deployments[0]) if dot.share >= 0.01]
    assert sum(shares.values()) == pytest.approx(sum(dot.share for dot in kept))
    assert charted(NAME, attainable).left_out == ("ops below 1.0 % of the time not shown",)


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
        *("vision", "LLM", "all visual tokens"),
        *("fewer; area: share of time", "roofs in use", "other types", "L2 cache"),
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
    phrases = []
    for name, given in (("576", {}), ("40 prumerge", KEPT)):
        ops = roofline.analyze(MODEL, bare("v100"), **given).ops_frame()
        slow = ops[ops.memory_access_bytes / 900e9 >= ops.roofline_time_s * (1 - 1e-9)]
        share = slow.roofline_time_s.sum() / ops.roofline_time_s.sum()
        phrases.append(f"{percent(share)} with {name}")

    assert phrases[0].split()[0] != phrases[1].split()[0]
    assert charted(NAME, one).alt == (
        "Roofline charts: each op a dot at its FLOP per byte and FLOP per second, under the "
        "device's ceilings; arrows lead from all visual tokens to fewer. Share of time in ops "
        f"that are bound by memory: {MODEL}, v100, fp16: {', '.join(phrases)}."
    )
    tower = charted(NAME, study(model=["clip-vit-l-336"], hardware=[bare("h200")]))
    assert "arrows" not in tower.alt


def test_what_a_page_has_no_room_for_is_said(studies: dict[str, Study]) -> None:
    several = study(
        model=["llama-2-7b"], hardware=[bare("v100")], quant=["int4"], visual_tokens=[576, 144, 40]
    )
    assert charted(NAME, several).left_out == (
        "2 more prompts not shown",
        "ops below 1.0 % of the time not shown",
    )
    chart = charted(NAME, studies["nine"])
    assert len(chart.panels) == 6
    assert chart.left_out[0] == "3 more deployments not shown"
    assert chart.alt.count(" with 576, ") == 6
    assert chart.alt.endswith("; and 3 more.")


def moved(of: str, name: str, flops: float, moved_bytes: float, roofline_s: float) -> OpTotals:
    return op(
        of,
        name,
        "linear",
        roofline_s,
        flops=np.asarray(flops),
        weight_read_bytes=np.asarray(moved_bytes),
    )


def made_up(*cases: tuple[str, str, float, float, float], laws: bool = False) -> Deployment:
    """Of ops (component, name, FLOPs, bytes, seconds), each half as much with fewer tokens.

    On a toy of 1 GB/s, 2 GFLOP/s in fp16 matmuls and 1 GFLOP/s otherwise.
    """
    whole_ops = [moved(*case) for case in cases]
    kept_ops = [moved(of, name, f / 4, b / 2, s / 4) for of, name, f, b, s in cases]
    whole = prompt(100, totals(1.0), ops=whole_ops)
    return deployed(whole, prompt(20, totals(1.0), unreduced=whole, reducer="r", ops=kept_ops))


def test_a_dot_is_work_over_bytes_and_over_time_and_comes_from_all_tokens() -> None:
    """2 FLOP/B at 8 FLOP/s become 1 FLOP/B at 8 FLOP/s: of 6 s, 4 s and, together, 2."""
    quick = 80.0, 8.0, 1.0
    cases = ("llm", "a", 32.0, 16.0, 4.0), ("llm", "b", *quick), ("vision", "c", *quick)
    found = dots(made_up(*cases))
    assert [(dot.component, dot.point, dot.before) for dot in found] == [
        ("llm", (1.0, 8.0), (2.0, 8.0)),
        ("llm", (5.0, 80.0), (10.0, 80.0)),
        ("vision", (5.0, 80.0), (10.0, 80.0)),
    ]
    assert [dot.share for dot in found] == pytest.approx([4 / 6, 1 / 6, 1 / 6])


def test_ops_of_one_place_are_a_dot_and_others_are_their_own() -> None:
    """A fiftieth of a decade, 1.047, tells places apart: 1.02 of each is one and 1.05 another."""
    one = ("llm", "a", 100.0, 10.0, 1.0)
    same, wide, tall = (
        ("llm", "b", 102.0, 10.0, 1.02),
        ("llm", "c", 105.0, 10.0, 1.05),
        ("llm", "d", 105.0, 10.5, 1.0),
    )
    assert [round(dot.share, 3) for dot in dots(made_up(one, same))] == [1.0]
    assert len(dots(made_up(one, wide))) == 2
    assert len(dots(made_up(one, tall))) == 2
    assert len(dots(made_up(one, ("vision", *one[1:])))) == 2


@pytest.mark.parametrize("case", [(0.0, 8.0, 1.0), (8.0, 0.0, 1.0), (8.0, 8.0, 0.0)])
def test_what_computes_or_moves_nothing_has_no_dot(case: tuple[float, float, float]) -> None:
    found = dots(made_up(("llm", "a", 32.0, 16.0, 3.0), ("llm", "b", *case)))
    assert [dot.point for dot in found] == [(1.0, 32 / 3)]
    assert found[0].share == pytest.approx(3 / (3 + case[2]))


def test_matmul_flops_go_before_those_of_vector_units() -> None:
    both = op("llm", "a", "linear", 2.0, flops=np.asarray(8e9), vector_flops=np.asarray(6e9))
    vector = op("llm", "b", "norm", 2.0, flops=np.asarray(0.0), vector_flops=np.asarray(6e9))
    slow = op("llm", "c", "linear", 2.0, attainable_time_s=np.asarray(4.0))
    found = dots(deployed(prompt(9, totals(1.0), ops=[both, vector, slow])))
    assert [dot.point for dot in found] == [(8.0, 4e9), (6.0, 3e9), (10.0, 2.5e9)]
    assert {dot.before for dot in found} == {None}


def test_what_stays_in_its_place_has_no_arrow() -> None:
    whole_ops = [op("llm", "a", "linear", 2.0), op("vision", "b", "linear", 2.0)]
    kept_ops = [op("llm", "a", "linear", 2.02), op("vision", "b", "linear", 1.0)]
    whole = prompt(100, totals(1.0), ops=whole_ops)
    kept = prompt(20, totals(1.0), ops=kept_ops, unreduced=whole, reducer="r")
    found = dots(deployed(whole, kept))
    assert [dot.before for dot in found] == [None, (10.0, 5e9)]
    (panel,) = charted(NAME, studied(deployed(whole, kept))).panels
    series = [(s.role, s.of, s.x, s.y) for s in panel.series if s.role in ("op", "moved")]
    assert [(role, of) for role, of, *_ in series] == [
        ("op", "llm"),
        ("moved", "vision"),
        ("op", "vision"),
    ]
    arrows = the_series(panel, "moved", "vision")
    assert (arrows.x, arrows.y, arrows.origins) == ((10.0,), (10e9,), ((10.0, 5e9),))


def test_axes_hold_every_dot_with_room_beyond() -> None:
    """Two and a half times: from half a FLOP/B to the ridge at 2, or the dot beyond it."""
    near = charted(NAME, studied(made_up(("llm", "a", 1e9, 1e9, 1.0)))).panels[0]
    left = 0.5 / 2.5
    assert near.x.limits == pytest.approx((left, 2.0 * 2.5))
    assert near.y.limits == pytest.approx((left * 1e9 / 2.5, 2e9 * 2.5))
    far = charted(NAME, studied(made_up(("llm", "a", 64e9, 1e9, 64e4)))).panels[0]
    assert far.x.limits == pytest.approx((32 / 2.5, 64 * 2.5))
    assert far.y.limits == pytest.approx((1e5 / 2.5, 2e9 * 2.5))
    none = charted(NAME, studied(deployed(prompt(9, totals(1.0))))).panels[0]
    assert none.x.limits == pytest.approx((1 / 2.5, 2.0 * 2.5))


def test_panels_have_the_same_axes_which_hold_all() -> None:
    """The left end of one, the right end of another."""
    near, far = made_up(("llm", "a", 1e9, 1e9, 1.0)), made_up(("llm", "a", 64e9, 1e9, 64e4))
    panels = charted(NAME, studied(near, far)).panels
    assert [panel.x.limits for panel in panels] == [pytest.approx((0.5 / 2.5, 64 * 2.5))] * 2
    assert [panel.y.limits for panel in panels] == [pytest.approx((1e5 / 2.5, 2e9 * 2.5))] * 2
    for panel in panels:
        assert the_series(panel, "ceiling", "fp16").x[-1] == panel.x.limits[1]
        assert the_series(panel, "slope", "DRAM").y[0] == panel.y.limits[0]


def test_slopes_and_ceilings_end_at_the_axes() -> None:
    """1 GB/s feeds 2 GFLOP/s from 2 FLOP/B on, and 1 GFLOP/s from 1 FLOP/B on."""
    (panel,) = charted(NAME, studied(made_up(("llm", "a", 1e9, 1e9, 1.0)))).panels
    right, bottom = panel.x.limits[1], panel.y.limits[0]
    assert right is not None
    assert bottom is not None
    roofs = [(s.role, s.of, s.x, s.y, s.label) for s in panel.series if not s.shares]
    assert [roof for roof in roofs if roof[0] != "moved"] == [
        ("slope", "DRAM", (bottom / 1e9, 2.0), (bottom, 2e9), "DRAM 1 GB/s"),
        ("ceiling", "fp16", (2.0, right), (2e9, 2e9), "fp16 0.00200 T"),
        ("ceiling", "vector", (1.0, right), (1e9, 1e9), "vector 0.00100 T"),
    ]


def test_a_cache_is_in_the_legend_where_a_device_has_one() -> None:
    """And other types where any are not in use."""
    chart = charted(NAME, studied(made_up(("llm", "a", 1e9, 1e9, 1.0))))
    assert [(entry.role, entry.label, entry.of) for entry in chart.legend] == [
        ("component", "LLM", "llm"),
        ("moved", "all visual tokens", ""),
        ("op", "fewer; area: share of time", ""),
        ("ceiling", "roofs in use", ""),
    ]


def test_the_share_that_memory_binds_is_what_compute_does_not() -> None:
    whole = prompt(100, totals(1.0, compute_s=0.75))
    kept = prompt(20, totals(0.5, compute_s=0.1), unreduced=whole, reducer="r")
    assert charted(NAME, studied(deployed(whole, kept))).alt.endswith(
        "bound by memory: m, d, fp16: 25 % with 100, 80 % with 20 r."
    )


@pytest.mark.parametrize(("count", "shown", "left"), [(6, 6, 0), (7, 6, 1)])
def test_six_deployments_have_a_panel(count: int, shown: int, left: int) -> None:
    found = [deployed(prompt(9, totals(1.0), hardware=f"d{i}")) for i in range(count)]
    chart = charted(NAME, studied(*found))
    assert len(chart.panels) == shown
    assert chart.left_out == ((f"{left} more deployment not shown",) if left else ())


@pytest.mark.parametrize(
    ("counts", "left"), [((50, 20), "1 more prompt"), ((50, 20, 10), "2 more prompts")]
)
def test_prompts_beside_the_pair_are_not_shown(counts: tuple[int, ...], left: str) -> None:
    whole = prompt(100, totals(1.0))
    times_s = {50: 0.5, 20: 0.2, 10: 0.3}
    kept = [prompt(n, totals(times_s[n]), unreduced=whole, reducer="r") for n in counts]
    chart = charted(NAME, studied(deployed(whole, *kept), deployed(prompt(9, totals(1.0)))))
    assert chart.left_out == (f"{left} not shown",)
    assert chart.panels[0].title == "m, d, fp16\n100 to 20 r"
    assert chart.panels[1].title == "m, d, fp16\n9"


def test_deployments_and_prompts_that_are_left_out_are_said_in_turn() -> None:
    """Of seven deployments six, and of each of these one prompt less than it has."""
    found = []
    for i in range(7):
        whole = prompt(100, totals(1.0), hardware=f"d{i}")
        kept = [
            prompt(n, totals(1.0), unreduced=whole, reducer="r", hardware=f"d{i}") for n in (50, 20)
        ]
        found.append(deployed(whole, *kept))
    assert charted(NAME, studied(*found)).left_out == (
        "1 more deployment not shown",
        "6 more prompts not shown",
    )


def placed(component: str, name: str, kind: str, place: tuple[float, float], s: float) -> OpTotals:
    """An op of so many FLOPs a byte and a second, that takes `s` seconds."""
    per_byte, per_s = place
    flops = np.asarray(per_s * s)
    return op(component, name, kind, s, flops=flops, weight_read_bytes=flops / per_byte)


def names_of(*ops: OpTotals) -> list[str]:
    return list(named(dots(deployed(prompt(9, totals(1.0), ops=list(ops))))).values())


def test_ops_that_matter_have_a_name() -> None:
    """Of 100 s, from 5 s on, the one that takes longest first."""
    assert names_of(
        placed("llm", "q", "linear", (10.0, 1e9), 30.0),
        placed("vision", "attention", "attention", (10.0, 1e9), 61.0),
        placed("llm", "norm", "norm", (0.1, 1e6), 4.0),
        placed("llm", "add", "add", (1.0, 1e6), 5.0),
    ) == ["vision attention 61 %", "LLM q 30 %", "LLM add 5.0 %"]


@pytest.mark.parametrize(("times", "together"), [(1.9, True), (2.1, False)])
def test_dots_within_a_third_of_a_decade_share_a_name(times: float, together: bool) -> None:
    """0.3 decades are a factor of 1.995; by their kind, if it is one."""
    for near in ((10.0 * times, 1e9), (10.0, 1e9 * times)):
        found = names_of(
            placed("llm", "q", "linear", (10.0, 1e9), 60.0),
            placed("llm", "k", "linear", near, 40.0),
        )
        assert found == (["LLM linear 100 %"] if together else ["LLM q 60 %", "LLM k 40 %"])


def test_what_is_near_but_of_another_kind_is_counted() -> None:
    place = (10.0, 1e9)
    assert names_of(
        placed("llm", "q", "linear", place, 60.0),
        placed("llm", "k", "linear", place, 20.0),
        placed("llm", "attention", "attention", place, 20.0),
    ) == ["LLM q +2 100 %"]


def test_four_dots_have_a_name_at_most() -> None:
    ops = [placed("llm", f"op{i}", "linear", (10.0**i, 1e6), 20.0 + i) for i in range(5)]
    assert [name.split()[1] for name in names_of(*ops)] == ["op4", "op3", "op2", "op1"]


def test_names_stand_in_the_series_of_their_dots(attainable: Study) -> None:
    (panel,) = charted(NAME, attainable).panels
    said = {s.of: [n for n in s.names if n] for s in panel.series if s.role == "op"}
    assert all(len(s.names) == len(s.x) for s in panel.series if s.role == "op")
    assert len(said["llm"]) >= 1
    assert said["llm"][0].startswith("LLM linear ")


def test_figures_are_about_the_quickest_way() -> None:
    """Of 20 and 21 tokens, the text says; so do arrows."""
    (panel,) = charted(NAME, studied(ways(0.6, 0.3))).panels
    assert panel.title.endswith("100 to 21 r1")


def test_arrows_are_told_of_where_any_prompt_is_reduced() -> None:
    alone, both = deployed(prompt(9, totals(1.0))), made_up(("llm", "a", 1e9, 1e9, 1.0))
    assert "; arrows lead from all visual tokens" in charted(NAME, studied(alone, both)).alt
    assert "arrows" not in charted(NAME, studied(alone)).alt


def achieved(flops_per_s: float | None, bytes_per_s: float | None) -> Achieved:
    return Achieved("llm", "a", "linear", 1, 1, 1.0, 1.0, 0.5, flops_per_s, bytes_per_s, 0.5)


@pytest.mark.parametrize(
    ("changed", "shown"),
    [
        ({}, True),
        ({"model": "vicuna-7b"}, False),
        ({"hardware": "e"}, False),
        ({"quant": "int8"}, False),
        ({"visual_tokens": 50}, False),
        ({"stage": "decode"}, False),
    ],
)
def test_only_records_of_this_prefill_are_points(
    changed: dict[str, Any], shown: bool, record: Callable[..., Record]
) -> None:
    """Of ops whose FLOPs and bytes are known."""
    ops = [achieved(8e9, 4e9), achieved(None, 4e9), achieved(8e9, None), achieved(0.0, 4e9)]
    inputs = {"model": "m", "hardware": "d", "quant": "fp16", "visual_tokens": 20} | changed
    made = MeasuredRun("r", record(inputs=inputs, ops=ops))
    study = studied(made_up(("llm", "a", 1e9, 1e9, 1.0)), records=(made,))
    (panel,) = charted(NAME, study).panels
    found = [(s.of, s.x, s.y) for s in panel.series if s.role == "measured"]
    assert found == ([("llm", (2.0,), (8e9,))] if shown else [])
    assert ("measured" in labels(charted(NAME, study))) is shown
