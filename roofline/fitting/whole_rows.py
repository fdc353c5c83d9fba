"""Tables of whole-model times: from rows to what the analysis is asked for.

A row is one time of one model: `model` (a name of the catalog or a YAML file; or a vision encoder
by its columns), `batch`, `precision`, `mode`, `stage`, and a time or a throughput. Columns:

- `time_ms` or `time_s`; else `images_per_s` (of towers), or `tokens_per_s`: tokens of the prompt in
  a prefill, one a sequence in a decode step, output tokens in an answer.
- `stage`: tower, prefill, decode (`tokens` in the cache) or answer; left out, tower of a vision
  encoder, prefill of others.
- `tokens`: of the prompt, text and images together; `output_tokens`: of an answer.
- `precision`: a quantization mode, or `amp` (`autocast`): fp16 as `torch.autocast` runs it.
- `mode`: a runtime (eager, compile, cuda-graph, vllm, trt-llm); left out, kernels alone.
- of a vision encoder that is not in the catalog: `hidden_size`, `layers`, `heads`, `patch_size`,
  `image_size`, and, where they are not 4·hidden_size, true, gelu: `mlp_size`, `class_token`,
  `hidden_act`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, get_args

import numpy as np
import pandas as pd
from msgspec import Struct

from roofline.engine.axes import RUNTIMES
from roofline.engine.layout import lay_out
from roofline.errors import InputError, shortened
from roofline.fitting.rows import WHERE, FitError
from roofline.specs.catalog import load_model, load_quantization
from roofline.specs.correction import Measured
from roofline.specs.models import LanguageModel, Lmm, Model, VisionEncoder
from roofline.specs.quantization import Quantization
from roofline.specs.reading import build
from roofline.units import MILLI

MODEL = "model"
"""The column that tells a table to be of whole models."""
AMP = ("amp", "autocast", "fp16-amp")
"""Precisions that are `torch.autocast`'s."""
TIMES = ("time_ms", "time_s", "images_per_s", "tokens_per_s")
TOWER = {"hidden_size": None, "layers": None, "heads": None, "patch_size": None, "image_size": None}
"""Columns that a vision encoder by its columns needs."""


class WholeModelTime(Struct, frozen=True):
    """One measured time, and what the analysis is asked for to predict it."""

    where: str
    """File and row, for errors."""
    label: str
    """The model, as the table calls it."""
    model: Model
    stage: Measured
    quant: str | Quantization
    axes: Mapping[str, Any]
    """Keywords of the analysis: counts, runtime, kernels, stage."""
    seconds: float

    @property
    def key(self) -> tuple[Any, ...]:
        """Rows of the same are predicted together, for all their batches."""
        fixed = tuple(sorted((k, v) for k, v in self.axes.items() if k != "batch"))
        return (self.model, self.stage, self.quant, fixed)


def whole_model_times(table: pd.DataFrame) -> list[WholeModelTime]:
    """The rows of a table. Raises FitError naming the row, and what to do."""
    rows = []
    for i, row in enumerate(table.to_dict("records")):
        filled = {str(name): value for name, value in row.items() if not _empty(value)}
        where = str(filled.pop(WHERE, f"row {i + 1} of the whole-model times"))
        try:
            rows.append(_row(filled, where))
        except InputError as error:
            message = str(error)
            raise FitError(
                message if message.startswith(where) else f"{where}: {message}"
            ) from None
    if not rows:
        raise FitError("no whole-model times: give a row or more")
    return rows


def _row(row: Mapping[str, Any], where: str) -> WholeModelTime:
    if MODEL not in row:
        raise FitError(f"{where} names no model: fill the column `model`")
    label = str(row[MODEL])
    model = _tower(label, row, where) if "hidden_size" in row else load_model(label)
    stage = _stage(row, model, where)
    batch = _count(row, "batch", where, default=1)
    precision = str(row.get("precision", "fp16")).lower()
    axes: dict[str, Any] = {"batch": batch}
    mode = str(row.get("mode", "")).lower()
    if mode and mode not in RUNTIMES:
        known = ", ".join(RUNTIMES)
        raise FitError(f"{where} has mode {shortened(mode)!r}: use one of {known}, or leave it out")
    if mode:
        axes["runtime"] = mode
    if precision in AMP:
        axes["kernels"] = "compiled" if mode == "compile" else "autocast"
        precision = "fp16"
    load_quantization(precision)
    tokens = outputs = 0.0
    if stage != "tower":
        tokens = _count(row, "tokens", where)
        axes |= _prompt(model, tokens, where)
        axes["stage"] = {"answer": "generate"}.get(stage, stage)
    if stage == "answer":
        outputs = axes["output_tokens"] = _count(row, "output_tokens", where)
    per_row = {
        "tower": batch,
        "prefill": batch * tokens,
        "decode": batch,
        "answer": batch * outputs,
    }
    seconds = _seconds(row, stage, per_row[stage], where)
    return WholeModelTime(where, label, model, stage, precision, axes, seconds)


