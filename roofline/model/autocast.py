"""Kernels of PyTorch under autocast, one by one or compiled: casts, norms and stream in fp32.

Transformations of blocks whose widths are 16 bits; what is in 32 counts twice the elements. FLOPs
stay. Parameters are held in 32 bits, and each pass makes a copy in 16.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from roofline.model.block import Block
from roofline.model.fused import wide_matmuls
from roofline.model.op import Op
from roofline.model.polynomial import Number

WIDE = 2
"""Elements of 16 bits that one of 32 takes."""

SIGMOID_KERNELS = ("scale", "sigmoid", "multiply")
"""Kernels of x·σ(1.702·x) in PyTorch: the last one reads two operands."""


CONVOLUTION = "convolution"
"""Function of the patch embedding where it is a convolution of three channels, as PyTorch has it:
its kernels make little use of tensor cores."""
_CONVOLVED = "patch_embedding"


def compiled(blocks: Sequence[Block]) -> tuple[Block, ...]:
    """The same blocks as `torch.compile` runs them under autocast.

    Casts and adds are fused into norms: what moves is about what 16-bit kernels move one by one.
    """
    return tuple(
        replace(block, ops=tuple(map(_convolved, block.ops))) for block in wide_matmuls(blocks)
    )


def _convolved(op: Op) -> Op:
    return replace(op, function=CONVOLUTION) if op.name == _CONVOLVED else op


def autocast(blocks: Sequence[Block]) -> tuple[Block, ...]:
    """The same blocks as `torch.autocast` runs models whose q, k and v are one matmul, as timm's.

    Norms take and give fp32, and so does the stream that residual adds add to: a parameter in fp32
    (position embedding, norm) has made it so, and `autocast` casts inputs of matmuls alone. Every
    matmul is behind a cast of its input, if a norm gives that, and of its weights.
    https://docs.pytorch.org/docs/stable/amp.html, "CUDA Ops that can autocast to float32".
    """
    blocks = compiled(blocks)
    adds = [op for block in blocks for op in block.ops if op.kind == "residual"]
    stream = {name for op in adds for name in op.writes}
    normed = {
        name
        for block in blocks
        for op in block.ops
        if op.kind == "norm"
        for name in op.writes
        if name not in stream
    }
    return tuple(
        replace(block, ops=tuple(one for op in block.ops for one in _run(op, stream, normed)))
        for block in blocks
    )


def _run(op: Op, stream: set[str], normed: set[str]) -> list[Op]:
    """The kernels of an op."""
    if op.unit == "matmul":
        return [*_casts(op, normed), op]
    if op.function == "quick_gelu":
        return _sigmoid_gelu(op)
    wide = stream | normed if op.kind == "norm" else stream
    return [replace(op, reads=_widened(op.reads, wide), writes=_widened(op.writes, wide))]


def _widened(tensors: dict[str, Number] | object, wide: set[str]) -> dict[str, Number]:
    assert isinstance(tensors, dict)
    return {name: size * WIDE if name in wide else size for name, size in tensors.items()}


def _casts(matmul: Op, normed: set[str]) -> list[Op]:
    """fp32 → 16 bits: of the input where a norm has written it, and of the weights."""
    casts = []
    for name, size in matmul.reads.items():
        if name in normed:
            casts.append(
                Op(
                    f"{matmul.name}_input_cast",
                    "activation",
                    "vector",
                    reads={name: size * WIDE},
                    writes={name: size},
                    function="cast",
                )
            )
    if matmul.weights:
        casts.append(
            Op(
                f"{matmul.name}_weight_cast",
                "activation",
                "vector",
                reads={},
                writes={f"{matmul.name}_weights": matmul.weights},
                weights=matmul.weights * WIDE,
                resident_weights=float(matmul.weights) * WIDE,  # type: ignore[arg-type]
                role=matmul.role,
                function="cast",
            )
        )
    return casts


def _sigmoid_gelu(op: Op) -> list[Op]:
    (source, size), (target, written) = *op.reads.items(), *op.writes.items()
    scale, sigmoid, multiply = (f"{op.name}_{part}" for part in SIGMOID_KERNELS)
    share = op.vector_flops * (1 / len(SIGMOID_KERNELS))

    def kernel(name: str, reads: dict[str, Number], result: str) -> Op:
        return replace(op, name=name, reads=reads, writes={result: written}, vector_flops=share)

    return [
        kernel(scale, {source: size}, "scaled"),
        kernel(sigmoid, {"scaled": size}, "squashed"),
        kernel(multiply, {source: size, "squashed": size}, target),
    ]
