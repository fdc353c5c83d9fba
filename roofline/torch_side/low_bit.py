"""Linear layers with weights of 8 and 4 bits, over kernels that PyTorch itself ships.

None waits for the device, and shapes alone decide what is launched, so that a CUDA graph can hold
them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from roofline.errors import UnsupportedModeError

_GROUPS = (128, 64, 32)
"""Weights that share a scale at 4 bits: as many of these as the layer's width can be cut into."""
_LEAST_ROWS, _PADDED_ROWS = 17, 32
"""Of `torch._int_mm` on CUDA, and what fewer rows are padded to."""
_TINY = 1e-8
"""A scale is no smaller: a row of zeros has none of its own."""


class LowBitKernel(NamedTuple):
    """How a mode runs on a device."""

    layer: Callable[[nn.Linear], nn.Module]
    """The same layer with its weights quantized."""
    operator: str
    """What multiplies, by its name in `torch`."""
    how: str
    """What is quantized, in words."""

    @property
    def runs(self) -> str:
        """What it really does, in words."""
        return f"torch.{self.operator}, {self.how}"

    def quantize(self, module: nn.Module) -> None:
        """Replace every linear layer inside."""
        for name, child in module.named_children():
            if isinstance(child, nn.Linear):
                setattr(module, name, self.layer(child))
            else:
                self.quantize(child)


class _QuantizedLinear(nn.Module):
    """Flattens what is before the width, multiplies, and adds the bias."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        product = self._multiplied(x.reshape(-1, self.in_features))
        product = product.view(*x.shape[:-1], self.out_features)
        return product if self.bias is None else product + self.bias

    def _multiplied(self, x: Tensor) -> Tensor:
        """[rows, in_features] → [rows, out_features]."""
        raise NotImplementedError


class EightBitWeights(_QuantizedLinear):
    """w8a16: weights of 8 bits, activations as they come."""

    packed: Tensor
    scale: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear)
        weight, scale = _eight_bits(linear.weight)
        self.register_buffer("packed", weight)
        self.register_buffer("scale", scale.squeeze(1).to(linear.weight.dtype))

    def _multiplied(self, x: Tensor) -> Tensor:
        return torch._weight_int8pack_mm(x, self.packed, self.scale)


class EightBitProducts(_QuantizedLinear):
    """w8a8: activations are quantized, too, token by token as they come."""

    packed: Tensor
    scale: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear)
        weight, scale = _eight_bits(linear.weight)
        self.register_buffer("packed", weight)
        self.register_buffer("scale", scale.squeeze(1))

    def _multiplied(self, x: Tensor) -> Tensor:
        narrow, scale = _eight_bits(x)
        rows = len(narrow)
        if narrow.device.type == "cuda" and rows < _LEAST_ROWS:
            narrow = functional.pad(narrow, (0, 0, 0, _PADDED_ROWS - rows))
        product = torch._int_mm(narrow, self.packed.t()).narrow(0, 0, rows)
        return (product * scale * self.scale).to(x.dtype)


class FourBitWeights(_QuantizedLinear):
    """w4a16: weights of 4 bits, each group of them with a scale and a zero in 16 bit."""

    packed: Tensor
    scales: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear)
        weight = linear.weight.detach()
        n, k = weight.shape
        group = next((size for size in _GROUPS if k % size == 0), None)
        if group is None or n % 16:
            raise UnsupportedModeError(
                f"w4a16 needs layers of a width that 32 divides and outputs that 16 divides, not "
                f"{k} and {n}"
            )
        if weight.device.type == "cuda" and weight.dtype != torch.bfloat16:
            raise UnsupportedModeError("w4a16 computes in bf16 on CUDA: leave dtype to it")
        groups = weight.float().view(n, -1, group)
        low, high = groups.amin(-1, keepdim=True), groups.amax(-1, keepdim=True)
        scale = ((high - low) / 15).clamp(min=_TINY)
        numbers = ((groups - low) / scale).round().clamp(0, 15).to(torch.int32).view(n, k)
        # the kernels take a weight for (number - 8) · scale + zero
        scales = torch.cat([scale, low + 8 * scale], dim=-1).transpose(0, 1)
        self.group = group
        self.register_buffer(
            "scales", scales.to(weight.dtype).clone(memory_format=torch.contiguous_format)
        )
        self.register_buffer("packed", _four_bits(numbers))

    def _multiplied(self, x: Tensor) -> Tensor:
        on_cpu = x.device.type == "cpu"
        multiply = torch._weight_int4pack_mm_for_cpu if on_cpu else torch._weight_int4pack_mm
        x = x if x.is_contiguous() else x.contiguous()
        return multiply(x, self.packed, self.group, self.scales)


def _eight_bits(numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Whole numbers from -127 to 127, and the scale of each row, [rows, 1] in fp32."""
    numbers = numbers.detach()
    scale = numbers.abs().amax(-1, keepdim=True).float().clamp(min=_TINY) / 127
    return (numbers / scale).round().to(torch.int8), scale


