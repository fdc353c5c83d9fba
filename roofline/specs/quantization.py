"""Quantization modes: how wide weights, activations and KV cache are, and what computes on them.

`roofline.specs.catalog.load_quantization` finds them: what ships is in `data/quantization.yaml`, a
user's are files, or registered here.
"""

import re
from typing import Annotated, Literal

import msgspec

from roofline.registry import Registry
from roofline.specs.hardware import DataType
from roofline.specs.sourced import Name, PositiveInt, Spec
from roofline.units import BITS_PER_BYTE

Bits = Annotated[int, msgspec.Meta(ge=1, le=32)]

WRITTEN_OUT = re.compile(r"w([0-9]{1,2})a([0-9]{1,2})(?:kv([0-9]{1,2}))?")
SIXTEEN_BIT: tuple[DataType, ...] = ("fp16", "bf16")


class Quantization(Spec, frozen=True):
    """One mode. A device computes in the first data type of `compute` that it has."""

    name: Name
    """What `--quant` calls it; case does not matter."""
    title: str
    """The mode in words."""
    source: str
    """Who describes the mode."""
    weight_bits: Bits
    """Width of a weight of a linear layer, without its share of scales."""
    activation_bits: Bits
    """Width of an activation between kernels."""
    kv_bits: Bits
    """Width of a key or value in the cache."""
    compute: tuple[DataType, ...]
    """Data types that linear layers may compute in, the best first."""
    attention_compute: tuple[DataType, ...] = ()
    """Data types that QKᵀ and PV may compute in, the best first; left out, those of `compute`."""
    group_size: PositiveInt | None = None
    """Weights that share one scale; left out, scales are too few to count."""
    scale_bits: Annotated[int, msgspec.Meta(ge=0, le=64)] = 0
    """Width of a group's scale."""
    zero_point_bits: Annotated[int, msgspec.Meta(ge=0, le=64)] = 0
    """Width of a group's zero point; 0 for symmetric weights, which have none."""
    unquantized_bits: Bits | None = None
    """Width of embedding, lm_head, norms and biases; left out, that of the weights."""
    outside_llm: str | None = None
    """Name of the mode of vision tower and connector; left out, this one."""

    @property
    def attention_types(self) -> tuple[DataType, ...]:
        return self.attention_compute or self.compute

    @property
    def weight_only_kernel(self) -> str:
        """Name of the matmul kernel where weights are narrower than activations; else empty."""
        narrow = self.weight_bits < self.activation_bits
        return f"w{self.weight_bits}a{self.activation_bits}" if narrow else ""

    @property
    def activation_bytes(self) -> float:
        return self.activation_bits / BITS_PER_BYTE

    @property
    def kv_bytes(self) -> float:
        return self.kv_bits / BITS_PER_BYTE

    @property
    def vector_bytes(self) -> float:
        """Bytes per element of a norm weight, bias or position embedding."""
        return (self.unquantized_bits or self.weight_bits) / BITS_PER_BYTE

    def weight_bytes(self, role: Literal["linear", "embedding", "lm_head"]) -> float:
        """Bytes per weight, group scales and zero points included."""
        if role != "linear":
            return self.vector_bytes
        overhead = (
            (self.scale_bits + self.zero_point_bits) / self.group_size if self.group_size else 0
        )
        return (self.weight_bits + overhead) / BITS_PER_BYTE


MODES: Registry[Quantization] = Registry("quantization mode")
"""Modes that a program has registered."""


def register_quantization(mode: Quantization) -> Quantization:
    """Make a mode known by its name, before any other of that name; returns it.

    One that was registered by that name earlier gives way.
    """
    return MODES.register(mode.name.lower(), mode)


def written_out(name: str, modes: dict[str, Quantization]) -> Quantization | None:
    """The mode that `wXaY` or `wXaYkvZ` spells, or None if `name` is not of that form.

    Weights narrower than 16-bit activations are a weight-only mode and follow the conventions of
    w4a16 (group scales, 16-bit embedding and lm_head); all other modes hold every tensor at the
    widths given. Without `kvZ`, KV is as wide as the activations.
    """
    match = WRITTEN_OUT.fullmatch(name)
    if match is None:
        return None
    weight, activation = int(match[1]), int(match[2])
    kv = int(match[3] or activation)
    if not all(1 <= bits <= 32 for bits in (weight, activation, kv)):
        return None
    weight_only = weight < 16 <= activation
    base = modes["w4a16" if weight_only else "int4"]
    wide = max(weight, activation) > 16
    return msgspec.structs.replace(
        base,
        name=name,
        source=f"as written, after the conventions of {base.name}",
        title=f"{weight}-bit weights, {activation}-bit activations, {kv}-bit KV cache",
        weight_bits=weight,
        activation_bits=activation,
        kv_bits=kv,
        compute=_types_for(max(activation, weight)),
        attention_compute=_types_for(max(activation, kv)),
        unquantized_bits=(32 if wide else 16) if weight_only else None,
        zero_point_bits=base.zero_point_bits and weight,
        outside_llm="fp32" if wide else "fp16",
    )


def _types_for(bits: int) -> tuple[DataType, ...]:
    """Data types whose units can take operands of that width, narrowest first."""
    if bits > 16:
        return ("fp32",)
    if bits > 8:
        return SIXTEEN_BIT
    if bits > 4:
        return ("int8", *SIXTEEN_BIT)
    return ("int4", "int8", *SIXTEEN_BIT)
