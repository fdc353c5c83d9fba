"""Measured energies of served models beside what the law of energy says: `python tools/energy.py
FOLDER`.

FOLDER holds `lmm_serving_energy.csv` (ML.ENERGY leaderboard v3): a row is a model, task, batch and
number of devices, served by vLLM, with the power of all its devices, tokens a second and the median
time between tokens. A step of a row is what passes between two tokens of a sequence, on the mean
b / throughput seconds, prompts of others included. What it moves and computes on each device
follows from the model:

    bytes = (weights touched + batch · context · KV bytes of a token) / devices
    FLOPs = 2 · activated parameters · batch · (1 + prompt / answer) / devices
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from roofline.device.borrowed import laws_of
from roofline.device.kernel_types import kernel_roof
from roofline.device.laws.energy import DENSE, EnergyLaw, energy_joules, moe_kernel
from roofline.model.polynomial import Array
from roofline.specs.catalog import load_hardware
from roofline.units import GIGA, MICRO, MILLI

FILE = "lmm_serving_energy.csv"
DEVICES = {"H100": "h100-sxm", "B200": "b200"}
"""As the table calls them, and we."""
DATA_TYPES = {"bfloat16": "bf16", "fp8": "fp8"}
TEXT = "lm-arena-chat"
PROMPT_TOKENS = {TEXT: 400, "image-chat": 500, "video-chat": 1000}
"""Tokens of the LLM that the work of a prompt amounts to, tower included. Of chat and images from
the largest batches that the cache held; of videos what the B200's rows want."""
STALL_S = {TEXT: 0.015, "image-chat": 0.075, "video-chat": 0.095}
"""How long a prompt keeps all others from going on, at `STALL_BATCH` sequences, in s: the B200's
(batch / throughput − median time between tokens) · answer / batch, which falls with the fourth root
of the batch, as more prompts are prepared at once."""
STALL_BATCH = 64.0
STEP_NUMBERS = {
    ("h100-sxm", False): (1.18, 0.80, 44.5, 12.6, 26.8),
    ("h100-sxm", True): (1.12, 3.75, 67.3, 148.6, 28.2),
    ("b200", False): (0.98, 0.62, 85.5, 14.8, 37.0),
    ("b200", True): (1.51, 0.0, 47.2, 146.8, 48.7),
}
"""Of the time between tokens, by device and whether a mixture of experts runs: times of `bytes` and
`flops` at the peaks, and µs of each layer, of each layer more on several devices, and of each
sequence. Least relative squares over the text chats, none below 0; on models left out 9 % off in
the median of dense ones and 15 % of mixtures on an H100."""
MEAN_AGE = 0.6
"""Of an answer that a running sequence has written, as a share of a whole one's mean: long answers
run for longer."""
KV_BYTES = 2.0
"""Of an element of the cache, bf16."""


class Served(NamedTuple):
    """What the table does not say of a model, from its config."""

    layers: int
    kv_width: int
    """Elements of keys and values of a token in a layer."""
    experts: int = 1
    top_k: int = 1

    @property
    def kv_bytes(self) -> float:
        """Of a token."""
        return self.layers * self.kv_width * KV_BYTES


MODELS = {
    "gemma-3-12b": Served(48, 2 * 8 * 256),
    "gemma-3-27b": Served(62, 2 * 16 * 128),
    "qwen3-8b": Served(36, 2 * 8 * 128),
    "qwen3-vl-8b": Served(36, 2 * 8 * 128),
    "qwen3-14b": Served(40, 2 * 8 * 128),
    "qwen3-32b": Served(64, 2 * 8 * 128),
    "qwen3-vl-32b": Served(64, 2 * 8 * 128),
    "30b-a3b": Served(48, 2 * 4 * 128, 128, 8),
    "235b-a22b": Served(94, 2 * 4 * 128, 128, 8),
    "llama-3.1-8b": Served(32, 2 * 8 * 128),
    "-70b": Served(80, 2 * 8 * 128),
    "-405b": Served(126, 2 * 8 * 128),
    "llama-4-scout": Served(48, 2 * 8 * 128, 16, 1),
    "llama-4-maverick": Served(48, 2 * 8 * 128, 128, 1),
    "deepseek-v3": Served(61, 512 + 64, 256, 8),
}
"""By a part of the model's name."""


