"""What the tool says of whole models that others measured: towers and edge boards, row by row.

`towers(FOLDER)` and `edge(FOLDER)` give a frame with a row for each measured time that the
formulas express: group, device, framework, model, batch, size, measured_s, predicted_s,
roofline_s, low_s, high_s.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import timm_models
from msgspec.structs import replace

from roofline.fitting.rows import WHERE
from roofline.fitting.tables import read_table
from roofline.fitting.whole_models import totals_of
from roofline.fitting.whole_rows import WholeModelTime, whole_model_times
from roofline.specs.catalog import load_hardware
from roofline.specs.hardware import Hardware
from roofline.specs.models import LanguageModel
from roofline.specs.quantization import Quantization
from roofline.units import MILLI

VIT = "vit_throughput.csv"
EDGE = "edge_llm_vlm.csv"
COLUMNS = (
    *("group", "device", "framework", "model", "batch", "size", "measured_s", "predicted_s"),
    *("roofline_s", "low_s", "high_s"),
)
GMACS_OFF = 0.03
"""A model whose multiply-accumulates are further from the table's was not built right."""
EDGE_DEVICES = {
    "Jetson AGX Thor": "jetson-thor",
    "Jetson Orin Nano (8GB)": "jetson-orin-nano",
}
NVFP4 = Quantization(
    name="nvfp4",
    title="4-bit floats with an 8-bit scale per 16, activations quantized by each matmul",
    source="NVIDIA, Introducing NVFP4 (2025)",
    weight_bits=4,
    activation_bits=4,
    kv_bits=16,
    compute=("fp4", "fp8", "fp16"),
    attention_compute=("fp16",),
    group_size=16,
    scale_bits=8,
    outside_llm="fp16",
)
EDGE_PRECISIONS: dict[str, str | Quantization] = {
    "NVFP4": NVFP4,
    "INT4 AWQ": "w4a16",
    "INT4 GPTQ": "w4a16",
}
QWEN3 = {
    "Qwen3-0.6B": (1024, 28, 16, 8, 3072, True),
    "Qwen3-1.7B": (2048, 28, 16, 8, 6144, True),
    "Qwen3-4B-Instruct-2507": (2560, 36, 32, 8, 9728, True),
    "Qwen3-8B": (4096, 36, 32, 8, 12288, False),
    "Qwen3-VL-2B-Instruct": (2048, 28, 16, 8, 6144, True),
    "Qwen3-VL-4B-Instruct": (2560, 36, 32, 8, 9728, True),
    "Qwen3-VL-8B-Instruct": (4096, 36, 32, 8, 12288, False),
}
"""hidden_size, layers, heads, key heads, intermediate_size, tied embeddings: the `config.json` of
Qwen's repositories on Hugging Face; heads of 128, a vocabulary of 151,936."""


def vit_table(folder: Path) -> pd.DataFrame:
    """Rows of timm that can be expressed, as `roofline fit` takes them."""
    found = []
    for i, row in read_table(folder / VIT).iterrows():
        if timm_models.why_left_out(row["model"]):
            continue
        found.append(
            {
                WHERE: f"{VIT}, row {int(str(i)) + 1}",
                "hardware": row["hardware"],
                **timm_models.columns(row["model"], int(row["infer_img_size"])),
                "batch": row["infer_batch_size"],
                "precision": "amp",
                "mode": row["mode"],
                "time_ms": row["infer_step_time"],
                "gmacs": row["infer_gmacs"],
            }
        )
    return pd.DataFrame(found)


def left_out(folder: Path) -> dict[str, str]:
    """Models of timm that cannot, and what the formulas lack."""
    names = dict.fromkeys(read_table(folder / VIT)["model"])
    reasons = {name: timm_models.why_left_out(name) for name in names}
    return {name: reason for name, reason in reasons.items() if reason}


def towers(folder: Path, devices: Mapping[str, Hardware] | None = None) -> pd.DataFrame:
    """Vision transformers by timm, one row a measured time. devices: in place of the catalog's."""
    table, parts = vit_table(folder), []
    for name, rows in table.groupby("hardware", sort=False):
        hardware = (devices or {}).get(str(name)) or load_hardware(str(name))
        times = whole_model_times(rows.drop(columns="gmacs"))
        modes = rows["mode"].tolist()
        parts.append(_frame("towers", hardware, times, [f"timm {mode}" for mode in modes]))
    return pd.concat(parts, ignore_index=True)


