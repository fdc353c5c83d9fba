"""The page of a folder that `tools/gpu.py` fills: what was found, and what fell short."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gpu_results import GpuRun, read_hardware, read_probe, read_runs
from gpu_runs import RunStage
from gpu_shortfalls import shortfalls

from roofline.plain_text import markdown
from roofline.records.measurement import Record
from roofline.records.validation import TimedCell, Validation
from roofline.report.charts.prediction import validation_chart
from roofline.report.plots import draw, render
from roofline.report.text.record import share, shown
from roofline.specs.catalog import load_hardware
from roofline.specs.hardware import Hardware
from roofline.tables import grid
from roofline.units import percent, si


def summarize_folder(folder: Path, model: str, stages: Sequence[RunStage] = ()) -> None:
    """Write README.md and its picture from whatever lies in the folder.

    stages: all that are planned; what they have not left yet fell short.
    """
    runs, unread = read_runs(folder)
    hardware = read_hardware(folder)
    plain = [run for run in runs if not run.name.startswith("reducer-")]
    parts = [
        f"# {model}, measured on {_device(folder)}",
        _opening(folder, plain),
        _section("What fell short", shortfalls(folder, hardware, runs, unread, stages)),
        _section("Runs", _table(plain)),
        _section("What reduction saves", _savings(plain)),
        _section("Lengths that are new", _new_lengths(plain)),
        _section("Reducers", _reducers([run for run in runs if run not in plain])),
        _section("Op by op", _ops(plain, read_probe(folder).get("catalogue"))),
        _section("Ceilings", _ceilings(folder, hardware)),
    ]
    picture = _picture(plain)
    if picture is not None:
        (folder / "prediction.png").write_bytes(picture)
        parts.insert(2, "![Predicted against measured](prediction.png)")
    (folder / "README.md").write_text("\n\n".join(filter(None, parts)) + "\n", encoding="utf-8")


def _section(title: str, content: str) -> str:
    return f"## {title}\n\n{content}" if content else ""


def _device(folder: Path) -> str:
    facts = read_probe(folder).get("environment", {})
    return markdown(str(facts.get("device", "this device")))


def _opening(folder: Path, runs: Sequence[GpuRun]) -> str:
    probe = read_probe(folder)
    facts, nvml = probe.get("environment", {}), probe.get("nvml", {})
    software = {
        "torch": facts.get("torch"),
        "transformers": facts.get("transformers"),
        "CUDA": facts.get("cuda"),
        "driver": nvml.get("driver"),
    }
    versions = ", ".join(f"{name} {version}" for name, version in software.items() if version)
    weights = {run.record.inputs["checkpoint"] for run in runs}
    lines = [f"{versions or 'Not probed yet'}."]
    if None in weights:
        lines.append("Weights are random, of the model's real shapes: times do not depend on them.")
    for whose in ("catalogue", "calibrated"):
        errors = [abs(e) for run in runs if (e := run.error(whose)) is not None]
        if errors:
            lines.append(
                f"By the {whose} spec predicted times are off by {percent(np.median(errors))} "
                f"(median of {len(errors)} runs), at most {percent(max(errors))}."
            )
    return "\n".join(lines)


def _table(runs: Sequence[GpuRun]) -> str:
    if not runs:
        return ""
    rows = []
    for run in runs:
        record, host = run.record, run.record.host
        rows.append(
            [
                run.title,
                record.inputs["visual_tokens"],
                si(run.median_s, "s"),
                share(record.whole.roofline_share),
                share(run.error("catalogue"), signed=True),
                share(run.error("calibrated"), signed=True),
                "-" if host is None else percent(host.busy_share),
                "-" if host is None else str(host.kernels),
                _attention(record),
                shown(record.peak_memory_bytes, "B"),
                share(run.memory_error, signed=True),
                shown(record.graph_memory_bytes, "B"),
                shown(record.telemetry.energy_j, "J"),
                share(run.energy_error, signed=True),
            ]
        )
    headers = ["Run", "Visual", "Median", "Of roof", "Catalogue", "Calibrated", "Device busy",
               "Kernels", "Attention", "Memory", "Error", "Graphs", "Energy", "Error"]  # fmt: skip
    legend = (
        "Catalogue, Calibrated: error of the elapsed time that the catalogue's spec, and that of "
        "this calibration, predict. Of roof: the catalogue's bound over the median. Errors behind "
        "memory and energy: of what the catalogue's spec predicts. Memory: the peak, run eagerly "
        "where graphs are timed; Graphs: what those hold beside it."
    )
    return f"{legend}\n\n{grid(rows, headers, 'github')}"


def _attention(record: Record) -> str:
    """Kernels of attention, whatever the component."""
    kernels = {kernel for used in record.attention_kernels.values() for kernel in used}
    return ", ".join(sorted(kernels)) or "-"


def _new_lengths(runs: Sequence[GpuRun]) -> str:
    """What a prompt of a length that is new takes longer."""
    rows = [
        [run.title, new.tokens, si(new.first_s, "s"), si(new.again_s, "s")]
        for run in runs
        if (new := run.record.new_length) is not None
    ]
    headers = ["Run", "Tokens", "First prefill", "The next"]
    return grid(rows, headers, "github") if rows else ""


def _savings(runs: Sequence[GpuRun]) -> str:
    """The reduced prompt beside all visual tokens, run by run."""
    most = max((run.record.inputs["visual_tokens"] for run in runs), default=0)
    full = {run.title: run for run in runs if run.record.inputs["visual_tokens"] == most}
    rows = []
    for run in runs:
        whole = full.get(run.title)
        if whole is None or whole is run:
            continue
        row = [
            run.title,
            run.record.inputs["visual_tokens"],
            f"{whole.median_s / run.median_s:.2f}x",
        ]
        for whose in ("catalogue", "calibrated"):
            one, other = whole.predictions.get(whose), run.predictions.get(whose)
            row.append("-" if one is None or other is None else f"{one[0] / other[0]:.2f}x")
        rows.append(row)
    headers = ["Run", "Visual", "Measured", "Catalogue", "Calibrated"]
    return grid(rows, headers, "github") if rows else ""


def _reducers(runs: Sequence[GpuRun]) -> str:
    """Time and kernels of each one's own, where it is a component."""
    rows = []
    for run in runs:
        record = run.record
        span = record.spans.get("reducer")
        ops = [op for op in record.ops if op.component == "reducer"]
        rows.append(
            [
                run.name.removeprefix("reducer-"),
                record.inputs["visual_tokens"],
                "-" if span is None else si(span.summary.p50_s, "s"),
                shown(None if span is None else span.attainable_time_s, "s"),
                str(sum(op.kernels for op in ops)) if ops else "-",
                si(record.spans["vision"].summary.p50_s, "s"),
                si(record.spans["llm"].summary.p50_s, "s"),
                si(run.median_s, "s"),
            ]
        )
    headers = ["Reducer", "Visual", "Its own", "Predicted", "Kernels", "Vision", "LLM", "Whole"]
    legend = "A reducer inside the tower or the LLM has no time of its own: it is part of theirs."
    return f"{legend}\n\n{grid(rows, headers, 'github')}" if rows else ""


