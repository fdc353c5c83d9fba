"""How long PruMerge takes against the loop over kept tokens that its description suggests.

Both reduce the same features in one run, taking turns: on a shared machine times drift by far more
than their ratio does. The projections to queries and keys come before either and are not counted.
One thread and fp32 unless the command line says otherwise: threads that wait for each other on a
busy machine measure the machine.
"""

import argparse
from collections.abc import Callable
from statistics import median, quantiles
from time import perf_counter

import torch
from torch import Tensor
from torch.nn.functional import normalize

from roofline.torch_side.reduce.methods import reduce_tokens

KEPT, NEIGHBOURS = 144, 32
GOAL = 20


def loop(features: Tensor, queries: Tensor, keys: Tensor) -> Tensor:
    """PruMerge of [1, 1 + N, C] to 144 tokens and the extra one, a kept token at a time."""
    full = torch.softmax(queries @ keys.mT * features.shape[-1] ** -0.5, dim=-1)  # all rows of it
    y, k, a = features[0, 1:], normalize(keys[0, 1:], dim=-1), full[0, 0, 1:]
    kept = a.topk(KEPT).indices
    merged = []
    for p in kept.tolist():
        other_y, other_k, other_a = (torch.cat([x[:p], x[p + 1 :]]) for x in (y, k, a))
        nearest = (other_k @ k[p]).topk(NEIGHBOURS).indices
        weighted = (other_a[nearest, None] * other_y[nearest]).sum(dim=0)
        merged.append(y[p] + weighted)
    dropped = torch.ones_like(a, dtype=torch.bool)
    dropped[kept] = False
    merged.append((a[dropped, None] * y[dropped]).sum(dim=0))
    return torch.stack(merged)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    features, queries, keys = (torch.randn(1, 577, 1024, device=given.device) for _ in range(3))

    def other() -> Tensor:
        return loop(features, queries, keys)

    def ours() -> Tensor:
        return reduce_tokens("prumerge", features, queries, keys, count=KEPT + 1).tokens[0]

    with torch.inference_mode():
        torch.testing.assert_close(ours(), other())
        pairs = [paired(ours, other, given.device, turn) for turn in range(given.pairs)]
    low, middle, high = quantiles((slow / fast for fast, slow in pairs), n=4)
    fast, slow = (median(times) * 1e3 for times in zip(*pairs, strict=True))
    print(
        f"PruMerge of 576 patches to {KEPT} + 1, {given.threads} thread(s), {given.device}: "
        f"{given.pairs} pairs, median [quartiles], goal ≥ {GOAL}×"
    )
    print(f"  {middle:.1f}× [{low:.1f}, {high:.1f}]  {fast:.2f} ms  roofline")
    print(f"  {'':20}  {slow:.2f} ms  a loop over kept tokens")


def paired(
    ours: Callable[[], Tensor], other: Callable[[], Tensor], device: str, turn: int
) -> tuple[float, float]:
    """Seconds of both, next to each other, taking turns in going first."""
    times = {}
    for call in (ours, other) if turn % 2 else (other, ours):
        start = perf_counter()
        call()
        if device != "cpu":
            torch.cuda.synchronize()
        times[call] = perf_counter() - start
    return times[ours], times[other]


if __name__ == "__main__":
    main()