def served_model(model_id: str) -> Served | None:
    """What is known of a model; None of others, such as those with state instead of a cache."""
    name = model_id.lower()
    return next((known for part, known in MODELS.items() if part in name), None)


def serving_rows(folder: Path) -> pd.DataFrame:
    """The table's rows of known models and devices, with what a step takes on each device.

    Columns beside the table's: `hardware`, `model`, `dtype`, `grouped`, `step_s` (between two
    tokens, by the throughput), `flops` and `bytes` of that step, `step_j` its energy.
    """
    table = pd.read_csv(folder / FILE)
    known = [served_model(name) for name in table["model_id"]]
    table = table[np.array([one is not None for one in known]) & table["gpu_model"].isin(DEVICES)]
    served = [one for one in map(served_model, table["model_id"]) if one is not None]
    batch, devices = (_numbers(table, name) for name in ("avg_batch_size", "num_gpus"))
    step_s = batch / _numbers(table, "output_throughput_tokens_per_sec")
    answer = _numbers(table, "avg_output_len")
    prompt = table["task"].map(PROMPT_TOKENS).fillna(max(PROMPT_TOKENS.values())).to_numpy()
    kv_bytes = np.array([one.kv_bytes for one in served])
    activated = GIGA * _numbers(table, "activated_params_billions")
    moved = _weights_touched(table, served) + batch * (prompt + MEAN_AGE * answer) * kv_bytes
    return table.assign(
        hardware=table["gpu_model"].map(DEVICES),
        model=table["nickname"].str.removesuffix(" FP8"),
        dtype=table["weight_precision"].map(DATA_TYPES),
        grouped=[one.experts > 1 for one in served],
        step_s=step_s,
        step_j=_numbers(table, "avg_power_watts") / devices * step_s,
        flops=2 * activated * batch * (1 + prompt / answer) / devices,
        bytes=moved / devices,
    ).reset_index(drop=True)


def _weights_touched(table: pd.DataFrame, served: list[Served]) -> Array:
    """Bytes of weights that a step reads: of experts those that any token is sent to, on the mean
    1 − (1 − top_k / experts)^batch of them.
    """
    total, activated = (
        GIGA * _numbers(table, f"{name}_params_billions") for name in ("total", "activated")
    )
    width = table["weight_precision"].map({"bfloat16": 2.0, "fp8": 1.0}).to_numpy()
    share = np.array([one.top_k / one.experts for one in served])
    mixed = share < 1
    experts = np.where(mixed, (total - activated) / np.where(mixed, 1 - share, 1.0), 0.0)
    touched = 1 - (1 - np.where(mixed, share, 0.0)) ** _numbers(table, "avg_batch_size")
    return np.asarray(width * (total - experts + experts * touched))


def energies(folder: Path) -> pd.DataFrame:
    """Measured and predicted energy of a token, a row for each of the table's.

    Columns: `device`, `model`, `task`, `batch`, `devices`, `measured_j`, `predicted_j` (by the
    measured throughput), `predicted_from_itl_j` (by the median time between tokens, and what
    prompts of the task stall: `STALL_S`), `predicted_from_nothing_j` (the same by a predicted time
    between tokens: `STEP_NUMBERS`), `bound_j` (TDP × measured time). J of all devices together.
    """
    rows = serving_rows(folder)
    devices, batch = _numbers(rows, "num_gpus"), _numbers(rows, "avg_batch_size")
    itl_s = _numbers(rows, "median_itl_ms") * MILLI
    predicted_s = predicted_itl(rows)
    stall_s = rows["task"].map(STALL_S).fillna(max(STALL_S.values())).to_numpy()
    stalls_s = stall_s * batch / _numbers(rows, "avg_output_len") * (STALL_BATCH / batch) ** 0.25
    tdp_w = np.array([_tdp(name) for name in rows["hardware"]])
    steps = {
        "predicted_j": (_numbers(rows, "step_s"), itl_s),
        "predicted_from_itl_j": (itl_s + stalls_s, itl_s),
        "predicted_from_nothing_j": (predicted_s + stalls_s, predicted_s),
    }
    return pd.DataFrame(
        {
            "device": rows["hardware"],
            "model": rows["nickname"],
            "task": rows["task"],
            "batch": batch,
            "devices": devices,
            "measured_j": rows["energy_per_token_joules"],
            **{name: step_joules(rows, *s) * devices / batch for name, s in steps.items()},
            "bound_j": tdp_w * rows["step_s"] * devices / batch,
        }
    )


