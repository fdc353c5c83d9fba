"""The page of a folder that `tools/gpu.py` fills: what was found, and what fell short."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from gpu_runs import FAILED

from roofline.engine.analysis import analyze
from roofline.engine.result import Totals
from roofline.errors import InputError
from roofline.plain_text import markdown
from roofline.records.measurement import Record, load_record
from roofline.records.statistics import UNTRUSTED
from roofline.records.validation import TimedCell, Validation
from roofline.report.charts.prediction import validation_chart
from roofline.report.plots import draw, render
from roofline.report.text.record import share, shown
from roofline.specs.catalog import load_hardware
from roofline.specs.hardware import Hardware
from roofline.tables import grid
from roofline.torch_side.measure.modes import GRAPHS
from roofline.units import percent, si

SLOW_OP, SMALL_OP = 0.5, 0.01
"""Ops below half of the roof fell short, if they take a hundredth of the run or more."""
MEMORY_ERROR = 0.1
"""Relative error of predicted memory beyond which it fell short."""


@dataclass(frozen=True)
class GpuRun:
    """A record, and what the device as it was calibrated makes of the same."""

    name: str
    record: Record
    measured_hardware: Hardware | None

    @property
    def median_s(self) -> float:
        return self.record.whole.summary.p50_s

    @property
    def title(self) -> str:
        given = self.record.inputs
        return f"{given['quant']}, {given['stage']}, {given['mode']}"

    @property
    def catalogue(self) -> dict[str, Any] | None:
        """The estimate by the catalogue's spec."""
        whole: dict[str, Any] | None = (self.record.estimate or {}).get("end_to_end")
        return whole

    @cached_property
    def calibrated(self) -> Totals | None:
        """The estimate by the device as it was calibrated."""
        if self.measured_hardware is None:
            return None
        axes = {name: value for name, value in self.record.axes.items() if name != "hardware"}
        mode = self.record.inputs["mode"]
        model, quant = axes.pop("model"), axes.pop("quant")
        runtime = None if mode in GRAPHS else mode
        try:
            found = analyze(model, self.measured_hardware, quant, runtime=runtime, **axes)
        except InputError:
            return None
        return found.end_to_end

    def attainable_ops(self, hardware: str) -> dict[tuple[str, str], float]:
        """Seconds of all that an op does, by component and name, on a device of the catalogue; none
        where it has no laws.
        """
        axes = {name: value for name, value in self.record.axes.items() if name != "hardware"}
        model, quant = axes.pop("model"), axes.pop("quant")
        found: dict[tuple[str, str], float] = {}
        for op in analyze(model, hardware, quant, **axes).ops:
            if op.attainable_time_s is not None:
                key = op.component, op.name
                found[key] = found.get(key, 0.0) + float(op.attainable_time_s)
        return found

    @property
    def predictions(self) -> dict[str, tuple[float, float, float]]:
        """Seconds and their band, by whose spec they are."""
        own = None if self.calibrated is None else self.calibrated.to_dict()
        found: dict[str, tuple[float, float, float]] = {}
        for whose, figures in (("catalogue", self.catalogue), ("calibrated", own)):
            for kind in ("elapsed", "attainable"):
                if figures is not None and figures.get(f"{kind}_time_s") is not None:
                    time_s, low_s, high_s = (
                        float(figures[f"{kind}_time{end}_s"]) for end in ("", "_low", "_high")
                    )
                    found.setdefault(whose, (time_s, low_s, high_s))
        return found

    def error(self, whose: str) -> float | None:
        """Predicted / measured − 1."""
        known = self.predictions.get(whose)
        return None if known is None else known[0] / self.median_s - 1


def summarize_folder(folder: Path, model: str) -> None:
    """Write README.md and its picture from whatever lies in the folder."""
    spec = folder / "hardware.yaml"
    hardware = load_hardware(str(spec)) if spec.exists() else None
    runs, unread = [], []
    for file in sorted((folder / "records").glob("*.json")):
        try:
            runs.append(GpuRun(file.stem, load_record(file), hardware))
        except InputError as error:
            unread.append(f"{file.name}: {error}")
    plain = [run for run in runs if not run.name.startswith("reducer-")]
    parts = [
        f"# {model}, measured on {_device(folder)}",
        _opening(folder, plain),
        _section("What fell short", _short(folder, runs, unread)),
        _section("Runs", _table(plain)),
        _section("What reduction saves", _savings(plain)),
        _section("Reducers", _reducers([run for run in runs if run not in plain])),
        _section("Op by op", _ops(plain, _probe(folder).get("catalogue"))),
        _section("Ceilings", _ceilings(folder, hardware)),
    ]
    picture = _picture(plain)
    if picture is not None:
        (folder / "prediction.png").write_bytes(picture)
        parts.insert(2, "![Predicted against measured](prediction.png)")
    (folder / "README.md").write_text("\n\n".join(filter(None, parts)) + "\n", encoding="utf-8")


