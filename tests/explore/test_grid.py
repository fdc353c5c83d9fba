"""A grid of models, devices, precisions, reducers and counts: each row is an analysis."""

from __future__ import annotations

import warnings
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_up import bare
from msgspec.structs import replace
from toy import device, lmm

from roofline import analyze, grid
from roofline.errors import InputError, ScenarioError, UnknownNameError, UnsupportedModeError
from roofline.specs.catalog import load_hardware

AXES = ("model", "hardware", "quant", "reducer", "visual_tokens", "text_tokens", "batch")


def asked(row: pd.Series[Any], **changes: Any) -> Any:
    """The analysis of a row, one configuration by itself."""
    axes = {name: row[name] for name in AXES} | changes
    return analyze(**{n: v.item() if isinstance(v, np.generic) else v for n, v in axes.items()})


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return grid(
        model=["llava-1.5-7b", "llava-1.5-13b"],
        hardware=["h200", "v100"],
        quant=["fp16", "int4"],
        reducer=["none", "prumerge", "fastv:k=3", "tome"],
        visual_tokens=[40, 144],
        text_tokens=[40, 300],
        batch=[1, 4],
        output_tokens=[1, 64],
    )


def test_there_is_a_row_for_every_combination_in_the_order_given(frame: pd.DataFrame) -> None:
    expected = product(
        ["llava-1.5-7b", "llava-1.5-13b"],
        ["h200", "v100"],
        ["fp16", "int4"],
        ["none", "prumerge", "fastv:k=3", "tome"],
        [40, 144],
        [40, 300],
        [1, 4],
        [1, 64],
    )

    assert list(frame[[*AXES, "output_tokens"]].itertuples(index=False, name=None)) == list(
        expected
    )
    assert list(frame.index) == list(range(512))
    assert frame.attrs["left_out"] == ()


def test_figures_are_those_of_an_analysis(frame: pd.DataFrame) -> None:
    for _, row in frame.sample(12, random_state=3).iterrows():
        steps = int(row["output_tokens"])
        prefill, answer = asked(row), asked(row, stage="generate", output_tokens=steps)
        first, whole = prefill.end_to_end, answer.end_to_end
        step_s = (whole.attainable_time_s - first.attainable_time_s) / steps
        found = {
            "ttft_s": first.attainable_time_s,
            "ttft_low_s": first.attainable_time_low_s,
            "ttft_high_s": first.attainable_time_high_s,
            "ttft_roofline_s": first.roofline_time_s,
            "prefill_flops": first.flops,
            "prefill_memory_access_bytes": first.memory_access_bytes,
            "time_per_output_token_s": step_s,
            "output_tokens_per_s": row["batch"] / step_s,
            "answer_time_s": whole.attainable_time_s,
            "answer_time_low_s": whole.attainable_time_low_s,
            "answer_time_high_s": whole.attainable_time_high_s,
            "answer_time_roofline_s": whole.roofline_time_s,
            "weight_bytes": whole.weight_bytes,
            "kv_cache_bytes": whole.kv_cache_bytes,
            "peak_memory_bytes": whole.peak_memory_bytes,
            "device_memory_bytes": whole.device_memory_bytes,
            "ttft_speedup": prefill.comparison.speedup,
            "ttft_roofline_speedup": prefill.comparison.roofline_speedup,
            "answer_speedup": answer.comparison.speedup,
            "prefill_flops_saving": prefill.comparison.end_to_end.flops_saving,
            "peak_memory_saving": answer.comparison.end_to_end.peak_memory_saving,
        }
        for name, value in found.items():
            assert row[name] == pytest.approx(float(value), rel=1e-9), name
        assert row["fits"] == whole.fits
        assert row["full_fits"] == answer.unreduced().end_to_end.fits
        assert row["prefill_bound"] == str(first.bound)
        assert row["ttft_tie"] == prefill.comparison.tie
        assert row["answer_tie"] == answer.comparison.tie


def test_one_token_more_is_a_decode_step(frame: pd.DataFrame) -> None:
    for _, row in frame[frame["output_tokens"] == 1].sample(6, random_state=1).iterrows():
        step = asked(row, stage="decode").end_to_end

        assert row["time_per_output_token_s"] == pytest.approx(float(step.attainable_time_s))
        assert row["time_per_output_token_roofline_s"] == pytest.approx(float(step.roofline_time_s))
        assert row["decode_bound"] == str(step.bound)


