"""What holds for every shipped model, device and mode, whatever the tokens."""

import itertools
import json
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from roofline import analyze
from roofline.engine.estimate import Estimate
from roofline.engine.result import Totals
from roofline.specs.catalog import (
    all_hardware,
    all_models,
    load_component,
    load_hardware,
    load_model,
    load_quantization,
    mode_outside_llm,
    quantization_modes,
)
from roofline.specs.hardware import Hardware
from roofline.specs.models import LanguageModel, Lmm, MlpConnector, Model, VisionEncoder

# Names and order of docs/accounting.md, restated
QUANTITIES = (
    *("flops", "vector_flops", "memory_access_bytes", "activation_store_bytes", "weight_bytes"),
    *("kv_cache_bytes", "peak_activation_bytes", "peak_memory_bytes", "arithmetic_intensity"),
    *("roofline_time_s", "attainable_time_s", "attainable_time_low_s", "attainable_time_high_s"),
    *("host_time_s", "elapsed_time_s", "elapsed_time_low_s", "elapsed_time_high_s"),
    *("energy_j", "energy_error_j", "power_w", "energy_bound_j", "bound", "fits"),
)
AMOUNTS = (
    *("flops", "vector_flops", "memory_access_bytes", "activation_store_bytes", "weight_bytes"),
    *("kv_cache_bytes", "peak_activation_bytes", "peak_memory_bytes", "roofline_time_s"),
)
"""Those of which less is better."""
SUMMED = (
    *("flops", "vector_flops", "memory_access_bytes", "activation_store_bytes"),
    "roofline_time_s",
)
INPUTS = (
    *("model", "hardware", "quant", "reducer", "visual_tokens", "pictures", "text_tokens", "batch"),
    *("output_tokens", "stage", "attention", "runtime", "kernels", "library", "accounting"),
)
SAVED = ("flops_saving", "memory_access_saving", "peak_memory_saving")
TRAFFIC = (
    *("weight_read_bytes", "activation_read_bytes", "activation_write_bytes"),
    *("kv_read_bytes", "kv_write_bytes"),
)
OP_COLUMNS = (
    *("component", "phase", "name", "layers", "kind", "count", "launches", "flops"),
    *("vector_flops", *TRAFFIC),
    *("roofline_time_s", "attainable_time_s", "attainable_error_s", "attainable_origin", "bound"),
    *("memory_access_bytes", "arithmetic_intensity"),
)
TIMES = ("tensor_time_s", "vector_time_s", "dram_time_s")
ROUNDING = 1e-12

MODES = (*quantization_modes(), "w8a8kv8", "w4a8kv4", "w3a16", "w4a8kv16")


def serves(device: Hardware, name: str) -> bool:
    mode = load_quantization(name)
    needed = (mode.compute, mode.attention_types, mode_outside_llm(mode).compute)
    return all(any(device.matmul_peak(t) for t in types) for types in needed)


PAIRS = [(d.name, m) for d, m in itertools.product(all_hardware(), MODES) if serves(d, m)]
LLMS = [
    m.name
    for m in all_models()
    if isinstance(m, LanguageModel) or (isinstance(m, Lmm) and m.image_tokens is None)
]
"""Those whose visual tokens are not at most what a picture gives."""
TOWERS = [m.name for m in all_models() if isinstance(m, VisionEncoder)]

# No deadline: the first call imports pandas and all. 60 examples a property keep this file quick.
settings.register_profile("properties", deadline=None, max_examples=60)
settings.load_profile("properties")

tokens = st.integers(1, 3000)


@st.composite
def requests(draw: st.DrawFn, *, least_output: int = 0) -> dict[str, Any]:
    """Arguments of `analyze`."""
    hardware, quant = draw(st.sampled_from(PAIRS))
    request: dict[str, Any] = {
        "model": draw(st.sampled_from(LLMS + TOWERS)),
        "hardware": hardware,
        "quant": quant,
        "attention": draw(st.sampled_from(["flash", "eager"])),
        "batch": draw(st.integers(1, 64)),
    }
    if request["model"] in LLMS:
        request |= {
            "visual_tokens": draw(tokens),
            "text_tokens": draw(st.integers(1, 500)),
            "stage": draw(st.sampled_from(["prefill", "decode", "generate"])),
            "output_tokens": draw(st.integers(least_output, 40)),
        }
        model = next(m for m in all_models() if m.name == request["model"])
        is_llama = isinstance(model, LanguageModel) and not model.unlike_llama
        device = load_hardware(hardware)
        # that convention computes what is not quantized in fp16, the rest in int8
        viewed = is_llama and device.matmul_peak("fp16") and device.matmul_peak("int8")
        if viewed and request["attention"] == "eager" and draw(st.booleans()):
            request["accounting"] = "llm-viewer"
    return request


