"""Costs × device → time and bound, on a model and a device small enough to do by hand."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from roofline import analyze, sweep
from roofline.device.laws.attention import AttentionLaw
from roofline.device.laws.host import HostLaw
from roofline.device.laws.matmul import MatmulLaw, Tile
from roofline.device.laws.pointwise import PointwiseLaw
from roofline.engine import price as engine
from roofline.engine.estimate import Estimate
from roofline.engine.result import QUANTITIES, Totals
from roofline.errors import ScenarioError, UnsupportedModeError
from roofline.model.polynomial import Point, Polynomial
from roofline.specs.catalog import load_hardware
from roofline.specs.hardware import Hardware, MatmulPeaks
from roofline.specs.kernel_laws import KernelLaws
from roofline.specs.models import LanguageModel, Lmm, MlpConnector, VisionEncoder
from roofline.specs.sourced import Peak, Sourced

ADDITIVE = ("flops", "vector_flops", "memory_access_bytes", "activation_store_bytes", "time_s")
STAGES = ("prefill", "decode", "generate")
GIBI = 2**30


def figure(value: float) -> Sourced:
    return Sourced(value=value, source="test")


FIT: dict[str, Any] = {"rows": 1, "median_error_percent": 1.0, "p90_error_percent": 2.0}
LAWS = KernelLaws(
    origin="measured",
    source="test",
    date="2026-01-01",
    conditions="made up",
    families={
        "matmul": {
            "fp16": MatmulLaw(
                **FIT,
                launch_us=2.0,
                tiles=(
                    Tile(rows=4, columns=8, efficiency=0.5),
                    Tile(rows=8, columns=8, efficiency=0.7),
                ),
                bandwidth_fraction=0.8,
            )
        },
        "attention": {
            "fp16": AttentionLaw(
                **FIT,
                launch_us=3.0,
                block_us=1.0,
                efficiency=0.5,
                head_dim_power=0.5,
                longest_share=0.1,
                fill_keys=4.0,
                bandwidth_fraction=0.5,
            )
        },
        "pointwise": {"default": PointwiseLaw(**FIT, launch_us=1.0, bandwidth_gb_per_s=0.5)},
        "host": {
            "llm": HostLaw(fixed_us=7.0, layer_us=2.0),
            "decode": HostLaw(fixed_us=3.0, layer_us=1.0),
        },
    },
)


def device(**changes: Any) -> Hardware:
    """1 GB/s, 2 GFLOP/s in matmuls, 1 GFLOP/s otherwise: times come out in whole nanoseconds."""
    fields: dict[str, Any] = {
        "kind": "gpu",
        "memory_capacity_gib": figure(1),
        "memory_bandwidth_gb_per_s": figure(1),
        "matmul_peaks": MatmulPeaks(fp16_tflops=Peak(value=0.002, source="test")),
        "vector_peak_fp32_tflops": figure(0.001),
        "sources": {"test": "made up"},
        "kernel_laws": LAWS,
    }
    words = dict.fromkeys(("name", "title", "vendor", "architecture"), "toy")
    return Hardware(**(words | fields | changes))


def llm(**changes: Any) -> LanguageModel:
    """D = 8, 2 heads of 4, 1 KV head, intermediate 16, vocabulary 10, 2 layers."""
    fields: dict[str, Any] = {
        "hidden_size": 8,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "intermediate_size": 16,
        "vocab_size": 10,
    }
    return LanguageModel(name="toy", title="Toy", source="made up", **(fields | changes))


def lmm(layers: int = 3, **changes: Any) -> Lmm:
    """A ViT of `layers` blocks on 3 × 3 patches, all of which are run; connector and LLM."""
    vision = VisionEncoder(
        name="toy-vit",
        title="Toy",
        source="made up",
        hidden_size=8,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=16,
        image_size_px=12,
        patch_size_px=4,
    )
    connector = MlpConnector(name="toy-connector", title="Toy", source="made up")
    fields: dict[str, Any] = {
        "vision": vision,
        "connector": connector,
        "llm": llm(),
        "vision_feature_layer": -1,
    }
    return Lmm(name="toy-lmm", title="Toy", source="made up", **(fields | changes))


def toy(model: Any = None, hardware: Any = None, **options: Any) -> Estimate:
    given = {"visual_tokens": 2, "text_tokens": 3} | options
    return analyze(model or llm(), hardware or device(), **given)


def figures(totals: Totals) -> dict[str, Any]:
    return {name: getattr(totals, name) for name in QUANTITIES}


# Prefill of 2 visual and 3 text tokens in fp16 (2 bytes): matmul ns, vector ns, elements moved.
# Reads + writes + weights; a matmul-class op takes max(FLOPs / 2, vector FLOPs, bytes) ns, a
# vector op max(vector FLOPs, bytes) ns.
PREFILL = {
    # 3 rows of the embedding, written
    "embed_tokens": (1, 0, 0, 24 + 24),
    # [5, 4]: outer product of 5·2, cosine and sine of 20 each; 40 written
    "rotary_emb": (1, 0, 10 + 40, 40),
    # [5, 8] → [5, 8] with a weight of 8, 4 FLOPs an element
    "input_layernorm": (2, 0, 160, 40 + 40 + 8),
    # [5, 8] @ [8, 8] → [5, 8]
    "q_proj": (2, 640, 0, 40 + 64 + 40),
    # [5, 8] @ [8, 4] → [5, 4], to the KV cache
    "v_proj": (2, 320, 0, 40 + 32 + 20),
    "k_proj": (2, 320, 0, 40 + 32 + 20),
    # q 40, k 20, cosines and sines 2·20 → q 40, k 20; 3 FLOPs for each of 60
    "apply_rotary_pos_emb": (2, 0, 180, 40 + 20 + 40 + 40 + 20),
    # scores [2, 5, 5] = 50: 2·50·4 FLOPs twice, 5 vector FLOPs each; q 40, K and V 2·20, out 40
    "attention": (2, 800, 250, 40 + 40 + 40),
    "o_proj": (2, 640, 0, 40 + 64 + 40),
    "attention_residual": (2, 0, 40, 40 + 40 + 40),
    "post_attention_layernorm": (2, 0, 160, 40 + 40 + 8),
    # [5, 8] @ [8, 16] → [5, 16]
    "gate_proj": (2, 1280, 0, 40 + 128 + 80),
    "up_proj": (2, 1280, 0, 40 + 128 + 80),
    # 5 FLOPs for each of 80
    "act_fn": (2, 0, 400, 80 + 80 + 80),
    # [5, 16] @ [16, 8] → [5, 8]
    "down_proj": (2, 1280, 0, 80 + 128 + 40),
    "mlp_residual": (2, 0, 40, 40 + 40 + 40),
    "norm": (1, 0, 160, 40 + 40 + 8),
    # the last position only: [1, 8] @ [8, 10] → [1, 10]
    "lm_head": (1, 160, 0, 8 + 80 + 10),
}


def nanoseconds(flops: float, vector_flops: float, moved: float) -> float:
    return max(flops / 2, vector_flops, 2 * moved)


@pytest.mark.parametrize("op", PREFILL)
def test_time_of_an_op_by_hand(op: str) -> None:
    count, flops, vector_flops, moved = PREFILL[op]
    (found,) = [row for row in toy().op_table() if row["name"] == op]

    assert found["count"] == count
    assert found["flops"] == count * flops
    assert found["vector_flops"] == count * vector_flops
    assert found["memory_access_bytes"] == count * 2 * moved
    time = nanoseconds(flops, vector_flops, moved)
    assert found["time_s"] == pytest.approx(count * time * 1e-9, rel=1e-14)
    computes = max(flops / 2, vector_flops) >= 2 * moved
    assert found["bound"] == ("compute" if computes else "memory")


def test_totals_by_hand() -> None:
    estimate = toy()
    time = sum(n * nanoseconds(*amounts) for n, *amounts in PREFILL.values())
    computing = sum(
        n * nanoseconds(f, v, m) for n, f, v, m in PREFILL.values() if max(f / 2, v) >= 2 * m
    )

    assert {row["name"] for row in estimate.op_table()} == set(PREFILL)
    assert estimate.flops == sum(n * flops for n, flops, _, _ in PREFILL.values())
    assert estimate.vector_flops == sum(n * v for n, _, v, _ in PREFILL.values())
    moved = sum(n * 2 * m for n, _, _, m in PREFILL.values())
    assert estimate.memory_access_bytes == moved
    assert estimate.arithmetic_intensity == estimate.flops / moved
    assert estimate.time_s == pytest.approx(time * 1e-9, rel=1e-14)
    assert 2 * computing > time
    assert estimate.bound == "compute"


def test_memory_by_hand() -> None:
    estimate = toy()

    # a layer: q, o 64 each, k, v 32 each, MLP 3·128, norms 2·8; the last norm 8, two tables 10·8
    assert estimate.weight_bytes == 2 * (2 * (2 * 64 + 2 * 32 + 3 * 128 + 16) + 8 + 2 * 80)
    # K and V of 1 head of 4, 2 layers, 5 tokens
    assert estimate.kv_cache_bytes == 2 * (2 * 4 * 2 * 5)
    # act_fn: hidden 40, angles 40, gate, up and activated 80 each
    assert estimate.peak_activation_bytes == 2 * (40 + 40 + 3 * 80)
    assert estimate.peak_memory_bytes == 2704 + 160 + 640


@pytest.mark.parametrize(("capacity", "fits"), [(3504, True), (3503, False)])
def test_fits_up_to_the_last_byte(capacity: int, fits: bool) -> None:
    small = device(memory_capacity_gib=figure(capacity / GIBI))

    assert toy(hardware=small).fits == fits


@pytest.mark.parametrize(
    ("bandwidth", "bound"), [(1e-6, "memory"), (1, "compute"), (1e6, "compute")]
)
def test_bound_follows_the_bandwidth(bandwidth: float, bound: str) -> None:
    estimate = toy(hardware=device(memory_bandwidth_gb_per_s=figure(bandwidth)))

    assert estimate.bound == bound


def test_time_at_the_two_ends_of_the_roofline() -> None:
    slow, fast = (toy(hardware=device(memory_bandwidth_gb_per_s=figure(b))) for b in (1e-6, 1e6))

    assert slow.time_s == pytest.approx(slow.memory_access_bytes / 1e3, rel=1e-12)
    computing = sum(n * max(f / 2, v) for n, f, v, _ in PREFILL.values())
    moving = 48 * 2 * 1e-6  # embed_tokens computes nothing: its bytes at 10^6 GB/s
    assert fast.time_s == pytest.approx((computing + moving) * 1e-9, rel=1e-12)


@pytest.mark.parametrize(("compute", "memory", "computing"), [(4, 4, 12), (5, 4, 15), (3, 4, 0)])
def test_a_tie_counts_as_compute(compute: float, memory: float, computing: float) -> None:
    # three occurrences, each as long as the slower of the two
    kernel = engine.Kernel("prefill", 3, (Polynomial.of(compute),), Polynomial.of(memory))

    assert kernel.time(Point({}))[:2] == (3 * max(compute, memory), computing)


def test_a_matmul_and_its_vector_work_overlap() -> None:
    # attention: 800 FLOPs at 2 GFLOP/s are 400 ns, 250 vector FLOPs at 0.1 GFLOP/s 2500 ns
    slow = device(vector_peak_fp32_tflops=figure(0.0001))
    (row,) = [row for row in toy(hardware=slow).op_table() if row["name"] == "attention"]

    assert row["time_s"] == pytest.approx(2 * 2500e-9, rel=1e-14)
    assert row["bound"] == "compute"


def test_attention_may_run_at_another_peak_than_linear_layers() -> None:
    both = device(
        matmul_peaks=MatmulPeaks(
            fp16_tflops=Peak(value=0.002, source="test"),
            int8_tops=Peak(value=1000.0, source="test"),
        )
    )
    estimate = toy(hardware=both, quant="w8a8kv16")
    peaks = estimate.device["peaks"]["llm"]
    times = {row["name"]: row["time_s"] for row in estimate.op_table()}

    assert (peaks["matmul_type"], peaks["attention_type"]) == ("int8", "fp16")
    assert times["attention"] == pytest.approx(2 * 400e-9, rel=1e-14)  # 800 FLOPs at 2 GFLOP/s
    # linear layers are bound by bytes now: [5, 8] @ [8, 8] → [5, 8], one byte each
    assert times["q_proj"] == pytest.approx(2 * (40 + 64 + 40) * 1e-9, rel=1e-14)


def test_llm_viewer_runs_vector_ops_at_the_matmul_peak() -> None:
    # softmax of scores [2, 5, 5]: 5·50 FLOPs at 2 GFLOP/s are 125 ns, 2·2·50 bytes 200 ns
    estimate = toy(accounting="llm-viewer", hardware=device(vector_peak_fp32_tflops=figure(1e-9)))
    times = {row["name"]: row["time_s"] for row in estimate.op_table()}

    assert times["softmax"] == pytest.approx(2 * 200e-9, rel=1e-14)
    assert estimate.vector_flops == 0


@pytest.mark.parametrize(
    ("hardware", "quant", "served", "refused"),
    [
        ("v100", "bf16", ("fp32", "fp16", "int8", "int4", "w8a16", "w4a16"), ("bf16", "fp8")),
        ("a100", "fp8", ("fp32", "fp16", "bf16", "int8", "int4", "w8a16", "w4a16"), ("fp8",)),
    ],
)
def test_an_unsupported_mode_lists_those_that_are_served(
    hardware: str, quant: str, served: tuple[str, ...], refused: tuple[str, ...]
) -> None:
    with pytest.raises(UnsupportedModeError, match=f"has no {quant} peak") as caught:
        analyze("vicuna-7b", hardware, quant=quant)

    offered = str(caught.value).split("it serves ")[1].split(", ")
    assert set(served) == set(offered)
    assert not set(refused) & set(offered)
    for mode in served:
        analyze("vicuna-7b", hardware, quant=mode)


def test_a_decode_step_by_hand() -> None:
    # one token against 5 in the cache and itself: weights 2·64 + 2·32 + 3·128, scores [2, 1, 6],
    # e = 4, in QKᵀ and PV; K and V are read for 6 tokens and written for 1, in 2 bytes
    estimate = toy(stage="decode")
    ops = estimate.op_table()

    assert estimate.flops == 2 * (2 * 576 + 2 * (2 * 2 * 6 * 4)) + 2 * 8 * 10
    assert sum(op["kv_read_bytes"] for op in ops) == 2 * (2 * 6 * 4) * 2
    assert sum(op["kv_write_bytes"] for op in ops) == 2 * (2 * 1 * 4) * 2


def test_a_decode_step_of_llm_viewer_by_hand() -> None:
    # one token against the 5 in the cache and not itself: QKᵀ and PV 2·4·10, softmax 5·10, norms
    # 2·7·8, residual adds 2·8, activation 2·8; the lm_head one operation a weight
    estimate = toy(stage="decode", accounting="llm-viewer")
    ops = estimate.op_table()

    layer = 2 * 576 + 2 * 80 + 50 + 112 + 16 + 16
    assert estimate.flops == 2 * layer + 8 * 10
    assert sum(op["kv_read_bytes"] for op in ops) == 2 * (2 * 5 * 4) * 2
    assert sum(op["kv_write_bytes"] for op in ops) == 2 * (2 * 1 * 4) * 2


@pytest.mark.parametrize(
    ("accounting", "attention"), [("exact", "flash"), ("exact", "eager"), ("llm-viewer", "eager")]
)
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("steps", [0, 1, 5])
def test_generate_is_the_prompt_and_then_one_step_after_the_other(
    accounting: str, attention: str, batch: int, steps: int
) -> None:
    model = lmm() if accounting == "exact" else llm()
    options: dict[str, Any] = {"accounting": accounting, "attention": attention, "batch": batch}
    whole = toy(model, stage="generate", output_tokens=steps, **options)
    prompt = toy(model, **options)
    single = [toy(model, stage="decode", text_tokens=3 + i, **options) for i in range(steps)]

    for part in whole.components:
        for name in ADDITIVE:
            parts = [getattr(e.components[part], name) for e in (prompt, *single)]
            assert getattr(whole.components[part], name) == pytest.approx(sum(parts), rel=1e-13)


@pytest.mark.parametrize("hardware", ["v100", "h100"])
@pytest.mark.parametrize("accounting", ["exact", "llm-viewer"])
def test_generate_with_a_shipped_model(hardware: str, accounting: str) -> None:
    options: dict[str, Any] = {"visual_tokens": 40, "batch": 8, "accounting": accounting}
    model = "llama-3-8b"
    whole = analyze(model, hardware, stage="generate", output_tokens=20, **options)
    prompt = analyze(model, hardware, **options)
    single = [
        analyze(model, hardware, stage="decode", text_tokens=40 + done, **options)
        for done in range(20)
    ]

    for name in ADDITIVE:
        parts = [getattr(e, name) for e in (prompt, *single)]
        assert getattr(whole, name) == pytest.approx(sum(parts), rel=1e-13)


@pytest.mark.parametrize("accounting", ["exact", "llm-viewer"])
@pytest.mark.parametrize("steps", [0, 1, 7])
def test_the_cache_holds_prompt_and_output_in_the_end(accounting: str, steps: int) -> None:
    estimate = toy(stage="generate", output_tokens=steps, batch=3, accounting=accounting)

    # K and V of 1 head of 4, 2 layers, 2 bytes
    assert estimate.kv_cache_bytes == 2 * 4 * 2 * 2 * 3 * (2 + 3 + steps)


def test_the_cache_after_one_step() -> None:
    assert toy(stage="decode").kv_cache_bytes == 2 * 4 * 2 * 2 * (5 + 1)
    # llm-viewer attends n keys, and counts as many
    assert toy(stage="decode", accounting="llm-viewer").kv_cache_bytes == 2 * 4 * 2 * 2 * 5


def test_peak_activations_of_generate_are_those_of_its_largest_part() -> None:
    prompt, last, whole = (
        toy(stage="prefill", attention="eager"),
        toy(stage="decode", attention="eager", text_tokens=3 + 999),
        toy(stage="generate", attention="eager", output_tokens=1000),
    )

    assert last.peak_activation_bytes > prompt.peak_activation_bytes  # scores of 1005 keys
    assert whole.peak_activation_bytes == last.peak_activation_bytes
    short = toy(stage="generate", attention="eager", output_tokens=1)
    assert short.peak_activation_bytes == prompt.peak_activation_bytes


def test_a_decode_step_runs_neither_vision_nor_connector() -> None:
    estimate = toy(lmm(), stage="decode")

    for part in ("vision", "connector"):
        cost = estimate.components[part]
        assert cost.flops == cost.memory_access_bytes == cost.time_s == 0
        assert cost.weight_bytes > 0  # still resident
    assert estimate.end_to_end.time_s == estimate.time_s


def all_cells(options: Mapping[str, Any]) -> Iterator[tuple[tuple[int, ...], dict[str, Any]]]:
    """Each index into the broadcast of all array options, and the options at that index."""
    arrays = {k: np.asarray(v) for k, v in options.items()}
    shape = np.broadcast_shapes(*(a.shape for a in arrays.values()))
    for index in np.ndindex(shape):
        yield index, {k: np.broadcast_to(a, shape)[index].item() for k, a in arrays.items()}


AXES: dict[str, dict[str, Any]] = {
    "0-d": {"visual_tokens": 576, "output_tokens": 9},
    "1-d": {"visual_tokens": [1, 9, 10, 40, 576, 577, 2880]},
    "2-d": {"visual_tokens": [[1, 40], [576, 2880]], "batch": [1, 7]},
    "outputs": {"visual_tokens": 40, "output_tokens": [0, 1, 2, 7, 8, 9, 17, 100, 129, 300]},
    "4-d": {
        "visual_tokens": [[[[1]]], [[[576]]]],
        "text_tokens": [[[1]], [[99]]],
        "batch": [[1], [32]],
        "output_tokens": [0, 11, 33],
    },
}


@pytest.mark.parametrize("axes", AXES.values(), ids=AXES)
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("quant", ["fp16", "w4a16", "int8"])
def test_a_cell_of_an_array_is_the_single_analysis_bit_for_bit(
    axes: dict[str, Any], stage: str, quant: str
) -> None:
    a100 = load_hardware("a100")
    a100 = replace(a100, kernel_laws=LAWS, sources=a100.sources | {"test": "made up"})
    many = analyze("llava-1.5-7b", a100, quant=quant, stage=stage, **axes)

    asked = {k: v for k, v in axes.items() if k != "output_tokens" or stage == "generate"}
    for index, single in all_cells(asked):
        one = analyze("llava-1.5-7b", a100, quant=quant, stage=stage, **single)
        for part, totals in {**one.components, "end": one.end_to_end}.items():
            whole = many.end_to_end if part == "end" else many.components[part]
            for name, value in figures(totals).items():
                assert np.asarray(getattr(whole, name))[index] == value, (part, name, single)


@pytest.mark.parametrize("attention", ["flash", "eager"])
def test_generate_bit_for_bit_where_steps_cross_from_one_bound_to_the_other(
    attention: str,
) -> None:
    # on this device attention turns from memory- to compute-bound as the context grows
    outputs = [*range(40), 63, 64, 65, 127, 128, 129, 200, 257, 1000]
    many = toy(stage="generate", output_tokens=outputs, batch=[[1], [5]], attention=attention)

    for i, batch in enumerate((1, 5)):
        for j, steps in enumerate(outputs):
            one = toy(stage="generate", output_tokens=steps, batch=batch, attention=attention)
            for name, value in figures(one).items():
                assert getattr(many, name)[i, j] == value, (name, batch, steps)


@pytest.mark.parametrize("chunk", [1, 3, 7, 64])
@pytest.mark.parametrize("stage", STAGES)
def test_chunks_do_not_show(chunk: int, stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def grid() -> Estimate:
        return sweep(
            lmm(),
            device(),
            visual_tokens=range(1, 30, 4),
            text_tokens=[3, 40],
            batch=[1, 2, 3],
            output_tokens=[0, 1, 5],
            stage=stage,
        )

    whole = grid()
    monkeypatch.setattr(engine, "CHUNK", chunk)
    pieces = grid()

    for part in ("totals", "end_to_end"):
        for name, value in figures(getattr(whole, part)).items():
            assert np.array_equal(getattr(getattr(pieces, part), name), value), name


def test_a_sweep_gives_each_axis_a_dimension_in_order() -> None:
    grid = sweep(
        llm(),
        device(),
        visual_tokens=[1, 2, 3, 4],
        text_tokens=[5, 6, 7],
        batch=[1, 2],
        output_tokens=[0, 1, 2, 3, 4],
        stage="generate",
    )

    assert grid.time_s.shape == (4, 3, 2, 5)
    single = analyze(
        llm(), device(), visual_tokens=3, text_tokens=7, batch=2, output_tokens=4, stage="generate"
    )
    assert {n: np.asarray(v)[2, 2, 1, 4] for n, v in figures(grid).items()} == figures(single)


def test_plain_numbers_are_no_axes_of_a_sweep() -> None:
    assert sweep(llm(), device(), visual_tokens=[1, 2], batch=3).time_s.shape == (2,)
    assert sweep(llm(), device(), visual_tokens=1, batch=[3, 4, 5]).time_s.shape == (3,)
    assert np.ndim(sweep(llm(), device(), visual_tokens=1).time_s) == 0


def test_a_sweep_takes_no_tables() -> None:
    with pytest.raises(ScenarioError, match="1-d"):
        sweep(llm(), device(), visual_tokens=[[1, 2]])


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 1, 3), (0,), (0, 2)])
def test_figures_have_the_shape_of_the_scenario(shape: tuple[int, ...]) -> None:
    estimate = toy(lmm(), visual_tokens=np.full(shape, 2.0))

    for totals in (estimate, estimate.end_to_end, *estimate.components.values()):
        assert {n: np.shape(v) for n, v in figures(totals).items()} == dict.fromkeys(
            QUANTITIES, shape
        )


def test_non_contiguous_axes() -> None:
    visual = np.arange(24.0).reshape(4, 6).T[::2] + 1
    estimate = toy(visual_tokens=visual)

    for index in np.ndindex(visual.shape):
        assert estimate.time_s[index] == toy(visual_tokens=visual[index]).time_s


SPANNED = (*ADDITIVE, "kv_cache_bytes", "peak_activation_bytes", "weight_bytes")


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(
    "groups",
    [[(32, 40)], [(1, 40), (31, 40)], [(2, 40), (14, 40), (16, 40)], [(32, 40, 40)]],
    ids=str,
)
def test_spans_of_the_same_length_make_no_difference(
    groups: list[tuple[int, int]], stage: str
) -> None:
    plain, spanned = (
        analyze("vicuna-7b", "v100", visual_tokens=40, stage=stage, output_tokens=3, **options)
        for options in ({}, {"llm_layers": groups})
    )

    for name in SPANNED:
        assert getattr(spanned, name) == pytest.approx(getattr(plain, name), rel=1e-13)
    assert spanned.inputs["visual_tokens"] == 40


def rows(estimate: Estimate, component: str, layers: str = "") -> dict[str, dict[str, Any]]:
    return {
        f"{row['phase']} {row['name']}": row
        for row in estimate.op_table()
        if row["component"] == component and row["layers"] == layers
    }


def same_cost(row: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two rows say the same, the last digit of a time and the label of layers aside."""
    words = ("name", "component", "phase", "kind", "bound", "attainable_origin")
    return all(row[word] == other[word] for word in words) and all(
        row[name] == pytest.approx(other[name], rel=1e-13)
        for name in row
        if name not in (*words, "layers")
    )


