"""What prompts, answers and a calibration's kernels would do on an accelerator, without one.

Prints JSON: calls and faults, by reducer and stage, and by kernel.

PyTorch lets a device be made up in Python; fake tensors on it have shapes and no values. A step
that reads a value back, or has a tensor on the wrong device, cannot hide. Run in a process of its
own, because the device stays.
"""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Callable
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
from roofline.torch_side.calibrate.selection import chosen_benches, chosen_modes
from roofline.torch_side.measure import pipeline as pipelines
from roofline.torch_side.measure.language import StaticLength
from roofline.torch_side.measure.pipeline import Pipeline, build_pipeline
from roofline.units import GIB, MIB

DEVICE = "madeup"
MODEL, KEPT, STEPS, NEW_LENGTH = "llava-tiny", 20, 2, 33
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


def seen(call: Callable[[], object]) -> dict[str, Any]:
    """Calls and faults of what runs on the device, which is under a mode of fakes."""
    with NaiveAttention(), Watch() as watch:
        try:
            call()
        except DataDependentOutputException as error:
            watch.faults.append(f"{error.func.name()} reads back")
        except RuntimeError as error:  # fakes on two devices
            watch.faults.append(str(error).splitlines()[0])
    return {"calls": watch.calls, "faults": watch.faults}


def watched(reducer: str | None, visual_tokens: int | None, batch: int = 1) -> dict[str, Any]:
    pipeline = build_pipeline(
        MODEL,
        reducer=reducer,
        visual_tokens=visual_tokens,
        batch=batch,
        quant="fp32",
        output_tokens=STEPS,
    )
    mode = FakeTensorMode()
    fake = on_the_device(pipeline, mode)
    with mode:
        found = {name: seen(getattr(fake, name)) for name in ("prefill", "decode_step", "generate")}
        found["new_length"] = seen(lambda: fake.prefill_of(NEW_LENGTH)())
    pipeline.close()
    return found


def static(reducer: str | None, visual_tokens: int | None, batch: int = 1) -> dict[str, Any]:
    """The same in static shapes: all that graphs of them would hold, run eagerly."""
    with (
        mock.patch.object(pipelines, "keywords_of", return_value={"static": object()}),
        mock.patch.object(pipelines, "graphed_before_llm", lambda *steps, **_: steps[:2]),
        mock.patch.object(StaticLength, "record") as record,
    ):
        found = watched(reducer, visual_tokens, batch)
    record.assert_called_once_with()
    return found


def moved_to(module: nn.Module, like: Tensor) -> nn.Module:
    """`Module.to` swaps tensors, which fakes do not let it."""
    for owner in module.modules():
        for name, weight in [*owner.named_parameters(recurse=False)]:
            owner.register_parameter(name, nn.Parameter(weight.to(like), requires_grad=False))
    return module


def kernels() -> dict[str, Any]:
    """One of each kind that a calibration times."""
    device = torch.device(DEVICE)
    modes = chosen_modes(device, ["bf16"])
    found: dict[str, Any] = {}
    with FakeTensorMode(), torch.no_grad(), mock.patch.object(nn.Module, "to", moved_to):
        for benches in chosen_benches(device, modes, MIB, GIB).values():
            for bench in benches:
                columns = ("op", "function", "level", "causal")
                decodes = "decode" * (bench.row.get("tokens") == 1)
                kind = " ".join(str(bench.row.get(name, "")) for name in columns) + decodes
                if kind not in found:
                    run = bench.make()
                    found[kind] = seen(run)
    return found


if __name__ == "__main__":
    backend_registration._setup_privateuseone_for_python_backend(DEVICE)
    everything = {str(name): watched(name, KEPT) for name in reducers.names()}
    everything |= {"None": watched(None, None), "padded": watched("prumerge", None, batch=3)}
    everything |= {"static": static("prumerge", KEPT), "static padded": static("prumerge", None, 3)}
    everything |= {"kernels": kernels()}
    json.dump(everything, sys.stdout)
