"""roofline: what a large multimodal model costs on a device, before and after token reduction.

>>> import roofline
>>> estimate = roofline.analyze(model="vicuna-7b", hardware="v100", quant="int4", visual_tokens=40)
>>> print(f"{estimate.llm.roofline_time_s * 1e3:.1f} ms, {estimate.llm.bound}-bound")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from roofline.version import __version__

if TYPE_CHECKING:
    from roofline.device.collective_time import collective_time
    from roofline.device.kernel_times import attention_time, matmul_time
    from roofline.device.moe_time import moe_time
    from roofline.engine.analysis import analyze, count, image_tokens, launch_bound_tokens
    from roofline.engine.estimate import Counts, Estimate, load
    from roofline.errors import RooflineError
    from roofline.explore.grid import grid
    from roofline.explore.listings import hardware, models, quantization
    from roofline.explore.sweep import stream, sweep
    from roofline.reducers import CallablePackage, Reducer, register_reducer
    from roofline.reducers.plugins import load_plugin
    from roofline.specs.catalog import load_hardware, load_quantization
    from roofline.specs.hub import model_from_config
    from roofline.specs.quantization import register_quantization
    from roofline.torch_side.load import load_model
    from roofline.torch_side.reduce.attach import attach, detach
    from roofline.torch_side.reduce.methods import reduce_tokens

    reducers: CallablePackage

__all__ = [
    "Counts",
    "Estimate",
    "Reducer",
    "RooflineError",
    "__version__",
    "analyze",
    "attach",
    "attention_time",
    "collective_time",
    "count",
    "detach",
    "grid",
    "hardware",
    "image_tokens",
    "launch_bound_tokens",
    "load",
    "load_hardware",
    "load_model",
    "load_plugin",
    "load_quantization",
    "matmul_time",
    "model_from_config",
    "models",
    "moe_time",
    "quantization",
    "reduce_tokens",
    "reducers",
    "register_quantization",
    "register_reducer",
    "stream",
    "sweep",
]

_HOMES = {
    "analyze": "roofline.engine.analysis",
    "count": "roofline.engine.analysis",
    "image_tokens": "roofline.engine.analysis",
    "launch_bound_tokens": "roofline.engine.analysis",
    "grid": "roofline.explore.grid",
    "hardware": "roofline.explore.listings",
    "models": "roofline.explore.listings",
    "quantization": "roofline.explore.listings",
    "reducers": "roofline.reducers",
    "sweep": "roofline.explore.sweep",
    "stream": "roofline.explore.sweep",
    "Counts": "roofline.engine.estimate",
    "Estimate": "roofline.engine.estimate",
    "load": "roofline.engine.estimate",
    "RooflineError": "roofline.errors",
    "matmul_time": "roofline.device.kernel_times",
    "attention_time": "roofline.device.kernel_times",
    "moe_time": "roofline.device.moe_time",
    "collective_time": "roofline.device.collective_time",
    "load_hardware": "roofline.specs.catalog",
    "load_quantization": "roofline.specs.catalog",
    "model_from_config": "roofline.specs.hub",
    "register_quantization": "roofline.specs.quantization",
    "Reducer": "roofline.reducers",
    "register_reducer": "roofline.reducers",
    "load_plugin": "roofline.reducers.plugins",
    "attach": "roofline.torch_side.reduce.attach",
    "detach": "roofline.torch_side.reduce.attach",
    "load_model": "roofline.torch_side.load",
    "reduce_tokens": "roofline.torch_side.reduce.methods",
}


def __dir__() -> list[str]:
    return sorted(__all__)


if not TYPE_CHECKING:  # a type checker would believe in any name

    def __getattr__(name: str) -> Any:
        """Import on first use: `roofline --help` needs neither NumPy nor YAML."""
        if name not in _HOMES:
            raise AttributeError(f"module 'roofline' has no attribute {name!r}")
        from importlib import import_module

        home = _HOMES[name]
        try:
            module = import_module(home)
            # `roofline.reducers` is a package that can be called, too
            return module if home == f"{__name__}.{name}" else getattr(module, name)
        except ModuleNotFoundError as error:
            if not home.startswith("roofline.torch_side") or error.name not in (
                "torch",
                "transformers",
            ):
                raise
            hint = f"roofline.{name} needs {error.name}: pip install '.[profile]'"
            raise ModuleNotFoundError(hint, name=error.name) from None