@pytest.mark.parametrize("stage", ["prefill", "decode"])
def test_layers_with_different_tokens_cost_what_such_models_cost(stage: str) -> None:
    # layer 0 sees 20 + 3 tokens, layers 1 and 2 see 6 + 3
    mixed = toy(
        llm(num_hidden_layers=3), llm_layers=[(1, 20), (2, 6)], visual_tokens=20, stage=stage
    )
    many = toy(llm(num_hidden_layers=1), visual_tokens=20, stage=stage)
    few = toy(llm(num_hidden_layers=2), visual_tokens=6, stage=stage)
    outside = {"embed_tokens", "rotary_emb", "norm", "lm_head"}

    for group, model in (("0-0", many), ("1-2", few)):
        layer = {k: v for k, v in rows(model, "llm").items() if k.split()[1] not in outside}
        found = rows(mixed, "llm", group)
        assert set(found) == set(layer)
        for op, row in layer.items():
            assert same_cost(found[op], row)
    rest = rows(mixed, "llm")
    assert {op.split()[1] for op in rest} == outside
    for op, row in rest.items():  # the prompt enters in full; what is left of it leaves
        assert same_cost(row, rows(few if row["name"] in ("norm", "lm_head") else many, "llm")[op])
    assert mixed.kv_cache_bytes == many.kv_cache_bytes + few.kv_cache_bytes


