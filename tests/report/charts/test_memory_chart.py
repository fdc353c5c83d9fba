"""Memory against capacity: parts add up, devices stand where their memory ends."""

from __future__ import annotations

import pytest
from artists import charted, labels
from made_up import bare

import roofline
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
