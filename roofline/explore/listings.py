"""What there is, as frames: models, devices, quantization modes, with what a count says of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, get_args

from roofline.device.peaks import served_type
from roofline.engine.analysis import count
from roofline.errors import InputError
from roofline.specs.catalog import all_hardware, all_models, quantization_modes
from roofline.specs.hardware import DataType, Hardware
from roofline.specs.models import Lmm, Model
from roofline.specs.quantization import Quantization

if TYPE_CHECKING:
    import pandas as pd

_BYTES = 2
"""Of a parameter in fp16, in which models are counted here."""


def models() -> pd.DataFrame:
    """All models and parts of models, by name.

    parts: vision encoder, connector and LLM of an LMM. visual_tokens: all of a sample, of an LMM.
    """
    frame = _frame("model", {model.name: _model(model) for model in all_models()})
    return frame.astype({"parameters": "Int64", "visual_tokens": "Int64"})


def hardware() -> pd.DataFrame:
    """All devices, by name, with dense peaks; empty where a device has none of a data type.

    laws: where its attainable times come from: its own laws, or those of a relative.
    """
    return _frame("hardware", {device.name: _device(device) for device in all_hardware()})


def quantization() -> pd.DataFrame:
    """All named quantization modes; any `wXaYkvZ` is one as well.

    weight_bytes, kv_bytes: of one number, scales and zero points included.
    """
    devices = all_hardware()
    modes = quantization_modes().values()
    return _frame("quant", {mode.name: _mode(mode, devices) for mode in modes})


def serving(mode: Quantization, devices: Sequence[Hardware]) -> dict[DataType, list[str]]:
    """Data type that linear layers of a mode compute in → the devices that do so."""
    found: dict[DataType, list[str]] = {}
    for device in devices:
        data_type = served_type(device, mode)
        if data_type is not None:
            found.setdefault(data_type, []).append(device.name)
    return found


def _frame(index: str, rows: dict[str, dict[str, Any]]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(index)


def _model(model: Model) -> dict[str, Any]:
    parts = (model.vision, model.connector, model.llm) if isinstance(model, Lmm) else ()
    try:
        counts = count(model)
    except InputError:  # a connector takes its sizes from its neighbours
        parameters = visual = None
    else:
        parameters = int(counts.end_to_end.weight_bytes) // _BYTES
        visual = counts.unreduced_visual_tokens if parts else None
    return {
        "title": model.title,
        "kind": str(model.__struct_config__.tag),
        "parts": ", ".join(p if isinstance(p, str) else p.name for p in parts),
        "parameters": parameters,
        "visual_tokens": visual,
        "source": model.source,
    }


def _device(device: Hardware) -> dict[str, Any]:
    peaks = {
        f"{t}_{'tops' if t.startswith('int') else 'tflops'}": device.matmul_peak(t)
        for t in get_args(DataType)
    }
    borrowed = f"those of {device.laws_from}" if device.laws_from else ""
    return {
        "title": device.title,
        "kind": device.kind,
        "architecture": device.architecture,
        "memory_capacity_gib": device.memory_capacity_gib.value,
        "memory_bandwidth_gb_per_s": device.memory_bandwidth_gb_per_s.value,
        **{name: None if peak is None else peak.value for name, peak in peaks.items()},
        "vector_peak_fp32_tflops": device.vector_peak_fp32_tflops.value,
        "tdp_w": None if device.tdp_w is None else device.tdp_w.value,
        "laws": device.kernel_laws.origin if device.kernel_laws else borrowed,
        "aliases": ", ".join(device.aliases),
    }


def _mode(mode: Quantization, devices: Sequence[Hardware]) -> dict[str, Any]:
    runs = serving(mode, devices)
    return {
        "title": mode.title,
        "weight_bits": mode.weight_bits,
        "activation_bits": mode.activation_bits,
        "kv_bits": mode.kv_bits,
        "weight_bytes": mode.weight_bytes("linear"),
        "kv_bytes": mode.kv_bytes,
        "compute": ", ".join(mode.compute),
        "outside_llm": mode.outside_name,
        "runs_on": ", ".join(name for names in runs.values() for name in names),
        "source": mode.source,
    }