def _section(title: str, content: str) -> str:
    return f"## {title}\n\n{content}" if content else ""


def _probe(folder: Path) -> dict[str, Any]:
    file = folder / "probe.json"
    found: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    return found


def _device(folder: Path) -> str:
    facts = _probe(folder).get("environment", {})
    return markdown(str(facts.get("device", "this device")))


def _opening(folder: Path, runs: Sequence[GpuRun]) -> str:
    probe = _probe(folder)
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


def _short(folder: Path, runs: Sequence[GpuRun], unread: Sequence[str]) -> str:
    """A list of what failed, what is not to be trusted, and what was predicted wrong."""
    found = [*map(markdown, unread)]
    found += [
        f"{log.name.partition('.')[0]}: {markdown(log.read_text().strip().splitlines()[-1])}"
        for log in sorted((folder / "logs").glob(f"*{FAILED}"))
    ]
    for run in runs:
        record = run.record
        found += [f"{run.name}: {markdown(text)}" for text in record.warnings if UNTRUSTED in text]
        for whose, (_, low_s, high_s) in run.predictions.items():
            error = run.error(whose)
            if error is not None and not low_s <= run.median_s <= high_s:
                found.append(
                    f"{run.name}: {percent(error, signed=True)} by the {whose} spec, outside its "
                    "band"
                )
        error = _memory_error(run)
        if error is not None and abs(error) > MEMORY_ERROR:
            found.append(f"{run.name}: peak memory predicted {percent(error, signed=True)} off")
    found += [
        f"{run.name}: {component}'s {name} runs at {share(of_roof)} of the roof"
        for run in runs
        for component, name, of_roof in _slow_ops(run)
        if not run.name.startswith("reducer-")
    ]
    found += [f"validate: {line}" for line in _unequal(folder)]
    return "\n".join(f"- {line}" for line in found) or "Nothing."


def _unequal(folder: Path) -> Iterator[str]:
    """FLOPs that PyTorch's counter counts otherwise, and cells that were disturbed."""
    file = folder / "validation" / "validation.json"
    if not file.exists():
        return
    found = msgspec.json.decode(file.read_bytes(), type=Validation)
    if found.untrusted:
        yield f"{UNTRUSTED}{markdown(found.untrusted)}"
    for count in found.counts:
        if count.quantity == "flops" and count.difference:
            yield f"FLOPs of {count.component} differ by {count.difference:,.0f}"


def _memory_error(run: GpuRun) -> float | None:
    measured, known = run.record.peak_memory_bytes, run.catalogue
    if not measured or known is None:
        return None
    return float(known["peak_memory_bytes"] / measured - 1)


def _energy_error(run: GpuRun) -> float | None:
    measured, known = run.record.telemetry.energy_j, run.catalogue
    if not measured or known is None or known.get("energy_j") is None:
        return None
    return float(known["energy_j"] / measured - 1)


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
                shown(record.peak_memory_bytes, "B"),
                share(_memory_error(run), signed=True),
                shown(record.telemetry.energy_j, "J"),
                share(_energy_error(run), signed=True),
            ]
        )
    headers = ["Run", "Visual", "Median", "Of roof", "Catalogue", "Calibrated", "Device busy",
               "Kernels", "Memory", "Error", "Energy", "Error"]  # fmt: skip
    legend = (
        "Catalogue, Calibrated: error of the elapsed time that the catalogue's spec, and that of "
        "this calibration, predict. Of roof: the catalogue's bound over the median. Errors behind "
        "memory and energy: of what the catalogue's spec predicts."
    )
    return f"{legend}\n\n{grid(rows, headers, 'github')}"


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


def _slow_ops(run: GpuRun) -> Iterator[tuple[str, str, float]]:
    ops = [op for op in run.record.ops if op.measured_time_s and op.kind != "other"]
    total_s = sum(op.measured_time_s or 0.0 for op in ops)
    for op in ops:
        slow = op.share_of_roof is not None and op.share_of_roof < SLOW_OP
        if slow and (op.measured_time_s or 0.0) > SMALL_OP * total_s:
            yield op.component, op.name, op.share_of_roof or 0.0


def _ops(runs: Sequence[GpuRun], catalogue: str | None) -> str:
    """Ops of the longest prompt that has any, beside what the catalogue's spec says of each."""
    with_ops = [run for run in runs if run.record.ops]
    if not with_ops:
        return ""
    run = max(with_ops, key=lambda run: run.record.inputs["visual_tokens"])
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
    name = _probe(folder).get("catalogue")
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
