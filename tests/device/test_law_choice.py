"""Attainable time in an analysis: which law goes where, and how laws add up."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from made_up import bare, lawful, toy_laws
from msgspec.structs import replace

import roofline
from roofline.device.borrowed import borrowing_errors
from roofline.device.law_choice import CONVOLUTION_SHARE, LawChoice
from roofline.device.laws.attention import AttentionLaw, attention_seconds
from roofline.device.laws.host import HostLaw
from roofline.device.laws.matmul import MatmulLaw, matmul_seconds
from roofline.device.laws.pointwise import PointwiseLaw, pointwise_seconds
from roofline.device.peaks import component_peaks
from roofline.device.roof import Roof
from roofline.engine.accounting import exact
from roofline.engine.estimate import Estimate
from roofline.engine.layout import lay_out
from roofline.engine.price import PricePlan
from roofline.engine.result import OpTotals
from roofline.engine.run import Run
from roofline.errors import UnsupportedModeError
from roofline.model.autocast import CONVOLUTION
from roofline.model.polynomial import Point, Polynomial
from roofline.specs.catalog import load_hardware, load_quantization
from roofline.specs.hardware import Hardware
from roofline.specs.kernel_laws import KernelLaws

FIT: dict[str, Any] = {"rows": 1, "median_error_percent": 0.0, "p90_error_percent": 0.0}
MICRO = 1e-6


TOY = toy_laws("bf16", tile=64, vector_gb_per_s=900.0)
ATTENTION: AttentionLaw = TOY.of(AttentionLaw)["bf16"]


def matmul_law(launch_us: float) -> MatmulLaw:
    return replace(TOY.of(MatmulLaw)["bf16"], launch_us=launch_us)


LAWS = replace(
    TOY,
    families={
        "matmul": {"bf16": matmul_law(2.0), "w4a16": matmul_law(5.0)},
        "attention": {"bf16": ATTENTION},
        "pointwise": {
            "default": PointwiseLaw(**FIT, launch_us=1.0, bandwidth_gb_per_s=900.0),
            "norm": PointwiseLaw(**FIT, launch_us=10.0, bandwidth_gb_per_s=500.0),
            "layer_norm": PointwiseLaw(**FIT, launch_us=20.0, bandwidth_gb_per_s=700.0),
        },
        "host": {
            "vision": HostLaw(fixed_us=100.0, layer_us=10.0),
            "llm": HostLaw(fixed_us=1000.0, layer_us=50.0),
            "decode": HostLaw(fixed_us=200.0, layer_us=40.0),
        },
    },
)


def device(laws: KernelLaws | None = LAWS, **changes: Any) -> Hardware:
    return lawful("a100", laws, **changes) if laws else replace(bare("a100"), **changes)


def estimate(hardware: Hardware | None = None, quant: str = "bf16", **options: Any) -> Estimate:
    given: dict[str, Any] = {"visual_tokens": 40, **options}
    return roofline.analyze("llava-1.5-7b", hardware or device(), quant, **given)


def op(found: Estimate, name: str, component: str = "llm") -> OpTotals:
    return next(r for r in found.ops if (r.name, r.component) == (name, component))


def test_without_laws_there_is_no_attainable_time() -> None:
    bare = estimate(device(None))

    for part in (bare.end_to_end, *bare.components.values()):
        assert part.attainable_time_s is part.host_time_s is part.elapsed_time_s is None
        assert part.attainable_time_low_s is part.attainable_time_high_s is None
    assert bare.to_dict()["end_to_end"]["attainable_time_s"] is None
    assert bare.end_to_end.roofline_time_s == estimate().end_to_end.roofline_time_s
    assert bare.device["kernel_laws"] is None


def test_each_kernel_takes_what_its_own_law_says() -> None:
    found = estimate()
    a100 = Roof.of(device(), "bf16")
    # up_proj: [80, 4096] @ [4096, 11008] in 2 bytes, 32 times
    up = matmul_seconds(
        LAWS.of(MatmulLaw)["bf16"],
        a100,
        80,
        11008,
        4096,
        weight_bytes=2 * 4096 * 11008,
        activation_bytes=2 * 80 * (4096 + 11008),
    )
    # 32 heads of 128 that 80 queries and 80 keys share: q, k, v and the output
    attention = attention_seconds(
        ATTENTION, a100, 1, 80, 80, 32, 32, 128, causal=True, traffic_bytes=2 * 4 * 80 * 4096
    )
    vector = replace(a100, flops_per_s=19.5e12)
    norm = pointwise_seconds(
        LAWS.of(PointwiseLaw)["norm"], vector, traffic_bytes=2 * (2 * 80 + 1) * 4096
    )

    assert op(found, "up_proj").attainable_time_s == pytest.approx(32 * float(up), rel=1e-12)
    assert op(found, "attention").attainable_time_s == pytest.approx(32 * float(attention))
    assert op(found, "input_layernorm").attainable_time_s == pytest.approx(32 * float(norm))


@pytest.mark.parametrize("known", [True, False])
def test_laws_fill_the_units_and_the_cache_that_the_file_gives(known: bool) -> None:
    """One unit and no cache where it gives none."""
    unknown: dict[str, Any] = {} if known else {"sm_count": None, "l2_cache_mib": None}
    # weights of up_proj are 90 MB, half in the 40 MiB of a cache twice as large
    cached: dict[str, Any] = {"cached_bandwidth_ratio": 4.0, "cached_weights_share": 2.0}
    law = replace(matmul_law(2.0), wave_overhead=0.2, **cached)
    laws = LAWS.updated(matmul={"bf16": law})
    found = op(estimate(device(laws, **unknown)), "up_proj").attainable_time_s
    units, cache = (108, 40 * 2**20) if known else (1, 0)
    up = matmul_seconds(
        laws.of(MatmulLaw)["bf16"],
        Roof(flops_per_s=312e12, bytes_per_s=2039e9, units=units, cache_bytes=cache),
        80,
        11008,
        4096,
        weight_bytes=2 * 4096 * 11008,
        activation_bytes=2 * 80 * (4096 + 11008),
    )
    assert found == pytest.approx(32 * float(up), rel=1e-12)


def test_a_kernel_unlike_its_kind_has_a_law_of_its_own() -> None:
    bf16, w4a16 = estimate(), estimate(quant="w4a16")
    launches = 32 * 3 * MICRO  # 5 − 2 µs

    for name in ("q_proj", "lm_head"):
        narrow, wide = (op(each, name).attainable_time_s for each in (w4a16, bf16))
        if name == "lm_head":  # not quantized
            assert narrow == wide
        else:  # fewer bytes, but a slower launch
            assert narrow < wide + launches
    # 23 layers of LayerNorm at 20 µs a launch: not what RMSNorm takes
    assert op(bf16, "layer_norm1", "vision").attainable_time_s > 23 * 20 * MICRO


@pytest.mark.parametrize("quant", ["fp16", "int8", "fp32"])
def test_a_type_without_a_law_takes_that_of_the_likest(quant: str) -> None:
    found = estimate(quant=quant)

    assert np.isfinite(found.end_to_end.attainable_time_s)
    assert found.llm.attainable_time_s >= found.llm.roofline_time_s


@pytest.mark.parametrize("reducer", [None, "prumerge", "tome", "fastv", "divprune"])
@pytest.mark.parametrize("stage", ["prefill", "decode", "generate"])
@pytest.mark.parametrize("attention", ["flash", "eager"])
def test_no_kernel_is_below_the_roofline_and_they_add_up(
    reducer: str | None, stage: str, attention: str
) -> None:
    steps = 3 if stage == "generate" else 0
    found = estimate(reducer=reducer, stage=stage, attention=attention, output_tokens=steps)

    table = found.ops
    causal = {"attention"} if attention == "flash" else set()
    for row in table:
        # the bound counts attention dense; a causal kernel computes half of it
        floor = 0.5 if row.name in causal else 1.0
        assert row.attainable_time_s >= floor * row.roofline_time_s * (1 - 1e-12), row.name
    total = sum(row.attainable_time_s for row in table)
    assert found.end_to_end.attainable_time_s == pytest.approx(total, rel=1e-12)


def test_a_host_of_its_own_works_beside_the_kernels() -> None:
    prefill = estimate()
    generate = estimate(stage="generate", output_tokens=10)
    per_prompt, per_step = (1000 + 32 * 50) * MICRO, (200 + 32 * 40) * MICRO

    assert prefill.llm.host_time_s == pytest.approx(per_prompt)
    assert prefill.components["vision"].host_time_s == pytest.approx((100 + 23 * 10) * MICRO)
    assert prefill.components["connector"].host_time_s == 0
    assert generate.llm.host_time_s == pytest.approx(per_prompt + 10 * per_step)
    assert prefill.llm.elapsed_time_s is None  # kernels alone
    eager = estimate(runtime="eager")
    for part in eager.components.values():
        assert part.host_time_s is not None
        assert part.elapsed_time_s == max(part.attainable_time_s, part.host_time_s)
    assert eager.end_to_end.elapsed_time_s == sum(
        part.elapsed_time_s for part in eager.components.values()
    )
    assert eager.device["host"]["origin"] == "measured"


def test_what_a_host_takes_is_unknown_where_nobody_measured_it() -> None:
    found = estimate(device(LAWS.updated(host={})))

    for part in (found.end_to_end, *found.components.values()):
        assert part.attainable_time_s is not None
        assert part.host_time_s is part.elapsed_time_s is None
    assert found.to_dict()["end_to_end"]["host_time_s"] is None


def test_a_cpu_waits_for_itself() -> None:
    kernels = estimate(device(LAWS.updated(host={}), kind="cpu")).llm
    everything = estimate(device(kind="cpu")).llm

    spent = (1000 + 32 * 50) * MICRO
    assert everything.attainable_time_s == pytest.approx(kernels.attainable_time_s + spent)
    assert everything.host_time_s == 0
    eager = estimate(device(kind="cpu"), runtime="eager").llm
    assert eager.elapsed_time_s == eager.attainable_time_s == everything.attainable_time_s
    assert eager.host_time_s == 0


def test_llm_viewer_accounting_has_no_laws() -> None:
    found = roofline.analyze(
        "vicuna-7b", device(), "fp16", visual_tokens=40, accounting="llm-viewer"
    )

    assert found.llm.attainable_time_s is None


def choice(mode: str = "bf16") -> tuple[LawChoice, Point]:
    """The laws of Vicuna's prefill, and a prompt of 80."""
    layout = lay_out("vicuna-7b")
    (counts,) = exact.count(layout, load_quantization(mode))
    peaks = component_peaks(device(), counts, mode)
    given = {"visual_tokens": 40.0, "text_tokens": 40.0, "batch": 1.0}
    point = Point({name: np.asarray(value) for name, value in given.items()}, layout.derived)
    return LawChoice(LAWS, counts, peaks), point


