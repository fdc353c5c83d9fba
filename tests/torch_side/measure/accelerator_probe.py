"""What every reducer's prefill and answer would do on an accelerator, without one: prints JSON.

PyTorch lets a device be made up in Python; fake tensors on it have shapes and no values. A step
that reads a value back, or has a tensor on the wrong device, cannot hide. Run in a process of its
own, because the device stays.
"""

from __future__ import annotations

import copy
import json
import sys
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from roofline import reducers
from roofline.torch_side.measure.pipeline import Pipeline, build_pipeline

DEVICE = "madeup"
MODEL, KEPT, STEPS = "llava-tiny", 20, 2
READS = ("_local_scalar_dense", "nonzero", "is_nonzero", "unique")


class NaiveAttention(TorchFunctionMode):
    """Fused kernels are chosen in C++, by devices that it knows."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is functional.scaled_dot_product_attention:
            q, k, v = args
            if kwargs and kwargs.get("enable_gqa"):
                k, v = (t.repeat_interleave(q.shape[1] // t.shape[1], dim=1) for t in (k, v))
            return (q @ k.transpose(-1, -2)).softmax(dim=-1) @ v
        return func(*args, **(kwargs or {}))


class Watch(TorchDispatchMode):
    """Calls that leave the device, or wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.faults: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls += 1
        if any(name in func.name() for name in READS):
            self.faults.append(f"{func.name()} reads back")
        result = func(*args, **(kwargs or {}))
        tensors = [t for t in tree_leaves((args, kwargs, result)) if isinstance(t, Tensor)]
        devices = {t.device.type for t in tensors}
        if devices - {DEVICE}:
            self.faults.append(f"{func.name()} on {sorted(devices)}")
        return result


def on_the_device(pipeline: Pipeline, mode: FakeTensorMode) -> Pipeline:
    """A copy whose tensors, wherever they are held, are fakes on the made-up device."""

    def moved(tensor: Tensor, memo: dict[int, Any]) -> Tensor:
        if id(tensor) not in memo:
            with mode:
                fake = torch.empty_strided(
                    tensor.shape, tensor.stride(), dtype=tensor.dtype, device=DEVICE
                )
            is_weight = isinstance(tensor, nn.Parameter)
            memo[id(tensor)] = nn.Parameter(fake, requires_grad=False) if is_weight else fake
        result: Tensor = memo[id(tensor)]
        return result

    with (
        mock.patch.object(Tensor, "__deepcopy__", moved),
        mock.patch.object(nn.Parameter, "__deepcopy__", moved),
    ):
        return copy.deepcopy(pipeline)


def watched(reducer: str | None, visual_tokens: int | None, batch: int = 1) -> dict[str, Any]:
    pipeline = build_pipeline(
        MODEL,
        reducer=reducer,
        visual_tokens=visual_tokens,
        batch=batch,
        quant="fp32",
        output_tokens=STEPS,
    )
    mode, found = FakeTensorMode(), {}
    fake = on_the_device(pipeline, mode)
    for stage in ("prefill", "decode_step", "generate"):
        with mode, NaiveAttention(), Watch() as watch:
            try:
                getattr(fake, stage)()
            except DataDependentOutputException as error:
                watch.faults.append(f"{error.func.name()} reads back")
        found[stage] = {"calls": watch.calls, "faults": watch.faults}
    pipeline.close()
    return found


if __name__ == "__main__":
    backend_registration._setup_privateuseone_for_python_backend(DEVICE)
    everything = {str(name): watched(name, KEPT) for name in reducers.names()}
    everything |= {"None": watched(None, None), "padded": watched("prumerge", None, batch=3)}
    json.dump(everything, sys.stdout)