def step_joules(rows: pd.DataFrame, step_s: Array, itl_s: Array, lender: str = "") -> Array:
    """Energy on one device of steps that take so long, by the devices' laws, or the lender's.

    Kernels run all the time in text chat; while images are prepared, for `itl_s` of a step.
    """
    joules = np.empty(len(rows))
    kernel_s = np.where(rows["task"] == TEXT, step_s, np.minimum(itl_s, step_s))
    for (name, dtype, grouped), some in rows.groupby(["hardware", "dtype", "grouped"]):
        hardware, at = load_hardware(str(name)), some.index.to_numpy()
        joules[at] = energy_joules(
            law_of(lender or str(name), str(dtype), grouped=bool(grouped)),
            _tdp(str(name)),
            elapsed_s=step_s[at],
            kernel_s=kernel_s[at],
            memory_s=_numbers(some, "bytes") / hardware.memory_bytes_per_s,
            compute_s=_numbers(some, "flops") / kernel_roof(hardware, str(dtype)).flops_per_s,
        )
    return joules


def predicted_itl(rows: pd.DataFrame) -> Array:
    """Time between tokens by `STEP_NUMBERS`, in s."""
    seconds = np.empty(len(rows))
    for (name, dtype, grouped), some in rows.groupby(["hardware", "dtype", "grouped"]):
        hardware = load_hardware(str(name))
        layers = np.array([one.layers for one in map(served_model, some["model_id"]) if one])
        terms = (
            _numbers(some, "bytes") / hardware.memory_bytes_per_s,
            _numbers(some, "flops") / kernel_roof(hardware, str(dtype)).flops_per_s,
            MICRO * layers,
            MICRO * layers * (_numbers(some, "num_gpus") > 1),
            MICRO * _numbers(some, "avg_batch_size"),
        )
        numbers = STEP_NUMBERS[str(name), bool(grouped)]
        seconds[some.index.to_numpy()] = np.dot(numbers, terms)
    return seconds


def law_of(name: str, dtype: str, *, grouped: bool) -> EnergyLaw:
    """The law that goes for a served model. Raises KeyError for a device without."""
    laws = laws_of(load_hardware(name))
    assert laws is not None
    return laws.of(EnergyLaw)[moe_kernel(dtype) if grouped else DENSE]


def errors(table: pd.DataFrame, by: str = "predicted_j") -> pd.DataFrame:
    """Errors of a prediction in %, by device and task."""
    off = 100 * (table[by] / table["measured_j"] - 1)
    groups = off.groupby([table["device"], table["task"]])
    return pd.DataFrame(
        {
            "rows": groups.size(),
            "median": groups.apply(lambda some: some.abs().median()),
            "p90": groups.apply(lambda some: some.abs().quantile(0.9)),
            "signed": groups.median(),
        }
    )


def _tdp(name: str) -> float:
    tdp_w = load_hardware(name).tdp_w
    assert tdp_w is not None
    return tdp_w.value


def _numbers(table: pd.DataFrame, name: str) -> Array:
    return np.asarray(table[name], dtype=np.float64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    table = energies(parser.parse_args().folder)
    for by in (name for name in map(str, table) if name.endswith("_j") and name != "measured_j"):
        print(by, errors(table, by).round(1).to_string(), sep="\n")


if __name__ == "__main__":
    main()