@pytest.mark.parametrize("launches", [1, 2, 7])
def test_an_op_of_several_kernels_pays_a_launch_for_each(launches: int) -> None:
    laws, point = choice()
    kinds = set()
    for op in laws.counts.ops:
        once, often = laws.seconds(op), laws.seconds(replace(op, launches=launches))
        assert once is not None
        assert often is not None
        kinds.add(op.unit)
        # a microsecond: what the device takes to launch a kernel that does next to nothing
        assert often(point) == pytest.approx(once(point) + (launches - 1) * MICRO, rel=1e-14)
    assert kinds == {"matmul", "attention", "vector"}


def test_a_reducer_of_many_small_kernels_is_mostly_launches() -> None:
    vector = replace(Roof.of(device(), "bf16"), flops_per_s=19.5e12)
    law = LAWS.families["pointwise"]["default"]
    every = [row for row in estimate(visual_tokens=144, reducer="ats").ops if row.launches > 1]
    found = [row for row in every if row.kind == "reduction" and not row.flops]

    assert max(row.launches for row in found) > 10
    for row in found:
        once = pointwise_seconds(
            law,
            vector,
            traffic_bytes=row.memory_access_bytes / row.count,
            flops=(row.flops + row.vector_flops) / row.count,
        )
        each = float(once) + (row.launches - 1) * MICRO
        assert row.attainable_time_s == pytest.approx(row.count * each, rel=1e-12), row.name