def test_flops_of_layers_with_different_tokens_by_hand() -> None:
    def layer(n: int) -> int:
        # weights 2·64 + 2·32 + 3·128; scores [2, n, n], e = 4, twice
        return 2 * n * 576 + 2 * (2 * 2 * n * n * 4)

    estimate = toy(llm_layers=[(1, 20), (1, 6)], visual_tokens=20)

    assert estimate.flops == layer(23) + layer(9) + 2 * 8 * 10
    assert estimate.kv_cache_bytes == 2 * (2 * 4 * (23 + 9))


def test_tokens_merged_before_the_mlp_of_a_layer() -> None:
    # layer 0: attention over 20 + 3, MLP over 6 + 3; layer 1 over 6 + 3
    estimate = toy(llm_layers=[(1, 20, 6), (1, 6)], visual_tokens=20)
    attention, mlp = 2 * 64 + 2 * 32, 3 * 128

    first = 2 * 23 * attention + 2 * 9 * mlp + 2 * (2 * 2 * 23 * 23 * 4)
    second = 2 * 9 * (attention + mlp) + 2 * (2 * 2 * 9 * 9 * 4)
    assert estimate.flops == first + second + 2 * 8 * 10
    assert estimate.kv_cache_bytes == 2 * (2 * 4 * (23 + 9))  # keys are written before merging


