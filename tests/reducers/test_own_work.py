"""What each method computes and moves itself, op by op, by hand on a tower of 16 patches.

One image of 4 × 4 patches, width 6 in 3 heads of 2; an LLM of width 10 in 2 heads of 4 with one KV
head. All numbers are those of one image, or of one sequence inside the LLM.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from msgspec.structs import replace
from toy import llm, tower

from roofline import reducers
from roofline.model.block import Block
from roofline.model.op import MatmulShape
from roofline.model.polynomial import total
from roofline.reducers import ReductionTask

TOWER = tower(
    name="four-by-four",
    hidden_size=6,
    num_hidden_layers=5,
    num_attention_heads=3,
    intermediate_size=24,
    image_size_px=16,
    patch_size_px=4,
)
LLM = llm(
    name="narrow",
    hidden_size=10,
    num_hidden_layers=4,
    num_attention_heads=2,
    num_key_value_heads=1,
    head_dim=4,
    intermediate_size=20,
    vocab_size=50,
)


class Work(NamedTuple):
    """FLOPs on matrices and on vectors, elements of activations, the rows × inner × columns."""

    flops: float = 0
    vector: float = 0
    read: float = 0
    written: float = 0
    shape: tuple[float, float, float] | None = None

    def and_on_vectors(self, flops: float) -> Work:
        return self._replace(vector=flops)


def product(rows: int, inner: int, columns: int) -> Work:
    """[rows, inner] @ [inner, columns]: a multiply and an add for each of rows·inner·columns."""
    read, written = rows * inner + inner * columns, rows * columns
    return Work(2 * rows * inner * columns, 0, read, written, (rows, inner, columns))


def row_of_attention(tokens: int, heads: int) -> Work:
    """A query of width 6 against the keys of all tokens: a logit a head, each softmaxed in 5."""
    flops, logits = 2 * 6 * tokens, heads * tokens
    return Work(flops, 5 * logits, 6 + 6 * tokens, logits, (1, 6, tokens))


def order(scores: int) -> Work:
    """A comparison each."""
    return Work(0, scores, scores, scores)


def copied(rows: int, width: int = 6) -> Work:
    return Work(0, 0, rows * width, rows * width)


def list_of(tokens: int) -> Work:
    return Work(0, 0, 0, tokens)


def keys_averaged(tokens: int) -> Work:
    """Three heads of 2 become one: 6 adds a token; square, accumulate, divide for each of 2."""
    return Work(0, tokens * 6 + tokens * 3 * 2, tokens * 6, tokens * 2)


def merged(before: int, after: int) -> Work:
    """Each token weighed and added."""
    return Work(0, 2 * before * 6, before * 6, after * 6)


NEXT_BLOCK = {
    # LayerNorm in 7 an element; k_proj of 17 tokens and q_proj of one with their biases
    "layer_norm1": Work(0, 7 * 17 * 6, 17 * 6, 17 * 6),
    "k_proj": Work(2 * 17 * 36, 17 * 6, 17 * 6, 17 * 6, (17, 6, 6)),
    "q_proj": Work(2 * 36, 6, 6, 6, (1, 6, 6)),
    "class_attention": row_of_attention(17, heads=1),
    "select": order(16),
}
COSINES = 3 * 16 * 6
"""Square, accumulate and divide, for all patches at width 6."""

ON_FEATURES: dict[tuple[str, int], dict[str, Work]] = {
    ("prumerge", 5): {  # 4 centres and the extra token
        **NEXT_BLOCK,
        "gather": copied(4),
        "similarity": product(4, 6, 16).and_on_vectors(COSINES),
        "merge": product(4, 16, 6),
        "extra_token": product(1, 16, 6),
    },
    ("prumerge:k=0", 5): {
        **NEXT_BLOCK,
        "gather": copied(4),
        "extra_token": product(1, 16, 6),
    },
    ("prumerge:variant=paper", 5): {  # by inner products, not cosines
        **NEXT_BLOCK,
        "gather": copied(5),
        "similarity": product(5, 6, 16),
        "merge": product(5, 16, 6),
    },
    ("prumerge+", 7): {
        **NEXT_BLOCK,
        "gather": copied(6),
        "similarity": product(6, 6, 16).and_on_vectors(COSINES),
        "merge": product(6, 16, 6),
        "extra_token": product(1, 16, 6),
    },
    ("fastervlm", 5): {
        "class_attention": row_of_attention(17, heads=3),
        "select": order(16),
        "gather": copied(5),
    },
    ("visionzip:contextual=2", 7): {  # 5 dominant with the class token: 16 − 4 − 2 others
        "class_attention": row_of_attention(17, heads=3),
        "select": order(16),
        "gather": copied(5),
        "head_mean": keys_averaged(16),
        "similarity": product(10, 2, 2).and_on_vectors(16 * 6),
        "merge": product(2, 10, 6),
    },
    ("visionzip:contextual=0", 7): {
        "class_attention": row_of_attention(17, heads=3),
        "select": order(16),
        "gather": copied(7),
    },
    ("divprune", 5): {  # at the LLM's width of 10; a minimum and a comparison each of 5 times
        "similarity": product(16, 10, 16).and_on_vectors(3 * 16 * 10),
        "select": Work(0, 5 * 16 * 2, 5 * 16 * 2, 5),
        "gather": copied(5, width=10),
    },
    ("sequential", 5): {"positions": list_of(5)},
    ("spatial", 6): {"positions": list_of(6), "gather": copied(6)},
}
IN_BLOCKS: dict[tuple[str, int], dict[str, dict[str, Work]]] = {
    # a fifth of the tokens in block 1 alone: before its MLP 12 patches are fused into one
    ("evit:stages=1", 5): {
        "": {"positions": list_of(16)},
        "1-1": {
            "class_attention": row_of_attention(17, heads=3),
            "select": order(17),
            "merge": merged(17, 6),
        },
    },
    ("ats:stages=1", 5): {
        "": {"positions": list_of(17)},
        "1-1": {
            "class_attention": row_of_attention(17, heads=3),
            # square and accumulate each of 17·6 values
            "value_norms": Work(0, 2 * 17 * 6, 17 * 6, 17 * 3),
            "select": order(17),
        },
    },
    # 17 → 13 → 9 tokens: even ones are compared with odd ones
    ("tome:r=4", 8): {
        "": {"positions": list_of(2 * 17)},
        "0-0": {
            "head_mean": keys_averaged(17),
            "similarity": product(9, 2, 8),
            "select": order(9),
            "merge": merged(17, 13),
        },
        "1-1": {
            "head_mean": keys_averaged(13),
            "similarity": product(7, 2, 6),
            "select": order(7),
            "merge": merged(13, 9),
        },
    },
    # 18 → 15 → 12, the cross token among them; importance sums [3, T, T] probabilities
    ("crossget:r=3", 11): {
        "": {"gather": copied(18)},
        "0-0": {
            "head_mean": keys_averaged(18),
            "similarity": product(18, 2, 18).and_on_vectors(3 * 18 * 18),
            "select": order(18),
            "merge": merged(18, 15),
        },
        "1-1": {
            "head_mean": keys_averaged(15),
            "similarity": product(15, 2, 15).and_on_vectors(3 * 15 * 15),
            "select": order(15),
            "merge": merged(15, 12),
        },
    },
}


def task(kept: int, *, blocks: int = 2, images: float = 1.0, **changes: Any) -> ReductionTask:
    """`kept` of 16 patches; a sequence enters the LLM with 20 tokens."""
    given: dict[str, Any] = {"vision": TOWER, "llm": LLM, "batch": 1.0, "prompt": 20.0} | changes
    patches = given["vision"].patches
    return ReductionTask(blocks=blocks, images=images, candidates=patches, kept=kept, **given)


def blocks_of(text: str, reduction_task: ReductionTask) -> list[Block]:
    reducer = reducers.find(text)
    reducer.check(reduction_task)
    return list(reducer.extra_ops(reduction_task))


def work_of(block: Block) -> dict[str, Work]:
    """What the ops of a block say, by name."""
    found = {}
    for op in block.ops:
        shape = op.shape
        assert shape is None or isinstance(shape, MatmulShape)
        numbers: Any = shape and (shape.rows, shape.in_features, shape.out_features)
        read, written = (total(each.values()).terms.get((), 0.0) for each in (op.reads, op.writes))
        amounts: tuple[Any, Any] = op.flops, op.vector_flops
        found[op.name] = Work(*amounts, read, written, numbers)
    assert len(found) == len(block.ops)
    return found


@pytest.mark.parametrize(("case", "expected"), ON_FEATURES.items(), ids=map(str, ON_FEATURES))
def test_work_on_features(case: tuple[str, int], expected: dict[str, Work]) -> None:
    text, kept = case
    (block,) = blocks_of(text, task(kept))

    assert (block.count, block.label, block.idle) == (1, "", False)
    assert work_of(block) == expected


@pytest.mark.parametrize(("case", "expected"), IN_BLOCKS.items(), ids=map(str, IN_BLOCKS))
def test_work_inside_the_tower(case: tuple[str, int], expected: dict[str, dict[str, Work]]) -> None:
    text, kept = case
    found = blocks_of(text, task(kept))

    assert {block.label: work_of(block) for block in found} == expected
    assert [block.count for block in found] == [1] * len(expected)


@pytest.mark.parametrize(("text", "kept"), [("tome:r=4", 8), ("crossget:r=3", 11)])
def test_cosines_of_unit_vectors_are_one_kernel(text: str, kept: int) -> None:
    _, *stages = blocks_of(text, task(kept))

    launches = [op.launches for block in stages for op in block.ops if op.name == "similarity"]
    assert launches == [1, 1]


def test_fastv_asks_once_more_what_the_last_token_attends_to() -> None:
    # its query of 2·4 against 20 cached keys of width 4: a logit a head, softmaxed in 5
    (block,) = blocks_of("fastv", task(5))
    (row, select) = block.ops

    assert work_of(block) == {
        "last_token_attention": Work(2 * 20 * 8, 5 * 40, 8, 40, (1, 8, 20)),
        "select": order(20),
    }
    assert (row.kv_reads, select.kv_reads) == (20 * 4, 0)


@pytest.mark.parametrize("text", reducers.names())
def test_work_is_that_of_all_images_and_sequences(text: str) -> None:
    """Of 7 images or sequences 7 times what one takes; weights are read once."""
    site, kept = reducers.find(text).site, 9 if text != "crossget" else 11
    one = blocks_of(text, task(kept, blocks=5))
    many = blocks_of(text, task(kept, blocks=5, images=7.0 if site != "llm" else 1.0, batch=7.0))

    assert [(b.count, b.label) for b in many] == [(b.count, b.label) for b in one]
    for single, seven in zip(one, many, strict=True):
        for op, other in zip(single.ops, seven.ops, strict=True):
            for name in ("flops", "vector_flops", "kv_reads"):
                assert getattr(other, name) == 7 * getattr(op, name), (op.name, name)
            for moved, more in ((op.reads, other.reads), (op.writes, other.writes)):
                assert more == {name: 7 * size for name, size in moved.items()}
            assert (other.weights, other.vectors) == (op.weights, op.vectors)
            if op.shape is not None:
                assert isinstance(op.shape, MatmulShape)
                assert other.shape == replace(op.shape, rows=7 * op.shape.rows)


def test_without_a_class_token_every_patch_asks() -> None:
    # [16, 6] @ [6, 16] in 3 heads: as many logits as pairs of patches
    bare = replace(TOWER, class_token=False)
    (block,) = blocks_of("fastervlm", task(5, vision=bare))
    (prumerge,) = blocks_of("prumerge", task(5, vision=bare))

    logits = 3 * 16 * 16
    expected = Work(2 * 16 * 6 * 16, 5 * logits, 2 * 16 * 6, logits, (16, 6, 16))
    assert work_of(block)["class_attention"] == expected
    assert work_of(prumerge)["class_attention"].written == 16 * 16
    assert work_of(prumerge)["q_proj"] == work_of(prumerge)["k_proj"]  # of all patches


def test_visionzip_without_a_class_token_has_one_dominant_patch_more() -> None:
    # 5 dominant patches instead of 4 and the class token: 16 − 5 − 2 others
    bare = replace(TOWER, class_token=False)
    (block,) = blocks_of("visionzip:contextual=2", task(7, vision=bare))

    assert work_of(block)["similarity"].shape == (9, 2, 2)
    assert work_of(block)["merge"] == product(2, 9, 6)


def test_one_patch_has_no_neighbours_to_merge() -> None:
    alone = replace(TOWER, image_size_px=4)
    (paper,) = blocks_of("prumerge:variant=paper", task(1, vision=alone))
    (four,) = blocks_of("prumerge:variant=paper", task(1, vision=replace(TOWER, image_size_px=8)))

    assert "merge" not in work_of(paper)
    assert work_of(four)["merge"] == product(1, 4, 6)


# which blocks work -------------------------------------------------------------------------------


def worked(text: str, kept: int, blocks: int = 5) -> list[tuple[int, str]]:
    start, *stages = blocks_of(text, task(kept, blocks=blocks))
    assert (start.count, start.label) == (1, "")
    return [(block.count, block.label) for block in stages]


def test_blocks_that_drop_nothing_do_nothing() -> None:
    assert worked("evit:stages=1,3", 4) == [(1, "1-1"), (1, "3-3")]
    assert worked("evit:stages=1,3", 16) == []
    assert worked("tome:r=0", 16) == []
    assert worked("tome", 13) == [(1, "0-0"), (1, "1-1"), (1, "2-2")]  # 3 merges in 5 blocks


def test_sampling_draws_even_where_all_may_stay() -> None:
    assert worked("ats:stages=1,2", 16) == [(2, "1-2")]
    assert worked("ats:stages=1,2", 4) == [(1, "1-1"), (1, "2-2")]


def test_a_count_is_reached_evenly_and_an_option_as_it_says() -> None:
    """A count that comes of itself is no other than none: both are the option's, 13 a block."""

    def seen(text: str, kept: int) -> list[float]:
        groups = reducers.find(text).vision_groups(task(kept, blocks=5))
        return [float(group.tokens_after) for group in groups]  # type: ignore[arg-type]

    # of 16 patches, a class and a cross token: 14 merge in 5 blocks, or half of what is left
    assert seen("crossget", 3) == [15, 12, 9, 6, 4]
    assert seen("crossget", 2) == seen("crossget:r=13", 2) == [10, 6, 4, 3, 3]


def test_layers_of_the_tower_see_what_is_left() -> None:
    def seen(text: str, kept: int) -> list[tuple[Any, ...]]:
        groups = reducers.find(text).vision_groups(task(kept, blocks=4))
        return [(g.layers, g.tokens, g.mlp_tokens, g.queries, g.materialised) for g in groups]

    assert seen("prumerge", 5) == [(4, 17, None, 17, False)]
    assert seen("evit:stages=1", 5) == [
        (1, 17, 17, 17, False),
        (1, 17, 6, 17, False),  # fused between attention and MLP
        (2, 6, 6, 6, False),
    ]
    assert seen("ats:stages=1", 5)[1] == (1, 17, 6, 6, False)  # rows of those that stay alone
    # one of 18 tokens merges; probabilities are kept where importance is taken from them
    assert seen("crossget", 16) == [(1, 18, 17, 18, True), (3, 17, 17, 17, False)]
