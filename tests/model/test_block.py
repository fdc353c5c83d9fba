"""Tensor lifetimes against a simulation that unrolls every layer."""

from collections.abc import Sequence

import pytest
import toy
from hypothesis import given
from hypothesis import strategies as st

from roofline.model.architectures import Pass
from roofline.model.architectures import decoder as language
from roofline.model.architectures import vit as vision
from roofline.model.architectures.decoder import AttentionKind
from roofline.model.block import Block, LayerGroup, labelled, live_elements, parameters
from roofline.model.op import Op
from roofline.model.polynomial import Polynomial


def op(reads: dict[str, float], writes: dict[str, float], **more: object) -> Op:
    return Op("op", "residual", "vector", reads, writes, **more)  # type: ignore[arg-type]


def unrolled(blocks: Sequence[Block]) -> list[Op]:
    running = [block for block in blocks if not block.idle]
    return [op for block in running for _ in range(block.count) for op in block.ops]


def naive_peak(ops: Sequence[Op]) -> float:
    """Largest sum over ops of all versions of tensors that are alive.

    A version lives from the op that writes it (or, for an input of the whole, that first reads
    it) to the last op that reads it before the next version is written.
    """
    versions: list[tuple[int, int, float]] = []  # first op, last op, elements
    for name in {name for o in ops for name in (*o.reads, *o.writes)}:
        start, end, size = -1, -1, 0.0
        for i, o in enumerate(ops):
            if name in o.reads:
                if start < 0:
                    start, size = i, float(o.reads[name])  # type: ignore[arg-type]
                end = i
            if name in o.writes:
                versions.append((start, end, size))
                start = end = i
                size = float(o.resident.get(name, o.writes[name]))  # type: ignore[arg-type]
        versions.append((start, end, size))
    return max(
        sum(size for start, end, size in versions if 0 <= start <= i <= end)
        for i in range(len(ops))
    )


def peak(blocks: Sequence[Block]) -> float:
    return max(p.terms.get((), 0.0) for p in live_elements(blocks))


def test_a_chain_holds_input_and_output() -> None:
    # a(3) → b(5) → c(2): 3 + 5, then 5 + 2
    chain = Block(1, (op({"a": 3.0}, {"b": 5.0}), op({"b": 5.0}, {"c": 2.0})))

    assert [p.terms for p in live_elements([chain])] == [{(): 8.0}, {(): 7.0}]


def test_a_tensor_that_is_read_later_stays() -> None:
    # a(3) is read again by the third op
    ops = (op({"a": 3.0}, {"b": 5.0}), op({"b": 5.0}, {"c": 2.0}), op({"a": 3.0, "c": 2.0}, {}))

    assert [p.terms[()] for p in live_elements([Block(1, ops)])] == [8, 10, 5]


def test_what_nobody_reads_is_gone_after_its_op() -> None:
    ops = (op({"a": 3.0}, {"unused": 50.0, "b": 1.0}), op({"b": 1.0}, {"c": 1.0}))

    assert [p.terms[()] for p in live_elements([Block(1, ops)])] == [54, 2]


def test_an_update_holds_the_old_and_the_new_version() -> None:
    # a(3) + b(3) → a(3)
    assert peak([Block(1, (op({"a": 3.0, "b": 3.0}, {"a": 3.0}),))]) == 9


def test_a_partly_written_tensor_is_there_in_full() -> None:
    ops = (op({}, {"prompt": 4.0}, resident={"prompt": 7.0}), op({"prompt": 7.0}, {}))

    assert peak([Block(1, ops)]) == 7


def test_the_last_turn_may_let_go_of_what_all_turns_read() -> None:
    # `table` (10) is read first in each turn; only in the last is it gone when `wide` (20) comes
    start = Block(1, (op({}, {"x": 1.0, "table": 10.0}),))
    turn = (
        op({"x": 1.0, "table": 10.0}, {"y": 1.0}),
        op({"y": 1.0}, {"wide": 20.0}),
        op({"wide": 20.0}, {"x": 1.0}),
    )

    assert peak([start, Block(1, turn)]) == naive_peak(unrolled([start, Block(1, turn)])) == 21
    assert peak([start, Block(5, turn)]) == naive_peak(unrolled([start, Block(5, turn)])) == 31


SIZES = {"a": 1.0, "b": 10.0, "c": 100.0, "d": 1000.0}
names = st.sets(st.sampled_from(sorted(SIZES)), max_size=3)
random_ops = st.lists(st.tuples(names, names), min_size=1, max_size=6).map(
    lambda pairs: tuple(
        op({n: SIZES[n] for n in reads}, {n: SIZES[n] for n in writes}) for reads, writes in pairs
    )
)


