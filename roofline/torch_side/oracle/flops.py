"""What PyTorch's counter sees, and what of it the analysis does not count as matmuls.

A release of transformers may compute by a matmul what others, and the analysis, have as vector
work. Such FLOPs were really done, so they are named and stand beside the analysis: they are no
error of it. What a release does is seen in the count itself, whatever the release is called.
"""

from __future__ import annotations

from collections import Counter

from msgspec import Struct
from torch.utils.flop_counter import FlopCounterMode

from roofline.torch_side.families.base import OpOwners

ROTARY_TABLE = "rotary table"
"""Angles [B, T, e/2], positions times frequencies: up to transformers 5.18 [e/2, 1] @ [1, T]."""


class SeenFlops(Struct, frozen=True):
    """What `FlopCounterMode` saw."""

    total: int
    aside: dict[str, int] = {}
    """Of these, by name, matmuls in place of vector work: empty where there are none."""

    @property
    def matmuls(self) -> int:
        """What is left for the analysis to equal."""
        return self.total - sum(self.aside.values())

    def __add__(self, other: SeenFlops) -> SeenFlops:
        aside = Counter(self.aside) + Counter(other.aside)
        return SeenFlops(self.total + other.total, dict(aside))


def seen(counter: FlopCounterMode, owners: OpOwners) -> SeenFlops:
    """All FLOPs of a counter, taken apart by the modules that they were counted in."""
    table = sum(
        sum(ops.values())
        for module, ops in counter.get_flop_counts().items()
        if module.endswith(owners.rotary_table_module)
    )
    return SeenFlops(counter.get_total_flops(), {ROTARY_TABLE: table} if table else {})
