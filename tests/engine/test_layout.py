"""A model taken apart: which blocks run, and what its images give, by hand on the toy model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from made_up import device, toy_laws
from msgspec.structs import replace
from toy import figures, llm, lmm, parts, toy

from roofline import analyze, count
from roofline.device.laws.host import HostLaw
from roofline.engine.layout import lay_out
from roofline.errors import ScenarioError, SpecError
from roofline.specs.models import VisionEncoder

TOWER: Any = lmm().vision
CONNECTOR = lmm().connector


def vision_flops(blocks: int) -> int:
    """9 patches of 3·4·4 pixels; a block: 4·64 and 2·128 weights, scores [2, 10, 10], e = 4."""
    return 2 * 9 * 48 * 8 + blocks * (2 * 10 * 512 + 2 * (2 * 200 * 4))


@pytest.mark.parametrize(
    ("layer", "blocks"), [(-1, 3), (-2, 2), (-3, 1), (-4, 0), (0, 0), (1, 1), (2, 2), (3, 3)]
)
def test_blocks_run_up_to_the_hidden_state_that_is_used(layer: int, blocks: int) -> None:
    # of 3 blocks 4 hidden states: the embeddings' output and one behind each block
    estimate = toy(lmm(vision_feature_layer=layer))

    assert estimate.components["vision"].flops == vision_flops(blocks)
    held = estimate.components["vision"].weight_bytes
    assert held == toy(lmm()).components["vision"].weight_bytes  # those behind are loaded


@pytest.mark.parametrize("layer", [-5, 4, 9])
def test_a_hidden_state_that_is_not_there(layer: int) -> None:
    with pytest.raises(SpecError, match="toy-vit has hidden states 0 to 3, or −1 to −4 from"):
        toy(lmm(vision_feature_layer=layer))


@pytest.mark.parametrize(
    ("strategy", "images", "tokens"), [("default", 1, 9), ("full", 1, 10), ("full", 3, 30)]
)
def test_tokens_of_a_sample_with_and_without_the_class_token(
    strategy: str, images: int, tokens: int
) -> None:
    model = lmm(vision_feature_select_strategy=strategy, images=images)
    estimate = analyze(model, device())

    assert estimate.inputs["visual_tokens"] == estimate.unreduced_visual_tokens == tokens
    assert estimate.components["vision"].flops == images * vision_flops(3)
    # linear and GELU in turn: [tokens, 8] @ [8, 8] twice
    assert estimate.components["connector"].flops == 2 * (2 * tokens * 64)


def test_towers_are_copies_in_memory_of_which_one_runs() -> None:
    one, three = toy(lmm()), toy(lmm(vision_towers=3))

    assert three.components["vision"].weight_bytes == 3 * one.components["vision"].weight_bytes
    assert three.components["vision"].flops == one.components["vision"].flops
    assert three.llm.weight_bytes == one.llm.weight_bytes


def test_words_of_the_llm_may_be_more_in_an_lmm() -> None:
    # 10 words or 13, at width 8 in embedding and lm_head
    plain, padded = toy(lmm()), toy(lmm(llm_vocab_size=13))

    assert padded.llm.weight_bytes - plain.llm.weight_bytes == 2 * (2 * 3 * 8)


@pytest.mark.parametrize(
    ("part", "spec", "expected"),
    [
        ("vision", llm(), "expected vision-encoder, got language-model"),
        ("llm", TOWER, "expected language-model, got vision-encoder"),
        ("connector", TOWER, "expected connector or .*, got vision-encoder"),
    ],
)
def test_parts_of_another_kind(part: str, spec: Any, expected: str) -> None:
    with pytest.raises(SpecError, match=expected):
        toy(lmm(**{part: spec}))


def test_a_connector_alone_has_no_sizes() -> None:
    with pytest.raises(SpecError, match="a connector takes its sizes from its neighbours"):
        count(CONNECTOR)


def test_a_tower_alone_has_one_stage() -> None:
    assert count(TOWER).components["vision"].flops == vision_flops(3)
    for stage in ("decode", "generate"):
        with pytest.raises(ScenarioError, match="has no LLM: only the stage prefill"):
            count(TOWER, stage=stage, output_tokens=1)


def test_a_tower_alone_sees_the_tokens_that_it_gives() -> None:
    estimate = count(TOWER)

    # patches of 48, blocks of 4·64 and 2·128; class token and positions, norms, biases: 2 bytes
    matrices = 48 * 8 + 3 * (4 * 64 + 2 * 128)
    vectors = 11 * 8 + 2 * 16 + 3 * (2 * 16 + 4 * 8 + 16 + 8)
    assert estimate.components["vision"].weight_bytes == 2 * (matrices + vectors)
    assert estimate.main == "vision"
    assert estimate.inputs["visual_tokens"] == estimate.unreduced_visual_tokens == 10
    assert count(TOWER, visual_tokens=10).to_dict() == estimate.to_dict()
    assert estimate.comparison is None
    with pytest.raises(ScenarioError, match="leave them out"):
        count(TOWER, visual_tokens=[10, 9])


def test_visual_tokens_of_several_images_are_the_same_of_each() -> None:
    two = lmm(images=2)
    estimate = analyze(two, device(), visual_tokens=8, reducer="sequential")

    assert estimate.reducer is not None
    assert estimate.reducer.default_visual_tokens == 2 * 2
    assert analyze(two, device(), reducer="sequential").inputs["visual_tokens"] == 2 * 2
    with pytest.raises(ScenarioError, match=r"toy-lmm has 2 images .*: 7 is no multiple of 2"):
        analyze(two, device(), visual_tokens=7, reducer="sequential")
    with pytest.raises(ScenarioError, match=r"not 10 \(20 of a sample are 10 of each of its 2\)"):
        analyze(two, device(), visual_tokens=20, reducer="sequential")


@pytest.mark.parametrize("model", [llm(), TOWER, "vicuna-7b"], ids=["llm", "tower", "used"])
def test_a_reducer_needs_all_of_an_lmm(model: Any) -> None:
    with pytest.raises(ScenarioError, match="a reducer needs an LMM"):
        analyze(model, "v100", reducer="sequential")


@pytest.mark.parametrize(
    ("reducer", "rows"),
    [
        (None, 4),
        ("sequential", 4),  # what is left, in front of the connector
        ("divprune", 9),  # all patches are projected, then some are chosen
        ("fastv:k=1", 9),  # all enter the LLM
        ("tome", 4),
    ],
)
def test_rows_through_the_connector(reducer: str | None, rows: int) -> None:
    estimate = analyze(lmm(), device(), visual_tokens=4, reducer=reducer, batch=5)

    assert estimate.components["connector"].flops == 5 * 2 * (2 * rows * 64)


def test_fastv_leaves_a_layer_at_least_to_see_fewer() -> None:
    # one of two layers sees 9 + 3 tokens, the other 4 + 3
    def layer(n: int) -> int:
        return 2 * n * 576 + 2 * (2 * 2 * n * n * 4)

    estimate = toy(lmm(), reducer="fastv:k=1", visual_tokens=4)

    assert estimate.llm.flops == layer(12) + layer(7) + 2 * 8 * 10
    with pytest.raises(ScenarioError, match="fastv needs an LLM of more than 2 layers"):
        toy(lmm(), reducer="fastv", visual_tokens=4)


def test_what_is_priced_with_a_reducer_is_its_own_work_in_prefill_alone() -> None:
    for stage, runs in (("prefill", True), ("decode", False), ("generate", True)):
        estimate = toy(lmm(), reducer="tome", visual_tokens=4, stage=stage, output_tokens=2)
        own = [op for op in estimate.ops if op.component == "reducer"]
        assert bool(own) is runs
        assert {op.phase for op in own} <= {"prefill"}
        assert bool(estimate.components["reducer"].memory_access_bytes) is runs


@pytest.mark.parametrize("reducer", ["sequential", "tome", "fastv:k=1"])
@pytest.mark.parametrize("counts", [[4], [4, 6], [6, 4, 6]], ids=str)
def test_each_count_that_a_reducer_leaves_is_laid_out_by_itself(
    reducer: str, counts: list[int]
) -> None:
    many = toy(lmm(), reducer=reducer, visual_tokens=counts, stage="generate", output_tokens=2)

    for i, kept in enumerate(counts):
        one = toy(lmm(), reducer=reducer, visual_tokens=kept, stage="generate", output_tokens=2)
        for part, totals in parts(one).items():
            found = figures(parts(many)[part])
            assert {name: np.asarray(value)[i] for name, value in found.items()} == figures(totals)


def test_prompts_with_and_without_images_have_their_own_ops() -> None:
    both, text = toy(lmm(), visual_tokens=[0, 4]), toy(lmm(), visual_tokens=0)

    assert {op.component for op in both.ops} == {"vision", "connector", "llm"}
    assert {op.component for op in text.ops} == {"llm"}
    assert [list(op.count) for op in both.ops if op.name == "fc1"] == [[0, 3]]
    words = {word for op in both.ops for word in op.bound.tolist()}
    assert words == {"compute", "memory", ""}  # nothing where nothing runs


def test_a_layout_names_the_variables_of_its_formulas() -> None:
    names = ["prompt_tokens", "images", "samples", "steps"]
    assert [one.name for one in lay_out(lmm()).derived] == names
    assert isinstance(TOWER, VisionEncoder)
    bare = replace(TOWER, class_token=False)
    assert lay_out(lmm(vision=bare)).unreduced_visual_tokens == 9


# what an estimate tells of the device ------------------------------------------------------------


def test_peaks_are_those_of_the_data_sheet_part_by_part() -> None:
    # V100 PCIe: 16 GiB, 900 GB/s, 14 and 112 TFLOP/s; int4 runs as int8, at 62 TOP/s by dp4a
    estimate = analyze("llava-1.5-7b", "v100", "w4a4kv16", visual_tokens=40, reducer="prumerge")
    figures = estimate.device

    assert (figures["name"], figures["title"]) == ("v100", "NVIDIA Tesla V100 PCIe 16 GB")
    assert figures["memory_bytes"] == 16 * 2**30
    assert figures["memory_bytes_per_s"] == 900e9
    assert figures["vector_flops_per_s"] == 14e12
    assert list(figures["peaks"]) == list(estimate.components)
    in_16_bit = {
        "matmul_type": "fp16",
        "preferred_type": "fp16",
        "matmul_flops_per_s": 112e12,
        "matmul_engine": "tensor cores",
        "attention_type": "fp16",
        "attention_flops_per_s": 112e12,
        "vector_flops_per_s": 14e12,
        "ridge_point_flops_per_byte": 112e12 / 900e9,
    }
    for part in ("vision", "reducer", "connector"):
        assert figures["peaks"][part] == in_16_bit
    assert figures["peaks"]["llm"] == in_16_bit | {
        "matmul_type": "int8",
        "preferred_type": "int4",
        "matmul_flops_per_s": 62e12,
        "matmul_engine": "dp4a on CUDA cores",
        "ridge_point_flops_per_byte": 62e12 / 900e9,
    }


def test_whose_laws_they_are_is_told_unless_there_are_none() -> None:
    assert toy().device["kernel_laws"] == {
        "origin": "measured",
        "source": "made up",  # what the device says of `test`
        "date": "2026-01-01",
        "conditions": "made up",
    }
    assert toy(hardware=device(kernel_laws=None)).device["kernel_laws"] is None
    bare = toy(accounting="llm-viewer")  # whose ops are no kernels
    assert bare.device["kernel_laws"] is None
    assert bare.llm.attainable_time_s is None


def test_the_host_issues_layers_of_those_parts_that_have_any() -> None:
    # a fixed time, and one for each of 3 blocks or 2 layers; in a decode step for 2 layers
    hosts = ("vision", "reducer", "connector", "llm", "decode")
    laws = toy_laws(
        "fp16",
        tile=8,
        vector_gb_per_s=1.0,
        host={name: HostLaw(fixed_us=7.0, layer_us=100.0) for name in hosts},
    )
    estimate = toy(
        lmm(),
        device(kernel_laws=laws),
        reducer="sequential",
        visual_tokens=4,
        stage="generate",
        output_tokens=5,
    )

    issued = {name: float(part.host_time_s) for name, part in estimate.components.items()}  # type: ignore[arg-type]
    assert issued == pytest.approx(
        {"vision": 307e-6, "reducer": 7e-6, "connector": 7e-6, "llm": 207e-6 + 5 * 207e-6}
    )


def test_a_reducer_holds_no_weights() -> None:
    for reducer in ("prumerge", "fastv:k=1"):
        estimate = toy(lmm(), reducer=reducer, visual_tokens=4)
        assert estimate.components["reducer"].weight_bytes == 0


def test_an_error_is_the_share_that_nine_in_ten_kernels_are_off_at_most() -> None:
    # 2 % of each of the toy's laws
    estimate = toy()

    assert estimate.llm.attainable_error_s == pytest.approx(0.02 * estimate.llm.attainable_time_s)  # type: ignore[operator]
    for op in estimate.ops:
        assert op.attainable_error_s == pytest.approx(0.02 * op.attainable_time_s)  # type: ignore[operator]


def test_a_cpu_issues_what_it_computes() -> None:
    # the toy's host takes 7 µs and 2 µs for each of 2 layers
    gpu, cpu = (toy(hardware=device(kind=kind)).llm for kind in ("gpu", "cpu"))

    assert gpu.host_time_s == pytest.approx(11e-6)
    assert cpu.host_time_s == 0
    assert cpu.attainable_time_s == gpu.attainable_time_s + gpu.host_time_s  # type: ignore[operator]
