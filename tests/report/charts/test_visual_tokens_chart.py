"""Time, FLOPs and KV cache over visual tokens, and the places where fewer stop paying."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from artists import charted, labels, the_series
from made_up import bare
from made_up_prompts import GB, deployed, prompt, studied, totals
from msgspec.structs import replace

import roofline
from roofline.explore.study import Deployment, Study, study
from roofline.report.charts import report_charts

NAME, MODEL = "visual-tokens", "llava-1.5-7b"


def test_curves_are_those_of_single_analyses(one: Study) -> None:
    times, flops, cache = charted(NAME, one).panels
    curve = the_series(times, "time", "v100", "fp16")

    assert curve.x == tuple(range(1, 577))
    for count in (1, 40, 576):
        whole = roofline.analyze(MODEL, bare("v100"), visual_tokens=count).end_to_end
        assert curve.y[count - 1] == pytest.approx(float(whole.roofline_time_s))
        assert flops.series[0].y[count - 1] == pytest.approx(float(whole.flops))
        assert cache.series[0].y[count - 1] == pytest.approx(float(whole.kv_cache_bytes))
    assert [panel.title for panel in (times, flops, cache)] == [f"{MODEL}, fp16", "", ""]
    assert [(panel.y.label, panel.y.unit) for panel in (times, flops, cache)] == [
        ("prefill time", "s"),
        ("FLOPs", "FLOP"),
        ("KV cache", "B"),
    ]
    assert {(panel.x.label, panel.x.limits) for panel in (times, flops, cache)} == {
        ("visual tokens", (1, 576))
    }


def test_where_laws_are_known_times_are_attainable_with_bound_and_error(
    attainable: Study,
) -> None:
    times = charted(NAME, attainable).panels[0]
    device = attainable.prompts[0].device
    target = device.name, "fp16"
    error = the_series(times, "error", *target)
    for count in (1, 576):
        whole = roofline.analyze(MODEL, device, visual_tokens=count).end_to_end
        i = count - 1
        assert the_series(times, "time", *target).y[i] == pytest.approx(whole.attainable_time_s)
        assert the_series(times, "bound", *target).y[i] == pytest.approx(whole.roofline_time_s)
        assert error.low[i] == pytest.approx(whole.attainable_time_low_s)
        assert error.high[i] == pytest.approx(whole.attainable_time_high_s)
        assert error.low[i] < error.y[i] < error.high[i]  # type: ignore[operator]
    assert labels(charted(NAME, attainable))[-2:] == ["roofline bound", "error of predicted time"]


def test_the_ridge_is_where_the_llm_turns_to_compute(one: Study) -> None:
    (x,) = the_series(charted(NAME, one).panels[0], "ridge", "v100", "fp16").x
    bounds = [
        str(roofline.analyze(MODEL, bare("v100"), visual_tokens=int(x) + more).llm.bound)
        for more in (0, 1)
    ]
    assert bounds == ["memory", "compute"]


def test_fewer_tokens_no_longer_help_within_a_twentieth_of_the_least(one: Study) -> None:
    times = charted(NAME, one).panels[0]
    floor = the_series(times, "floor", "v100", "fp16")
    (x,), (y,) = floor.x, floor.y
    found = [
        float(roofline.analyze(MODEL, bare("v100"), visual_tokens=count).end_to_end.roofline_time_s)
        for count in (1, int(x), int(x) + 1)
    ]

    assert y == pytest.approx(found[1])
    assert found[1] <= 1.05 * found[0] < found[2]
    assert [line.at for line in times.lines] == [40, 576]


def test_the_alt_text_has_both_places(one: Study) -> None:
    times = charted(NAME, one).panels[0]
    (ridge,) = the_series(times, "ridge", "v100", "fp16").x
    (floor,) = the_series(times, "floor", "v100", "fp16").x

    assert ridge != floor
    assert charted(NAME, one).alt == (
        "Prefill time, FLOPs and KV cache over visual tokens. Visual tokens below which fewer "
        f"no longer help: {MODEL}, v100, fp16: {floor:.0f} (LLM bound by memory up to {ridge:.0f})."
    )


def test_what_is_bound_by_compute_throughout_has_no_ridge() -> None:
    crowd = study(model=[MODEL], hardware=[bare("v100")], visual_tokens=[40], batch=124)
    chart = charted(NAME, crowd)

    assert "ridge" not in {series.role for series in chart.panels[0].series}
    assert "(LLM bound by compute throughout)" in chart.alt
    assert "LLM bound by memory up to here" not in labels(chart)
    assert "within 5 % of the least: fewer no longer help" in labels(chart)
    assert "LLM bound by memory up to here" in labels(
        charted(NAME, study(model=[MODEL], hardware=[bare("v100")]))
    )


def test_times_on_a_device_without_the_memory_stand_apart() -> None:
    chart = charted(NAME, study(model=["llava-1.5-13b"], hardware=[bare("v100"), bare("h200")]))
    roles = {(series.of, series.role) for series in chart.panels[0].series}

    assert ("v100", "too large") in roles
    assert ("v100", "time") not in roles
    assert ("h200", "time") in roles
    assert ("h200", "too large") not in roles
    assert "does not fit" in labels(chart)
    assert "does not fit" not in labels(
        charted(NAME, study(model=["vicuna-7b"], hardware=[bare("h200")]))
    )


def test_a_line_breaks_where_the_memory_ends() -> None:
    found = study(model=[MODEL], hardware=[bare("v100")], visual_tokens=[40], batch=12)
    times = charted(NAME, found).panels[0]
    solid, dotted = (the_series(times, role, "v100", "fp16") for role in ("time", "too large"))
    peaks = roofline.analyze(
        MODEL, bare("v100"), visual_tokens=np.arange(1, 577), batch=12
    ).end_to_end.peak_memory_bytes
    fits = np.asarray(peaks) <= 16 * 2**30

    assert 0 < fits.sum() < 576
    assert [value is not None for value in solid.y] == fits.tolist()
    assert [value is None for value in dotted.y] == fits.tolist()


def test_seven_devices_and_four_rows_are_shown(studies: dict[str, Study]) -> None:
    chart = charted(NAME, studies["nine"])
    devices = [entry.of for entry in chart.legend if entry.role == "device"]
    assert devices == list(studies["nine"].hardware[:7])
    assert chart.left_out == ("2 more devices not shown",)

    models = ["vicuna-7b", "vicuna-13b", "llava-1.5-7b"]
    chart = charted(
        NAME,
        study(model=models, hardware=[bare("h200")], quant=["fp16", "int8"], visual_tokens=[40]),
    )
    assert len(chart.panels) == 4 * 3
    assert chart.left_out == ("2 more rows not shown",)


def test_of_very_many_counts_none_is_marked(studies: dict[str, Study]) -> None:
    chart = charted(NAME, studies["two hundred prompts"])
    assert all(panel.lines == () for panel in chart.panels)
    assert "counts of this report" not in labels(chart)
    assert "counts of this report" in labels(charted(NAME, studies["one"]))


def made_up(laws: bool, **given: Any) -> Deployment:
    """1 to 5 visual tokens: 10, 10, 10, 20, 40 ms; the LLM waits for memory up to 2; 4 fit."""
    roofline_s = np.array([0.01, 0.01, 0.01, 0.02, 0.04])
    along = totals(
        roofline_s,
        2 * roofline_s if laws else None,
        error_s=roofline_s / 2 if laws else None,
        compute_s=np.array([0.0, 0.0, 0.01, 0.02, 0.04]),
        flops=np.array([1.0, 2.0, 9.0, 4.0, 5.0]),
        weight_bytes=np.array([1.0, 1.0, 1.0, 1.0, 6.0]) * GB - np.arange(1, 6),
        kv_cache_bytes=np.array([1.0, 2.0, 3.0, 4.0, 5.0]),
        peak_activation_bytes=np.zeros(5),
        device_memory_bytes=5 * GB,
    )
    one = totals(0.04, 0.08 if laws else None)
    return deployed(prompt(5, one, **given), prompt(2, one, **given), along=along)


def test_every_line_and_mark_is_where_the_curve_has_it() -> None:
    """Predicted 20, 20, 20, 40, 80 ms; the ridge at 2, and within 5 % of the least up to 3."""
    times, flops, cache = charted(NAME, studied(made_up(True))).panels
    x = (1.0, 2.0, 3.0, 4.0, 5.0)
    assert [(s.role, s.of, s.variant, s.x, s.y) for s in times.series] == [
        ("time", "d", "fp16", x, (0.02, 0.02, 0.02, 0.04, None)),
        ("too large", "d", "fp16", x, (None, None, None, None, 0.08)),
        ("bound", "d", "fp16", x, (0.01, 0.01, 0.01, 0.02, 0.04)),
        ("error", "d", "fp16", x, (0.02, 0.02, 0.02, 0.04, 0.08)),
        ("ridge", "d", "fp16", (2.0,), (0.02,)),
        ("floor", "d", "fp16", (3.0,), (0.02,)),
    ]
    error = the_series(times, "error", "d", "fp16")
    assert error.low == pytest.approx([0.015, 0.015, 0.015, 0.03, 0.06])
    assert error.high == pytest.approx([0.025, 0.025, 0.025, 0.05, 0.10])
    assert [(s.role, s.x, s.y) for s in flops.series] == [("flops", x, (1.0, 2.0, 9.0, 4.0, 5.0))]
    assert [(s.role, s.x, s.y) for s in cache.series] == [
        ("KV cache", x, (1.0, 2.0, 3.0, 4.0, 5.0))
    ]


def test_panels_are_logarithmic_and_span_as_many_decades() -> None:
    """So steepness compares: FLOPs from 1 to 9 are the widest of 10 to 40 ms, 1 to 9, 1 to 5.

    A twentieth of the axis is free beyond either end: 9^1.1 from end to end, around the middle.
    """
    times, flops, cache = charted(NAME, studied(made_up(False))).panels
    middles = [(0.01 * 0.04) ** 0.5, (1.0 * 9.0) ** 0.5, (1.0 * 5.0) ** 0.5]
    for panel, middle in zip((times, flops, cache), middles, strict=True):
        assert (panel.x.scale, panel.x.limits) == ("log", (1, 5.0))
        assert panel.y.scale == "log"
        assert panel.y.limits == pytest.approx((middle / 9**0.55, middle * 9**0.55))


def test_rows_that_are_compared_have_one_axis() -> None:
    """The 13B model's FLOPs are seen to be more: the axes are those of the 7B."""
    found = study(model=[MODEL, "llava-1.5-13b"], hardware=[bare("h200")], visual_tokens=[40])
    panels = charted(NAME, found).panels
    assert [panel.y.limits for panel in panels[:3]] == [panel.y.limits for panel in panels[3:]]
    small, large = (panel.series[0].y[0] for panel in (panels[1], panels[4]))
    assert small is not None
    assert large is not None
    assert small < large


