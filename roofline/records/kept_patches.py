"""What reducers keep of one picture: plain arrays, between who looks and who draws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

PatchKind = Literal["outlier", "strongest", "sampled", "kept"]
"""Why a patch is kept: its attention is above the fence; it is among a number of patches of most
attention; it is one of a grid over the picture; or for a reason of the method's own."""


@dataclass(frozen=True)
class Kept:
    """One reducer on one picture of N patches, numbered in raster order."""

    reducer: str
    of: int
    """N."""
    patches: Mapping[PatchKind, NDArray[np.int64]]
    """Patches that tokens are or grew from."""
    others: Mapping[str, int] = field(default_factory=dict)
    """Tokens that belong to no single patch: what they are, and how many."""
    merging: NDArray[np.float64] | None = None
    """[N], each patch's share of all that is merged into tokens, adding up to 1; None where
    nothing is merged or the shares are not known."""
    merges: bool = False
    """Whether anything is merged."""
    attention: NDArray[np.float64] | None = None
    """[N], what the reducer ranks by, where it ranks by one row of attention."""
    fence: float | None = None
    """Upper fence of the attention: Q3 + 1.5·IQR."""
    note: str = ""

    @property
    def indices(self) -> NDArray[np.int64]:
        """All patches, kind by kind."""
        return np.concatenate([np.empty(0, np.int64), *self.patches.values()])

    @property
    def tokens(self) -> int:
        return len(self.indices) + sum(self.others.values())

    @property
    def parts(self) -> str:
        """`41 outliers + 103 sampled + 1 merged`"""
        counts = {kind: len(indices) for kind, indices in self.patches.items()}
        return " + ".join(
            f"{count} {name}{'s' * (name == 'outlier' and count != 1)}"
            for name, count in [*counts.items(), *self.others.items()]
            if count
        )

    @property
    def total(self) -> str:
        """`145 of 576 tokens`"""
        return f"{self.tokens} of {self.of} tokens"


@dataclass(frozen=True)
class Inspection:
    """Several reducers on one picture."""

    title: str
    """Name of the picture."""
    model: str
    image: NDArray[Any]
    """The picture as the encoder gets it: uint8 [height, width, 3]."""
    side: int
    """Patches in each row, and rows."""
    kept: tuple[Kept, ...]
