"""Fit what servers' steps add to kernels: `python tools/fit_runtimes.py FOLDER`.

FOLDER holds `llm_serving.csv`: whole answers as long as their prompts, with columns hardware, gpus,
framework, model, length, batch_size, latency_s. Of one GPU, and as far as weights and KV cache fit
the part of the memory that servers take, the latency is

    attainable time of fused kernels + (length + 1) · (fixed + batch · (sequence + grouped)),

`grouped` for models that share key heads. The three numbers are fitted by relative errors, robustly
and none below 0, for each device and server, and go to `roofline/data/server_steps.json`. Where a
device served no such model, `grouped` is that of the others: as it is, were it the host's, or as
much less as the device has more bandwidth, were it the kernels'; the mean of both, with these as
its range. Run it again after the laws of kernels have changed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from roofline.engine.analysis import analyze
from roofline.fitting.tables import read_table
from roofline.model.polynomial import Array
from roofline.specs.catalog import load_hardware, load_model
from roofline.specs.models import LanguageModel
from roofline.specs.runtimes import SERVER_STEPS_FILE
from roofline.units import MICRO

DEVICES = {"Nvidia A100 GPU": "a100-40gb", "Nvidia H100 GPU": "h100-sxm"}
"""Those that have laws of kernel time, as the table calls them."""
RUNTIMES = {"vLLM": "vllm", "TensorRT-LLM": "trt-llm"}
MODELS = {
    "meta-llama/Llama-2-7b-hf": "llama-2-7b",
    "meta-llama/Meta-Llama-3-8B": "llama-3-8b",
    "mistralai/Mistral-7B-v0.1": "mistral-7b",
    "Qwen/Qwen2-7B": "qwen2-7b",
}
SHARE = 0.9
"""Of the device's memory that vLLM and TensorRT-LLM take by default: beyond, sequences wait."""
NOISE = 0.03
"""Relative error beyond which a row counts by its error, not its square."""
NUMBERS = ("fixed_us", "sequence_us", "grouped_sequence_us")
SOURCE = (
    "whole answers of Argonne LLM-Inference-Bench (BSD-3), 2024: one GPU, input as long as output"
)


class Row(NamedTuple):
    """One measured answer, in s."""

    runtime: str
    device: str
    model: str
    length: int
    batch: int
    grouped: bool
    measured_s: float
    kernels_s: float
    error_s: float

    @property
    def terms(self) -> tuple[float, float, float]:
        """What multiplies the three numbers, in steps and steps of sequences."""
        steps = self.length + 1.0
        return steps, steps * self.batch, steps * self.batch * self.grouped


def served(folder: Path) -> pd.DataFrame:
    """Rows of one GPU whose device, model and server are known here."""
    table = read_table(folder / "llm_serving.csv")
    known = table["hardware"].isin(DEVICES) & table["model"].isin(MODELS)
    return table[(table["gpus"] == 1) & known & table["framework"].isin(RUNTIMES)]


def rows_of(folder: Path) -> list[Row]:
    """All that can be predicted, priced as kernels alone."""
    rows: list[Row] = []
    for (device, model), group in served(folder).groupby(["hardware", "model"]):
        spec, hardware = load_model(MODELS[str(model)]), load_hardware(DEVICES[str(device)])
        assert isinstance(spec, LanguageModel)
        lengths, batches = group["length"].to_numpy(), group["batch_size"].to_numpy()
        answers = analyze(
            spec,
            hardware,
            "fp16",
            0,
            text_tokens=lengths,
            output_tokens=lengths,
            batch=batches,
            stage="generate",
            kernels="fused",
        ).llm
        assert answers.attainable_time_s is not None
        assert answers.attainable_error_s is not None
        fits = answers.peak_memory_bytes <= SHARE * hardware.memory_bytes
        measured = zip(
            group["framework"], lengths, batches, group["latency_s"].to_numpy(), strict=True
        )
        known = zip(
            measured,
            fits,
            answers.attainable_time_s,
            answers.attainable_error_s,
            strict=True,
        )
        grouped = spec.kv_heads != spec.num_attention_heads
        rows += [
            Row(
                RUNTIMES[framework],
                hardware.name,
                spec.name,
                int(length),
                int(batch),
                grouped,
                float(latency_s),
                float(kernels_s),
                float(error_s),
            )
            for (framework, length, batch, latency_s), fit, kernels_s, error_s in known
            if fit
        ]
    return rows


def fitted(rows: Sequence[Row], known: Sequence[float] | Array = (0.0, 0.0, 0.0)) -> Array:
    """The three numbers in µs, none below 0; one that no row speaks of is as `known`.

    Least squares of relative errors, rows reweighted to a soft L1, over every choice of numbers
    that are not 0: deterministic.
    """
    measured = np.array([row.measured_s for row in rows])
    terms = np.array([row.terms for row in rows]) * MICRO / measured[:, None]
    target = 1 - np.array([row.kernels_s for row in rows]) / measured
    spoken = [i for i in range(len(NUMBERS)) if terms[:, i].any()]
    weights = np.ones(len(rows))
    best = np.zeros(len(NUMBERS))
    for _ in range(30):
        best = _least(terms, target, weights, spoken)
        weights = 1 / np.sqrt(1 + ((terms @ best - target) / NOISE) ** 2)
    return np.array([best[i] if i in spoken else known[i] for i in range(len(NUMBERS))])


