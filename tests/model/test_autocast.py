"""Kernels of PyTorch's autocast: the same arithmetic, casts, and a stream of 32 bits."""

from __future__ import annotations

from msgspec.structs import replace
from toy import tower

from roofline import count
from roofline.model.autocast import CONVOLUTION, autocast, compiled
from roofline.model.block import Block
from roofline.model.ops import activation, layer_norm, linear, residual


def layer(act: str = "gelu") -> Block:
    """Norm, a matmul of its 3 rows of 4 to 8, an activation, a matmul back, an add."""
    return Block(
        1,
        (
            layer_norm("norm", "hidden", "normed", rows=3, width=4),
            linear("fc1", "normed", "inner", rows=3, in_features=4, out_features=8, bias=True),
            activation("act", "inner", "active", rows=3, width=8, function=act),  # type: ignore[arg-type]
            linear("fc2", "active", "branch", rows=3, in_features=8, out_features=4, bias=True),
            residual("add", "hidden", "branch", rows=3, width=4),
        ),
    )


def test_norms_and_the_stream_have_32_bits_and_matmuls_a_cast_each() -> None:
    """Elements of 16 bits, by hand: 12 of the stream are 24."""
    (block,) = autocast([layer()])
    ops = {op.name: op for op in block.ops}

    assert list(ops) == [
        *("norm", "fc1_input_cast", "fc1_weight_cast", "fc1", "act"),
        *("fc2_weight_cast", "fc2", "add"),
    ]
    assert (ops["norm"].reads, ops["norm"].writes) == ({"hidden": 24}, {"normed": 24})
    assert (ops["fc1_input_cast"].reads, ops["fc1_input_cast"].writes) == (
        {"normed": 24},
        {"normed": 12},
    )
    assert (ops["fc1_weight_cast"].weights, ops["fc1_weight_cast"].writes) == (
        64,
        {"fc1_weights": 32},
    )
    assert ops["act"].reads == {"inner": 24}
    assert (ops["add"].reads, ops["add"].writes) == (
        {"hidden": 24, "branch": 12},
        {"hidden": 24},
    )


def test_clips_activation_is_three_kernels() -> None:
    (block,) = autocast([layer("quick_gelu")])
    kernels = [op for op in block.ops if op.name.startswith("act")]

    assert [op.name for op in kernels] == ["act_scale", "act_sigmoid", "act_multiply"]
    assert sum(sum(op.reads.values()) + sum(op.writes.values()) for op in kernels) == 7 * 24
    assert sum(op.vector_flops for op in kernels) == layer("quick_gelu").ops[2].vector_flops


def test_flops_stay_and_parameters_are_held_twice_as_wide_beside_their_copy() -> None:
    plain, cast, fast = (
        count(tower(), batch=3, kernels=kernels).end_to_end  # type: ignore[arg-type]
        for kernels in ("unfused", "autocast", "compiled")
    )
    assert plain.flops == cast.flops == fast.flops
    assert plain.vector_flops == cast.vector_flops == fast.vector_flops
    assert fast.weight_bytes == plain.weight_bytes
    assert 2.5 * plain.weight_bytes < cast.weight_bytes <= 3 * plain.weight_bytes
    assert cast.memory_access_bytes > plain.memory_access_bytes >= fast.memory_access_bytes


def test_the_patch_embedding_is_a_convolution() -> None:
    patches = linear(
        "patch_embedding", "pixels", "patches", rows=3, in_features=4, out_features=8, bias=False
    )
    for run in (compiled, autocast):
        (block,) = run([Block(1, (patches,))])
        assert block.ops[-1].function == CONVOLUTION


def test_a_matmul_of_two_activations_casts_no_weights() -> None:
    """The norm's output is an operand, which has to be cast."""
    product = replace(layer().ops[1], weights=0, resident_weights=0)
    (block,) = autocast([Block(1, (layer().ops[0], product))])

    assert [op.name for op in block.ops] == ["norm", "fc1_input_cast", "fc1"]