def test_spans_give_the_visual_tokens_if_nothing_else_does() -> None:
    estimate = analyze(llm(), device(), llm_layers=[(2, 20)])

    assert estimate.inputs["visual_tokens"] == 20


def test_generate_with_spans_is_the_prompt_and_its_steps() -> None:
    options: dict[str, Any] = {"llm_layers": [(1, 20), (1, 6)], "visual_tokens": 20}
    whole = toy(stage="generate", output_tokens=4, **options)
    parts = [toy(**options), *(toy(stage="decode", text_tokens=3 + i, **options) for i in range(4))]

    for name in ADDITIVE:
        assert getattr(whole, name) == pytest.approx(
            sum(getattr(part, name) for part in parts), rel=1e-13
        )


@pytest.mark.parametrize(
    "groups", [[(3, 10)], [(1, 10), (2, 10)], [(2, 10, 10), (1, 10)], [(1, 10, 10)] * 3], ids=str
)
def test_vision_groups_of_the_same_length_make_no_difference(groups: list[tuple[int, ...]]) -> None:
    plain, spanned = toy(lmm()), toy(lmm(), vision_layers=groups)

    for name in SPANNED:
        assert getattr(spanned.components["vision"], name) == pytest.approx(
            getattr(plain.components["vision"], name), rel=1e-13
        )
    for part in ("connector", "llm"):
        assert figures(spanned.components[part]) == figures(plain.components[part])