@given(random_ops, st.integers(1, 5), random_ops)
def test_a_repeated_block_peaks_like_the_unrolled_one(
    turn: tuple[Op, ...], count: int, after: tuple[Op, ...]
) -> None:
    start = Block(1, (op({}, SIZES),))  # every tensor has a first version, as in a model
    blocks = [start, Block(count, turn), Block(1, after)]

    assert peak(blocks) == naive_peak(unrolled(blocks))


def test_idle_blocks_hold_no_tensors() -> None:
    runs, idle = op({"a": 3.0}, {"b": 5.0}), op({"b": 5.0}, {"huge": 1e9})

    assert [p.terms for p in live_elements([Block(1, (runs,)), Block(4, (idle,), idle=True)])] == [
        {(): 8.0}
    ]


def test_parameters_are_what_all_turns_hold() -> None:
    layer = (op({}, {}, weights=12.0, vectors=5.0), op({}, {}, weights=8.0, role="lm_head"))
    table = (op({}, {}, weights=99.0, role="embedding", resident_weights=700.0),)
    found = parameters([Block(3, layer), Block(2, layer, idle=True), Block(1, table)])

    assert found.matrices == {"linear": 5 * 12, "lm_head": 5 * 8, "embedding": 700}
    assert (found.vectors, found.total) == (25, 60 + 40 + 700 + 25)


def test_what_is_read_says_nothing_of_what_is_held_if_it_depends_on_the_prompt() -> None:
    looked_up = op({}, {}, weights=8 * Polynomial.variable("text_tokens"))

    with pytest.raises(ValueError, match="resident_weights"):
        parameters([Block(1, (looked_up,))])


LLM = toy.llm(
    num_hidden_layers=5,
    num_attention_heads=4,
    num_key_value_heads=2,
    intermediate_size=24,
    vocab_size=100,
)
ATTENTION: list[AttentionKind] = ["flash", "eager"]
SPANS = {
    "all equal": [LayerGroup(5, 9.0)],
    "fewer tokens": [LayerGroup(2, 9.0), LayerGroup(3, 4.0)],
    "merged before the MLP": [LayerGroup(1, 9.0, 6.0), LayerGroup(4, 6.0)],
}


@pytest.mark.parametrize("attention", ATTENTION)
@pytest.mark.parametrize("groups", SPANS.values(), ids=SPANS)
def test_peak_of_a_prompt(groups: list[LayerGroup], attention: AttentionKind) -> None:
    blocks = language.prefill(LLM, groups, batch=2.0, text_tokens=3.0, attention=attention)

    assert peak(blocks) == naive_peak(unrolled(blocks))


@pytest.mark.parametrize("attention", ATTENTION)
@pytest.mark.parametrize("groups", SPANS.values(), ids=SPANS)
def test_peak_of_a_decode_step(groups: list[LayerGroup], attention: AttentionKind) -> None:
    blocks = language.decode(LLM, groups, batch=2.0, step=1.0, attention=attention)

    assert peak(blocks) == naive_peak(unrolled(blocks))


@pytest.mark.parametrize("attention", ATTENTION)
def test_peak_of_a_vision_tower(attention: AttentionKind) -> None:
    tower = toy.tower(num_hidden_layers=5)
    for groups in ([LayerGroup(5, 10.0)], [LayerGroup(2, 10.0, 6.0), LayerGroup(3, 6.0)]):
        passes = [Pass(tower.view, 2.0, tuple(groups))]
        blocks = vision.encode(tower, passes, attention=attention, normed=False)
        assert peak(blocks) == naive_peak(unrolled(blocks))


def test_peak_of_one_layer_by_hand() -> None:
    # 4 tokens, d = 8, e = 2: while act_fn runs, hidden (32), gate, up and activated (96 each) are
    # alive, and the cosines and sines (2·4·2) that the next layer reads. In 16 bit: ×2 bytes
    blocks = language.prefill(
        LLM, [LayerGroup(5, 4.0)], batch=1.0, text_tokens=4.0, attention="flash"
    )

    assert peak(blocks) == 32 + 3 * 96 + 16


def test_labels_say_which_layers() -> None:
    groups = [LayerGroup(2, 576.0), LayerGroup(1, 144.0), LayerGroup(29, 64.0)]

    assert [label for _, label in labelled(groups)] == ["0-1", "2-2", "3-31"]
    assert [group for group, _ in labelled(groups)] == groups


def test_one_span_needs_no_label() -> None:
    assert labelled([LayerGroup(32, 576.0)]) == [(LayerGroup(32, 576.0), "")]


def test_tokens_after_a_span() -> None:
    assert LayerGroup(1, 9.0).tokens_after == 9
    assert LayerGroup(1, 9.0, 4.0).tokens_after == 4