def _least(terms: Array, target: Array, weights: Array, spoken: Sequence[int]) -> Array:
    """Non-negative weighted least squares of few numbers."""
    root, best, least = np.sqrt(weights), np.zeros(terms.shape[1]), np.inf
    for size in range(len(spoken) + 1):
        for chosen in map(list, combinations(spoken, size)):
            x = np.zeros(terms.shape[1])
            if chosen:
                x[chosen] = np.linalg.lstsq(
                    terms[:, chosen] * root[:, None], target * root, rcond=None
                )[0]
            loss = float((weights * (terms @ x - target) ** 2).sum())
            if (x >= 0).all() and loss < least:
                best, least = x, loss
    return best


def errors(rows: Iterable[Row], numbers: Array) -> Array:
    """Relative error of each answer."""
    return np.array(
        [(r.kernels_s + np.dot(r.terms, numbers) * MICRO) / r.measured_s - 1 for r in rows]
    )


def without(rows: Sequence[Row], part: str, known: Array) -> tuple[float, list[Array]]:
    """Mean absolute error on each value of `part` by a fit to the others, and those fits."""
    found, fits = [], []
    for value in sorted({getattr(row, part) for row in rows}):
        others = [row for row in rows if getattr(row, part) != value]
        if others:
            fits.append(fitted(others, known))
            found += list(np.abs(errors([r for r in rows if getattr(r, part) == value], fits[-1])))
    return float(np.mean(found)) if found else np.nan, fits


def within(rows: Iterable[Row], low: Array, high: Array) -> float:
    """Share of answers inside the band: kernels' errors and the host's range, to one side."""
    inside = [
        r.kernels_s - r.error_s + np.dot(r.terms, low) * MICRO
        <= r.measured_s
        <= r.kernels_s + r.error_s + np.dot(r.terms, high) * MICRO
        for r in rows
    ]
    return float(np.mean(inside))


def carried_over(grouped_us: dict[str, float], device: str) -> Array:
    """`grouped` of a device that served no such model: low end, value, high end, in µs."""
    own = load_hardware(device).memory_bytes_per_s if device else 0.0
    ends = [
        (number * min(load_hardware(other).memory_bytes_per_s / own, 1.0) if own else 0.0, number)
        for other, number in grouped_us.items()
    ]
    low, high = np.mean(ends, axis=0)
    return np.array([low, (low + high) / 2, high])


def step(
    rows: Sequence[Row], device: str, grouped: Array, spread: Sequence[Array] = ()
) -> dict[str, Any]:
    """A law, with the range that fits without one of the lengths give, and `spread`.

    grouped: what is carried over from other devices, if no row speaks of it.
    """
    known = np.array([0.0, 0.0, grouped[1]])
    numbers = fitted(rows, known)
    error, fits = without(rows, "length", known)
    ranges = np.array([numbers, *fits, *spread])
    if not any(row.grouped for row in rows):
        ranges = np.vstack([ranges, [*numbers[:2], grouped[0]], [*numbers[:2], grouped[2]]])
    low, high = ranges.min(axis=0), ranges.max(axis=0)
    capability = load_hardware(device).compute_capability if device else ""
    print(
        f"{device or 'all':10} {len(rows):4} rows",
        " ".join(f"{name} {number:6.0f}" for name, number in zip(NUMBERS, numbers, strict=True)),
        f"kernels alone {100 * np.abs(errors(rows, 0 * numbers)).mean():5.1f} %",
        f"fit {100 * np.abs(errors(rows, numbers)).mean():4.1f} %",
        f"lengths left out {100 * error:4.1f} %",
        f"models left out {100 * without(rows, 'model', known)[0]:4.1f} %",
        f"within {100 * within(rows, low, high):.0f} %",
    )
    return {
        "hardware": device,
        "compute_capability": capability or "",
        "rows": len(rows),
        **{
            name: {
                "value": round(float(numbers[i]), 1),
                "low": round(float(low[i]), 1),
                "high": round(float(high[i]), 1),
            }
            for i, name in enumerate(NUMBERS)
        },
        "mean_error_percent": round(100 * error, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    rows = rows_of(parser.parse_args().folder)
    steps: dict[str, list[dict[str, Any]]] = {}
    for runtime in RUNTIMES.values():
        print(runtime)
        of_all = [row for row in rows if row.runtime == runtime]
        devices = sorted({row.device for row in of_all})
        apart = {name: [row for row in of_all if row.device == name] for name in devices}
        grouped_us = {
            name: float(fitted(own)[2])
            for name, own in apart.items()
            if any(row.grouped for row in own)
        }
        steps[runtime] = [
            step(own, name, carried_over(grouped_us, name)) for name, own in apart.items()
        ]
        spread = [
            fitted(own, carried_over(grouped_us, name)[[0, 0, 1]]) for name, own in apart.items()
        ]
        steps[runtime].append(step(of_all, "", carried_over(grouped_us, ""), spread))
        error, _ = without(of_all, "device", np.zeros(3))
        print(f"devices left out {100 * error:.1f} %")
    content = {
        "source": SOURCE,
        "conditions": "fused kernels, fp16; numbers per step and per sequence of a step",
        "steps": steps,
    }
    SERVER_STEPS_FILE.write_text(f"{json.dumps(content, indent=1)}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
