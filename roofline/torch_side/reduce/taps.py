"""Features of earlier ViT blocks that are added behind the LLM's first layers (DeepStack).

Transformers hands them over with the pixels. A reduced prompt comes as embeddings, so they are
given to the decoder here, for the visual tokens that are left.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from roofline.torch_side.families.base import Decoder
from roofline.torch_side.reduce.methods.base import Reduction


class Taps:
    """A hook on a decoder, until it is removed."""

    def __init__(self, decoder: Decoder) -> None:
        self._visual: Tensor | None = None
        self._rows: list[Tensor] = []
        self._handle = decoder.module.register_forward_pre_hook(self._add, with_kwargs=True)

    def expect(self, visual: Tensor, positions: Tensor, reductions: Sequence[Reduction]) -> None:
        """Of the next prompt: which tokens [B, n] are visual, where in the flattened batch those
        of the reductions go, and what these have for each layer.
        """
        taps = torch.cat([taps for one in reductions for taps in one.taps], dim=1)
        order = positions.argsort().to(taps.device)  # as a mask picks them
        self._visual, self._rows = visual, list(taps[:, order])

    def forget(self) -> None:
        """Expect no prompt any more."""
        self._visual = None

    def remove(self) -> None:
        """Take the hook off."""
        self._handle.remove()

    def _add(self, module: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        if self._visual is None:
            return None
        visual, rows = self._visual, self._rows
        self._visual, self._rows = None, []
        hidden = kwargs["inputs_embeds"]
        visual = visual.to(hidden.device)
        copies = len(hidden) // len(visual)  # beams, of each sequence side by side
        if copies > 1:
            counts = visual.sum(dim=1).tolist()
            rows = [_repeated(row, counts, copies) for row in rows]
            visual = visual.repeat_interleave(copies, dim=0)
        return args, {**kwargs, "visual_pos_masks": visual, "deepstack_visual_embeds": rows}


def _repeated(rows: Tensor, counts: Sequence[int], copies: int) -> Tensor:
    return torch.cat([each.repeat(copies, 1) for each in torch.split(rows, list(counts))])