def test_bounds_alone_have_no_error_and_counts_are_marked_on_every_panel() -> None:
    chart = charted(NAME, studied(made_up(False)))
    assert [s.role for s in chart.panels[0].series] == ["time", "too large", "ridge", "floor"]
    for panel in chart.panels:
        assert [(line.role, line.axis, line.at) for line in panel.lines] == [
            ("requested", "x", 2.0),
            ("requested", "x", 5.0),
        ]


@pytest.mark.parametrize(("count", "marked"), [(12, 12), (13, 0)])
def test_up_to_a_dozen_counts_are_marked(count: int, marked: int) -> None:
    one = made_up(False)
    more = tuple(prompt(i + 1, totals(0.1)) for i in range(count))
    chart = charted(NAME, studied(replace(one, prompts=more)))
    assert [line.at for line in chart.panels[0].lines] == [i + 1 for i in range(marked)]
    assert ("counts of this report" in labels(chart)) is bool(marked)


def test_counts_that_any_row_marks_are_in_the_legend() -> None:
    many = tuple(prompt(i + 1, totals(0.1), model="n") for i in range(13))
    other = made_up(False, model="n")
    chart = charted(NAME, studied(made_up(False), replace(other, prompts=many)))
    assert [len(panel.lines) for panel in chart.panels] == [2, 2, 2, 0, 0, 0]
    assert "counts of this report" in labels(chart)


