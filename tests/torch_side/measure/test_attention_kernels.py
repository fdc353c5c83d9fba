"""Which kernels attention went to, read off a run."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from roofline.torch_side.measure.attention_kernels import attention_kernels, kernels_between_marks
from roofline.torch_side.measure.pipeline import build_pipeline


def test_the_kernel_is_the_one_that_pytorch_would_choose() -> None:
    """`_fused_sdp_choice` is asked of the shapes of the tiny model's tower and LLM, whose heads
    share keys: torch 2.7 has no fused kernel for those on a CPU.
    """
    q, k = torch.randn(1, 4, 76, 16), torch.randn(1, 2, 76, 16)
    kernels = {SDPBackend.FLASH_ATTENTION.value: "flash", SDPBackend.MATH.value: "math"}
    vision = kernels[torch._fused_sdp_choice(q, q, q)]
    llm = kernels[torch._fused_sdp_choice(q, k, k, is_causal=True, enable_gqa=True)]
    assert vision == "flash"
    with build_pipeline("llava-tiny", output_tokens=2) as pipeline:
        found = attention_kernels(pipeline.generate)
        assert found == {"vision": [vision], "llm": [llm], "decode": [llm]}
        with sdpa_kernel(SDPBackend.MATH):
            assert attention_kernels(pipeline.prefill) == {"vision": ["math"], "llm": ["math"]}


def test_eager_attention_is_no_kernel() -> None:
    with build_pipeline("llava-tiny", attention="eager") as pipeline:
        assert attention_kernels(pipeline.prefill) == {}


def event(name: str, start: float) -> Any:
    return SimpleNamespace(name=name, time_range=SimpleNamespace(start=start))


@pytest.mark.parametrize(
    ("op", "kernel"),
    [
        ("aten::_scaled_dot_product_cudnn_attention", "cudnn"),
        ("aten::_scaled_dot_product_efficient_attention", "efficient"),
        ("flash_attn::_flash_attn_forward", "flash-attn"),
    ],
)
def test_kernels_that_only_a_gpu_has(op: str, kernel: str) -> None:
    """As a trace of a GPU names them; events come in any order."""
    events = [
        event("roofline mark llm", 9.0),
        event(op, 5.0),
        event("aten::_scaled_dot_product_flash_attention", 1.0),
        event("roofline mark vision", 3.0),
        event("aten::mm", 4.0),
        event(op, 6.0),
        event("roofline mark decode", 12.0),
    ]
    assert kernels_between_marks(events) == {"vision": ["flash"], "llm": [kernel]}