def uncorrected_towers(folder: Path) -> pd.DataFrame:
    """The same by laws as they are lent, which know nothing of these rows."""
    names = dict.fromkeys(vit_table(folder)["hardware"])
    devices = {name: replace(load_hardware(name), correction=None) for name in names}
    return towers(folder, devices).assign(group="towers, uncorrected")


def edge(folder: Path) -> pd.DataFrame:
    """Dense Qwen3 language models on Jetson boards by TensorRT Edge-LLM: prefill and decode."""
    table, parts = read_table(folder / EDGE), []
    for device, name in EDGE_DEVICES.items():
        hardware = load_hardware(name)
        times = list(_edge_times(table[table["device"] == device]))
        labels = [f"TensorRT Edge-LLM {_name(row.quant)}, {row.stage}" for row in times]
        parts.append(_frame("edge", hardware, times, labels))
    return pd.concat(parts, ignore_index=True)


def _edge_times(table: pd.DataFrame) -> Iterator[WholeModelTime]:
    """Its prompts are of `prefill_seq_len` tokens, those of all sequences together."""
    for i, row in table.iterrows():
        precision = EDGE_PRECISIONS.get(str(row["precision"]).partition(" / ")[0])
        if row["model"] not in QWEN3 or precision is None:
            continue
        batch, tokens = int(row["batch"]), int(row["prefill_seq_len"])
        axes: dict[str, Any] = {
            "batch": float(batch),
            "visual_tokens": 0.0,
            "text_tokens": float(round(tokens / batch)),
            "kernels": "fused",
        }
        label = str(row["model"])
        seconds = {
            "prefill": row["prefill_time_ms"] * MILLI,
            "decode": batch / row["decode_tok_per_s"],
        }
        for stage, measured in seconds.items():
            yield WholeModelTime(
                where=f"{EDGE}, row {int(str(i)) + 1}",
                label=label,
                model=_qwen3(label),
                stage=stage,  # type: ignore[arg-type]
                quant=precision,
                axes={**axes, "stage": stage},
                seconds=float(measured),
            )


def _name(quant: str | Quantization) -> str:
    return quant if isinstance(quant, str) else quant.name


def _qwen3(name: str) -> LanguageModel:
    hidden, layers, heads, kv_heads, intermediate, tied = QWEN3[name]
    return LanguageModel(
        name=name,
        title=name,
        source=f"https://huggingface.co/Qwen/{name}/blob/main/config.json",
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=128,
        intermediate_size=intermediate,
        vocab_size=151936,
        tie_word_embeddings=tied,
    )


def _frame(
    group: str, hardware: Hardware, times: Sequence[WholeModelTime], frameworks: Iterable[str]
) -> pd.DataFrame:
    """The rows of one device, with what the tool says of them."""
    found = []
    totals = totals_of(hardware, times)
    for row, one, framework in zip(times, totals, frameworks, strict=True):
        ends = one.attainable_time_low_s, one.attainable_time_high_s
        if one.elapsed_time_s is not None:
            ends = one.elapsed_time_low_s, one.elapsed_time_high_s
        size = getattr(row.model, "image_size_px", row.axes.get("text_tokens", np.nan))
        figures = (row.seconds, one.predicted_time_s, one.roofline_time_s, *ends)
        named = (group, hardware.name, framework, row.label, row.axes["batch"], size)
        found.append(
            dict(
                zip(
                    COLUMNS,
                    (*named, *(np.nan if f is None else float(f) for f in figures)),
                    strict=True,
                )
            )
        )
    return pd.DataFrame(found, columns=list(COLUMNS))


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """Mean and signed mean error in percent, that of the roofline, and the share in the band."""
    off = 100 * (frame["predicted_s"] / frame["measured_s"] - 1)
    roof = 100 * (frame["roofline_s"] / frame["measured_s"] - 1)
    inside = frame["measured_s"].between(frame["low_s"], frame["high_s"])
    errors = frame.assign(signed=off, mean=off.abs(), roofline=roof.abs(), within=100 * inside)
    by = errors.groupby(["group", "device", "framework"], sort=False)
    return by.agg(
        rows=("mean", "size"),
        median=("mean", "median"),
        mean=("mean", "mean"),
        signed=("signed", "mean"),
        roofline=("roofline", "mean"),
        within=("within", "mean"),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    for frame in (towers(folder), uncorrected_towers(folder), edge(folder)):
        print(summary(frame).round(1).to_string())
    for model, reason in left_out(folder).items():
        print(f"left out {model}: {reason}")


if __name__ == "__main__":
    main()