def _ops(runs: Sequence[GpuRun], catalogue: str | None) -> str:
    """Ops of each precision's longest prompt that has any, beside what the catalogue says."""
    longest: dict[str, GpuRun] = {}
    for run in runs:
        visual, quant = run.record.inputs["visual_tokens"], run.record.inputs["quant"]
        known = longest.get(quant)
        if run.record.ops and (known is None or visual > known.record.inputs["visual_tokens"]):
            longest[quant] = run
    return "\n\n".join(_ops_table(run, catalogue) for run in longest.values())


def _ops_table(run: GpuRun, catalogue: str | None) -> str:
    attainable = run.attainable_ops(catalogue) if catalogue else {}
    rows = []
    for op in sorted(run.record.ops, key=lambda op: -(op.measured_time_s or 0.0)):
        expected_s, measured_s = attainable.get((op.component, op.name)), op.measured_time_s
        error = expected_s / measured_s - 1 if expected_s is not None and measured_s else None
        rows.append(
            [
                f"{op.component}: {op.name}",
                op.count,
                op.kernels,
                shown(measured_s, "s"),
                shown(op.roofline_time_s, "s"),
                share(op.share_of_roof),
                shown(expected_s, "s"),
                share(error, signed=True),
            ]
        )
    headers = ["Op", "Count", "Kernels", "Measured", "Roofline", "Of roof", "Attainable", "Error"]
    visual = run.record.inputs["visual_tokens"]
    return (
        f"{run.title}, {visual} visual tokens; roofline and attainable time by the catalogue."
        f"\n\n{grid(rows, headers, 'github')}"
    )


def _ceilings(folder: Path, measured: Hardware | None) -> str:
    """The catalogue's figures beside those of this calibration."""
    name = read_probe(folder).get("catalogue")
    if measured is None:
        return ""
    catalogue = load_hardware(name) if name else None
    rows = [
        [title, "-" if catalogue is None else _figure(catalogue, path), _figure(measured, path)]
        for title, path in _CEILINGS.items()
    ]
    rows = [row for row in rows if row[1:] != ["-", "-"]]
    return grid(rows, ["Ceiling", "Catalogue", "Measured"], "github")


_CEILINGS = {
    "fp16, TFLOP/s": "matmul_peaks.fp16_tflops",
    "bf16, TFLOP/s": "matmul_peaks.bf16_tflops",
    "int8, TOP/s": "matmul_peaks.int8_tops",
    "vector fp32, TFLOP/s": "vector_peak_fp32_tflops",
    "DRAM, GB/s": "memory_bandwidth_gb_per_s",
    "L2, GB/s": "l2_bandwidth_gb_per_s",
    "launch, µs": "launch_overhead_us",
}


def _figure(hardware: Hardware, path: str) -> str:
    found: Any = hardware
    for part in path.split("."):
        found = getattr(found, part, None)
    return "-" if found is None else f"{found.value:,.4g}"


def _picture(runs: Sequence[GpuRun]) -> bytes | None:
    """All components that were timed beside what the catalogue's spec said of them; none where it
    has none of the device.
    """
    cells = [
        TimedCell(
            component=name,
            tokens=run.record.inputs["visual_tokens"] + run.record.inputs["text_tokens"],
            batch=run.record.inputs["batch"],
            attainable_time_s=span.attainable_time_s,
            roofline_time_s=span.roofline_time_s or 0.0,
            samples_s=span.samples_s,
        )
        for run in runs
        if run.record.inputs["stage"] == "prefill"
        for name, span in run.record.spans.items()
        if span.attainable_time_s
    ]
    if not cells:
        return None
    first = runs[0].record
    chart = validation_chart(
        Validation(
            created=first.created,
            complete=True,
            inputs=first.inputs,
            environment=dict(first.environment),
            took_s=0.0,
            counts=[],
            cells=cells,
        )
    )
    return render(draw(chart), "png")
