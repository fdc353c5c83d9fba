"""LLM, vision tower and connector as lists of ops: FLOPs, weights and order by hand."""

from collections.abc import Iterable, Sequence
from typing import Any

import pytest
import toy
from toy import tower

from roofline.model.architectures import Feed, Pass
from roofline.model.architectures import decoder as language
from roofline.model.architectures import vit as vision
from roofline.model.architectures.decoder import AttentionKind
from roofline.model.architectures.mlp import project
from roofline.model.block import Block, LayerGroup, parameters
from roofline.model.op import Op
from roofline.model.polynomial import Number
from roofline.specs.models import LanguageModel, MlpConnector, View, VisionEncoder

ATTENTION: list[AttentionKind] = ["flash", "eager"]


def llm(**changes: Any) -> LanguageModel:
    """Three layers, so that first, middle and last differ; two heads share each key head."""
    fields = {"num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2}
    return toy.llm(**(fields | {"intermediate_size": 24, "vocab_size": 100} | changes))


def encoded(
    spec: VisionEncoder, group: LayerGroup, *, images: float, attention: AttentionKind = "flash"
) -> tuple[Block, ...]:
    """A tower on pictures of its own shape."""
    return vision.encode(
        spec, [Pass(spec.view, images, (group,))], attention=attention, normed=False
    )


def feed(rows: float) -> list[Feed]:
    """As many features of one picture, each of which becomes a token."""
    count = int(rows)
    return [Feed(View(1, count), 1.0, count, count, rows)]


def summed(blocks: Iterable[Block], name: str) -> Number:
    """Over what runs."""
    running = [block for block in blocks if not block.idle]
    return sum(block.count * getattr(op, name) for block in running for op in block.ops)


def ops(blocks: Iterable[Block]) -> dict[str, Op]:
    return {op.name: op for block in blocks for op in block.ops}


def held(blocks: Sequence[Block]) -> tuple[dict[str, float], float]:
    """Elements of matrices by their role, without those there are none of; and of vectors."""
    found = parameters(blocks)
    return {role: n for role, n in found.matrices.items() if n}, found.vectors


@pytest.mark.parametrize("attention", ATTENTION)
def test_flops_of_a_prompt(attention: AttentionKind) -> None:
    # batch 2, 5 tokens: rows 10. Weights of a layer: q, o 8·8, k, v 8·4, MLP 3·8·24; scores
    # [2, 4, 5, 5], 2 FLOPs × e = 2 each, in QKᵀ and in PV; logits of 2 last positions
    weights = 2 * 64 + 2 * 32 + 3 * 192
    layer = 2 * 10 * weights + 2 * (2 * 200 * 2)
    blocks = language.prefill(
        llm(), [LayerGroup(3, 5.0)], batch=2.0, text_tokens=2.0, attention=attention
    )

    assert summed(blocks, "flops") == 3 * layer + 2 * 2 * 8 * 100


@pytest.mark.parametrize("attention", ATTENTION)
def test_flops_of_a_decode_step(attention: AttentionKind) -> None:
    # batch 2, one token against 5 cached and itself: rows 2, scores [2, 4, 1, 6]
    weights = 2 * 64 + 2 * 32 + 3 * 192
    layer = 2 * 2 * weights + 2 * (2 * 48 * 2)
    blocks = language.decode(llm(), [LayerGroup(3, 5.0)], batch=2.0, step=1.0, attention=attention)

    assert summed(blocks, "flops") == 3 * layer + 2 * 2 * 8 * 100
    assert summed(blocks, "kv_reads") == 3 * 2 * (2 * 6 * 4)  # K and V [2, 6, 2 heads · 2]
    assert summed(blocks, "kv_writes") == 3 * 2 * (2 * 1 * 4)


def test_weights_read_are_all_but_the_rest_of_the_embedding() -> None:
    # batch 2, 3 text tokens: 6 rows of the embedding; the lm_head whole; 2 norms a layer and one
    blocks = language.prefill(
        llm(), [LayerGroup(3, 5.0)], batch=2.0, text_tokens=3.0, attention="flash"
    )

    assert summed(blocks, "weights") == 3 * (2 * 64 + 2 * 32 + 3 * 192) + 6 * 8 + 8 * 100
    assert summed(blocks, "vectors") == (3 * 2 + 1) * 8


def test_ops_of_a_layer_in_order() -> None:
    _, layer, head = language.prefill(
        llm(), [LayerGroup(3, 5.0)], batch=1.0, text_tokens=2.0, attention="flash"
    )

    assert [op.name for op in layer.ops] == [
        *("input_layernorm", "q_proj", "k_proj", "v_proj", "apply_rotary_pos_emb", "attention"),
        *("o_proj", "attention_residual", "post_attention_layernorm", "gate_proj", "up_proj"),
        *("act_fn", "down_proj", "mlp_residual"),
    ]
    assert [op.name for op in head.ops] == ["norm", "lm_head"]


def test_biases_only_where_the_model_has_them() -> None:
    def biased(model: LanguageModel) -> set[str]:
        blocks = language.prefill(
            model, [LayerGroup(3, 5.0)], batch=1.0, text_tokens=2.0, attention="flash"
        )
        return {n for n, op in ops(blocks).items() if n.endswith("_proj") and op.vectors}

    assert biased(llm()) == set()
    assert biased(llm(attention_bias=True)) == {"q_proj", "k_proj", "v_proj", "o_proj"}
    assert biased(llm(mlp_bias=True)) == {"gate_proj", "up_proj", "down_proj"}
    apart = llm(attention_bias=True, attention_output_bias=False)
    assert biased(apart) == {"q_proj", "k_proj", "v_proj"}  # as in Qwen2
    assert biased(llm(attention_output_bias=True)) == {"o_proj"}


def test_head_dim_need_not_divide_the_hidden_size() -> None:
    # 4 heads of 5: q [8 → 20], k, v [8 → 10], o [20 → 8]
    blocks = language.prefill(
        llm(head_dim=5), [LayerGroup(3, 7.0)], batch=1.0, text_tokens=2.0, attention="flash"
    )

    assert {n: ops(blocks)[n].flops for n in ("q_proj", "k_proj", "o_proj")} == {
        "q_proj": 2 * 7 * 8 * 20,
        "k_proj": 2 * 7 * 8 * 10,
        "o_proj": 2 * 7 * 20 * 8,
    }
    assert ops(blocks)["attention"].flops == 2 * (2 * 4 * 7 * 7 * 5)


def test_tokens_merged_before_the_mlp_are_fewer_there_only() -> None:
    merged, plain = (
        ops(language.prefill(llm(), [group], batch=1.0, text_tokens=2.0, attention="flash"))
        for group in (LayerGroup(3, 9.0, 6.0), LayerGroup(3, 9.0))
    )

    behind = {
        *("post_attention_layernorm", "gate_proj", "up_proj", "act_fn", "down_proj"),
        *("mlp_residual", "norm"),
    }
    for name in plain:
        ratio = 6 / 9 if name in behind else 1
        assert merged[name].flops + merged[name].vector_flops == pytest.approx(
            ratio * (plain[name].flops + plain[name].vector_flops)
        )


@pytest.mark.parametrize("attention", ATTENTION)
def test_flops_of_a_vision_tower(attention: AttentionKind) -> None:
    # 2 images of 3·3 patches of 3·4·4 pixels; with class token 10 tokens, rows 20; a block's
    # weights: 4·8·8 and 2·8·16; scores [2, 2, 10, 10], e = 4
    stem = 2 * (2 * 9) * 48 * 8
    block = 2 * 20 * (4 * 64 + 2 * 128) + 2 * (2 * 400 * 4)
    blocks = encoded(tower(), LayerGroup(3, 10.0), images=2.0, attention=attention)

    assert summed(blocks, "flops") == stem + 3 * block
    assert summed(blocks, "kv_reads") == summed(blocks, "kv_writes") == 0


def test_position_embedding_adds_the_class_token() -> None:
    # reads 2 images × 9 patches × 8, writes × 10; position embedding [10, 8] and class token [8]
    op = ops(encoded(tower(), LayerGroup(3, 10.0), images=2.0, attention="flash"))[
        "position_embedding"
    ]

    assert (op.reads, op.writes) == ({"patches": 144}, {"hidden": 160})
    assert (op.vector_flops, op.vectors) == (160, 80 + 8)


def test_a_tower_without_class_token_and_norm_before_the_blocks() -> None:
    plain = tower(class_token=False, pre_norm=False)
    stem, *_ = encoded(plain, LayerGroup(3, 9.0), images=2.0, attention="flash")

    assert plain.tokens == 9
    assert [op.name for op in stem.ops] == ["patch_embedding", "position_embedding"]
    assert stem.ops[1].vectors == 9 * 8


@pytest.mark.parametrize(("function", "flops"), [("quick_gelu", 5), ("gelu", 5), ("gelu_tanh", 9)])
def test_the_activation_of_a_block_is_the_encoder_s(function: str, flops: int) -> None:
    # 1 image of 10 tokens, 16 wide
    _, block, *_ = encoded(
        tower(hidden_act=function), LayerGroup(3, 10.0), images=1.0, attention="flash"
    )

    (op,) = (op for op in block.ops if op.kind == "activation")
    assert (op.function, op.vector_flops) == (function, flops * 160)


def test_what_is_left_at_the_edges_of_an_image_is_no_patch() -> None:
    # 14 px hold 3 patches of 4 px a side, as SigLIP's 384 hold 27 of 14
    assert tower(image_size_px=14).patches == 9
    assert tower(image_size_px=384, patch_size_px=14, class_token=False).tokens == 27**2
    with pytest.raises(ValueError, match="at least one patch"):
        tower(image_size_px=3)


def test_a_bias_of_the_patch_embedding() -> None:
    # 2 images × 9 patches × 8; a vector of 8
    stem, *_ = encoded(tower(patch_bias=True), LayerGroup(3, 10.0), images=2.0, attention="flash")

    assert (stem.ops[0].vector_flops, stem.ops[0].vectors) == (144, 8)


def test_every_linear_of_a_block_has_a_bias() -> None:
    _, block, *_ = encoded(tower(), LayerGroup(3, 10.0), images=1.0, attention="flash")

    widths = {op.name: op.vectors for op in block.ops if op.kind == "linear"}
    assert widths == {
        **dict.fromkeys(("q_proj", "k_proj", "v_proj", "out_proj"), 8),
        "fc1": 16,
        "fc2": 8,
    }


def test_llavas_connector() -> None:
    # 10 rows: [4 → 6], GELU, [6 → 6]
    spec = MlpConnector(name="toy", title="Toy", source="made up")
    (block,) = project(spec, feed(10.0), in_features=4, out_features=6)

    assert [op.name for op in block.ops] == ["linear_1", "act", "linear_2"]
    assert [op.flops for op in block.ops] == [2 * 10 * 4 * 6, 0, 2 * 10 * 6 * 6]
    assert [op.vector_flops for op in block.ops] == [60, 5 * 60, 60]
    assert [op.vectors for op in block.ops] == [6, 0, 6]
    assert [dict(op.writes) for op in block.ops] == [
        {"projected_1": 60},
        {"activated": 60},
        {"projected_2": 60},
    ]


@pytest.mark.parametrize(("layers", "names"), [(1, 1), (2, 3), (3, 5), (4, 7)])
def test_a_connector_has_an_activation_between_any_two_linears(layers: int, names: int) -> None:
    spec = MlpConnector(
        name="toy", title="Toy", source="made up", num_linear_layers=layers, bias=False
    )
    (block,) = project(spec, feed(1.0), in_features=4, out_features=6)

    assert len({op.name for op in block.ops}) == len(block.ops) == names
    assert [op.kind for op in block.ops] == (["linear", "activation"] * layers)[:-1]
    assert summed([block], "weights") == 4 * 6 + (layers - 1) * 36
    assert summed([block], "vectors") == 0


# Parameters by hand. A layer of `llm()`: q and o 8·8, k and v 8·4, MLP 3·8·24, two norms of 8.
LAYER = 2 * 64 + 2 * 32 + 3 * 192


@pytest.mark.parametrize("attention", ATTENTION)
def test_parameters_of_an_llm(attention: AttentionKind) -> None:
    # however many tokens there are, of which group: the whole table, all layers, the head
    for groups in ([LayerGroup(3, 5.0)], [LayerGroup(1, 50.0, 7.0), LayerGroup(2, 7.0)]):
        blocks = language.prefill(llm(), groups, batch=2.0, text_tokens=3.0, attention=attention)
        assert held(blocks) == (
            {"linear": 3 * LAYER, "embedding": 100 * 8, "lm_head": 8 * 100},
            (3 * 2 + 1) * 8,
        )
        assert parameters(blocks).total == 3 * LAYER + 2 * 800 + 56


def test_a_tied_head_is_held_once() -> None:
    blocks = language.prefill(
        llm(tie_word_embeddings=True),
        [LayerGroup(3, 5.0)],
        batch=1.0,
        text_tokens=2.0,
        attention="flash",
    )

    assert held(blocks)[0] == {"linear": 3 * LAYER, "embedding": 100 * 8}
    assert ops(blocks)["lm_head"].weights == 8 * 100  # read all the same


@pytest.mark.parametrize("used", [1, 2, 3])
def test_blocks_behind_the_features_are_held_and_do_not_run(used: int) -> None:
    # patches [48 → 8], class token and position embedding of 11·8, norms before, after and twice
    # a block with weight and bias; a block: q, k, v, out 8·8 + 8, fc1 8·16 + 16, fc2 16·8 + 8
    blocks = encoded(tower(), LayerGroup(used, 10.0), images=2.0, attention="flash")
    block_flops = 2 * 20 * (4 * 64 + 2 * 128) + 2 * (2 * 400 * 4)

    assert held(blocks) == (
        {"linear": 48 * 8 + 3 * (4 * 64 + 2 * 128)},
        11 * 8 + 2 * 16 + 3 * (2 * 16 + 4 * 8 + 16 + 8),
    )
    assert summed(blocks, "flops") == 2 * 18 * 48 * 8 + used * block_flops


def test_parameters_of_a_connector() -> None:
    spec = MlpConnector(name="toy", title="Toy", source="made up")

    assert held(project(spec, feed(7.0), in_features=4, out_features=6)) == (
        {"linear": 4 * 6 + 6 * 6},
        12,
    )
