"""Blocks: ops in execution order, repeated; and the tensors alive while they run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct

from roofline.model.op import Op, WeightRole
from roofline.model.polynomial import Number, Polynomial, total


class LayerGroup(Struct, frozen=True):
    """Consecutive layers that see the same number of tokens per sequence.

    `mlp_tokens` differs from `tokens` where tokens are merged between a layer's attention and its
    MLP, `query_tokens` where attention is computed for some of them only; left out, they are the
    same.
    """

    layers: int
    tokens: Number
    mlp_tokens: Number | None = None
    query_tokens: Number | None = None
    materialised: bool = False
    """Whether attention's probabilities are needed in memory, whatever the kernel asked for."""

    @property
    def tokens_after(self) -> Number:
        return self.tokens if self.mlp_tokens is None else self.mlp_tokens

    @property
    def queries(self) -> Number:
        return self.tokens if self.query_tokens is None else self.query_tokens


class Block(Struct, frozen=True):
    """`ops` executed `count` times over; tensors of one name are handed from block to block."""

    count: int
    ops: tuple[Op, ...]
    label: str = ""
    """Which layers these are, where not all layers of the model cost the same."""
    idle: bool = False
    """Loaded, and never run: what lies behind the layer whose output is used."""


class Parameters(Struct, frozen=True):
    """Elements that are resident: of weight matrices by their role, and of vectors."""

    matrices: Mapping[WeightRole, float]
    vectors: float
    """Biases, norm weights, position embeddings."""

    @property
    def total(self) -> float:
        return sum(self.matrices.values()) + self.vectors


def parameters(blocks: Sequence[Block]) -> Parameters:
    """Count what the blocks' ops hold, those of idle blocks included."""
    matrices: dict[WeightRole, float] = {}
    vectors = 0.0
    for block in blocks:
        for op in block.ops:
            held = op.weights if op.resident_weights is None else op.resident_weights
            matrices[op.role] = matrices.get(op.role, 0.0) + block.count * _plain(held)
            held = op.vectors if op.resident_vectors is None else op.resident_vectors
            vectors += block.count * _plain(held)
    return Parameters(matrices, vectors)


def _plain(number: Number) -> float:
    """The number of elements that an op holds does not depend on the scenario."""
    terms = Polynomial.of(number).terms
    if terms.keys() - {()}:
        raise ValueError(f"an op holds {number!r} elements: say how many in `resident_weights`")
    return terms.get((), 0.0)


def live_elements(blocks: Sequence[Block]) -> Iterator[Polynomial]:
    """Yield, for each op, the elements of all activation tensors alive while it runs.

    A tensor lives from the op that writes it to the last op that reads it; an op's inputs and
    outputs are alive together. A repeated block is walked twice, since from its second turn on
    every turn is the same and only the last one may let go of what all turns read.
    """
    ops = [op for b in blocks if not b.idle for _ in range(min(b.count, 2)) for op in b.ops]
    live: dict[str, Number] = {}
    for op, wanted in zip(ops, _wanted_after(ops), strict=True):
        for name, size in op.reads.items():
            live.setdefault(name, size)
        written = {**op.writes, **op.resident}
        yield total([*live.values(), *written.values()])
        live = {name: size for name, size in (live | written).items() if name in wanted}


def _wanted_after(ops: Sequence[Op]) -> list[set[str]]:
    """For each op, the names of the tensors that some later op still reads."""
    wanted: set[str] = set()
    after: list[set[str]] = []
    for op in reversed(ops):
        after.append(wanted)
        wanted = (wanted - set(op.writes)) | set(op.reads)
    return after[::-1]


def labelled(groups: Sequence[LayerGroup]) -> list[tuple[LayerGroup, str]]:
    """Groups with the layers they cover, `2-31`; one group for all layers needs no label."""
    if len(groups) == 1:
        return [(groups[0], "")]
    first = 0
    labelled = []
    for group in groups:
        labelled.append((group, f"{first}-{first + group.layers - 1}"))
        first += group.layers
    return labelled
