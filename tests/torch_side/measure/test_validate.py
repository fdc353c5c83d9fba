"""Validation: what is run, what is compared, and a real one in small."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from made_up import lawful, toy_laws
from msgspec.structs import replace

import roofline
from roofline.device.laws.host import HostLaw
from roofline.errors import InputError, ScenarioError
from roofline.records.validation import TimedCell, Validation
from roofline.specs.catalog import load_model
from roofline.specs.hardware import Hardware
from roofline.torch_side.measure import modes, validation_request
from roofline.torch_side.measure import validate as module
from roofline.torch_side.measure.eager_look import EagerLook
from roofline.torch_side.measure.scenes import PROMPTS, Scene, merged, scenes
from roofline.torch_side.measure.trial import Measurement
from roofline.torch_side.measure.validate import calibrate_and_validate, validate
from roofline.torch_side.measure.validation_request import ValidationRequest, about_validation

LAWS = toy_laws(
    "fp32",
    tile=16,
    vector_gb_per_s=100.0,
    host={"llm": HostLaw(fixed_us=500.0, layer_us=100.0)},
    errors_percent=(5.0, 10.0),
)


def device() -> Hardware:
    return lawful("xeon", LAWS)


@pytest.fixture(scope="module")
def found() -> Validation:
    return validate(device(), model="llava-tiny", device="cpu", seconds=1.5)


def test_prompts_cover_16_to_1024_tokens_of_what_the_model_can_see() -> None:
    spec = load_model("llava-small")
    every: list[Scene] = scenes(spec)  # type: ignore[arg-type]  # it is an lmm

    single = [s for s in every if s.batch == 1 and s.reducer is None]
    assert [s.tokens for s in single] == list(PROMPTS)
    assert {min(PROMPTS), max(PROMPTS)} == {16, 1024}
    assert all(1 <= s.visual_tokens <= 576 and s.text_tokens >= 1 for s in every)
    assert any(s.batch > 1 for s in every)
    assert any(s.reducer for s in every)
    assert any(s.decodes for s in every)
    assert len({s.name for s in every}) == len(every)


def test_videos_get_as_many_tokens_from_each_frame() -> None:
    spec = load_model("video-llava-7b")

    for scene in scenes(spec):  # type: ignore[arg-type]  # it is an lmm
        assert scene.visual_tokens % 8 == 0
        assert scene.visual_tokens > 0


def test_the_analysis_counts_what_pytorch_counts(found: Validation) -> None:
    components = {count.component for count in found.counts}
    witnesses = {count.quantity: count.witness for count in found.counts}

    assert components == {"vision", "reducer", "connector", "llm", "decode"}
    assert witnesses["flops"] == "FlopCounterMode"
    assert set(witnesses) >= {"flops", "memory_access_bytes", "peak_activation_bytes"}
    # 988 text tokens are more than the tiny vocabulary's 512 rows of 64 fp16 numbers: the analysis
    # reads a row for each, as a larger vocabulary would have it
    different = {(c.component, c.quantity): c.difference for c in found.counts if c.difference}
    assert different == {("llm", "memory_access_bytes"): (988 - 512) * 64 * 2}


def test_each_cell_is_what_the_analysis_predicts(found: Validation) -> None:
    cell = next(c for c in found.cells if (c.component, c.tokens, c.batch) == ("llm", 24, 1))
    estimate = roofline.analyze("llava-tiny", device(), "fp32", visual_tokens=16, text_tokens=8)

    assert cell.attainable_time_s == pytest.approx(float(estimate.llm.attainable_time_s))
    assert cell.roofline_time_s == pytest.approx(float(estimate.llm.roofline_time_s))
    assert cell.attainable_time_low_s == pytest.approx(float(estimate.llm.predicted_time_low_s))
    assert cell.attainable_time_high_s == pytest.approx(float(estimate.llm.predicted_time_high_s))
    assert cell.attainable_time_low_s is not None
    assert cell.attainable_time_high_s is not None
    assert cell.attainable_time_low_s < cell.attainable_time_s < cell.attainable_time_high_s
    assert all(sample > 0 for sample in cell.samples_s)
    assert {verdict.layer: verdict.compared for verdict in found.verdicts}["time"] == len(
        found.cells
    )


def test_attention_is_named_by_the_kernels_that_ran(found: Validation) -> None:
    assert found.attention_kernels is not None
    assert found.attention_kernels["vision"] == ["flash"]
    assert found.attention_kernels["llm"] in (["flash"], ["math"])  # by torch: heads share keys


def test_where_an_allocator_counts_its_peak_stands_beside_the_analysis(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    only = Scene(9, 40, 1, "prumerge")
    monkeypatch.setattr(module, "scenes", lambda *_: [only])
    monkeypatch.setattr(module, "eager_look", lambda *_: EagerLook({"llm": ["cudnn"]}, 5e6))
    found = validate(device(), model="llava-tiny", device="cpu", seconds=0.1)
    (peak,) = [count for count in found.counts if count.witness == "allocator"]
    estimate = roofline.analyze(
        "llava-tiny", device(), "fp32", visual_tokens=9, text_tokens=40, reducer="prumerge"
    )

    assert (peak.component, peak.witnessed) == ("whole", 5e6)
    assert peak.analytic == float(estimate.end_to_end.peak_activation_bytes)
    assert found.attention_kernels == {"llm": ["cudnn"]}
    assert not any("keeps no count" in note for note in found.notes)


def test_laws_that_are_not_trusted_make_no_trusted_validation(
    found: Validation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever calibrated: a file of `roofline calibrate` says so in its conditions."""
    assert found.calibration_untrusted == ""
    monkeypatch.setattr(module, "scenes", lambda *_: [Scene(9, 40, 1, "prumerge")])
    doubtful = replace(LAWS, conditions="torch 2.13; untrusted: 9 of 40 kernels; the GPU was busy")
    again = validate(lawful("xeon", doubtful), model="llava-tiny", device="cpu", seconds=0.1)

    assert again.calibration_untrusted == "9 of 40 kernels; the GPU was busy"
    assert again.untrusted.startswith("calibration: 9 of 40 kernels; the GPU was busy")