llm_requests = requests().filter(lambda request: request["model"] in LLMS)


_UNITS = {"linear": "matmul", "experts": "matmul", "attention": "attention"}
"""What computes an op of a kind, where that is not the vector units."""


def parts(estimate: Estimate) -> dict[str, Totals]:
    return {**estimate.components, "end_to_end": estimate.end_to_end}


def test_every_model_and_device_takes_part() -> None:
    assert {hardware for hardware, _ in PAIRS} == {device.name for device in all_hardware()}
    assert {mode for _, mode in PAIRS} == set(MODES)
    others = {m.name for m in all_models() if isinstance(m, MlpConnector) or asks_for_pictures(m)}
    assert {*LLMS, *TOWERS} | others == {m.name for m in all_models()}


def asks_for_pictures(model: Model) -> bool:
    return isinstance(model, Lmm) and model.image_tokens is not None


@given(requests())
def test_no_component_is_faster_than_memory_or_arithmetic_allow(request: dict[str, Any]) -> None:
    estimate = analyze(**request)
    device = load_hardware(request["hardware"])

    for part, totals in estimate.components.items():
        peaks = estimate.device["peaks"][part]
        computing = dict.fromkeys(("matmul", "attention", "vector"), 0.0)
        for op in estimate.ops:
            if op.component == part:
                unit = _UNITS.get(op.kind, "vector")
                work = op.flops + (op.vector_flops if unit == "vector" else 0)
                computing[unit] += float(work) / peaks[f"{unit}_flops_per_s"]
        slack = 1 - ROUNDING
        assert totals.roofline_time_s >= slack * sum(computing.values())
        bandwidth = device.memory_bandwidth_gb_per_s.value * 1e9
        assert totals.roofline_time_s >= slack * float(totals.memory_access_bytes) / bandwidth


@given(requests(), st.floats(1, 100))
def test_more_bandwidth_is_never_slower(request: dict[str, Any], factor: float) -> None:
    device = load_hardware(request["hardware"])
    figure = device.memory_bandwidth_gb_per_s
    faster = replace(device, memory_bandwidth_gb_per_s=replace(figure, value=figure.value * factor))

    before, after = analyze(**request), analyze(**{**request, "hardware": faster})

    for part, totals in parts(after).items():
        assert totals.roofline_time_s <= parts(before)[part].roofline_time_s * (1 + ROUNDING)
        assert totals.flops == parts(before)[part].flops
        assert totals.memory_access_bytes == parts(before)[part].memory_access_bytes
        if parts(before)[part].bound == "compute":
            assert totals.bound == "compute"


@given(llm_requests, tokens)
def test_fewer_visual_tokens_never_cost_more(request: dict[str, Any], other: int) -> None:
    few, many = sorted((request["visual_tokens"], other))
    reduced, full = (analyze(**{**request, "visual_tokens": count}) for count in (few, many))

    for part, totals in parts(reduced).items():
        for name in AMOUNTS:
            most = getattr(parts(full)[part], name) * (1 + ROUNDING)
            assert getattr(totals, name) <= most, (part, name)
        assert totals.fits >= parts(full)[part].fits


@given(llm_requests)
def test_a_reduction_saves_or_changes_nothing(request: dict[str, Any]) -> None:
    comparison = analyze(**request).comparison
    if comparison is None:
        return

    for saving in (*comparison.components.values(), comparison.end_to_end):
        for name in (*SAVED, "roofline_speedup"):
            assert getattr(saving, name) >= 1 - ROUNDING, name


@given(requests())
def test_ops_sum_to_totals(request: dict[str, Any]) -> None:
    estimate = analyze(**request)

    for part, totals in estimate.components.items():
        ops = [op for op in estimate.ops if op.component == part]
        for name in ("flops", "vector_flops", "memory_access_bytes", "roofline_time_s"):
            expected = sum(getattr(op, name) for op in ops)
            assert getattr(totals, name) == pytest.approx(expected, rel=1e-12)
        stored = sum(op.activation_write_bytes for op in ops)
        assert totals.activation_store_bytes == pytest.approx(stored, rel=1e-12)


@given(requests())
def test_traffic_of_an_op_is_the_sum_of_its_kinds(request: dict[str, Any]) -> None:
    for op in analyze(**request).ops:
        kinds = sum(getattr(op, name) for name in TRAFFIC)
        assert op.memory_access_bytes == pytest.approx(kinds, rel=1e-12)