def test_flops_of_vision_blocks_with_different_tokens_by_hand() -> None:
    # block 0: attention over 10, MLP over 7; block 1 over 7; block 2: attention over 7, MLP over 4
    estimate = toy(lmm(), vision_layers=[(1, 10, 7), (1, 7), (1, 7, 4)])

    def block(attention: int, mlp: int) -> int:
        # weights 4·64 and 2·128; scores [2, n, n], e = 4, twice
        return 2 * attention * 256 + 2 * mlp * 256 + 2 * (2 * 2 * attention**2 * 4)

    stem = 2 * 9 * 48 * 8  # 9 patches of 3·4·4 pixels
    assert estimate.components["vision"].flops == stem + block(10, 7) + block(7, 7) + block(7, 4)
    assert set(rows(estimate, "vision", "0-0")) == set(rows(estimate, "vision", "2-2"))


@pytest.mark.parametrize(
    "options",
    [
        {"llm_layers": [(1, 2)]},
        {"llm_layers": [(2, 2), (1, 2)]},
        {"llm_layers": []},
        {"llm_layers": [(3, 2), (-1, 2)]},
        {"llm_layers": [(1, 2), (1, -2)]},
        {"llm_layers": [(1, 2), (1, 1.5)]},
        {"llm_layers": [(2,)]},
        {"llm_layers": [(2, 2, 2, 2)]},
        {"vision_layers": [(2, 10)]},
        {"vision_layers": [(3, 10), (1, 10)]},
        {"vision_layers": []},
        {"vision_layers": [(4, 10), (-1, 10)]},
        {"vision_layers": [(3, -10)]},
        {"vision_layers": [(3, 0)]},
        {"vision_layers": [(3,)]},
        {"vision_layers": [(3, 10, 10, 10)]},
    ],
    ids=str,
)
def test_layers_that_make_no_sense(options: dict[str, Any]) -> None:
    with pytest.raises(ScenarioError, match=next(iter(options))):
        toy(lmm(), **options)


