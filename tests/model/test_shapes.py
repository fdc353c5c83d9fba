"""The shapes that laws of kernel time go by are those of the tensors that ops read and write."""

from __future__ import annotations

from typing import Any

import pytest
from toy import llm, lmm, tower

from roofline.errors import UnknownNameError
from roofline.model.architectures import CONNECTORS, LANGUAGE_MODELS, VISION_ENCODERS, Pass
from roofline.model.architectures.decoder import decode, prefill
from roofline.model.architectures.vit import encode
from roofline.model.block import Block, LayerGroup
from roofline.model.op import AttentionShape, MatmulShape, Op
from roofline.model.polynomial import total
from roofline.registry import Registry

VISION: Any = lmm().vision


def blocks_of(what: str, attention: Any) -> tuple[Block, ...]:
    """The toy LLM (2 heads of 4, 1 KV head) at 5 tokens in a batch of 3, or its tower."""
    if what == "prefill":
        groups = [LayerGroup(2, 5.0)]
        return prefill(llm(), groups, batch=3.0, text_tokens=2.0, attention=attention)
    if what == "decode":
        return decode(llm(), [LayerGroup(2, 5.0)], batch=3.0, step=2.0, attention=attention)
    passes = [Pass(VISION.view, 3.0, (LayerGroup(3, 10.0),))]
    return encode(VISION, passes, attention=attention, normed=False)


def running(blocks: tuple[Block, ...]) -> list[Op]:
    return [op for block in blocks if not block.idle for op in block.ops]


@pytest.mark.parametrize("what", ["prefill", "decode", "encode"])
def test_an_op_of_a_model_is_one_kernel(what: str) -> None:
    assert {op.launches for op in running(blocks_of(what, "eager"))} == {1}


@pytest.mark.parametrize("attention", ["flash", "eager"])
@pytest.mark.parametrize("what", ["prefill", "decode", "encode"])
def test_a_matmul_s_shape_is_that_of_its_tensors(what: str, attention: str) -> None:
    products = [op for op in running(blocks_of(what, attention)) if op.unit != "vector"]
    shaped = [op for op in products if isinstance(op.shape, MatmulShape)]

    assert len(shaped) == len(products) - (attention == "flash")
    for op in shaped:
        assert isinstance(op.shape, MatmulShape)
        rows, inner, columns = op.shape.rows, op.shape.in_features, op.shape.out_features
        assert op.flops == 2 * rows * inner * columns, op.name
        assert next(iter(op.reads.values())) == rows * inner, op.name
        assert total([*op.writes.values(), op.kv_writes]).terms == {(): rows * columns}, op.name


@pytest.mark.parametrize(
    ("what", "shape"),
    [
        ("prefill", AttentionShape(3.0, 5.0, 5.0, 2, 1, 4, causal=True)),
        # against 5 tokens of the prompt and 2 of the answer
        ("decode", AttentionShape(3.0, 1.0, 7.0, 2, 1, 4, causal=False)),
        ("encode", AttentionShape(3.0, 10.0, 10.0, 2, 2, 4, causal=False)),
    ],
)
def test_the_shape_of_fused_attention(what: str, shape: AttentionShape) -> None:
    (op,) = (op for op in running(blocks_of(what, "flash")) if op.kind == "attention")

    assert op.shape == shape


def test_pixels_are_read_to_the_edge_of_the_image() -> None:
    # 14 px a side hold 3 patches of 4 px; all 14·14 pixels of 3 channels are read, for 2 images
    wide = tower(num_hidden_layers=1, image_size_px=14)
    passes = [Pass(wide.view, 2.0, (LayerGroup(1, 10.0),))]
    stem, *_ = encode(wide, passes, attention="flash", normed=False)

    assert stem.ops[0].reads == {"pixel_values": 2 * 3 * 14 * 14}
    assert stem.ops[0].flops == 2 * (2 * 9) * 48 * 8


@pytest.mark.parametrize(
    ("attention", "materialised", "kernels"),
    [
        ("flash", False, ["attention"]),
        ("flash", True, ["qk_matmul", "softmax", "sv_matmul"]),  # whatever was asked for
        ("eager", False, ["qk_matmul", "softmax", "sv_matmul"]),
        ("eager", True, ["qk_matmul", "softmax", "sv_matmul"]),
    ],
)
def test_probabilities_that_are_needed_are_written(
    attention: Any, materialised: bool, kernels: list[str]
) -> None:
    group = LayerGroup(3, 10.0, materialised=materialised)
    passes = [Pass(VISION.view, 1.0, (group,))]
    blocks = encode(VISION, passes, attention=attention, normed=False)

    assert [op.name for op in blocks[1].ops if op.kind in ("attention", "softmax")] == kernels


@pytest.mark.parametrize(
    ("registry", "what", "known"),
    [
        (LANGUAGE_MODELS, "an LLM", "language-model"),
        (VISION_ENCODERS, "a vision encoder", "vision-encoder"),
        (CONNECTORS, "a connector", "connector"),
    ],
)
def test_an_architecture_that_is_not_there(registry: Registry[Any], what: str, known: str) -> None:
    with pytest.raises(
        UnknownNameError, match=f"unknown architecture of {what} 'mamba': known: .*{known}"
    ):
        registry.find("mamba")
