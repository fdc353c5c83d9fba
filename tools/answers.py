"""Whole answers of servers, as Argonne's LLM-Inference-Bench measured them, beside the tool's."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from errors import COLUMNS, PLAIN, WITHIN, of_frame, table
from fit_runtimes import DEVICES, MODELS, RUNTIMES, SHARE, served

from roofline import analyze
from roofline.specs.catalog import load_hardware, load_model


def answers(folder: Path) -> pd.DataFrame:
    """Every row of one GPU whose sequences fit in its memory: measured, predicted with the server's
    steps, kernels alone, the plain roofline, and the band, in s.
    """
    parts = []
    by = ["hardware", "model", "framework"]
    for (device, model, framework), some in served(folder).groupby(by):
        hardware, llm = load_hardware(DEVICES[str(device)]), load_model(MODELS[str(model)])
        lengths, batch = some["length"].to_numpy(), some["batch_size"].to_numpy()
        found = analyze(
            llm,
            hardware,
            "fp16",
            0,
            text_tokens=lengths,
            output_tokens=lengths,
            batch=batch,
            stage="generate",
            runtime=RUNTIMES[str(framework)],
        ).end_to_end
        part = pd.DataFrame(
            {
                "device": hardware.name,
                "framework": str(framework),
                "model": llm.name,
                "length": lengths,
                "batch": batch,
                "measured_s": some["latency_s"].to_numpy(),
                "predicted_s": found.elapsed_time_s,
                "kernels_s": found.attainable_time_s,
                "roofline_s": found.roofline_time_s,
                "low_s": found.elapsed_time_low_s,
                "high_s": found.elapsed_time_high_s,
            }
        )
        parts.append(part[found.peak_memory_bytes <= SHARE * hardware.memory_bytes])
    return pd.concat(parts, ignore_index=True)


def section(folder: Path) -> str:
    """Errors by device, framework and model, by batch, and by length."""
    rows = answers(folder)
    groups = {
        ("Device", "Framework", "Model"): ["device", "framework", "model"],
        ("Framework", "Batch"): ["framework", "batch"],
        ("Framework", "Length"): ["framework", "length"],
    }
    lines = [
        "## Whole answers",
        "",
        "Argonne LLM-Inference-Bench, 2024: one GPU, fp16, as many tokens out as in. Steps of the",
        "servers were fitted to these rows (docs/runtime.md has the errors on lengths, models and",
        "devices left out); kernels alone were not.",
        "",
    ]
    for heads, by in groups.items():
        cells = [
            [*map(str, names), *of_frame(some, "kernels_s", "roofline_s")]
            for names, some in rows.groupby(by, sort=True)
        ]
        lines += [table(cells, [*heads, *COLUMNS, "Kernels alone, mean", PLAIN, WITHIN]), ""]
    return "\n".join(lines)
