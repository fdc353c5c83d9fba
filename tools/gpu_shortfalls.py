"""What fell short in a folder that `tools/gpu.py` fills: failures, doubts, and predictions that are
wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from gpu_results import GpuRun
from gpu_runs import FAILED, RunStage

from roofline.plain_text import markdown
from roofline.records.validation import Validation
from roofline.report.text.record import share
from roofline.specs.hardware import Hardware
from roofline.specs.kernel_laws import UNTRUSTED
from roofline.units import percent

SLOW_OP, SMALL_OP = 0.5, 0.01
"""Ops below half of the roof fell short, if they take a hundredth of the run or more."""
MEMORY_ERROR = 0.1
"""Relative error of predicted memory beyond which it fell short."""


def shortfalls(
    folder: Path,
    hardware: Hardware | None,
    runs: Sequence[GpuRun],
    unread: Sequence[str],
    stages: Sequence[RunStage],
) -> str:
    """A list of what failed, what is not to be trusted, and what was predicted wrong."""
    found = [*_missing(folder, stages), *map(markdown, unread), *_doubted(hardware)]
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
        error = run.memory_error
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


def _missing(folder: Path, stages: Sequence[RunStage]) -> Iterator[str]:
    """Stages with commands that have neither ended well nor failed."""
    for stage in stages:
        missing = [
            each.name
            for each in stage.commands
            if not (folder / each.result).exists()
            and not (folder / "logs" / f"{each.name}.log{FAILED}").exists()
        ]
        if missing:
            yield f"{stage.name}: not measured yet: {', '.join(missing)}"


def _doubted(hardware: Hardware | None) -> list[str]:
    """Why the calibration is not that of a quiet machine, or of ceilings that bound."""
    laws = None if hardware is None else hardware.kernel_laws
    _, mark, doubt = (laws.conditions if laws else "").partition(UNTRUSTED)
    return [f"calibrate: {mark}{markdown(doubt)}"] if mark else []


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


def _slow_ops(run: GpuRun) -> Iterator[tuple[str, str, float]]:
    ops = [op for op in run.record.ops if op.measured_time_s and op.kind != "other"]
    total_s = sum(op.measured_time_s or 0.0 for op in ops)
    for op in ops:
        slow = op.share_of_roof is not None and op.share_of_roof < SLOW_OP
        if slow and (op.measured_time_s or 0.0) > SMALL_OP * total_s:
            yield op.component, op.name, op.share_of_roof or 0.0
