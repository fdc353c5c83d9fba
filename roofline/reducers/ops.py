"""Ops that several reducers run.

`launches` and `waits` are those of the implementation in torch, in 16 bit, for one image: several
take a few copies more.
"""

from __future__ import annotations

from functools import partial

from roofline.model.op import MatmulShape, Op
from roofline.model.ops import SOFTMAX_FLOPS, layer_norm, linear
from roofline.model.polynomial import Number
from roofline.reducers.base import ReductionTask

COSINE_FLOPS = 3  # square, accumulate, divide


def matmul(
    name: str,
    images: Number,
    shape: tuple[float, float, float],
    *,
    vector_flops: Number = 0.0,
    launches: int = 1,
) -> Op:
    """[rows, inner] @ [inner, columns] an image; every operand is read once."""
    rows, inner, columns = shape
    return Op(
        name,
        "reduction",
        "attention",
        reads={
            f"{name}_left": images * (rows * inner),
            f"{name}_right": images * (inner * columns),
        },
        writes={f"{name}_out": images * (rows * columns)},
        flops=2 * images * (rows * inner * columns),
        vector_flops=vector_flops,
        shape=MatmulShape(images * rows, inner, columns),
        launches=launches,
    )


def ranking(images: Number, scores: Number, *, launches: int, waits: int = 0) -> Op:
    """Sort or threshold `scores` numbers an image: one pass, a comparison each."""
    return Op(
        "select",
        "reduction",
        "vector",
        reads={"scores": images * scores},
        writes={"indices": images * scores},
        vector_flops=images * scores,
        launches=launches,
        waits=waits,
    )


def positions(task: ReductionTask, tokens: float, *, launches: int) -> Op:
    """Write down which patch each of `tokens` tokens an image is."""
    return Op(
        "positions",
        "reduction",
        "vector",
        reads={},
        writes={"positions": task.images * tokens},
        launches=launches,
    )


def gather(task: ReductionTask, rows: float, *, width: int | None = None, launches: int) -> Op:
    """Copy `rows` rows an image, of features unless another width is given."""
    size = task.images * (rows * (task.feature_width if width is None else width))
    return Op(
        "gather",
        "reduction",
        "vector",
        reads={"features": size},
        writes={"kept": size},
        launches=launches,
    )


def class_attention(task: ReductionTask, tokens: int, heads: int, *, launches: int) -> Op:
    """The class token's logits over the tokens of a block and their softmax, head by head.

    Where there is no class token, those of all tokens: [T, C] @ [C, T].
    """
    queries = 1 if task.class_token else tokens
    logits = task.images * (heads * queries * tokens)
    return Op(
        "class_attention",
        "reduction",
        "attention",
        reads={
            "query": task.images * (queries * task.width),
            "keys": task.images * (tokens * task.width),
        },
        writes={"attention": logits},
        flops=task.images * (2 * task.width * queries * tokens),
        vector_flops=SOFTMAX_FLOPS * logits,
        shape=MatmulShape(task.images * queries, task.width, tokens),
        launches=launches,
    )


def next_block_projections(task: ReductionTask) -> tuple[Op, ...]:
    """LN1 and k_proj of the first block that does not run, q_proj of the class token alone."""
    rows, width = task.images * task.tokens, task.width
    queries = task.images if task.vision.class_token else rows
    projection = partial(linear, in_features=width, out_features=width, bias=True)
    return (
        layer_norm("layer_norm1", "features", "normed", rows=rows, width=width),
        projection("k_proj", "normed", "keys", rows=rows),
        projection("q_proj", "normed", "query", rows=queries),
    )


def next_block_attention(task: ReductionTask, *, launches: int) -> tuple[Op, ...]:
    """Those and their attention, one head of full width; `launches` are the attention's.

    Where all blocks run it is that of the last one, whose projections are there.
    """
    ahead = next_block_projections(task) if task.ranks_ahead else ()
    return *ahead, class_attention(task, task.tokens, 1, launches=launches)


def head_mean(task: ReductionTask, tokens: int, *, launches: int) -> Op:
    """Keys averaged over heads and normalised, [T, C] → [T, e]: what alikeness is measured by.

    Those of patches that are merged are averaged first.
    """
    keys = task.images * ((task.tokens if task.merged else tokens) * task.width)
    return Op(
        "head_mean",
        "reduction",
        "vector",
        reads={"key": keys},
        writes={"metric": task.images * (tokens * task.head_size)},
        vector_flops=keys + task.images * (COSINE_FLOPS * tokens * task.head_size),
        launches=launches,
    )


def mean_keys(task: ReductionTask, *, launches: int) -> tuple[Op, ...]:
    """Keys of patches that are merged, averaged: [T, C] → [N, C]; nothing where none are."""
    if not task.merged:
        return ()
    keys = task.images * (task.tokens * task.width)
    op = Op(
        "mean_keys",
        "reduction",
        "vector",
        reads={"keys": keys},
        writes={"row_keys": task.images * (task.patches * task.width)},
        vector_flops=keys,
        launches=launches,
    )
    return (op,)


def weighted_sums(task: ReductionTask, before: int, after: int, *, launches: int) -> Op:
    """Merge tokens: every one is read once, every one that is left written once."""
    read, written = task.images * (before * task.width), task.images * (after * task.width)
    return Op(
        "merge",
        "reduction",
        "vector",
        reads={"tokens": read},
        writes={"merged": written},
        vector_flops=2 * read,
        launches=launches,
    )
