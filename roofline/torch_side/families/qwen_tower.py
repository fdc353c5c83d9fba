"""The towers of Qwen2-VL, Qwen2.5-VL and Qwen3-VL in `transformers`: pictures at their own shape.

Patches come side by side as they will merge: rows of a picture are groups of `merge²` patches. The
tower's own `forward` runs, with its merger replaced for the time being by one that tells in which
order groups come out: Qwen2.5-VL's blocks see them window by window.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from roofline.torch_side.families.tower import NativeTower, Views


class _Numbering(nn.Module):
    """In place of a merger: keeps patches, and gives each group its number."""

    def __init__(self, group: int) -> None:
        super().__init__()
        self.group = group
        self.patches: Tensor | None = None

    def forward(self, patches: Tensor) -> Tensor:
        self.patches = patches
        return torch.arange(len(patches) // self.group, device=patches.device)[:, None]


class QwenTower(NativeTower):
    """A `Qwen2VisionTransformerPretrainedModel`, or one of its successors."""

    module: Any

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    @property
    def heads(self) -> int:
        return int(self.module.config.num_heads)

    @property
    def blocks(self) -> int:
        return len(self.module.blocks)

    @property
    def merge(self) -> int:
        """Patches along a side of what becomes one token."""
        return int(self.module.spatial_merge_size)

    @property
    def patch_side(self) -> int:
        """Pixels."""
        return int(self.module.config.patch_size)

    def cut(self, picture: Tensor) -> Tensor:
        """A picture [3, height, width] as patches [patches, values], those of a token together."""
        side, merge, config = self.patch_side, self.merge, self.module.config
        colours, height, width = picture.shape
        rows, columns = height // (side * merge), width // (side * merge)
        cells = picture.view(colours, rows, merge, side, columns, merge, side)
        patches = cells.permute(1, 4, 2, 5, 0, 3, 6).unsqueeze(5)
        shown = patches.expand(*patches.shape[:5], config.temporal_patch_size, side, side)
        return shown.reshape(-1, self.patch_values)

    @property
    def patch_values(self) -> int:
        """Values of a patch: channels × frames × height × width."""
        config = self.module.config
        return int(config.in_channels * config.temporal_patch_size * config.patch_size**2)

    def connect(self, features: Tensor) -> Tensor:
        """The merger: [B, N, merge²·C] → [B, N, d]."""
        rows = features.flatten(0, 1).view(len(features) * features.shape[1] * self.merge**2, -1)
        connected: Tensor = self.module.merger(rows)
        return connected.view(*features.shape[:2], -1)

    def encode(self, pixels: Tensor, grids: Tensor, *, attention: bool) -> list[Views]:
        group = self.merge**2
        numbering, seen = _Numbering(group), dict[str, Any]()
        with ExitStack() as stack:
            stack.enter_context(_replaced(self.module, "merger", numbering))
            if attention:
                stack.enter_context(_watched(self.module.blocks[-1].attn, seen))
            found = self.module(pixels, grid_thw=grids)
        numbers = _first(found, "pooler_output")
        assert numbering.patches is not None
        order = numbers.flatten()

        def in_order(rows: Tensor) -> Tensor:
            return rows.view(-1, group, rows.shape[-1])[order]  # [all N, group, C]

        features = in_order(numbering.patches).flatten(1)
        queries = keys = None
        if attention:
            queries, keys = (in_order(rows) for rows in _rotated(seen, self.heads))
        frames, sizes = _frames(grids, group)
        taps = [torch.split(tap, sizes) for tap in _taps(found)]
        parts = zip(frames, torch.split(features, sizes), strict=True)
        views = []
        for number, (shown, own) in enumerate(parts):
            views.append(
                Views(
                    own.view(shown, -1, own.shape[-1]),
                    _part(queries, sizes, number, shown),
                    _part(keys, sizes, number, shown),
                    tuple(tap[number].view(shown, -1, tap[number].shape[-1]) for tap in taps),
                )
            )
        return views


def _frames(grids: Tensor, group: int) -> tuple[list[int], list[int]]:
    """Of each picture: frames, and tokens in all of them."""
    rows = grids.tolist()
    return [row[0] for row in rows], [row[0] * row[1] * row[2] // group for row in rows]


def _part(rows: Tensor | None, sizes: list[int], number: int, frames: int) -> Tensor | None:
    """A picture's of [all N, group, C]: [frames, N·group, C]."""
    if rows is None:
        return None
    own = torch.split(rows, sizes)[number]
    return own.reshape(frames, -1, own.shape[-1])


def _first(found: Any, name: str) -> Tensor:
    """What a tower returns, alone or beside other things."""
    if isinstance(found, Tensor):
        return found
    rows: Tensor = getattr(found, name) if hasattr(found, name) else found[0]
    return rows


def _taps(found: Any) -> list[Tensor]:
    return list(getattr(found, "deepstack_features", None) or [])


def _rotated(seen: dict[str, Any], heads: int) -> tuple[Tensor, Tensor]:
    """Queries and keys [patches, C] as attention multiplies them, of its projection's output."""
    projected: Tensor = seen["projected"]
    queries, keys, _ = projected.view(len(projected), 3, heads, -1).unbind(1)
    cos, sin = (angles.unsqueeze(1).float() for angles in seen["angles"])

    def rotated(rows: Tensor) -> Tensor:
        left, right = rows.float().chunk(2, dim=-1)
        turned: Tensor = rows.float() * cos + torch.cat((-right, left), dim=-1) * sin
        return turned.to(rows.dtype).flatten(1)

    return rotated(queries), rotated(keys)


@contextmanager
def _replaced(owner: nn.Module, name: str, module: nn.Module) -> Iterator[None]:
    """Another module in the place of one, for a while."""
    before = owner._modules[name]
    owner._modules[name] = module
    try:
        yield
    finally:
        owner._modules[name] = before


@contextmanager
def _watched(attention: Any, seen: dict[str, Any]) -> Iterator[None]:
    """Take what an attention's projection yields, and the angles that it is rotated by."""

    def angles(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        seen["angles"] = kwargs["position_embeddings"]

    def projected(module: nn.Module, args: Any, output: Tensor) -> None:
        seen["projected"] = output

    with ExitStack() as stack:
        stack.callback(attention.register_forward_pre_hook(angles, with_kwargs=True).remove)
        stack.callback(attention.qkv.register_forward_hook(projected).remove)
        yield