def test_launches_add_up_in_the_total_and_leave_the_roofline() -> None:
    laws, point = choice()
    counts = laws.counts
    (norm,) = [op for op in counts.ops if op.name == "input_layernorm"]
    split = replace(norm, launches=4)
    rows = tuple(split if op is norm else op for op in counts.ops)
    one, four = (
        dict(zip(plan.outputs, plan.evaluate(point), strict=True))
        for plan in (
            PricePlan(counts, laws.peaks, laws),
            PricePlan(
                replace(counts, ops=rows),
                laws.peaks,
                LawChoice(LAWS, replace(counts, ops=rows), laws.peaks),
            ),
        )
    )

    # three launches more in each of 32 layers
    assert four["attainable_time_s"] == pytest.approx(one["attainable_time_s"] + 32 * 3 * MICRO)
    for name in ("flops", "memory_access_bytes", "roofline_time_s"):
        assert four[name] == one[name]


def test_a_shape_that_no_law_goes_for_has_none() -> None:
    laws, _ = choice()
    (up,) = [op for op in laws.counts.ops if op.name == "up_proj"]

    assert laws.law(replace(up, shape=None)) is None
    assert laws.seconds(replace(up, shape=None)) is None
    assert laws.seconds(replace(up, shape=None, launches=3)) is None


