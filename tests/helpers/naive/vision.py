"""Reducers inside the ViT once more: one image, one token at a time, straight from their papers.

Tokens are lists of fp64 vectors; a block is its modules' weights applied to one token or one pair
of tokens. Nothing is shared with the package but the tower's modules.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


@dataclass
class Token:
    """A vector and where it comes from."""

    vector: Tensor
    patches: list[int]
    """Patches merged in it; empty for class and cross token."""
    own: int = -1
    """The patch that it grew from."""
    size: float = 1.0


@dataclass
class Attended:
    """What a block's attention yields, per head where it says so."""

    outputs: list[Tensor]
    probabilities: list[list[list[float]]]  # [head][query][key]
    keys: list[list[Tensor]]  # [token][head]
    values: list[list[Tensor]] = field(default_factory=list)


def tokens_of(tower: Any, pixels: Tensor) -> list[Token]:
    """One image's [3, h, w] tokens before the first block."""
    rows = tower.pre_layrnorm(tower.embeddings(pixels[None]))[0]
    patches = [Token(row, [i], i) for i, row in enumerate(rows[1:])]
    return [Token(rows[0], []), *patches]


def attention(layer: Any, tokens: list[Token], by_size: bool = False) -> Attended:
    """Attention with residual, for each token as a query."""
    module = layer.self_attn
    heads = module.num_heads
    normed = [layer.layer_norm1(t.vector) for t in tokens]
    queries = [module.q_proj(x).chunk(heads) for x in normed]
    keys = [list(module.k_proj(x).chunk(heads)) for x in normed]
    values = [list(module.v_proj(x).chunk(heads)) for x in normed]
    rows: list[list[list[float]]] = [[] for _ in range(heads)]
    outputs = []
    for i, token in enumerate(tokens):
        mixed = []
        for h in range(heads):
            logits = []
            for j, other in enumerate(tokens):
                logit = float(queries[i][h] @ keys[j][h]) / math.sqrt(len(keys[j][h]))
                logits.append(logit + (math.log(other.size) if by_size else 0.0))
            top = max(logits)
            powers = [math.exp(x - top) for x in logits]
            row = [p / sum(powers) for p in powers]
            rows[h].append(row)
            mixed.append(sum(p * values[j][h] for j, p in enumerate(row)))
        outputs.append(token.vector + module.out_proj(torch.cat(mixed)))
    return Attended(outputs, rows, keys, values)


def mlp(layer: Any, tokens: list[Token]) -> list[Token]:
    """A block's second half, token by token."""
    return [
        Token(t.vector + layer.mlp(layer.layer_norm2(t.vector)[None])[0], t.patches, t.own, t.size)
        for t in tokens
    ]


def head_mean(parts: list[Tensor]) -> Tensor:
    return sum(parts[1:], parts[0]) / len(parts)


def cosine(a: Tensor, b: Tensor) -> float:
    return float(functional.normalize(a, dim=0) @ functional.normalize(b, dim=0))


def first_of_most(values: dict[int, float]) -> int:
    """Key of the greatest value, the lowest such key."""
    return min(values, key=lambda i: (-values[i], i))


def tome_pairs(metric: list[Tensor], r: int) -> tuple[list[int], dict[int, int]]:
    """Tokens that stay, in order; and which leave (sources) into which."""
    a, b = range(0, len(metric), 2), range(1, len(metric), 2)
    best, score = {}, {}
    for i in a:
        similarity = {j: cosine(metric[i], metric[j]) for j in b}
        best[i] = first_of_most(similarity)
        score[i] = similarity[best[i]]
    score[0] = -math.inf
    leaving = sorted(a, key=lambda i: (-score[i], i))[:r]
    return [*(i for i in a if i not in leaving), *b], {i: best[i] for i in leaving}


def tome_merge(tokens: list[Token], kept: list[int], pairs: dict[int, int]) -> list[Token]:
    merged = []
    for j in kept:
        group = [tokens[j], *(tokens[i] for i, into in sorted(pairs.items()) if into == j)]
        size = sum(t.size for t in group)
        vector = sum(t.vector * t.size for t in group) / size
        merged.append(Token(vector, [p for t in group for p in t.patches], tokens[j].own, size))
    return merged


def tome(tower: Any, pixels: Tensor, merges: list[int]) -> list[Token]:
    """Visual tokens after as many blocks as `merges` has entries."""
    tokens = tokens_of(tower, pixels)
    for layer, r in zip(tower.encoder.layers, merges, strict=False):
        seen = attention(layer, tokens, by_size=True)
        for token, vector in zip(tokens, seen.outputs, strict=True):
            token.vector = vector
        if r:
            tokens = tome_merge(tokens, *tome_pairs([head_mean(k) for k in seen.keys], r))
        tokens = mlp(layer, tokens)
    return tokens[1:]


def ats_scores(rows: list[list[float]], norms: list[list[float]]) -> list[float]:
    """rows, norms: [head][token], class token first."""
    scores = []
    for j in range(1, len(rows[0])):
        scores.append(sum(row[j] * norm[j] for row, norm in zip(rows, norms, strict=True)))
    return [s / sum(scores) for s in scores]


