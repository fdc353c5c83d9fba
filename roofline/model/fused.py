"""Kernels of servers: one matmul for q, k and v, one for gate and up, a norm with the add before.

A transformation of blocks: FLOPs and parameters stay, launches and activation traffic get fewer.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from roofline.model.block import Block
from roofline.model.op import MatmulShape, Op

FUSED_NAMES = {
    ("q_proj", "k_proj", "v_proj"): "qkv_proj",
    ("gate_proj", "up_proj"): "gate_up_proj",
}
"""Names of matmuls that are one; others are joined by `+`."""


def fused(blocks: Sequence[Block]) -> tuple[Block, ...]:
    """The same blocks as servers run them.

    Adjacent matmuls that read the same tensor become one. A residual add becomes one with the RMS
    norm of its stream: the one behind it or, at the end of a layer, the one that the next layer
    starts with. Of n layers n such norms have an add before them; the first layer's has none, and
    stands for the one behind the last layer, which has.
    """
    return tuple(replace(block, ops=_with_adds(block.ops)) for block in wide_matmuls(blocks))


def wide_matmuls(blocks: Sequence[Block]) -> tuple[Block, ...]:
    """Of that the matmuls alone."""
    return tuple(replace(block, ops=_with_wide_matmuls(block.ops)) for block in blocks)


def _with_wide_matmuls(ops: Sequence[Op]) -> tuple[Op, ...]:
    runs: list[list[Op]] = []
    for op in ops:
        if runs and _go_together(runs[-1][0], op):
            runs[-1].append(op)
        else:
            runs.append([op])
    return tuple(run[0] if len(run) == 1 else _wide_matmul(run) for run in runs)


def _go_together(one: Op, other: Op) -> bool:
    """Whether two matmuls multiply the same rows of the same tensor."""
    first, second = one.shape, other.shape
    return (
        isinstance(first, MatmulShape)
        and isinstance(second, MatmulShape)
        and one.unit == other.unit == "matmul"
        and one.role == other.role
        and one.reads == other.reads
        and len(one.reads) == 1
        and (first.rows, first.in_features) == (second.rows, second.in_features)
    )


def _wide_matmul(matmuls: Sequence[Op]) -> Op:
    """[rows, in] @ [in, Σ out]: the input is read once."""
    first, shapes = matmuls[0], [op.shape for op in matmuls if isinstance(op.shape, MatmulShape)]
    names = tuple(op.name for op in matmuls)
    return replace(
        first,
        name=FUSED_NAMES.get(names, "+".join(names)),
        writes={name: size for op in matmuls for name, size in op.writes.items()},
        flops=sum(op.flops for op in matmuls),
        vector_flops=sum(op.vector_flops for op in matmuls),
        weights=sum(op.weights for op in matmuls),
        vectors=sum(op.vectors for op in matmuls),
        kv_reads=sum(op.kv_reads for op in matmuls),
        kv_writes=sum(op.kv_writes for op in matmuls),
        shape=replace(shapes[0], out_features=sum(shape.out_features for shape in shapes)),
    )


def _with_adds(ops: Sequence[Op]) -> tuple[Op, ...]:
    """Adds and the norms behind them as one; the first op is behind the last, in the next layer."""
    kept = list(ops)
    if len(kept) > 1 and _normalises(kept[-1], kept[0]):
        kept = [_add_and_norm(kept[-1], kept[0]), *kept[1:-1]]
    joined: list[Op] = []
    for op in kept:
        if joined and _normalises(joined[-1], op):
            joined[-1] = _add_and_norm(joined[-1], op)
        else:
            joined.append(op)
    return tuple(joined)


def _normalises(add: Op, norm: Op) -> bool:
    """Whether a norm reads what an add has written."""
    return (
        add.kind == "residual"
        and norm.function == "rms_norm"
        and set(norm.reads) == set(add.writes)
    )


def _add_and_norm(add: Op, norm: Op) -> Op:
    """Stream + branch → stream, and its norm, which finds the sum on the chip."""
    return replace(
        norm,
        name=f"{add.name}_norm",
        reads=add.reads,
        writes={**add.writes, **norm.writes},
        vector_flops=add.vector_flops + norm.vector_flops,
    )