def test_devices_share_a_row_as_long_as_the_longest() -> None:
    short = deployed(prompt(2, totals(0.1), hardware="e"), ridge=0, floor=1, most=2)
    chart = charted(NAME, studied(short, made_up(True)))
    assert {(s.of, s.role) for s in chart.panels[0].series} == {
        ("e", "time"),
        ("e", "floor"),
        *(("d", role) for role in ("time", "too large", "bound", "error", "ridge", "floor")),
    }
    assert chart.panels[0].x.limits == (1, 5.0)
    assert [(e.role, e.label) for e in chart.legend] == [
        ("device", "e"),
        ("device", "d"),
        ("ridge", "LLM bound by memory up to here"),
        ("floor", "within 5 % of the least: fewer no longer help"),
        ("requested", "counts of this report"),
        ("bound", "roofline bound"),
        ("error", "error of predicted time"),
        ("too large", "does not fit"),
    ]
    assert chart.alt.endswith(
        ": m, e, fp16: 1 (LLM bound by compute throughout); m, d, fp16: 3 (LLM bound by memory up "
        "to 2)."
    )


def test_what_has_no_curve_has_no_row() -> None:
    text = deployed(prompt(0, totals(0.1), model="t"))
    chart = charted(NAME, studied(text, made_up(False)))
    assert [panel.title for panel in chart.panels] == ["m, fp16", "", ""]
    assert not report_charts()[NAME].applies(studied(text))