def ats_sample(scores: list[float], count: int) -> list[int]:
    cumulated = [sum(scores[: j + 1]) for j in range(len(scores))]
    hit = set()
    for i in range(1, count + 1):
        point = (2 * i - 1) / (2 * count)
        hit.add(min(range(len(scores)), key=lambda j: (abs(cumulated[j] - point), j)))
    return sorted(hit)


def ats(tower: Any, pixels: Tensor, blocks: int, stages: dict[int, int]) -> list[Token]:
    """stages: block → sample points."""
    tokens = tokens_of(tower, pixels)
    for index, layer in enumerate(tower.encoder.layers[:blocks]):
        seen = attention(layer, tokens)
        for token, vector in zip(tokens, seen.outputs, strict=True):
            token.vector = vector
        if index in stages:
            heads = range(layer.self_attn.num_heads)
            norms = [[float(v[h].norm()) for v in seen.values] for h in heads]
            scores = ats_scores([seen.probabilities[h][0] for h in heads], norms)
            tokens = [tokens[0], *(tokens[1 + j] for j in ats_sample(scores, stages[index]))]
        tokens = mlp(layer, tokens)
    return tokens[1:]


def evit_stage(tokens: list[Token], attended: list[float], keep: int) -> list[Token]:
    """attended: the class token's attention to all other tokens."""
    ranked = sorted(range(len(attended)), key=lambda j: (-attended[j], j))
    fused = torch.zeros_like(tokens[0].vector)
    patches = []
    for j in ranked[keep:]:
        fused = fused + attended[j] * tokens[1 + j].vector
        patches += tokens[1 + j].patches
    return [tokens[0], *(tokens[1 + j] for j in ranked[:keep]), Token(fused, patches)]


def evit(tower: Any, pixels: Tensor, blocks: int, keeps: dict[int, int]) -> list[Token]:
    """keeps: block → tokens kept besides the fused one."""
    tokens = tokens_of(tower, pixels)
    for index, layer in enumerate(tower.encoder.layers[:blocks]):
        seen = attention(layer, tokens)
        for token, vector in zip(tokens, seen.outputs, strict=True):
            token.vector = vector
        if index in keeps:
            rows = [head[0][1:] for head in seen.probabilities]
            mean = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
            tokens = evit_stage(tokens, mean, keeps[index])
        tokens = mlp(layer, tokens)
    return tokens[1:]


def crossget_importance(attention_map: list[list[float]]) -> list[float]:
    """attention_map: [query][key], the cross token last in both."""
    *queries, cross = attention_map
    return [sum(query[j] for query in queries) / len(queries) + cross[j] for j in range(len(cross))]


def crossget_pairs(
    metric: list[Tensor], importance: list[float], r: int
) -> tuple[list[int], dict[int, int]]:
    """Tokens that stay, in order; and which leave, into which."""
    free = range(1, len(metric) - 1)
    similar = {i: {j: cosine(metric[i], metric[j]) for j in free if j != i} for i in free}
    highest = {i: max(similar[i].values(), default=-math.inf) for i in free}
    ranked = sorted(free, key=lambda i: (-highest[i], i))
    leave = {}
    for rank, i in enumerate(ranked):
        lower = [similar[i][j] for j in ranked[rank + 1 :]]
        leave[i] = importance[i] - max(lower, default=-math.inf)
    sources = sorted(free, key=lambda i: (leave[i], i))[:r]
    pairs = {}
    for i in sources:
        pairs[i] = first_of_most({j: s for j, s in similar[i].items() if j not in sources})
    return [i for i in range(len(metric)) if i not in sources], pairs


def crossget_merge(
    tokens: list[Token], importance: list[float], kept: list[int], pairs: dict[int, int]
) -> list[Token]:
    merged = []
    for j in kept:
        total, size = tokens[j].vector * tokens[j].size, tokens[j].size
        patches = list(tokens[j].patches)
        for i in sorted(i for i, into in pairs.items() if into == j):
            a, b = math.exp(importance[i]), math.exp(importance[j])
            of_source, of_destination = 2 * a / (a + b), 2 * b / (a + b)
            total = total + of_source * tokens[i].size * tokens[i].vector
            total = total + (of_destination - 1) * tokens[j].size * tokens[j].vector
            size += tokens[i].size
            patches += tokens[i].patches
        merged.append(Token(total / size, patches, tokens[j].own, size))
    return merged


def crossget(
    tower: Any, pixels: Tensor, merges: list[int], vectors: Tensor | None = None
) -> list[Token]:
    """Visual tokens and the cross token, after as many blocks as `merges` has entries."""
    tokens = tokens_of(tower, pixels)
    tokens.append(Token(tokens[0].vector, []))
    for index, (layer, r) in enumerate(zip(tower.encoder.layers, merges, strict=False)):
        if vectors is not None:
            tokens[-1].vector = tokens[-1].vector + vectors[index]
        seen = attention(layer, tokens, by_size=True)
        for token, vector in zip(tokens, seen.outputs, strict=True):
            token.vector = vector
        heads, length = len(seen.probabilities), range(len(tokens))
        mean = [[sum(h[i][j] for h in seen.probabilities) / heads for j in length] for i in length]
        importance = crossget_importance(mean)
        pairs = crossget_pairs([head_mean(k) for k in seen.keys], importance, r)
        tokens = mlp(layer, crossget_merge(tokens, importance, *pairs))
    return tokens[1:]