def _prompt(model: Model, tokens: float, where: str) -> dict[str, float]:
    """`tokens` of a prompt, as the axes have them: with as many images as the model's default."""
    if isinstance(model, LanguageModel):
        return {"visual_tokens": 0.0, "text_tokens": tokens}
    visual = float(row_visual(model))
    if tokens < visual:
        raise FitError(f"{where} has {tokens:g} tokens, fewer than its image gives, {visual:g}")
    return {"text_tokens": tokens - visual}


def row_visual(model: Model) -> int:
    """Visual tokens that a prompt of the model has by default."""
    return lay_out(model).default_visual_tokens


def _stage(row: Mapping[str, Any], model: Model, where: str) -> Measured:
    stage = str(row.get("stage", "tower" if isinstance(model, VisionEncoder) else "prefill"))
    if stage not in get_args(Measured):
        known = ", ".join(get_args(Measured))
        raise FitError(f"{where} has stage {shortened(stage)!r}: use one of {known}")
    alone = isinstance(model, VisionEncoder)
    if alone != (stage == "tower") and not (stage == "tower" and isinstance(model, Lmm)):
        raise FitError(f"{where} has stage {stage}, which {model.name} does not have")
    return stage  # type: ignore[return-value]  # as was checked


@lru_cache(maxsize=1024)
def _encoder(items: tuple[tuple[str, Any], ...], where: str) -> VisionEncoder:
    return build(VisionEncoder, dict(items), where)


def _tower(label: str, row: Mapping[str, Any], where: str) -> VisionEncoder:
    lacking = [name for name in TOWER if name not in row]
    if lacking:
        raise FitError(f"{where} lacks {', '.join(lacking)} of the vision encoder {label}")
    sizes = {name: int(_count(row, name, where)) for name in TOWER}
    mlp = int(_count(row, "mlp_size", where, default=4 * sizes["hidden_size"]))
    fields = {
        "name": label,
        "title": label,
        "source": "columns of a table of whole-model times",
        "hidden_size": sizes["hidden_size"],
        "num_hidden_layers": sizes["layers"],
        "num_attention_heads": sizes["heads"],
        "intermediate_size": mlp,
        "image_size_px": sizes["image_size"],
        "patch_size_px": sizes["patch_size"],
        "class_token": str(row.get("class_token", True)).lower() in ("true", "1", "1.0"),
        "pre_norm": str(row.get("pre_norm", False)).lower() in ("true", "1", "1.0"),
        "hidden_act": str(row.get("hidden_act", "gelu")),
    }
    return _encoder(tuple(fields.items()), where)


def _seconds(row: Mapping[str, Any], stage: Measured, amount: float, where: str) -> float:
    """The time of a row, from the first of `TIMES` that it has."""
    name = next((name for name in TIMES if name in row), None)
    if name is None:
        raise FitError(f"{where} has no time: give one of {', '.join(TIMES)}")
    if (name == "images_per_s") != (stage == "tower") and name.endswith("_per_s"):
        wanted = "images_per_s" if stage == "tower" else "tokens_per_s"
        raise FitError(f"{where} has {name} of a {stage}: give {wanted}, or a time")
    value = _positive(row[name], name, where)
    return {"time_ms": value * MILLI, "time_s": value}.get(name, amount / value)


def _count(row: Mapping[str, Any], name: str, where: str, default: float | None = None) -> float:
    if name not in row and default is not None:
        return float(default)
    if name not in row:
        raise FitError(f"{where} lacks {name}: fill that column")
    value = _positive(row[name], name, where)
    if value != int(value):
        raise FitError(f"{where} has {name} {value:g}: give a whole number")
    return value


def _positive(cell: Any, name: str, where: str) -> float:
    try:
        value = float(cell)
    except (TypeError, ValueError):
        raise FitError(f"{where} has {name} {shortened(str(cell))!r}: give a number") from None
    if not 1e-9 <= value <= 1e12:
        raise FitError(f"{where} has {name} {value:g}: give a number above zero")
    return value


def _empty(value: Any) -> bool:
    return value is None or (isinstance(value, float) and bool(np.isnan(value))) or value == ""