def _four_bits(numbers: Tensor) -> Tensor:
    """[n, k] whole numbers from 0 to 15, in the order in which the device's kernel reads them."""
    if numbers.device.type == "cpu":
        return torch._convert_weight_to_int4pack_for_cpu(numbers, 1)
    first, second = numbers.view(len(numbers), -1, 2).unbind(-1)
    pairs = (first << 4 | second).to(torch.uint8)
    tiles = next(tiles for tiles in (8, 4, 2) if numbers.shape[1] % (16 * tiles) == 0)
    return torch._convert_weight_to_int4pack(pairs, tiles)


_PER_ROW = "a scale for each row of weights"
_PER_TOKEN = f"{_PER_ROW}, activations quantized token by token by elementwise kernels"
_PADDED = f"; fewer than {_LEAST_ROWS} rows are padded to {_PADDED_ROWS}"
_PER_GROUP = "a scale and a zero in 16 bit for 128 weights, fewer in narrow layers"
_KERNELS = {
    ("w8a16", "cpu"): LowBitKernel(EightBitWeights, "_weight_int8pack_mm", _PER_ROW),
    ("w8a8kv16", "cpu"): LowBitKernel(EightBitProducts, "_int_mm", _PER_TOKEN),
    ("w8a8kv16", "cuda"): LowBitKernel(EightBitProducts, "_int_mm", _PER_TOKEN + _PADDED),
    ("w4a16", "cpu"): LowBitKernel(FourBitWeights, "_weight_int4pack_mm_for_cpu", _PER_GROUP),
    ("w4a16", "cuda"): LowBitKernel(FourBitWeights, "_weight_int4pack_mm", _PER_GROUP),
}
"""By mode and kind of device."""
LOW_BIT = tuple(dict.fromkeys(mode for mode, _ in _KERNELS))
"""Modes that some device has kernels for."""


def low_bit_kernel(mode: str, device: torch.device) -> LowBitKernel:
    """How a mode runs. Raises UnsupportedModeError that says why, where it does not."""
    kernel = _KERNELS.get((mode, device.type))
    reason = _untried(mode, device) if kernel is None else _lacking(kernel.operator, device)
    if kernel is None or reason:
        raise UnsupportedModeError(f"no kernels for {mode} on {device.type} here ({reason})")
    return kernel


def low_bit_modes(device: torch.device) -> list[str]:
    """Modes that the device has kernels for."""
    return [
        mode
        for mode in written_for(device.type)
        if not _lacking(_KERNELS[mode, device.type].operator, device)
    ]


def written_for(kind: str) -> list[str]:
    """Modes that run on `cpu` or `cuda`, where PyTorch has the kernels."""
    return [mode for mode, other in _KERNELS if other == kind]


def _untried(mode: str, device: torch.device) -> str:
    if (mode, device.type) == ("w8a16", "cuda"):
        return "PyTorch's own is a plain loop over numbers, which nobody would run"
    return "none was tried"


def _lacking(operator: str, device: torch.device) -> str:
    """What stands in the way of a kernel; empty where nothing does."""
    try:
        there = torch._C._dispatch_has_kernel_for_dispatch_key(
            f"aten::{operator}", device.type.upper()
        )
    except RuntimeError:  # there is no such operator
        there = False
    if not there:
        return f"torch {torch.__version__} has no {operator} there"
    tinygemm = device.type == "cuda" and operator == "_weight_int4pack_mm"
    if tinygemm and (torch.version.hip or torch.cuda.get_device_capability(device) < (8, 0)):
        return "it needs an NVIDIA GPU of compute capability 8.0 or more"
    return ""


def runs_as(mode: str, device: torch.device) -> str:
    """What a low-bit mode really does on a device, in words; empty for other modes."""
    kernel = _KERNELS.get((mode, device.type))
    return f"{mode} runs as {kernel.runs}" if kernel else ""
