"""Times per op of real runs: every op is found as often as it runs, and no time is lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import roofline
from roofline.engine.result import OpTotals
from roofline.errors import InputError
from roofline.torch_side.measure import per_op
from roofline.torch_side.measure.per_op import OTHER, Achieved, OpTime, achieved, measure_ops
from roofline.torch_side.measure.pipeline import Pipeline

Prompts = Callable[..., dict[str, Tensor]]
Key = tuple[str, str]

STEPS = 3
UNPRICED = {("llm", "kv-cache"), ("llm", "index")}
"""Work that the analysis leaves out under the fusions of these names."""


def counts(times: list[OpTime]) -> dict[Key, int]:
    return {(t.component, t.name): t.count for t in times if t.name != OTHER}


def expected(**scenario: Any) -> dict[Key, int]:
    """Occurrences by the analysis, of ops that run at all."""
    estimate = roofline.analyze("llava-tiny", "v100", "fp32", text_tokens=9, **scenario)
    found = Counter[Key]()
    for op in estimate.ops:
        found[op.component, op.name] += int(op.count)
    return dict(found)


@pytest.fixture(params=["sdpa", "eager"])
def attention(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("stage", ["prefill", "decode", "generate"])
def test_every_op_is_found_as_often_as_it_runs(
    llava: Any, prompts: Prompts, attention: str, stage: str
) -> None:
    llava.set_attn_implementation(attention)
    given = prompts(llava, ["t" * 9 + "i"] * 2)
    pipeline = Pipeline(
        llava, pixels=given["pixel_values"], ids=given["input_ids"], output_tokens=STEPS
    )
    runs = {
        "prefill": pipeline.prefill,
        "decode": pipeline.decode_step,
        "generate": pipeline.generate,
    }

    times = measure_ops(runs[stage], llava, "cpu", repeats=1)

    found = counts(times)
    kind = "eager" if attention == "eager" else "flash"
    steps = STEPS if stage == "generate" else 0
    analytic = expected(stage=stage, batch=2, attention=kind, output_tokens=steps)
    assert {key: n for key, n in found.items() if key not in UNPRICED} == analytic
    assert set(found) - set(analytic) == UNPRICED
    assert all(time.kernels > 0 and time.measured_time_s > 0 for time in times)


def test_kinds_are_those_of_the_analysis(llava: Any, prompts: Prompts, attention: str) -> None:
    llava.set_attn_implementation(attention)
    given = prompts(llava, ["t" * 9 + "i"])
    kind = "eager" if attention == "eager" else "flash"
    ops = roofline.analyze("llava-tiny", "v100", text_tokens=9, attention=kind).ops
    analytic = {(op.component, op.name): op.kind for op in ops}

    times = measure_ops(lambda mark: llava(**given), llava, "cpu", repeats=1)

    found = {(time.component, time.name): time.kind for time in times}
    assert analytic.items() <= found.items()


def test_the_model_itself_runs_a_block_more(llava: Any, prompts: Prompts) -> None:
    given = prompts(llava, ["t" * 9 + "i"])

    times = measure_ops(lambda mark: llava(**given), llava, "cpu", repeats=1)

    found, analytic = counts(times), expected()
    assert found.pop(("vision", "post_layernorm")) == 1
    blocks = {("vision", "fc1"): 4, ("vision", "attention"): 4, ("llm", "down_proj"): 4}
    assert blocks.items() <= found.items()
    assert analytic[("vision", "fc1")] == 3
    assert set(found) - UNPRICED == set(analytic)


def test_no_time_is_lost(llava: Any, prompts: Prompts, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sum over ops is that of all ranges, and of what runs in none."""
    given = prompts(llava, ["t" * 9 + "i"])
    totals: list[tuple[int, float]] = []
    true = per_op.spent_by_range

    def spy(events: Any, *, on_cpu: bool) -> Any:
        spent = true(events, on_cpu=on_cpu)
        totals.append(
            (sum(s.kernels for s in spent.values()), sum(s.device_s for s in spent.values()))
        )
        return spent

    monkeypatch.setattr(per_op, "spent_by_range", spy)

    times = measure_ops(lambda mark: llava(**given), llava, "cpu", repeats=3)

    kernels, device_s = sum(t.kernels for t in times), sum(t.measured_time_s for t in times)
    middle = sorted(totals[1:], key=lambda total: total[1])[1]  # the first run does not count
    assert (kernels, device_s) == (middle[0], pytest.approx(middle[1]))