def test_every_component_of_every_prompt_has_its_cells(found: Validation) -> None:
    sizes = {
        name: {(c.tokens, c.batch) for c in cells} for name, cells in found.by_component.items()
    }

    assert {(n, 1) for n in PROMPTS} <= sizes["llm"]
    assert {(n, 1) for n in PROMPTS} <= sizes["whole"]
    assert sizes["decode"] == {(80, 1), (616, 1)}
    assert len(sizes["reducer"]) == 1
    # vision sees the same images whatever the prompt: one cell for each batch
    assert len(found.by_component["vision"]) == 2
    assert found.complete
    assert found.inputs["model"] == "llava-tiny"
    assert found.took_s > 0


def cell(tokens: int, component: str = "vision", attainable_time_s: float = 1.0) -> TimedCell:
    return TimedCell(
        component=component,
        tokens=tokens,
        batch=1,
        attainable_time_s=attainable_time_s,
        roofline_time_s=0.5,
        samples_s=[float(tokens)],
    )


def test_samples_of_one_and_the_same_work_are_put_together() -> None:
    together = merged([cell(16), cell(24), cell(24, "llm"), cell(40, "vision", 2.0)])

    assert [(c.component, c.samples_s) for c in together] == [
        ("vision", [16.0, 24.0]),
        ("llm", [24.0]),
        ("vision", [40.0]),
    ]


def test_a_cell_is_disturbed_if_any_of_its_samples_may_be() -> None:
    noisy = replace(cell(24), disturbance="noise")

    assert [c.disturbance for c in merged([cell(16), noisy])] == ["noise"]
    assert [c.disturbance for c in merged([noisy, cell(16)])] == ["noise"]


def test_an_interrupted_validation_keeps_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(subjects: Any, *_: Any, **__: Any) -> dict[str, Measurement]:
        nothing = {subject.name: Measurement() for subject in subjects}
        first = subjects[0].name
        return nothing | {
            first: Measurement(spans={"llm": [0.5]}, total=[0.5], stopped="interrupted")
        }

    monkeypatch.setattr(module, "measure", cut)
    part = validate(device(), model="llava-tiny", device="cpu", seconds=1.0)

    assert not part.complete
    assert {c.component for c in part.cells} == {"llm", "whole"}


