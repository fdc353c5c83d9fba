"""FLOPs of PyTorch's counter without those that only some releases of transformers have."""

from __future__ import annotations

from torch.utils.flop_counter import FlopCounterMode

from roofline.torch_side.families.llama_decoder import OWNERS
from roofline.torch_side.oracle.flops import seen


def matmul_flops(counter: FlopCounterMode) -> int:
    """FLOPs that the analysis has to equal."""
    return seen(counter, OWNERS).matmuls


def aside_flops(counter: FlopCounterMode) -> int:
    """FLOPs of the LLM that the analysis has as vector work."""
    return sum(seen(counter, OWNERS).aside.values())