def test_the_last_layers_may_see_no_visual_token_at_all() -> None:
    # layer 0 sees 2 + 3 tokens, layer 1 the 3 of text: [3, 8] @ [8, 8]
    estimate = toy(llm_layers=[(1, 2), (1, 0)])

    assert rows(estimate, "llm", "1-1")["prefill q_proj"]["flops"] == 2 * 3 * 8 * 8


def test_layers_that_contradict_the_prompt() -> None:
    with pytest.raises(ScenarioError, match="`visual_tokens` and the first entry of `llm_layers`"):
        toy(visual_tokens=2, llm_layers=[(2, 3)])


def test_layers_of_a_part_that_is_not_there() -> None:
    with pytest.raises(ScenarioError, match="no vision encoder"):
        toy(vision_layers=[(3, 10)])
    with pytest.raises(ScenarioError, match="no LLM"):
        analyze(lmm().vision, device(), llm_layers=[(2, 2)])  # type: ignore[arg-type]


@pytest.mark.parametrize("stage", ["decode", "generate"])
def test_a_vision_encoder_alone_has_only_a_prefill(stage: str) -> None:
    with pytest.raises(ScenarioError, match="only the stage prefill"):
        analyze("clip-vit-l-336", "v100", stage=stage)


def test_visual_tokens_of_a_model_without_llm() -> None:
    with pytest.raises(ScenarioError, match="leave them out"):
        analyze("clip-vit-l-336", "v100", visual_tokens=576)


