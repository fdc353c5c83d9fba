"""`EncoderAttentionLaw` from measured attention kernels without mask and cache."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

import msgspec
import numpy as np

from roofline.device.kernel_types import kernel_roof
from roofline.device.laws.attention import AttentionLaw
from roofline.device.laws.encoder_attention import (
    EncoderAttentionLaw,
    correction_basis,
    encoder_attention_seconds,
)
from roofline.device.roof import Roof
from roofline.fitting.attention import (
    CPU,
    GPU,
    AttentionTimes,
    best_of,
    kernels,
    operand_bytes,
)
from roofline.fitting.fitters import FITTERS, Fitter
from roofline.fitting.law_fit import law_with_error
from roofline.fitting.rows import LEAST_ROWS, check_physics, columns, held_out, of_one_source
from roofline.model.polynomial import Array
from roofline.specs.hardware import Hardware

BLOCKS = ((64, 64, 64), (128, 64, 64), (128, 128, 64), (192, 192, 144), (256, 128, 128))
"""Queries of a block, its keys, and those of heads wider than 64: FlashAttention-2 on different
generations, FlashAttention-3 on Hopper (its `tile_size.h`), FlashAttention-4 on Blackwell.
"""


def _start(law: AttentionLaw, **numbers: Any) -> EncoderAttentionLaw:
    """The start of a prompt's law, without its cache."""
    return EncoderAttentionLaw(
        **{
            **msgspec.structs.asdict(law),
            "forms": ("encoder",),
            "kv_write_passes": 0.0,
            "key_block": 1,
            **numbers,
        }
    )


GPU_STARTS = tuple(
    _start(
        GPU,
        heads_share_blocks=False,
        whole_blocks=True,
        block_queries=queries,
        key_block=keys,
        wide_key_block=wide_keys,
        head_dim_power=0.3,
        wave_share=0.8,
        traffic_share=0.5,
    )
    for queries, keys, wide_keys in BLOCKS
)
CPU_START = _start(CPU)
_SHAPE = ("batch_size", "tokens", "num_heads", "head_dim")


def fit_encoder_attention(
    rows: Mapping[str, Any],
    roof: Roof,
    *,
    kernel: str = "bf16",
    kind: Literal["gpu", "cpu"] = "gpu",
) -> EncoderAttentionLaw:
    """A law from columns `batch_size`, `tokens`, `num_heads`, `head_dim`, `time_ms`, one kernel a
    row. `kernel` is a key of `ATTENTION_KERNELS`, which has the widths of its operands. A CPU gets
    no corrections. The error is that of first fits on sets of (tokens, num_heads) held out from
    them. Raises FitError.
    """
    rows = of_one_source(rows)
    data = _times(rows, roof, kernel)
    check_physics(roof, data.seconds, data.flops, data.traffic, rows=rows)
    _, tokens, _, heads, *_ = data.shape
    starts = GPU_STARTS if kind == "gpu" else (CPU_START,)
    law: EncoderAttentionLaw = law_with_error(
        data, partial(best_of, starts=starts), held_out(tokens, heads)
    )
    return law


class EncoderTimes(AttentionTimes):
    """Shapes and times of kernels without mask."""

    numbers: tuple[str, ...] = tuple(
        name for name in AttentionTimes.numbers if not name.endswith("_power")
    )
    """Three near widths say nothing of powers of head_dim that go for wider heads: those are what
    prompts' kernels have."""

    def predict(self, law: Any) -> Array:
        batch, tokens, _, heads, _, head_dim = self.shape
        shape = (batch, tokens, heads, head_dim)
        return encoder_attention_seconds(law, self.roof, *shape, traffic_bytes=self.traffic)

    def basis(self, law: Any) -> list[Array]:
        batch, tokens, _, heads, _, head_dim = self.shape
        return correction_basis(law, self.roof, batch, tokens, heads, head_dim)


def _times(
    rows: Mapping[str, Any], roof: Roof, kernel: str, least: int = LEAST_ROWS
) -> EncoderTimes:
    batch, tokens, heads, head_dim, seconds = columns(rows, (*_SHAPE, "time_ms"), least)
    shape = (batch, tokens, tokens, heads, heads, head_dim)
    return EncoderTimes(roof, operand_bytes(kernel), *shape, np.full(tokens.size, False), seconds)


def _fit(hardware: Hardware, kernel: str, rows: dict[str, Any]) -> EncoderAttentionLaw:
    operand_bytes(kernel)
    roof = kernel_roof(hardware, kernel)
    return fit_encoder_attention(rows, roof, kernel=kernel, kind=hardware.kind)


def _seconds(
    hardware: Hardware, kernel: str, law: EncoderAttentionLaw, rows: Mapping[str, Any]
) -> Array:
    return _times(rows, kernel_roof(hardware, kernel), kernel, least=1).predict(law)


FITTERS.register(
    EncoderAttentionLaw.family,
    Fitter(_SHAPE, kernels, _fit, seconds=_seconds, without=("num_key_value_heads", "keys")),
)
