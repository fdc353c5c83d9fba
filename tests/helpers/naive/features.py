"""Reducers of features once more: one image, one patch at a time, as their papers tell it.

Everything is a list of Python floats or fp64 vectors of NumPy; nothing is shared with the package.
Features, queries and keys are [1 + N, C], class token first, or [N, C] where there is none. At the
end: inputs to try, and how results are compared.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from roofline.torch_side.reduce.methods import Reduction

Vector = np.ndarray
Result = tuple[list[Vector], list[int]]
"""Tokens, and the patch of each, −1 for what is no single patch."""


def softmax(scores: Sequence[float]) -> list[float]:
    if any(math.isnan(score) for score in scores):
        return [math.nan] * len(scores)
    greatest = max(scores)
    exponentials = [math.exp(score - greatest) for score in scores]
    return [e / sum(exponentials) for e in exponentials]


def attention(q: Vector, k: Vector, heads: int, class_token: bool) -> list[float]:
    """Of the class token to each patch, mean over heads; without one, mean of what is received."""
    tokens, width = k.shape
    size = width // heads
    asking = [0] if class_token else range(tokens)
    total = [0.0] * tokens
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        for i in asking:
            scores = [float(np.dot(q[i, part], k[j, part])) * size**-0.5 for j in range(tokens)]
            for j, share in enumerate(softmax(scores)):
                total[j] += share / heads / len(asking)
    return total[1:] if class_token else total


def by_attention(a: Sequence[float]) -> list[int]:
    """Descending; equal ones by index; NaN last."""
    return sorted(range(len(a)), key=lambda j: (math.isnan(a[j]), -a[j] if a[j] == a[j] else 0, j))


def above_fence(a: Sequence[float]) -> int:
    ascending = sorted(a)

    def percentile(share: float) -> float:
        position = share * (len(a) - 1)
        low = math.floor(position)
        high = min(low + 1, len(a) - 1)
        return ascending[low] + (position - low) * (ascending[high] - ascending[low])

    q1, q3 = percentile(0.25), percentile(0.75)
    return sum(value > q3 + 1.5 * (q3 - q1) for value in a)


def middles(candidates: list[int], wanted: int) -> list[int]:
    return [candidates[math.floor((i + 0.5) * len(candidates) / wanted)] for i in range(wanted)]


def centres(
    a: Sequence[float], plus: bool, variant: str, ratio: float | None, count: int | None
) -> list[int]:
    """Patches that tokens grow from, in order, perhaps some twice."""
    n, order = len(a), by_attention(a)
    if count is not None:
        own = count - 1 if variant == "released" else count
        if not plus:
            return order[:own]
        kept = order[: max(1, own // 4) if variant == "released" else math.ceil(own / 2)]
        return kept + middles(sorted(order[len(kept) :]), own - len(kept))
    m = above_fence(a) if ratio is None else int(n * ratio)
    kept = order[: max(m, 1)]
    if not plus:
        return kept
    if variant == "paper":
        others = sorted(order[len(kept) :])
        return kept + middles(others, min(len(kept), len(others)))
    if ratio is not None:
        if ratio == 0:
            return kept  # a grid of infinite stride
        s = max(1, int(1 / ratio))
        return kept + list(range(int(s / 2), n - 1, s))
    s = int(1 / (len(kept) / n))
    stride = max(1, int(s / 3))
    return kept + [p for p in range(0, n - 1, stride) if p not in kept]


def prumerge(
    features: Vector,
    queries: Vector,
    keys: Vector,
    *,
    plus: bool = False,
    variant: str = "released",
    ratio: float | None = None,
    count: int | None = None,
    k: int = 32,
    class_token: bool = True,
) -> Result:
    a = attention(queries, keys, 1, class_token)
    y, key = (features[1:], keys[1:]) if class_token else (features, keys)
    chosen = centres(a, plus, variant, ratio, count)
    dropped = [j for j in range(len(a)) if j not in chosen]
    tokens = []
    for rank, p in enumerate(chosen):
        others = [j for other, j in enumerate(chosen) if other != rank] + dropped
        similarity = {}
        for j in set(others):
            similarity[j] = float(np.dot(key[p], key[j]))
            if variant == "released":
                norms = np.linalg.norm(key[p]) * np.linalg.norm(key[j])
                similarity[j] /= max(float(norms), 1e-12)
        nearest = sorted(others, key=lambda j: (-similarity[j], j))[:k]
        token = y[p].copy() if variant == "released" else np.zeros_like(y[p])
        for j in nearest:
            token += a[j] * y[j]
        tokens.append(token)
    if variant == "paper":
        return tokens, chosen
    extra = np.zeros_like(y[0])
    for j in dropped:
        extra += a[j] * y[j]
    return [*tokens, extra], [*chosen, -1]


def sequential(features: Vector, count: int) -> Result:
    return [features[1 + j] for j in range(count)], list(range(count))


def spatial(features: Vector, grid: tuple[int, int]) -> Result:
    side = round(math.sqrt(len(features) - 1))
    rows = [math.floor((i + 0.5) * side / grid[0]) for i in range(grid[0])]
    columns = [math.floor((j + 0.5) * side / grid[1]) for j in range(grid[1])]
    patches = [row * side + column for row in rows for column in columns]
    return [features[1 + p] for p in patches], patches


def fastervlm(
    features: Vector, queries: Vector, keys: Vector, count: int, heads: int, class_token: bool
) -> Result:
    a = attention(queries, keys, heads, class_token)
    kept = sorted(by_attention(a)[:count])
    return [features[class_token + p] for p in kept], kept


def visionzip(
    features: Vector,
    queries: Vector,
    keys: Vector,
    count: int,
    contextual: int,
    heads: int,
    class_token: bool,
) -> Result:
    a = attention(queries, keys, heads, class_token)
    y, key = (features[1:], keys[1:]) if class_token else (features, keys)
    strongest = by_attention(a)[: count - contextual - (1 if class_token else 0)]
    tokens = [y[p] for p in sorted(strongest)]
    indices = sorted(strongest)
    if class_token:
        tokens, indices = [features[0], *tokens], [-1, *indices]
    rest = [p for p in range(len(a)) if p not in strongest]
    if not contextual:
        return tokens, indices
    targets = rest[:: len(rest) // contextual][:contextual]
    unit = {p: np.mean(np.split(key[p], heads), axis=0) for p in rest}
    unit = {p: mean / max(float(np.linalg.norm(mean)), 1e-12) for p, mean in unit.items()}
    joined: dict[int, list[int]] = {target: [] for target in targets}
    for p in rest:
        if p not in targets:
            joined[max(targets, key=lambda t, p=p: float(np.dot(unit[p], unit[t])))].append(p)
    for target in targets:
        mean = sum((y[p] for p in joined[target]), np.zeros_like(y[0])) / (len(joined[target]) or 1)
        tokens.append(y[target] + mean)
    return tokens, indices + targets


def divprune(features: Vector, count: int) -> Result:
    y = features[1:]

    def distance(i: int, j: int) -> float:
        norms = float(np.linalg.norm(y[i]) * np.linalg.norm(y[j]))
        return 1 - float(np.dot(y[i], y[j])) / norms

    everyone = range(len(y))
    if len(y) == 1:
        return [y[0]], [0]
    selected = [max(everyone, key=lambda i: min(distance(i, j) for j in everyone if j != i))]
    while len(selected) < count:
        others = [i for i in everyone if i not in selected]
        selected.append(max(others, key=lambda i: min(distance(i, j) for j in selected)))
    return [y[p] for p in sorted(selected)], sorted(selected)


def inputs(
    batch: int, patches: int, width: int = 16, *, seed: int = 0, class_token: bool = True
) -> tuple[Tensor, Tensor, Tensor]:
    """Features, queries and keys with some patches that stand out."""
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, patches + class_token, width)
    features, queries, keys = (torch.randn(shape, generator=generator) for _ in range(3))
    return features, 2 * queries, keys


def with_attention(weights: Tensor, width: int = 16, seed: int = 0) -> tuple[Tensor, ...]:
    """Inputs whose class token attends to the patches in proportion to `weights` [B, N]."""
    features, queries, keys = inputs(*weights.shape, width, seed=seed)
    queries[:, 0] = 0
    queries[:, 0, 0] = width**0.5
    keys[:, 1:, 0] = weights.log()
    return features, queries, keys


def agree(reduction: Reduction, images: Sequence[Tensor], naive: Callable[..., Result]) -> None:
    """The same patches, and tokens within fp32 rounding, as `naive` of each image alone."""
    for i, (tokens, indices) in enumerate(zip(reduction.tokens, reduction.indices, strict=True)):
        expected, patches = naive(*(tensor[i].double().numpy() for tensor in images))
        assert indices.tolist() == patches
        wanted = torch.from_numpy(np.stack(expected))
        torch.testing.assert_close(tokens.double(), wanted, rtol=2e-5, atol=2e-5, equal_nan=True)


def flops(call: Callable[[], object]) -> int:
    """What PyTorch counts."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()