def test_a_vector_op_computes_matrix_products_and_all_else_at_the_vector_peak() -> None:
    laws, point = choice()
    (norm,) = [op for op in laws.counts.ops if op.name == "input_layernorm"]
    sums = {"flops": Polynomial.of(3e15), "vector_flops": Polynomial.of(0.9e15)}
    seconds = laws.seconds(replace(norm, amounts=replace(norm.amounts, **sums)))

    assert seconds is not None
    assert seconds(point) == pytest.approx(3.9e15 / 19.5e12, rel=1e-12)


def test_a_matmul_of_one_shape_takes_as_long_wherever_it_is_asked_for() -> None:
    laws, point = choice()
    (up,) = [op for op in laws.counts.ops if op.name == "up_proj"]
    seconds = laws.seconds(up)
    assert seconds is not None

    def at(*visual_tokens: float) -> Any:
        values = {"visual_tokens": np.array(visual_tokens), "text_tokens": 40.0, "batch": 1.0}
        arrays = {name: np.asarray(value) for name, value in values.items()}
        return seconds(Point(arrays, lay_out("vicuna-7b").derived))

    one, other = float(seconds(point)), float(at(5000.0)[0])
    assert other > 5 * one
    assert at(40.0, 40.0, 40.0).tolist() == [one] * 3
    assert at(40.0, 5000.0).tolist() == pytest.approx([one, other], rel=1e-14)
    assert at(5000.0, 5000.0).tolist() == [other] * 2


def test_each_law_says_where_it_is_from_or_else_all_of_them_do() -> None:
    borrowed = replace(matmul_law(2.0), origin="typical")
    found = estimate(device(LAWS.updated(matmul={"bf16": borrowed})))

    assert op(found, "up_proj").attainable_origin == "typical"
    assert op(found, "input_layernorm").attainable_origin == "measured"
    assert op(found, "attention").attainable_origin == "measured"


@pytest.mark.parametrize(
    ("library", "expected"), [("one", 0.1), ("one 1.0", 0.1), ("other", 0.4), (None, 0.4)]
)
def test_an_op_is_off_what_its_law_is_on_kernels_of_the_library(
    library: str | None, expected: float
) -> None:
    laws, _ = choice()
    of_one = {"library": "one 1.0", "p90_error_percent": 10.0}
    law = replace(matmul_law(2.0), **of_one, p90_other_library_error_percent=40.0)
    known = LawChoice(LAWS.updated(matmul={"bf16": law}), laws.counts, laws.peaks, library)
    (up,) = [op for op in laws.counts.ops if op.name == "up_proj"]
    assert known.error(up) == expected
    assert known.error(replace(up, shape=None)) == 0  # no law, no error