def test_the_parts_of_the_first_token_add_up(frame: pd.DataFrame) -> None:
    names = ["vision_time_s", "reducer_time_s", "connector_time_s", "llm_time_s"]

    np.testing.assert_allclose(frame[names].sum(axis=1), frame["ttft_s"])
    assert (frame["vision_time_s"] > 0).all()
    assert ((frame["reducer_time_s"] > 0) == (frame["reducer"] != "none")).all()


def test_the_cache_grows_with_what_stays_in_it() -> None:
    # keys and values of 2 layers with 1 KV head of 4, 2 bytes each: 32 bytes a token
    found = grid(lmm(), bare("v100"), visual_tokens=[2, 9], text_tokens=3, output_tokens=[0, 5])

    assert list(found["kv_cache_bytes"]) == [32 * n for n in (5, 10, 12, 17)]
    assert list(found["kv_cache_saving"]) == [12 / 5, 17 / 10, 1.0, 1.0]


def test_every_default_is_that_of_an_analysis() -> None:
    found = grid("llava-1.5-7b", "h200", reducer=[None, "prumerge", "fastv"])

    assert list(found["reducer"]) == ["none", "prumerge", "fastv"]
    assert list(found["visual_tokens"]) == [576, 40, 288]
    assert (found[["text_tokens", "batch", "output_tokens"]] == [40, 1, 128]).all(axis=None)
    assert set(found["attention"]) == {"flash"}
    assert set(found["accounting"]) == {"exact"}
    assert list(found["full_visual_tokens"]) == [576] * 3


def test_an_unreduced_prompt_saves_nothing_whatever_stands_beside_it() -> None:
    alone = grid("llava-1.5-7b", "h200")
    beside = grid("llava-1.5-7b", "h200", visual_tokens=[40, 576])

    assert alone.loc[0, "ttft_speedup"] == alone.loc[0, "answer_speedup"] == 1
    pd.testing.assert_series_equal(alone.loc[0], beside.loc[1], check_names=False)


def test_a_device_without_laws_is_told_by_its_roofline() -> None:
    found = grid("llava-1.5-7b", bare("v100"), visual_tokens=40)
    whole = analyze("llava-1.5-7b", bare("v100"), visual_tokens=40).end_to_end

    assert found.loc[0, "ttft_s"] == found.loc[0, "ttft_roofline_s"] == whole.roofline_time_s
    assert found[["ttft_low_s", "answer_time_high_s", "ttft_tie"]].isna().all(axis=None)
    assert found.loc[0, "ttft_speedup"] == found.loc[0, "ttft_roofline_speedup"] > 1


def test_no_answer_has_no_time_per_token() -> None:
    found = grid("llava-1.5-7b", "h200", output_tokens=[0, 1])

    assert found.loc[0, "answer_time_s"] == found.loc[0, "ttft_s"]
    columns = ["time_per_output_token_s", "output_tokens_per_s", "decode_bound"]
    assert found.loc[0, columns].isna().all()
    assert found.loc[1, columns].notna().all()


def test_it_says_whether_the_reduced_and_the_unreduced_prompt_fit() -> None:
    found = grid("llava-1.5-7b", "v100", visual_tokens=40, batch=[1, 8, 64])

    def fits(visual_tokens: int, batch: int) -> bool:
        estimate = analyze(
            "llava-1.5-7b",
            "v100",
            visual_tokens=visual_tokens,
            batch=batch,
            stage="generate",
            output_tokens=128,
        )
        return bool(estimate.end_to_end.fits)

    assert list(found["fits"]) == [fits(40, batch) for batch in (1, 8, 64)]
    assert list(found["full_fits"]) == [fits(576, batch) for batch in (1, 8, 64)]
    assert list(found["fits"]) != list(found["full_fits"])


def test_an_encoder_answers_nothing() -> None:
    found = grid("clip-vit-l-336", "a100")

    assert found.loc[0, "ttft_s"] == found.loc[0, "vision_time_s"]
    empty = ["time_per_output_token_s", "answer_time_s", "ttft_speedup", "full_visual_tokens"]
    assert found.loc[0, empty].isna().all()
    assert found.loc[0, "fits"]


