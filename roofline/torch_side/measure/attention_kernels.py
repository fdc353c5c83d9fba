"""Which kernel each attention of a run went to: PyTorch chooses, by version, device and shape."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch.profiler import ProfilerActivity, profile, record_function

from roofline.torch_side.measure.timing import Mark

MATH = "math"
"""`scaled_dot_product_attention` op by op, where no fused kernel takes what it is given."""
_KERNELS = {
    "aten::_scaled_dot_product_flash_attention": "flash",
    "aten::_scaled_dot_product_flash_attention_for_cpu": "flash",
    "aten::_scaled_dot_product_efficient_attention": "efficient",
    "aten::_scaled_dot_product_cudnn_attention": "cudnn",
    "aten::_scaled_dot_product_fused_attention_overrideable": "overrideable",
    "aten::_scaled_dot_product_attention_math": MATH,
    "flash_attn::_flash_attn_forward": "flash-attn",
    "flash_attn::_flash_attn_varlen_forward": "flash-attn",
}
"""Ops of a trace, and the kernels that they are, by the names of PyTorch's `SDPBackend`."""
_MARK = "roofline mark "


def attention_kernels(run: Callable[[Mark], object]) -> dict[str, list[str]]:
    """Kernels of attention by component, as they ran, in one eager run.

    run: takes a mark to call with a component's name behind its work. Left out are components
    without such a kernel; transformers' eager attention is matmuls and a softmax.
    """

    def mark(component: str) -> None:
        with record_function(_MARK + component):
            pass

    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        run(mark)
    return kernels_between_marks(profiler.events())


def kernels_between_marks(events: Iterable[Any]) -> dict[str, list[str]]:
    """The same, of the CPU events of a profile."""
    found: dict[str, list[str]] = {}
    since: dict[str, None] = {}
    for event in sorted(events, key=lambda event: event.time_range.start):
        if event.name in _KERNELS:
            since[_KERNELS[event.name]] = None
        elif event.name.startswith(_MARK):
            known = found.setdefault(event.name.removeprefix(_MARK), [])
            known += [kernel for kernel in since if kernel not in known]
            since = {}
    return {component: kernels for component, kernels in found.items() if kernels}