def test_matmuls_of_attention_go_by_the_type_of_attention() -> None:
    """Of a mode whose eager scores and values are in 16 bits, and whose linear layers are in 8."""
    laws = LAWS.updated(matmul={"bf16": matmul_law(2.0), "w8a8": matmul_law(50.0)})
    (counts,) = exact.count(lay_out("vicuna-7b", attention="eager"), load_quantization("int8"))
    counts = replace(counts, attention_types=("bf16",))
    peaks = component_peaks(device(laws), counts, "int8")
    choice = LawChoice(laws, counts, peaks)
    launch_us = {
        (row.unit, law.launch_us)
        for row in counts.ops
        if isinstance(law := choice.law(row), MatmulLaw)
    }
    assert launch_us == {("matmul", 50.0), ("attention", 2.0)}


@pytest.mark.parametrize(("own", "expected"), [(True, 19.5e12), (False, 312e12)])
def test_vector_ops_have_a_peak_of_their_own_unless_a_convention_has_but_one(
    own: bool, expected: float
) -> None:
    (counts,) = exact.count(lay_out("vicuna-7b"), load_quantization("bf16"))
    peaks = component_peaks(device(), replace(counts, vector_peak=own), "bf16")
    assert peaks.vector_flops_per_s == expected


def test_a_mode_without_a_peak_is_refused_with_those_that_have_one() -> None:
    """A V100 has fp16 tensor cores, fp32 and dp4a; what falls back to those is served, too."""
    (counts,) = exact.count(lay_out("vicuna-7b"), load_quantization("fp8"))
    message = r"^v100 has no fp8 peak, which fp8 computes in; it serves (.*)$"
    with pytest.raises(UnsupportedModeError, match=message) as caught:
        component_peaks(load_hardware("v100"), counts, "fp8")
    assert str(caught.value).split("serves ")[1].split(", ") == [
        *("fp32", "fp16", "int8", "int4", "w8a16", "w4a16")
    ]


def test_a_convolution_of_three_channels_is_a_matmul_at_what_vector_units_do() -> None:
    """Of its own type: it errs as another wide type does, not as one that is narrow."""
    counts = exact.count(lay_out("llava-1.5-7b", kernels="autocast"), load_quantization("bf16"))[0]
    peaks = component_peaks(device(), counts, "bf16")
    laws = LawChoice(LAWS, counts, peaks)
    (patches,) = [op for op in counts.ops if op.kernel == CONVOLUTION]
    law = laws.law(patches)

    assert isinstance(law, MatmulLaw)
    assert law.rate_ratio == pytest.approx(CONVOLUTION_SHARE * 19.5 / 312)
    assert law.origin == "typical"
    errors = borrowing_errors().other_type["matmul"]
    assert (law.median_error_percent, law.p90_error_percent) == (
        errors.median_percent,
        errors.p90_percent,
    )


@pytest.mark.parametrize(
    ("quant", "component", "origin"),
    [
        ("w16a16kv8", "llm", "fitted"),
        ("w16a16kv4", "llm", "typical"),  # which no table has
        ("w16a16kv8", "vision", "fitted"),  # an encoder has no cache
    ],
)
def test_a_cache_that_nobody_measured_has_the_law_of_another(
    quant: str, component: str, origin: str
) -> None:
    found = roofline.analyze("llava-1.5-7b", "h100-sxm", quant, stage="generate", output_tokens=1)
    plans = {
        plan.counts.component: plan for case in Run(found.scenario).cases for plan in case.plans
    }
    plan = plans[component]
    assert isinstance(plan, PricePlan)
    assert plan.laws is not None
    laws = [plan.laws.law(op) for op in plan.counts.ops if op.unit == "attention"]
    assert {law.origin for law in laws if law} == {origin}
