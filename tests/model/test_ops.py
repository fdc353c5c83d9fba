"""The formula layer: by hand, and the same for numbers, arrays and polynomials."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roofline.model.op import AttentionShape, Op
from roofline.model.ops import (
    activation,
    eager_attention,
    embedding,
    flash_attention,
    gated_activation,
    layer_norm,
    linear,
    residual,
    rms_norm,
    rotary,
    rotary_table,
)
from roofline.model.polynomial import Point, Polynomial

Make = Callable[[Any, Any, Any], tuple[Op, ...]]


def shape(batch: Any, queries: Any, keys: Any) -> AttentionShape:
    return AttentionShape(batch, queries, keys, heads=4, kv_heads=2, head_dim=3)


MAKERS: dict[str, Make] = {
    "linear": lambda b, q, k: (
        linear("o", "a", "c", rows=b * q, in_features=3, out_features=5, bias=True),
    ),
    "linear to the cache": lambda b, q, k: (
        linear("o", "a", None, rows=b * q, in_features=3, out_features=5),
    ),
    "embedding": lambda b, q, k: (
        embedding("o", "c", rows=b * q, width=6, prompt_rows=b * k, table_rows=50),
    ),
    "rms_norm": lambda b, q, k: (rms_norm("o", "a", "c", rows=b * q, width=6),),
    "layer_norm": lambda b, q, k: (layer_norm("o", "a", "c", rows=b * q, width=6),),
    "residual": lambda b, q, k: (residual("o", "a", "c", rows=b * q, width=6),),
    "activation": lambda b, q, k: (
        activation("o", "a", "c", rows=b * q, width=6, function="gelu"),
    ),
    "gated_activation": lambda b, q, k: (
        gated_activation("o", "g", "u", "c", rows=b * q, width=6),
    ),
    "rotary_table": lambda b, q, k: (rotary_table("o", "t", queries=q, head_dim=4),),
    "rotary": lambda b, q, k: (
        rotary(
            *("o", "q", "k", "t", "c"),
            rows=b * q,
            queries=q,
            width=12,
            kv_width=6,
            head_dim=4,
        ),
    ),
    "flash": lambda b, q, k: (flash_attention("o", "q", "c", shape(b, q, k), key_value=None),),
    "flash, no cache": lambda b, q, k: (
        flash_attention("o", "q", "c", shape(b, q, k), key_value=("k", "v")),
    ),
    "eager": lambda b, q, k: eager_attention("q", "c", shape(b, q, k), key_value=None),
    "eager, no cache": lambda b, q, k: eager_attention(
        "q", "c", shape(b, q, k), key_value=("k", "v")
    ),
}
COUNTED = ("flops", "vector_flops", "weights", "vectors", "kv_reads", "kv_writes")


def numbers(ops: tuple[Op, ...]) -> dict[str, Any]:
    """Every number in some ops by name."""
    found: dict[str, Any] = {}
    for i, op in enumerate(ops):
        found |= {f"{i}.{name}": getattr(op, name) for name in COUNTED}
        for mapping in ("reads", "writes", "resident"):
            found |= {f"{i}.{mapping}.{k}": v for k, v in getattr(op, mapping).items()}
    return found


def amounts(op: Op) -> dict[str, Any]:
    """What is not zero."""
    found = {name: getattr(op, name) for name in COUNTED if getattr(op, name)}
    mappings = {m: dict(getattr(op, m)) for m in ("reads", "writes", "resident") if getattr(op, m)}
    return found | mappings


counts = st.integers(1, 1000).map(float)


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@given(b=counts, q=counts, k=counts)
def test_polynomials_evaluate_to_what_plain_numbers_give(
    make: Make, b: float, q: float, k: float
) -> None:
    point = Point({"b": np.asarray(b), "q": np.asarray(q), "k": np.asarray(k)})
    plain = numbers(make(b, q, k))
    symbolic = numbers(make(*map(Polynomial.variable, "bqk")))

    assert {n: point(Polynomial.of(value)) for n, value in symbolic.items()} == plain


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize(
    ("batch", "queries"),
    [
        (np.asarray([1.0, 2.0, 7.0]), 5.0),
        (3.0, np.asarray([1.0, 616.0])),
        (np.asarray([[1.0], [2.0], [4.0]]), np.asarray([1.0, 40.0])),
    ],
    ids=["1-d batch", "1-d tokens", "broadcast"],
)
def test_arrays_give_element_by_element_what_numbers_give(
    make: Make, batch: Any, queries: Any
) -> None:
    keys = queries + 2.0
    found = numbers(make(batch, queries, keys))
    axes = np.broadcast_arrays(batch, queries, keys)

    for index in np.ndindex(axes[0].shape):
        expected = numbers(make(*(float(axis[index]) for axis in axes)))
        cell = {n: np.broadcast_to(value, axes[0].shape)[index] for n, value in found.items()}
        assert cell == expected


def test_linear() -> None:
    # [10, 3] @ [3, 5] + [5]: 2·10·3·5 FLOPs, one add for each of the 50 outputs
    op = linear("o", "a", "c", rows=10, in_features=3, out_features=5, bias=True)

    assert amounts(op) == {
        "flops": 300,
        "vector_flops": 50,
        "weights": 15,
        "vectors": 5,
        "reads": {"a": 30},
        "writes": {"c": 50},
    }
    assert (op.unit, op.role) == ("matmul", "linear")


def test_linear_without_bias_to_the_cache() -> None:
    # [10, 3] @ [3, 5]: the result is 50 elements of KV, no activation
    op = linear("o", "a", None, rows=10, in_features=3, out_features=5)

    assert amounts(op) == {"flops": 300, "weights": 15, "reads": {"a": 30}, "kv_writes": 50}


def test_embedding_reads_the_rows_it_needs() -> None:
    # 4 of 7 rows of width 6 are looked up; the tensor has all 7
    op = embedding("o", "c", rows=4, width=6, prompt_rows=7, table_rows=50)

    assert amounts(op) == {"weights": 24, "writes": {"c": 24}, "resident": {"c": 42}}
    assert op.resident_weights == 50 * 6
    assert (op.unit, op.role) == ("vector", "embedding")


def test_rms_norm() -> None:
    # [10, 6]: square, accumulate, two products for each of 60 elements; a weight of 6
    op = rms_norm("o", "a", "c", rows=10, width=6)

    assert amounts(op) == {
        "vector_flops": 4 * 60,
        "vectors": 6,
        "reads": {"a": 60},
        "writes": {"c": 60},
    }


def test_layer_norm() -> None:
    # [10, 6]: mean 1, variance 3, 1/σ 1, weight 1, bias 1 for each of 60; weight and bias of 6
    op = layer_norm("o", "a", "c", rows=10, width=6)

    assert amounts(op) == {
        "vector_flops": (1 + 3 + 1 + 1 + 1) * 60,
        "vectors": 12,
        "reads": {"a": 60},
        "writes": {"c": 60},
    }


def test_residual_reads_two_operands_and_writes_one() -> None:
    # [10, 6] + [10, 6]
    op = residual("o", "stream", "branch", rows=10, width=6)

    assert amounts(op) == {
        "vector_flops": 60,
        "reads": {"stream": 60, "branch": 60},
        "writes": {"stream": 60},
    }


def test_activation() -> None:
    # [10, 6], 5 FLOPs each
    op = activation("o", "a", "c", rows=10, width=6, function="gelu")

    assert amounts(op) == {"vector_flops": 300, "reads": {"a": 60}, "writes": {"c": 60}}


def test_gated_activation_reads_gate_and_up() -> None:
    # [10, 6]: SiLU is 4, the product 1
    op = gated_activation("o", "g", "u", "c", rows=10, width=6)

    assert amounts(op) == {
        "vector_flops": (4 + 1) * 60,
        "reads": {"g": 60, "u": 60},
        "writes": {"c": 60},
    }


def test_rotary_table() -> None:
    # 10 positions × 2 frequencies (half of e = 4), then cosine and sine of [10, 4]
    op = rotary_table("o", "t", queries=10, head_dim=4)

    assert amounts(op) == {"vector_flops": 10 * 2 + 2 * 40, "writes": {"t": 80}}


def test_rotary_writes_q_to_memory_and_k_to_the_cache() -> None:
    # batch 2, 5 tokens: q [10, 12], k [10, 6], cosines and sines [5, 4] shared by both sequences
    op = rotary(*("o", "q", "k", "t", "c"), rows=10, queries=5, width=12, kv_width=6, head_dim=4)

    assert amounts(op) == {
        "vector_flops": 3 * (120 + 60),
        "reads": {"q": 120, "k": 60, "t": 2 * 20},
        "writes": {"c": 120},
        "kv_writes": 60,
    }


def test_flash_attention() -> None:
    # q [2, 4 heads, 5, 3], k and v [2, 2 heads, 7, 3]: scores [2, 4, 5, 7] = 280 on chip
    op = flash_attention("o", "q", "c", shape(2, 5, 7), key_value=None)

    assert amounts(op) == {
        "flops": 2 * (2 * 280 * 3),  # QKᵀ and PV, 3 multiply-accumulates a score each
        "vector_flops": 5 * 280,
        "reads": {"q": 2 * 4 * 5 * 3},
        "writes": {"c": 2 * 4 * 5 * 3},
        "kv_reads": 2 * (2 * 2 * 7 * 3),  # K and V, KV heads only
    }


def test_flash_attention_without_a_cache_reads_k_and_v_as_activations() -> None:
    # the same shapes
    op = flash_attention("o", "q", "c", shape(2, 5, 7), key_value=("k", "v"))

    assert op.reads == {"q": 120, "k": 84, "v": 84}
    assert not op.kv_reads


def test_eager_attention() -> None:
    # the same shapes; scores go out and come back twice
    qk, softmax, sv = eager_attention("q", "c", shape(2, 5, 7), key_value=None)

    assert amounts(qk) == {
        "flops": 2 * 280 * 3,
        "reads": {"q": 120},
        "writes": {"scores": 280},
        "kv_reads": 84,
    }
    assert amounts(softmax) == {
        "vector_flops": 5 * 280,
        "reads": {"scores": 280},
        "writes": {"probabilities": 280},
    }
    assert amounts(sv) == {
        "flops": 2 * 280 * 3,
        "reads": {"probabilities": 280},
        "writes": {"c": 120},
        "kv_reads": 84,
    }
    assert [qk.unit, softmax.unit, sv.unit] == ["attention", "vector", "attention"]


def test_eager_attention_without_a_cache() -> None:
    qk, _, sv = eager_attention("q", "c", shape(2, 5, 7), key_value=("k", "v"))

    assert qk.reads == {"q": 120, "k": 84}
    assert sv.reads == {"probabilities": 280, "v": 84}
    assert not qk.kv_reads
    assert not sv.kv_reads


@given(b=counts, q=counts, k=counts)
def test_flash_and_eager_compute_the_same_and_differ_by_four_passes_over_the_scores(
    b: float, q: float, k: float
) -> None:
    flash = flash_attention("o", "q", "c", shape(b, q, k), key_value=None)
    eager = eager_attention("q", "c", shape(b, q, k), key_value=None)

    for name in ("flops", "vector_flops", "kv_reads"):
        assert getattr(flash, name) == sum(getattr(op, name) for op in eager)
    moved = sum(sum([*op.reads.values(), *op.writes.values()]) for op in eager)
    assert moved - sum([*flash.reads.values(), *flash.writes.values()]) == 4 * (b * 4 * q * k)