@pytest.mark.parametrize(
    ("option", "value"),
    [("accounting", "creative"), ("attention", "linear"), ("stage", "training")],
)
def test_an_unknown_option_offers_the_known_ones(option: str, value: str) -> None:
    with pytest.raises(ScenarioError, match=f"unknown {option} '{value}': choose one of"):
        toy(**{option: value})


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"attention": "flash"}, "eager"),
        ({"llm_layers": [(1, 2), (1, 1)]}, "same tokens in every layer"),
    ],
)
def test_what_llm_viewer_has_no_formula_for(options: dict[str, Any], why: str) -> None:
    with pytest.raises(ScenarioError, match=why):
        toy(accounting="llm-viewer", **options)


def test_a_model_without_llm_under_llm_viewer() -> None:
    with pytest.raises(ScenarioError, match="LLMs only"):
        analyze("clip-vit-l-336", "v100", accounting="llm-viewer")


@pytest.mark.parametrize(
    ("visual", "samples"), [(1, 1), (9, 1), (10, 2), (18, 2), (19, 3), (None, 1)], ids=str
)
def test_more_visual_tokens_than_one_sample_gives_are_several_samples(
    visual: int | None, samples: int
) -> None:
    # 9 patches an image; the vision tower runs once for each sample
    one, many = toy(lmm(), visual_tokens=1), toy(lmm(), visual_tokens=visual)

    assert many.components["vision"].flops == samples * one.components["vision"].flops
    assert many.unreduced is not None
    assert many.unreduced.inputs["visual_tokens"] == 9 * samples


def test_frames_of_a_sample_are_encoded_one_by_one() -> None:
    one, frames = toy(lmm(), visual_tokens=2), toy(lmm(images=8), visual_tokens=2)

    assert frames.components["vision"].flops == 8 * one.components["vision"].flops
    assert frames.time_s == one.time_s
    assert frames.unreduced is not None
    assert frames.unreduced.inputs["visual_tokens"] == 8 * 9


def test_saving_is_unreduced_over_reduced() -> None:
    reduced, full = toy(lmm(), visual_tokens=2), toy(lmm(), visual_tokens=9)

    assert reduced.saving is not None
    for name in ("flops", "memory_access_bytes", "peak_memory_bytes", "time_s"):
        assert reduced.saving[name] == getattr(full, name) / getattr(reduced, name)
    assert full.saving is not None
    assert set(full.saving.values()) == {1.0}


def test_a_model_that_no_lmm_is_known_to_use_has_no_saving() -> None:
    estimate = toy()

    assert estimate.unreduced is None
    assert estimate.saving is None