def test_calibration_comes_first_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    received: dict[str, Any] = {}

    def calibrated(torch_device: str, **options: Any) -> Any:
        received.update(options, torch_device=torch_device)
        return module.Calibration(device(), rows=[{"op": "copy", "time_s": 1e-6}], notes=["slow"])

    monkeypatch.setattr(module, "calibrate", calibrated)
    monkeypatch.setattr(module, "validate", lambda hardware, **options: (hardware, options))
    found, calibration = calibrate_and_validate(device="cpu", seconds=100.0)

    assert calibration == module.Calibration(
        device(), rows=[{"op": "copy", "time_s": 1e-6}], notes=["slow"]
    )
    assert received["modes"] == ["fp32"]
    assert found[0] == device()  # type: ignore[index]
    assert received["seconds"] + found[1]["seconds"] == 100.0  # type: ignore[index]
    assert found[1]["model"].name == "llava-small"  # type: ignore[index]
    received.clear()
    with pytest.raises(ScenarioError, match="vicuna-7b is no LMM"):
        calibrate_and_validate(model="vicuna-7b", device="cpu")
    assert not received


@pytest.mark.parametrize(
    ("kind", "given", "named"),
    [
        ("cpu", {"mode": "cuda-graph"}, "CUDA graphs need a CUDA device, not cpu"),
        ("cpu", {"mode": "quick"}, "unknown mode 'quick'"),
        ("cpu", {"quant": "fp7"}, "unknown quantization mode 'fp7'"),
        ("cpu", {"quant": "int4"}, "no kernels for int4 on cpu here"),
        ("cuda", {"quant": "w8a16"}, "no kernels for w8a16 on cuda here"),
        ("cuda", {"mode": "static-graph", "reducer": "fastv"}, "static-graph keeps one length"),
        ("cpu", {"reducer": "fastw"}, "unknown reducer 'fastw'"),
    ],
)
def test_what_cannot_run_is_refused_before_a_calibration(
    monkeypatch: pytest.MonkeyPatch, kind: str, given: dict[str, Any], named: str
) -> None:
    for at in (module, validation_request):
        monkeypatch.setattr(at, "checked_device", lambda _: torch.device(kind), raising=False)
    monkeypatch.setattr(modes, "CudaRecorder", lambda device: None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    monkeypatch.setattr(module, "calibrate", pytest.fail)
    asked = {"device": kind, "model": "llava-tiny", "reducer": "prumerge", "quant": None}

    with pytest.raises(InputError, match=named):
        calibrate_and_validate(**asked | given)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=named):
        about_validation(**{"hardware": None, "mode": "eager"} | asked | given)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"quant": None}, ["fp32"]),
        ({"quant": "bf16"}, ["bf16"]),
        ({"quant": "w4a16"}, ["bf16", "w4a16"]),
    ],
)
def test_a_calibration_measures_what_runs(given: dict[str, Any], expected: list[str]) -> None:
    assert ValidationRequest.of(device="cpu", **given).calibrated_modes == expected


def test_static_graphs_take_reducers_ahead_of_the_llm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation_request, "checked_device", lambda _: torch.device("cuda"))
    monkeypatch.setattr(modes, "CudaRecorder", lambda device: None)

    assert ValidationRequest.of(mode="static-graph").model.name == "llava-1.5-7b"
    assert ValidationRequest.of(mode="static-graph", reducer="none").quant == "fp16"


def test_what_cannot_be_validated_is_one_line() -> None:
    with pytest.raises(InputError, match=r"peaks alone.*roofline calibrate"):
        validate(replace(device(), kernel_laws=None), model="llava-tiny", device="cpu")
    with pytest.raises(ScenarioError, match="vicuna-7b is no LMM"):
        validate(device(), model="vicuna-7b", device="cpu")
    with pytest.raises(InputError, match="h100-sxm is a gpu, and this runs on a cpu"):
        validate("h100", model="llava-tiny", device="cpu")
    with pytest.raises(InputError, match="no cuda"):
        validate(device(), model="llava-tiny", device="cuda")