@given(requests())
def test_an_op_takes_as_long_as_its_slowest_resource(request: dict[str, Any]) -> None:
    for op in analyze(**request).ops:
        slowest = max(op.resource_times_s.values(), default=0.0)
        assert op.roofline_time_s >= slowest * (1 - ROUNDING)
        if op.phase == "prefill":  # of a generation's steps, each has a slowest of its own
            assert op.roofline_time_s == pytest.approx(slowest, rel=1e-12)


@given(requests())
def test_components_sum_to_end_to_end(request: dict[str, Any]) -> None:
    estimate = analyze(**request)
    components, whole = estimate.components.values(), estimate.end_to_end

    for name in (*SUMMED, "weight_bytes", "kv_cache_bytes"):
        parts = [getattr(part, name) for part in components]
        assert getattr(whole, name) == pytest.approx(sum(parts), rel=1e-12)
    # components run one after the other: of their live activations only the largest counts
    assert whole.peak_activation_bytes == max(part.peak_activation_bytes for part in components)


@given(requests())
def test_derived_figures_follow_from_the_others(request: dict[str, Any]) -> None:
    estimate = analyze(**request)
    capacity = load_hardware(request["hardware"]).memory_capacity_gib.value * 2**30

    for totals in parts(estimate).values():
        resident = totals.weight_bytes + totals.kv_cache_bytes + totals.peak_activation_bytes
        assert totals.peak_memory_bytes == resident
        assert totals.fits == (resident <= capacity)
        if totals.memory_access_bytes:
            assert totals.arithmetic_intensity == totals.flops / totals.memory_access_bytes
        else:
            assert totals.arithmetic_intensity == 0
        computing = 2 * totals.bound_times_s["compute"] >= totals.roofline_time_s
        assert totals.bound == ("compute" if computing else "memory")


def expands_its_cache(name: str) -> bool:
    """Whether an LLM, or that of an LMM, has latent attention."""
    model = load_model(name)
    llm = load_component(model.llm, LanguageModel) if isinstance(model, Lmm) else model
    return isinstance(llm, LanguageModel) and llm.mla is not None


@given(requests())
def test_flash_never_moves_more_than_eager_and_computes_the_same(request: dict[str, Any]) -> None:
    exact = {k: v for k, v in request.items() if k != "accounting"}
    flash, eager = (analyze(**{**exact, "attention": kind}) for kind in ("flash", "eager"))

    for part, totals in parts(flash).items():
        other = parts(eager)[part]
        assert totals.memory_access_bytes <= other.memory_access_bytes
        assert totals.activation_store_bytes <= other.activation_store_bytes
        # keys and values that are expanded for one kernel live until both are read
        if not expands_its_cache(request["model"]):
            assert totals.peak_activation_bytes <= other.peak_activation_bytes
        assert totals.roofline_time_s <= other.roofline_time_s * (1 + ROUNDING)
        assert totals.flops == other.flops
        assert totals.vector_flops == other.vector_flops
        assert totals.kv_cache_bytes == other.kv_cache_bytes


@given(llm_requests, st.sampled_from(["int4", "w4a16", "int8"]))
def test_quantization_never_takes_more_memory_than_16_bit(
    request: dict[str, Any], quant: str
) -> None:
    exact = {k: v for k, v in request.items() if k != "accounting"} | {"hardware": "a100"}
    narrow, wide = (analyze(**{**exact, "quant": name}) for name in (quant, "fp16"))

    for part, one in parts(narrow).items():
        other = parts(wide)[part]
        for name in ("weight_bytes", "kv_cache_bytes", "peak_memory_bytes", "memory_access_bytes"):
            assert getattr(one, name) <= getattr(other, name)
        assert one.flops == other.flops
    assert narrow.llm.weight_bytes < wide.llm.weight_bytes


@given(requests(least_output=1), st.booleans())
def test_the_json_document(request: dict[str, Any], per_op: bool) -> None:
    document = analyze(**request).to_dict(per_op=per_op)

    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert tuple(document) == (
        *("inputs", "device", "components", "end_to_end", "comparison", "reducer"),
        *(["ops"] if per_op else []),
        "launch_bound_tokens",
    )
    assert tuple(document["inputs"]) == INPUTS
    tables = [document["end_to_end"], *document["components"].values()]
    comparison = document["comparison"]
    if comparison is not None:
        assert set(comparison) == {
            *(
                "full_visual_tokens",
                "full_fits",
                "speedup",
                "roofline_speedup",
                "tie",
                "reducer_share",
            ),
            *("components", "end_to_end", "full_components", "full_end_to_end"),
        }
        assert list(comparison["full_components"]) == list(document["components"])
        tables += [comparison["full_end_to_end"], *comparison["full_components"].values()]
        assert list(comparison["components"]) == list(document["components"])
        for saving in (comparison["end_to_end"], *comparison["components"].values()):
            assert set(saving) == {
                *(*SAVED, "speedup", "tie"),
                *("roofline_speedup", "attainable_speedup", "elapsed_speedup"),
            }
    for table in tables:
        assert tuple(table) == QUANTITIES
    for op in document.get("ops", []):
        assert tuple(name for name in op if name != "resource_times_s") == OP_COLUMNS
        assert set(op["resource_times_s"]) <= {"tensor", "vector", "dram"}


