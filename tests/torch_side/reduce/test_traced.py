"""Costs traced from code, held against those that the shipped reducers state by hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from toy import lmm

from roofline import reducers
from roofline.engine.layout import lay_out
from roofline.model.block import Block
from roofline.model.op import MatmulShape, Op
from roofline.model.polynomial import Point, Polynomial
from roofline.reducers import METHOD_FIELDS, Reducer, ReductionTask
from roofline.torch_side.reduce.methods import Method, find
from roofline.torch_side.reduce.methods.base import ReducerError
from roofline.torch_side.reduce.traced import traced_ops

FEATURES = [name for name in reducers.names() if reducers.find(name).site == "features"]


def task(name: str, model: Any = "llava-1.5-7b", kept: int = 40) -> tuple[Reducer, ReductionTask]:
    reducer = reducers.find(name)
    found = lay_out(model, reducer=reducer, visual_tokens=kept).task
    assert found is not None
    return reducer, found


def given(name: str) -> dict[str, Any]:
    """As somebody would register it."""
    fields = ("reduce", "needs_attention", "attention_block")
    return {field: getattr(find(name), field) for field in fields}


def value(number: Any, images: float) -> float:
    counts = {"images": images, "batch": images, "visual_tokens": 40.0, "text_tokens": 40.0}
    return float(Point({n: np.asarray(v) for n, v in counts.items()})(Polynomial.of(number)))


def total(blocks: Sequence[Block], field: str, images: float) -> float:
    return sum(block.count * value(getattr(op, field), images) for block, op in _ops(blocks))


def moved(blocks: Sequence[Block], images: float) -> float:
    return sum(
        block.count * value(elements, images)
        for block, op in _ops(blocks)
        for elements in (*op.reads.values(), *op.writes.values())
    )


def _ops(blocks: Sequence[Block]) -> list[tuple[Block, Op]]:
    return [(block, op) for block in blocks for op in block.ops]


@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize("kept", [40, 144])
@pytest.mark.parametrize("name", FEATURES)
def test_flops_and_launches_are_those_that_are_stated(name: str, kept: int, images: int) -> None:
    reducer, work = task(name, kept=kept)
    traced, stated = traced_ops(given(name), reducer, work), reducer.extra_ops(work)

    assert total(traced, "flops", images) == total(stated, "flops", images)
    assert total(traced, "launches", images) == total(stated, "launches", images)
    # code moves more than it must: it widens to 32 bits, and keeps what a kernel could fuse
    assert moved(traced, images) >= moved(stated, images)


def test_a_lookup_reads_what_it_copies() -> None:
    reducer, work = task("spatial", kept=144)
    traced = traced_ops(given("spatial"), reducer, work)

    # 144 rows of 1024 read and written, and a little arithmetic of positions
    assert moved(traced, 1) == pytest.approx(2 * 144 * 1024, rel=0.02)


def test_each_op_has_a_name_of_its_own() -> None:
    reducer, work = task("prumerge")
    names = [op.name for _, op in _ops(traced_ops(given("prumerge"), reducer, work))]
    assert len(set(names)) == len(names)


def test_a_loop_over_images_is_made_for_each() -> None:
    def looping(reducer: Any, features: Any, queries: Any, keys: Any, *, count: int) -> Any:
        import torch

        picked = [image[1 : 1 + count] * 2.0 for image in features]
        return torch.stack(picked), torch.zeros(len(picked), count)

    reducer, work = task("sequential")
    traced = traced_ops({"reduce": looping}, reducer, work)
    once = traced_ops({"reduce": looping}, reducer, work)

    assert moved(traced, 3) == 3 * moved(once, 1)
    assert [op.name for _, op in _ops(traced)] == ["mul", "stack", "zeros"]


def test_code_that_looks_at_numbers_is_told_what_to_do() -> None:
    def looking(reducer: Any, features: Any, queries: Any, keys: Any, *, count: int) -> Any:
        return features[features > 0]

    reducer, work = task("sequential")
    with pytest.raises(ReducerError, match=r"cannot be traced without a picture \(.*extra_ops"):
        traced_ops({"reduce": looking}, reducer, work)
    with pytest.raises(ReducerError, match="works inside the model and states no cost"):
        traced_ops({"blocks": object}, reducer, work)


def test_projected_features_are_as_wide_as_the_llm() -> None:
    model = lmm()
    widths: list[tuple[int, ...]] = []

    def looking(reducer: Any, features: Any, queries: Any, keys: Any, *, count: int) -> Any:
        widths.append((*features.shape, *keys.shape))
        return features[:, 1 : 1 + count], keys[:, :count, 0]

    class Projected(type(reducers.find("sequential")), frozen=True):  # type: ignore[misc]
        name = "projected"
        connects_all = True

    _, work = task("sequential", model, kept=4)
    traced_ops({"reduce": looking, "needs_attention": True}, Projected(), work)
    patches, width = work.patches + work.vision.class_token, work.width
    assert widths == [
        (images, patches, work.llm.hidden_size, images, patches, width) for images in (1, 2)
    ]


def traced_op(function: Any) -> Op:
    """The only op of a method that calls one function of features [B, T, C]."""

    def calling(reducer: Any, features: Any, queries: Any, keys: Any, *, count: int) -> Any:
        function(features)
        return features[:, 1 : 1 + count], features[:, :count, 0]

    reducer, work = task("sequential")
    (block,) = traced_ops({"reduce": calling}, reducer, work)
    (op,) = block.ops
    return op


TOKENS, WIDTH = 577, 1024


@pytest.mark.parametrize(
    ("function", "results", "reads", "writes"),
    [
        (lambda x: x.float(), TOKENS * WIDTH, TOKENS * WIDTH, 2 * TOKENS * WIDTH),
        (lambda x: x > 0, TOKENS * WIDTH, TOKENS * WIDTH, TOKENS * WIDTH / 2),
        (lambda x: x[:, :1].expand_as(x) * 2.0, TOKENS * WIDTH, WIDTH, TOKENS * WIDTH),
        (lambda x: x.sum(-1), TOKENS, TOKENS * WIDTH, TOKENS),
    ],
    ids=["widen", "compare", "broadcast", "sum"],
)
def test_an_elementwise_call_is_an_operation_a_result(
    function: Any, results: float, reads: float, writes: float
) -> None:
    op = traced_op(function)

    assert op.unit == "vector"
    assert (value(op.vector_flops, 1), value(op.flops, 1)) == (results, 0)
    assert [value(n, 1) for n in op.reads.values()] == [reads]
    assert [value(n, 1) for n in op.writes.values()] == [writes]
    assert value(op.vector_flops, 3) == 3 * results


def test_a_copy_reads_its_source_alone() -> None:
    reducer, work = task("sequential")

    def copying(reducer: Any, features: Any, queries: Any, keys: Any, *, count: int) -> Any:
        import torch

        kept = torch.empty(len(features), count, WIDTH, dtype=features.dtype, device="meta")
        kept.copy_(features[:, 1 : 1 + count])
        return kept, features[:, :count, 0]

    (block,) = traced_ops({"reduce": copying}, reducer, work)
    assert [value(n, 1) for n in block.ops[0].reads.values()] == [40 * WIDTH]


def test_a_product_of_matrices_has_its_shape() -> None:
    op = traced_op(lambda x: x[:, :7] @ x[:, 7:20].mT)

    assert (op.unit, op.kind, op.vector_flops) == ("attention", "reduction", 0)
    assert isinstance(op.shape, MatmulShape)
    sizes = (op.shape.rows, op.shape.in_features, op.shape.out_features)
    assert [value(size, 1) for size in sizes] == [7, WIDTH, 13]
    assert [value(size, 2) for size in sizes] == [14, WIDTH, 13]
    assert value(op.flops, 1) == 2 * 7 * WIDTH * 13


@pytest.mark.parametrize("error", [ValueError, AttributeError, IndexError, ZeroDivisionError])
def test_whatever_somebodys_code_raises_is_one_line(error: type[Exception]) -> None:
    def failing(reducer: Any, features: Any, queries: Any, keys: Any, *, count: int) -> Any:
        raise error("of mine\nand more")

    reducer, work = task("sequential")
    place = rf"test_traced.py, line \d+: {error.__name__}: of mine$"
    with pytest.raises(ReducerError, match=f"sequential fails at {place}"):
        traced_ops({"reduce": failing}, reducer, work)


def test_what_is_said_of_a_method_are_the_fields_of_one() -> None:
    assert {field.name for field in dataclasses.fields(Method)} == {"name", *METHOD_FIELDS}
