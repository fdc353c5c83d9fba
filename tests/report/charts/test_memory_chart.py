"""Memory against capacity: parts add up, devices stand where their memory ends."""

from __future__ import annotations

from typing import Any

import pytest
from artists import charted, labels
from made_up import bare
from made_up_prompts import GB, deployed, prompt, studied, totals

import roofline
from roofline.engine.result import Totals
from roofline.explore.study import Study, study
from roofline.units import si

MODEL = "llava-1.5-7b"


def test_bars_add_up_to_the_peak_of_an_analysis(one: Study) -> None:
    chart = charted("memory", one)
    (panel,) = chart.panels
    kept = {"visual_tokens": 40, "reducer": "prumerge"}
    for bar, given in zip(panel.bars, ({}, kept), strict=True):
        whole = roofline.analyze(MODEL, bare("v100"), **given).end_to_end
        assert {part.of: part.size for part in bar.parts} == {
            "weights": pytest.approx(whole.weight_bytes),
            "KV cache": pytest.approx(whole.kv_cache_bytes),
            "peak activations": pytest.approx(whole.peak_activation_bytes),
        }
        assert bar.total == pytest.approx(whole.peak_memory_bytes)
    assert [bar.label for bar in panel.bars] == ["576", "40 prumerge"]
    assert panel.x.label == f"peak memory of the prefill: {MODEL}, fp16"
    assert labels(chart) == ["weights", "KV cache", "peak activations"]


def test_every_device_has_its_capacity(studies: dict[str, Study]) -> None:
    (panel,) = charted("memory", studies["six"]).panels
    capacities = {line.label: line.at / 2**30 for line in panel.lines}

    assert capacities == {  # GiB, of the data sheets
        "v100, t4": 16,
        "l40s": 48,
        "a100-80gb": 80,
        "h200": 141,
        "b200": 180,
    }
    assert [line.at for line in panel.lines] == sorted(line.at for line in panel.lines)
    assert panel.x.limits == (0, 1.35 * max(bar.total for bar in panel.bars))


def test_rows_are_told_apart_by_what_differs(studies: dict[str, Study]) -> None:
    (panel,) = charted("memory", studies["six"]).panels
    assert [bar.label for bar in panel.bars] == [
        f"{model}, {prompt}"
        for model in (MODEL, "llava-1.5-13b")
        for prompt in ("576", "40 prumerge", "144 prumerge")
    ]
    assert panel.x.label == "peak memory of the prefill: fp16"
    both = study(model=[MODEL], hardware=[bare("h200")], quant=["fp16", "int4"], visual_tokens=[40])
    (panel,) = charted("memory", both).panels
    assert panel.bars[2].label == "int4, 576"
    assert panel.x.label == f"peak memory of the prefill: {MODEL}"


def test_of_very_many_rows_some_are_left_out(studies: dict[str, Study]) -> None:
    chart = charted("memory", studies["two hundred prompts"])
    assert len(chart.panels[0].bars) == 40
    assert chart.left_out == ("161 prompts between these not shown",)


def test_the_alt_text_has_every_row_and_who_lacks_the_memory() -> None:
    devices = [bare("v100"), bare("h200")]
    found = study(model=[MODEL, "llava-1.5-13b"], hardware=devices, visual_tokens=[40])
    peaks = {}
    for model in (MODEL, "llava-1.5-13b"):
        for name, given in (
            ("576", {}),
            ("40 prumerge", {"visual_tokens": 40, "reducer": "prumerge"}),
        ):
            whole = roofline.analyze(model, bare("h200"), **given).end_to_end
            peaks[f"{model}, fp16, {name}"] = float(whole.peak_memory_bytes)

    room = 16 * 2**30
    assert [peak > room for peak in peaks.values()] == [False, False, True, True]
    rows = "; ".join(f"{name}: {si(peak, 'B')}" for name, peak in peaks.items())
    assert charted("memory", found).alt == (
        f"Stacked bars of weights, KV cache and peak activations. {rows}. Too much for v100 "
        "(llava-1.5-13b, fp16)."
    )
    roomy = study(model=[MODEL], hardware=[bare("h200")])
    assert charted("memory", roomy).alt.endswith(". All of it fits everywhere.")


def needing(weights_gb: float, room_gb: float = 32.0, **given: Any) -> Totals:
    cache, peak = 2 * GB, 1 * GB
    return totals(
        1.0,
        weight_bytes=weights_gb * GB,
        kv_cache_bytes=cache,
        peak_activation_bytes=peak,
        device_memory_bytes=room_gb * GB,
        **given,
    )


def test_devices_of_one_memory_share_a_line_and_the_axis_has_room_over_the_longest_bar() -> None:
    devices = [("d", 32.0), ("e", 16.0), ("f", 32.0)]
    found = [
        deployed(
            *(prompt(n, needing(w, room), hardware=name) for n, w in ((100, 17), (20, 7), (10, 5)))
        )
        for name, room in devices
    ]
    chart = charted("memory", studied(*found))
    (panel,) = chart.panels
    assert [(line.role, line.axis, line.at, line.label) for line in panel.lines] == [
        ("capacity", "x", 16 * GB, "e"),
        ("capacity", "x", 32 * GB, "d, f"),
    ]
    assert panel.x.limits == (0, 1.35 * (20 * GB))
    assert [
        (bar.label, bar.role, [(part.of, part.size / GB) for part in bar.parts])
        for bar in panel.bars
    ] == [
        (name, "memory", [("weights", w), ("KV cache", 2.0), ("peak activations", 1.0)])
        for name, w in (("100", 17.0), ("20", 7.0), ("10", 5.0))
    ]
    assert chart.alt.endswith("m, fp16, 10: 8.00 GB. Too much for e (m, fp16).")
    assert [entry.role for entry in chart.legend] == ["part"] * 3


def test_counts_that_are_not_usual_name_what_is_the_same_or_differs() -> None:
    few, many = (deployed(prompt(9, needing(1.0), batch=n)) for n in (1, 8))
    (panel,) = charted("memory", studied(few, many)).panels
    assert [bar.label for bar in panel.bars] == ["9", "batch 8, 9"]
    assert panel.x.label == "peak memory of the prefill: m, fp16"
    (panel,) = charted("memory", studied(many)).panels
    assert panel.x.label == "peak memory of the prefill: m, fp16, batch 8"
    other = deployed(prompt(9, needing(1.0), model="n", quant="int8"))
    (panel,) = charted("memory", studied(few, other)).panels
    assert [bar.label for bar in panel.bars] == ["m, fp16, 9", "n, int8, 9"]
    assert panel.x.label == "peak memory of the prefill"


@pytest.mark.parametrize(("count", "shown"), [(40, 40), (41, 40)])
def test_up_to_forty_rows_are_shown(count: int, shown: int) -> None:
    one = deployed(*(prompt(n + 1, needing(1.0)) for n in range(count)))
    chart = charted("memory", studied(one))
    assert len(chart.panels[0].bars) == shown
    assert bool(chart.left_out) is (count > shown)