def test_no_output_at_all_is_still_json() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        document = analyze("vicuna-7b", "v100", stage="generate", output_tokens=0).to_dict(
            per_op=True
        )

    assert json.loads(json.dumps(document, allow_nan=False)) == document
    idle = [op for op in document["ops"] if op["phase"] == "decode"]
    assert idle
    assert {op["arithmetic_intensity"] for op in idle} <= {0, None}


def test_the_json_of_a_sweep_nests_like_its_axes() -> None:
    estimate = analyze("llava-1.5-7b", "v100", visual_tokens=[[40], [576]], batch=[1, 2, 4])
    document = estimate.to_dict(per_op=True)

    assert json.loads(json.dumps(document, allow_nan=False)) == document
    cell = analyze("llava-1.5-7b", "v100", visual_tokens=576, batch=4).to_dict()
    documented = {**document["components"], "end_to_end": document["end_to_end"]}
    for part, figures in documented.items():
        single = cell["components"].get(part, cell["end_to_end"])
        # kernels alone, and a device without a law of energy
        unknown = {name for name in QUANTITIES if name.startswith(("host", "elapsed", "energy"))}
        unknown = (unknown | {"power_w"}) - {"energy_bound_j"}
        assert all(figures[name] is single[name] is None for name in unknown)
        for name in set(QUANTITIES) - unknown:
            assert np.shape(figures[name]) == (2, 3)
            assert figures[name][1][2] == single[name]
    assert document["inputs"]["visual_tokens"] == [[40], [576]]


@given(requests())
@settings(max_examples=30)
def test_the_frame_of_ops(request: dict[str, Any]) -> None:
    estimate = analyze(**request)
    frame = estimate.ops_frame()

    needed = {name for op in estimate.ops for name in op.columns()}  # a convention has no vector
    assert tuple(frame.columns) == (*OP_COLUMNS, *(name for name in TIMES if name in needed))
    assert len(frame) == len(estimate.ops)
    assert not frame.duplicated(["component", "phase", "name", "layers"]).any()
    assert set(frame["component"]) <= set(estimate.components)
    assert set(frame["phase"]) <= {"prefill", "decode"}
    assert set(frame["bound"]) <= {"compute", "memory"}
    assert frame["count"].dtype == int
    assert (
        frame[[*(name for name in TIMES if name in needed)]].max(axis=1)
        <= frame["roofline_time_s"] * (1 + ROUNDING)
    ).all()
    assert frame["flops"].sum() == pytest.approx(estimate.end_to_end.flops, rel=1e-12)


def test_the_frame_of_a_sweep_has_the_axes_as_columns() -> None:
    batches, visual = [1, 2], [40, 144, 576]
    frame = analyze(
        "vicuna-7b", "v100", visual_tokens=visual, batch=[[batch] for batch in batches]
    ).ops_frame()

    assert tuple(frame.columns) == (*INPUTS, *OP_COLUMNS, *TIMES)
    for batch, count in itertools.product(batches, visual):
        cell = frame[(frame["batch"] == batch) & (frame["visual_tokens"] == count)]
        single = analyze("vicuna-7b", "v100", visual_tokens=count, batch=batch).ops_frame()
        columns = list(single.columns)
        assert cell[columns].reset_index(drop=True).equals(single)
        assert set(cell["model"]) == {"vicuna-7b"}


def test_names_of_ops_are_those_of_the_hugging_face_modules() -> None:
    frame = analyze("llava-1.5-7b", "v100").ops_frame()
    names = {part: set(rows["name"]) for part, rows in frame.groupby("component")}

    assert names["llm"] >= {
        *("embed_tokens", "rotary_emb", "input_layernorm", "q_proj", "k_proj", "v_proj", "o_proj"),
        *("post_attention_layernorm", "gate_proj", "up_proj", "act_fn", "down_proj", "norm"),
        "lm_head",
    }
    assert names["vision"] >= {
        *("patch_embedding", "position_embedding", "pre_layrnorm", "layer_norm1", "q_proj"),
        *("k_proj", "v_proj", "out_proj", "layer_norm2", "fc1", "activation_fn", "fc2"),
    }
    assert names["connector"] == {"linear_1", "act", "linear_2"}
