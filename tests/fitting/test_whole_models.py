"""Corrections from whole models: what was put in comes out, and rows with faults are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from msgspec.structs import replace

import roofline
from roofline.fitting.rows import FitError
from roofline.fitting.whole_models import (
    WholeModelFit,
    _launches,
    fit_whole_models,
    predicted_seconds,
)
from roofline.fitting.whole_rows import WholeModelTime, whole_model_times
from roofline.specs.catalog import load_hardware
from roofline.specs.correction import Correction
from roofline.specs.hardware import Hardware
from roofline.specs.writing import hardware_yaml

A40 = load_hardware("a40")
TOWER = {"heads": 12, "layers": 4, "patch_size": 16, "mode": "compile", "precision": "amp"}


def towers(widths: tuple[int, ...] = (384, 768, 1152), **changes: Any) -> pd.DataFrame:
    """Vision encoders of several widths, images and batches; times are to be filled in."""
    rows = [
        {"model": f"vit-{width}-{size}", "hidden_size": width, "image_size": size, "batch": batch}
        for width in widths
        for size in (224, 384)
        for batch in (64, 256)
    ]
    return pd.DataFrame(rows).assign(**{**TOWER, "time_ms": 1.0, **changes})


def decodes(models: tuple[str, ...] = ("llama-2-7b", "llama-3-8b", "qwen2-7b")) -> pd.DataFrame:
    rows = [
        {"model": model, "stage": "decode", "tokens": 512, "batch": batch, "time_ms": 1.0}
        for model in models
        for batch in (1, 16)
    ]
    return pd.DataFrame(rows).assign(precision="fp16", mode="vllm")


def corrected(**numbers: float) -> Hardware:
    fields: dict[str, Any] = {"source": "database", "stages": ("tower",), "rows": 1, "models": 1}
    source = next(iter(A40.sources))
    return replace(A40, correction=Correction(**{**fields, "source": source, **numbers}))


def as_on(hardware: Hardware, table: pd.DataFrame) -> list[WholeModelTime]:
    """The rows with the times that a device takes."""
    rows = whole_model_times(table)
    seconds = predicted_seconds(hardware, rows)
    return [replace(row, seconds=float(s)) for row, s in zip(rows, seconds, strict=True)]


def fit(hardware: Hardware, table: pd.DataFrame) -> tuple[WholeModelFit, Correction]:
    found = fit_whole_models(A40, as_on(hardware, table), source="somebody")
    assert found.hardware.correction is not None
    return found, found.hardware.correction


def test_a_slower_device_is_found_out() -> None:
    _, correction = fit(corrected(rate=0.7), towers())

    assert correction.rate == pytest.approx(0.7, rel=0.05)
    assert correction.bandwidth == pytest.approx(1, abs=0.05)
    assert (correction.rows, correction.models) == (12, 6)
    assert correction.p90_error_percent is not None
    assert correction.p90_error_percent < 3
    assert correction.uncorrected_median_error_percent is not None
    assert correction.uncorrected_median_error_percent > 10


def test_one_row_gives_one_number_and_no_error() -> None:
    """A prompt waits for compute, a decode step for memory."""
    _, rate = fit(corrected(rate=0.7), towers((768,)).iloc[:1])
    assert rate.rate == pytest.approx(0.7, rel=0.1)
    assert (rate.bandwidth, rate.median_error_percent) == (1.0, None)

    _, bandwidth = fit(corrected(bandwidth=0.8), decodes().iloc[:1])
    assert bandwidth.bandwidth == pytest.approx(0.8, rel=0.1)
    assert bandwidth.rate == 1.0


def test_a_row_far_from_the_laws_is_believed_if_it_is_the_only_one() -> None:
    """Nothing calls it an outlier, as other rows may."""
    found, _ = fit(corrected(bandwidth=0.55), decodes().iloc[:1])
    assert found.predicted_s == pytest.approx(found.uncorrected_s / 0.55, rel=0.15)


def test_one_published_throughput_helps_with_other_models() -> None:
    slow = corrected(rate=0.6)
    one, _ = fit(slow, towers((768,)).iloc[:1])
    others = as_on(slow, towers())
    measured = np.array([row.seconds for row in others])
    off, before = (
        np.abs(predicted_seconds(device, others) / measured - 1).mean()
        for device in (one.hardware, A40)
    )
    assert off < 0.1 < before


def test_times_as_the_laws_say_leave_them_alone() -> None:
    _, correction = fit(A40, towers((384, 768)))
    assert (correction.rate, correction.bandwidth) == (1.0, 1.0)


def test_steps_of_a_server_that_take_longer_are_taken_up() -> None:
    """By whichever numbers: three models of one size cannot tell a step from a bandwidth."""
    rows = as_on(corrected(step_us=3000.0), decodes())
    found = fit_whole_models(A40, rows, source="somebody")
    measured = np.array([row.seconds for row in rows])
    assert np.abs(found.uncorrected_s / measured - 1).mean() > 0.08
    assert found.left_out_s == pytest.approx(measured, rel=0.03)
    assert found.predicted_s == pytest.approx(predicted_seconds(found.hardware, rows), rel=0.02)


def test_the_band_of_what_was_measured_is_that_of_models_left_out() -> None:
    found, correction = fit(corrected(rate=0.7), towers())
    assert correction.p90_error_percent is not None
    from roofline import analyze

    total = analyze("clip-vit-l-336", found.hardware, batch=64).end_to_end
    assert total.attainable_time_s is not None
    assert total.attainable_error_s == pytest.approx(
        total.attainable_time_s * correction.p90_error_percent / 100
    )
    llm = analyze("llama-2-7b", found.hardware, visual_tokens=0).end_to_end
    assert llm.attainable_error_s is not None
    assert llm.attainable_time_s is not None
    assert llm.attainable_error_s > 0.1 * llm.attainable_time_s


def test_a_corrected_device_reads_back_and_a_fit_repeats(tmp_path: Path) -> None:
    found, correction = fit(corrected(rate=0.7), towers((384, 768)))
    file = tmp_path / "mine.yaml"
    file.write_text(hardware_yaml(found.hardware), encoding="utf-8")

    assert load_hardware(str(file)).correction == correction
    assert fit(corrected(rate=0.7), towers((384, 768)))[1] == correction
    # a correction that the device has is replaced, not added to
    again = fit_whole_models(
        found.hardware, as_on(corrected(rate=0.7), towers((384, 768))), source="somebody"
    )
    assert again.hardware.correction == correction


def test_throughput_is_as_good_as_time() -> None:
    table = towers((768,)).iloc[:1]
    (by_time,) = whole_model_times(table.assign(time_ms=32.0))
    per_s = 64 / 0.032
    (by_rate,) = whole_model_times(table.drop(columns="time_ms").assign(images_per_s=per_s))
    assert by_rate.seconds == pytest.approx(by_time.seconds) == 0.032
    answers = decodes().iloc[:1].drop(columns="time_ms")
    (step,) = whole_model_times(answers.assign(tokens_per_s=50.0))
    assert step.seconds == 0.02
    (answer,) = whole_model_times(
        answers.assign(stage="answer", output_tokens=100, tokens_per_s=50.0)
    )
    assert answer.seconds == 2.0


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"time_ms": "fast"}, "row 1 .*time_ms 'fast': give a number"),
        ({"time_ms": -1.0}, "row 1 .*above zero"),
        ({"time_ms": None}, "row 1 .*has no time: give one of"),
        ({"batch": 1.5}, "row 1 .*give a whole number"),
        ({"mode": "magic"}, "row 1 .*use one of eager"),
        ({"precision": "fp17"}, "row 1 .*fp17"),
        ({"stage": "decode"}, "row 1 .*stage decode"),
        ({"stage": "soon"}, "row 1 .*use one of tower"),
        ({"heads": None}, "row 1 .*lacks heads"),
        ({"model": None}, "row 1 .*fill the column `model`"),
        ({"hidden_size": None, "model": "vicunna"}, "row 1 .*unknown model"),
        ({"hidden_size": 770}, "row 1 .*multiple of"),
        ({"time_ms": None, "tokens_per_s": 5.0}, "row 1 .*tokens_per_s of a tower: give images_"),
    ],
)
def test_a_row_with_a_fault_is_named(changes: dict[str, Any], says: str) -> None:
    table = towers((768,)).iloc[:1].astype(object).assign(**changes)
    with pytest.raises(FitError, match=says) as error:
        whole_model_times(table)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"tokens": None}, "row 1 .*lacks tokens: fill that column"),
        ({"tokens": 100}, "row 1 .*100 tokens, fewer than its image gives, 576"),
        ({"time_ms": None, "images_per_s": 5.0}, "row 1 .*images_per_s of a prefill: give tokens_"),
    ],
)
def test_a_prompt_with_a_fault_is_named(changes: dict[str, Any], says: str) -> None:
    prompt = {"model": "llava-1.5-7b", "stage": "prefill", "tokens": 616, "time_ms": 90.0}
    with pytest.raises(FitError, match=says):
        whole_model_times(pd.DataFrame([{**prompt, **changes}], dtype=object))


def test_tokens_of_a_prompt_are_those_of_its_image_and_text() -> None:
    prompt = {"model": "llava-1.5-7b", "stage": "prefill", "tokens": 616, "time_ms": 90.0}
    (row,) = whole_model_times(pd.DataFrame([prompt]))

    assert row.axes["text_tokens"] == 616 - 576
    assert "visual_tokens" not in row.axes
    # the LLM's prefill alone: tower and connector are another stage
    estimate = roofline.analyze("llava-1.5-7b", A40, text_tokens=40, stage="prefill")
    assert predicted_seconds(A40, [row])[0] == pytest.approx(
        estimate.components["llm"].attainable_time_s
    )


def test_a_launch_counts_where_it_was_measured() -> None:
    """Of an LMM's tower those of the tower, of its prefill those of the LLM."""
    lmm: dict[str, Any] = {"model": "llava-1.5-7b", "time_ms": 90.0}
    table = pd.DataFrame(
        [{**lmm, "stage": "tower"}, {**lmm, "stage": "prefill", "tokens": 616}], dtype=object
    )
    rows = whole_model_times(table)
    kernels, passes = _launches(A40, rows)
    slower = predicted_seconds(corrected(kernel_us=40.0), rows) - predicted_seconds(A40, rows)

    assert slower == pytest.approx(40e-6 * kernels, rel=0.1)
    # 23 blocks of the tower and 32 layers of the LLM, of ten kernels or more
    assert kernels[0] > 23 * 10
    assert kernels[1] > 32 * 10
    assert passes.tolist() == [0, 0]


def test_no_rows_are_refused() -> None:
    with pytest.raises(FitError, match="no whole-model times: give a row or more"):
        whole_model_times(pd.DataFrame())


def test_what_beats_the_roofline_is_refused() -> None:
    rows = whole_model_times(towers((768,), time_ms=0.001))
    with pytest.raises(FitError, match=r"row 1 .*times as fast as the roofline"):
        fit_whole_models(A40, rows, source="somebody")


def test_a_device_without_laws_has_nothing_to_correct() -> None:
    rows = whole_model_times(towers((768,)))
    with pytest.raises(FitError, match="name a device with --like"):
        fit_whole_models(replace(A40, laws_from=None), rows, source="somebody")