def test_marks_tell_a_reducer_from_what_is_around_it(llava: Any, prompts: Prompts) -> None:
    given = prompts(llava, ["t" * 9 + "i"])
    pipeline = Pipeline(
        llava,
        reducer="prumerge",
        options={"count": 12},
        pixels=given["pixel_values"],
        ids=given["input_ids"],
    )

    times = measure_ops(pipeline.prefill, llava, "cpu", repeats=1)

    found = {(time.component, time.name): time for time in times}
    for name in ("layer_norm1", "k_proj", "q_proj"):  # of the block behind the features
        assert found["reducer", name].count == 1
        assert found["vision", name].count == 3
    assert found["reducer", OTHER].count > 0
    ops = roofline.analyze(
        "llava-tiny", "v100", text_tokens=9, visual_tokens=12, reducer="prumerge"
    ).ops
    rows = {(r.component, r.name): r for r in achieved(times, ops)}
    own = [op for op in ops if op.component == "reducer"]
    merged = [op for op in own if op.name not in ("layer_norm1", "k_proj", "q_proj")]
    reducer = rows["reducer", OTHER]
    assert merged
    assert reducer.roofline_time_s == pytest.approx(sum(float(op.roofline_time_s) for op in merged))


def test_inference_mode_changes_nothing(llava: Any, prompts: Prompts) -> None:
    given = prompts(llava, ["t" * 9 + "i"])

    def inference(mark: Any) -> None:
        with torch.inference_mode():
            llava(**given)

    plain = measure_ops(lambda mark: llava(**given), llava, "cpu", repeats=1)

    assert counts(measure_ops(inference, llava, "cpu", repeats=1)) == counts(plain)


def test_a_run_without_calls(llava: Any) -> None:
    with pytest.raises(InputError, match="use the mode eager"):
        measure_ops(lambda mark: None, llava, "cpu", repeats=1)


def priced(count: int, flops: float, moved_bytes: float, roofline_time_s: float) -> OpTotals:
    """An op of the LLM, of which nothing else is known."""
    numbers = {name: np.zeros(()) for name in OpTotals.__struct_fields__ if name.endswith("_bytes")}
    return OpTotals(
        component="llm",
        phase="prefill",
        name="q_proj",
        layers="",
        kind="linear",
        count=np.asarray(float(count)),
        launches=1,
        flops=np.asarray(flops),
        vector_flops=np.zeros(()),
        **numbers | {"weight_read_bytes": np.asarray(moved_bytes)},
        resource_times_s={},
        roofline_time_s=np.asarray(roofline_time_s),
        attainable_time_s=None,
        attainable_error_s=None,
        attainable_origin=None,
        bound=np.asarray("memory"),
    )


def test_achieved_by_hand() -> None:
    """4 µs in two layers, of which the analysis has one: 1 µs and 8 MFLOP each, 2 MB moved."""
    ops = [priced(1, flops=8e6, moved_bytes=2e6, roofline_time_s=1e-6)]
    time = OpTime("llm", "q_proj", "linear", 2, 2, 4e-6, 9e-6)

    assert achieved([time], ops) == [
        Achieved(
            "llm",
            "q_proj",
            "linear",
            2,
            2,
            4e-6,
            9e-6,
            roofline_time_s=2e-6,
            flops_per_s=pytest.approx(16e6 / 4e-6),
            bytes_per_s=pytest.approx(4e6 / 4e-6),
            share_of_roof=pytest.approx(0.5),
        )
    ]


def test_layers_and_phases_of_an_op_are_one() -> None:
    ops = [
        priced(2, flops=6.0, moved_bytes=3.0, roofline_time_s=2.0),
        priced(6, flops=2.0, moved_bytes=1.0, roofline_time_s=1.0),
    ]

    (found,) = achieved([OpTime("llm", "q_proj", "linear", 8, 8, 4.0, 0.0)], ops)

    assert (found.flops_per_s, found.bytes_per_s, found.share_of_roof) == (2.0, 1.0, 0.75)


def test_what_has_no_counterpart_is_shown_alone() -> None:
    ops = [priced(1, flops=1.0, moved_bytes=1.0, roofline_time_s=1.0)]
    cache = OpTime("llm", "kv-cache", OTHER, 4, 8, 2.0, 1.0)

    measured, analytic = achieved([cache], ops)

    assert measured == Achieved("llm", "kv-cache", OTHER, 4, 8, 2.0, 1.0, None)
    assert analytic == Achieved("llm", "q_proj", "linear", 0, 0, None, None, 1.0)
