"""What is counted on no device is what an estimate counts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from roofline import analyze, count
from roofline.engine import run, scenario
from roofline.engine.accounting import exact
from roofline.engine.estimate import Counts, Estimate
from roofline.engine.layout import lay_out
from roofline.engine.result import OpTotals, Quantities, Totals
from roofline.engine.scenario import Scenario
from roofline.errors import InputError, UnsupportedModeError
from roofline.specs.catalog import load_quantization

CASES: dict[str, dict[str, Any]] = {
    "prompt": {"model": "llava-1.5-7b"},
    "reduced": {"model": "llava-1.5-7b", "visual_tokens": 144, "reducer": "prumerge", "batch": 3},
    "generate": {"model": "vicuna-7b", "stage": "generate", "output_tokens": 9, "quant": "w4a16"},
    "array": {"model": "llava-1.5-7b", "visual_tokens": [[0], [40]], "batch": [1, 2]},
    "tower": {"model": "clip-vit-l-336", "attention": "eager"},
    "viewer": {"model": "vicuna-7b", "accounting": "llm-viewer", "visual_tokens": 40},
}
COUNTED = (*Quantities.__struct_fields__, "peak_memory_bytes", "arithmetic_intensity")
PRICED = (
    *("resource_times_s", "roofline_time_s", "attainable_time_s", "attainable_error_s"),
    *("attainable_origin", "bound"),
)
"""What of an op only a device tells."""


@pytest.fixture
def no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody may look for one."""

    def refuse(*_: Any) -> Any:
        raise AssertionError("a device was asked for")

    monkeypatch.setattr(scenario, "load_hardware", refuse)
    monkeypatch.setattr(run, "component_peaks", refuse)
    monkeypatch.setattr(run, "laws_of", refuse)


@pytest.mark.usefixtures("no_device")
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_counting_needs_no_device(case: dict[str, Any]) -> None:
    found = count(**case)

    assert type(found) is Counts
    assert found.inputs["hardware"] is None
    assert found.ops
    document = found.to_dict(per_op=True)
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert list(document) == [
        *("inputs", "components", "end_to_end", "comparison", "reducer", "ops")
    ]
    for part in (document["end_to_end"], *document["components"].values()):
        assert tuple(part) == COUNTED
    assert set(document["ops"][0]).isdisjoint(PRICED)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_counts_are_those_of_an_estimate(case: dict[str, Any]) -> None:
    found, estimate = count(**case), analyze(hardware="h200", **case)
    counted, priced = found.to_dict(per_op=True), estimate.to_dict(per_op=True)

    assert list(found.components) == list(estimate.components)
    for part in found.components:
        assert type(found.components[part]) is Quantities
        assert type(estimate.components[part]) is Totals
    for name in COUNTED:
        assert counted["end_to_end"][name] == priced["end_to_end"][name]
        for part, figures in counted["components"].items():
            assert figures[name] == priced["components"][part][name], (part, name)
    assert counted["ops"] == [
        {name: value for name, value in op.items() if name not in PRICED} for op in priced["ops"]
    ]
    assert set(PRICED) <= set(OpTotals.__struct_fields__)
    assert counted["inputs"] == priced["inputs"] | {"hardware": None}
    assert counted["reducer"] == priced["reducer"]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_an_estimates_scenario_can_be_counted(case: dict[str, Any]) -> None:
    again = Counts.of(analyze(hardware="h200", **case).scenario)

    assert again.to_dict() == count(**case).to_dict()


def test_a_mode_that_the_device_does_not_compute_in_is_counted_all_the_same() -> None:
    unserved = Scenario.of("vicuna-7b", "v100", "bf16", visual_tokens=40)

    assert Counts.of(unserved).to_dict() == count("vicuna-7b", "bf16", 40).to_dict()
    with pytest.raises(UnsupportedModeError, match="has no bf16 peak"):
        Estimate.of(unserved)


def test_a_mode_that_no_device_computes_in_is_counted() -> None:
    # half a byte a weight, and for each 128 a scale and a zero point
    fp16, narrow = (count("vicuna-7b", quant) for quant in ("fp16", "w4a8kv4"))

    assert narrow.llm.flops == fp16.llm.flops
    assert narrow.llm.kv_cache_bytes == fp16.llm.kv_cache_bytes / 4


def test_a_model_without_an_llm_has_none() -> None:
    tower = count("clip-vit-l-336")

    assert tower.main == "vision"
    with pytest.raises(InputError, match="clip-vit-l-336 has no llm: vision"):
        tower.llm  # noqa: B018
    assert count("llava-1.5-7b").main == "llm"


def test_frames_of_counts_have_rows_for_components() -> None:
    frame = count("llava-1.5-7b", visual_tokens=[40, 144], batch=[[1], [2]]).to_frame()

    assert list(frame["component"].unique()) == ["vision", "connector", "llm", "end_to_end"]
    assert len(frame) == 4 * 4
    for _, row in frame.iterrows():
        alone = count("llava-1.5-7b", visual_tokens=row["visual_tokens"], batch=row["batch"])
        part = {**alone.components, "end_to_end": alone.end_to_end}[row["component"]]
        assert [row[name] for name in COUNTED] == [getattr(part, name) for name in COUNTED]


@pytest.mark.parametrize(("quant", "linear"), [("fp16", ""), ("w4a16", "w4a16"), ("int4", "")])
def test_kernels_go_by_what_they_compute_and_linears_by_their_weights(
    quant: str, linear: str
) -> None:
    layout = lay_out("llava-1.5-7b", attention="eager")
    found = {
        (part.component, row.name): row.kernel
        for part in exact.count(layout, load_quantization(quant))
        for row in part.ops
    }
    llm = {name: kernel for (part, name), kernel in found.items() if part == "llm"}

    for name in ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"):
        assert llm[name] == linear
    assert llm["lm_head"] == llm["qk_matmul"] == llm["softmax"] == llm["embed_tokens"] == ""
    assert llm["input_layernorm"] == llm["norm"] == "rms_norm"
    assert llm["act_fn"] == "swiglu"
    assert found["vision", "q_proj"] == found["connector", "linear_1"] == ""  # left in 16 bit
    assert found["vision", "layer_norm1"] == "layer_norm"
    assert found["vision", "activation_fn"] == "quick_gelu"
