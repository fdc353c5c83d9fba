"""Memory at the batch that fills a device: parts add up, and capacities stand in one place."""

from __future__ import annotations

from typing import Any

import pytest
from artists import charted, labels
from made_up import bare

import roofline
from roofline.explore.study import Study, study
from roofline.report.charts.chart import Panel, StackedBar
from roofline.units import si

NAME, MODEL = "memory", "llava-1.5-7b"
KEPT: dict[str, Any] = {"visual_tokens": 40, "reducer": "prumerge"}
V100 = 16 * 2**30
"""Bytes, of the data sheet."""


def needed(batch: int, device: str = "v100", model: str = MODEL, **given: Any) -> Any:
    return roofline.analyze(model, bare(device), batch=batch, **given).end_to_end


def batch_of(panel: Panel) -> int:
    return int(panel.title.partition("\nbatch ")[2].partition(";")[0])


def bar_of(panel: Panel, label: str) -> StackedBar:
    (bar,) = (bar for bar in panel.bars if bar.label == label)
    return bar


def test_the_batch_is_the_largest_that_fits_without_reduction(one: Study) -> None:
    (panel,) = charted(NAME, one).panels
    batch = batch_of(panel)

    assert batch > 1
    assert needed(batch).peak_memory_bytes <= V100 < needed(batch + 1).peak_memory_bytes
    assert panel.title == f"{MODEL}, v100, fp16\nbatch {batch}; the device has 17.2 GB"


def test_bars_add_up_to_the_peak_of_an_analysis_of_that_batch(one: Study) -> None:
    chart = charted(NAME, one)
    (panel,) = chart.panels
    for bar, given in zip(panel.bars, ({}, KEPT), strict=True):
        whole = needed(batch_of(panel), **given)
        assert {part.of: part.size for part in bar.parts} == {
            "weights": pytest.approx(whole.weight_bytes),
            "KV cache": pytest.approx(whole.kv_cache_bytes),
            "peak activations": pytest.approx(whole.peak_activation_bytes),
        }
        assert bar.total == pytest.approx(whole.peak_memory_bytes)
    assert [bar.label for bar in panel.bars] == ["576", "40 prumerge"]
    assert labels(chart) == ["weights", "KV cache", "peak activations", "what the device has"]


def test_a_bar_says_how_many_fit(one: Study) -> None:
    (panel,) = charted(NAME, one).panels
    count = int(panel.bars[1].note.removeprefix("up to ").removesuffix(" fit"))

    assert needed(count, **KEPT).peak_memory_bytes <= V100
    assert needed(count + 1, **KEPT).peak_memory_bytes > V100
    assert panel.bars[0].note == f"up to {batch_of(panel)} fit"


def test_capacities_stand_in_one_place_of_every_panel(studies: dict[str, Study]) -> None:
    panels = charted(NAME, studies["six"]).panels
    fit = [panel for panel in panels if "does not fit" not in {bar.note for bar in panel.bars}]

    assert 6 < len(fit) < 12
    for panel in fit:
        (line,) = panel.lines
        assert (line.role, line.axis) == ("capacity", "x")
        assert panel.x.limits == (0, pytest.approx(1.05 * line.at))
        assert 0.85 * line.at < panel.bars[0].total <= line.at  # a batch more would be too much
    capacities = [panel.lines[0].at / 2**30 for panel in panels[:6]]
    assert capacities == [16, 16, 80, 48, 141, 180]  # GiB, of the data sheets


def test_what_does_not_fit_alone_goes_beyond_the_line() -> None:
    found = study(model="llava-1.5-13b", hardware=[bare("v100")], visual_tokens=[40])
    (panel,) = charted(NAME, found).panels
    whole = needed(1, model="llava-1.5-13b")

    assert batch_of(panel) == 1
    assert panel.bars[0].total == pytest.approx(whole.peak_memory_bytes)
    assert panel.bars[0].total > V100
    assert panel.x.limits[1] == pytest.approx(1.05 * float(whole.peak_memory_bytes))
    assert {bar.note for bar in panel.bars} == {"does not fit"}


def test_a_batch_that_was_asked_for_and_does_not_fit_is_shown() -> None:
    """Deployments that differ in it are one panel."""
    found = study(model=MODEL, hardware=[bare("v100")], visual_tokens=[40], batch=[1, 50])
    (panel,) = charted(NAME, found).panels
    assert batch_of(panel) == 50
    assert bar_of(panel, "576").total == pytest.approx(needed(50).peak_memory_bytes)
    assert panel.bars[0].total > V100 > panel.bars[1].total
    small = study(model=MODEL, hardware=[bare("v100")], visual_tokens=[40], batch=[1, 2])
    (panel,) = charted(NAME, small).panels
    assert 2 < batch_of(panel) < 50


def test_the_alt_text_has_the_pair_of_every_panel_and_who_lacks_the_memory() -> None:
    devices = [bare("v100"), bare("h200")]
    found = study(model="llava-1.5-13b", hardware=devices, visual_tokens=[144, 40])
    chart = charted(NAME, found)
    said = []
    for panel, room in zip(chart.panels, ("17.2 GB", "151 GB"), strict=True):
        device = panel.title.split(", ")[1]
        batch = batch_of(panel)
        pair = [
            si(needed(batch, device, "llava-1.5-13b", **given).peak_memory_bytes, "B")
            for given in ({}, KEPT)
        ]
        notes = [bar.note for bar in panel.bars[:2]]
        said.append(
            f"llava-1.5-13b, {device}, fp16, batch {batch}; the device has {room}: "
            f"576: {pair[0]} ({notes[0]}), 40 prumerge: {pair[1]} ({notes[1]})"
        )
    assert chart.alt == (
        "Stacked bars of weights, KV cache and peak activations, at the largest batch that fits "
        f"without reduction. {'; '.join(said)}. As asked, it is too much: llava-1.5-13b on v100, "
        "fp16."
    )
    roomy = study(model=[MODEL], hardware=[bare("h200")])
    assert charted(NAME, roomy).alt.endswith(". As asked, all fits.")


def test_counts_that_are_not_usual_are_named() -> None:
    found = study(model=MODEL, hardware=[bare("v100")], text_tokens=[40, 90], batch=3)
    titles = [panel.title.partition("\n")[0] for panel in charted(NAME, found).panels]
    assert titles == [f"{MODEL}, v100, fp16", f"{MODEL}, v100, fp16, 90 text tokens"]


def test_of_very_many_rows_some_are_left_out(studies: dict[str, Study]) -> None:
    chart = charted(NAME, studies["two hundred prompts"])
    assert len(chart.panels[0].bars) == 16
    assert [bar.label for bar in chart.panels[0].bars[:2]] == ["576", "2 prumerge"]
    assert chart.left_out == ("185 prompts between these not shown",)


@pytest.mark.parametrize(("count", "left"), [(12, 0), (13, 1)])
def test_twelve_deployments_have_a_panel(count: int, left: int) -> None:
    texts = list(range(40, 40 + count))
    chart = charted(NAME, study(model="clip-vit-l-336", hardware=[bare("t4")], text_tokens=texts))
    assert len(chart.panels) == count - left
    assert chart.left_out == ((f"{left} more deployment not shown",) if left else ())
    assert chart.alt.endswith(f". {left} more deployment not shown." if left else "all fits.")