def test_what_cannot_be_is_left_out_and_said() -> None:
    with pytest.warns(UserWarning, match="left out 34 of 48 combinations: ") as caught:
        found = grid(
            ["llava-1.5-7b", "vicuna-7b"],
            ["h200", "v100"],
            ["fp8"],
            ["none", "prumerge"],
            [0, 40, 700],
            output_tokens=[1, 2],
        )

    assert caught[0].filename == __file__
    names = found[["model", "hardware", "reducer", "visual_tokens"]][::2]
    assert names.to_numpy().tolist() == [
        ["llava-1.5-7b", "h200", "none", 0],
        ["llava-1.5-7b", "h200", "none", 40],
        ["llava-1.5-7b", "h200", "none", 700],
        ["llava-1.5-7b", "h200", "prumerge", 40],
        ["vicuna-7b", "h200", "none", 0],
        ["vicuna-7b", "h200", "none", 40],
        ["vicuna-7b", "h200", "none", 700],
    ]


@pytest.mark.parametrize("count", [1, 2, 5, 7])
def test_single_counts_that_cannot_be_leave_the_others(count: int) -> None:
    counts = [*range(560, 560 + count), 577, 600, *range(500, 500 + count)]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = grid("llava-1.5-7b", "h200", reducer="prumerge", visual_tokens=counts, batch=[1, 2])

    kept = [n for n in counts if n <= 576]
    assert list(found["visual_tokens"]) == [n for n in kept for _ in range(2)]
    assert len(caught) == 1
    assert len(found.attrs["left_out"]) == len(counts) - len(kept)


def test_what_holds_for_everything_is_an_error() -> None:
    with pytest.raises(UnsupportedModeError, match="v100 has no fp8"):
        grid("llava-1.5-7b", "v100", "fp8")
    with pytest.raises(ScenarioError, match="prumerge leaves 2 to 576"):
        grid("llava-1.5-7b", "h200", reducer="prumerge", visual_tokens=[600, 700])


@pytest.mark.parametrize(
    ("axes", "kind", "told"),
    [
        ({"hardware": ["h200", "h300"]}, UnknownNameError, "unknown hardware 'h300'"),
        ({"reducer": ["none", "prumerg"]}, UnknownNameError, "unknown reducer 'prumerg'"),
        ({"reducer": "fastv:k=x"}, ScenarioError, "`k` must be a whole number"),
        ({"batch": [1, 0]}, ScenarioError, "batch must be a whole number ≥ 1, not 0"),
        ({"batch": []}, ScenarioError, "a grid takes batch as a number or several in a row"),
        ({"text_tokens": [[1, 2]]}, ScenarioError, "a grid takes text_tokens as a number or"),
        ({"model": []}, InputError, "model names nothing: give at least one"),
        ({"attention": "sdpa"}, ScenarioError, "unknown attention 'sdpa'"),
        (
            {"hardware": ["v100", replace(load_hardware("v100"), vendor="other")]},
            InputError,
            "two different devices are called v100: rename one",
        ),
    ],
    ids=lambda value: "" if isinstance(value, type | dict) else str(value)[:20],
)
def test_what_makes_no_sense_is_refused_on_a_line(
    axes: dict[str, Any], kind: type[Exception], told: str
) -> None:
    with pytest.raises(kind) as caught:
        grid(**{"model": "llava-1.5-7b", "hardware": "h200", **axes})

    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_names_and_counts_that_are_given_twice_are_one() -> None:
    found = grid(["llava-1.5-7b"] * 2, ["h100", "h100-sxm"], reducer=["none", None], batch=[2, 2])

    assert len(found) == 1


def test_one_place_takes_lists_frames_and_generators() -> None:
    names = pd.Series(["h200", "v100"])
    found = grid((n for n in ["llava-1.5-7b"]), names, visual_tokens=range(40, 42))

    assert list(found["hardware"]) == ["h200", "h200", "v100", "v100"]


def test_specs_of_ones_own_are_rows_like_others() -> None:
    found = grid(lmm(), [device(), bare("v100")], visual_tokens=[2, 5])

    assert list(found["hardware"]) == ["toy", "toy", "v100", "v100"]
    assert list(found["model"]) == ["toy-lmm"] * 4


def test_runtimes_and_libraries_are_axes_as_well() -> None:
    found = grid("llava-1.5-7b", "h100", runtime=[None, "vllm"], library=[None, "vllm"])

    assert found["runtime"].tolist() == ["none", "none", "vllm", "vllm"]
    assert found["kernels"].tolist() == ["unfused", "unfused", "fused", "fused"]
    assert found["library"].tolist() == ["any", "vllm"] * 2
    alone = grid("llava-1.5-7b", "h100", runtime="vllm", library="vllm")
    pd.testing.assert_frame_equal(found.tail(1).reset_index(drop=True), alone)
