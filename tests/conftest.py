"""Records and validations made by hand, for whoever reads or renders them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from roofline.records.measurement import (
    Achieved,
    HostOverhead,
    Record,
    Snapshot,
    Telemetry,
    TimedSpan,
)
from roofline.records.validation import Count, TimedCell, Validation

LONG = ("torch_side/measure", "torch_side/calibrate", "fitting", "tools", "cli", "packaging")
"""Folders with files of few long tests: a worker that begins one of them last ends alone."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with those; all others in their order."""
    folders = [f"tests/{folder}/" for folder in LONG]
    items.sort(key=lambda item: not any(folder in item.nodeid for folder in folders))


INPUTS: dict[str, Any] = {
    "model": "llava-1.5-7b",
    "reducer": "prumerge",
    "visual_tokens": 40,
    "text_tokens": 40,
    "batch": 1,
    "output_tokens": 0,
    "stage": "prefill",
    "quant": "fp16",
    "mode": "eager",
    "attention": "sdpa",
    "checkpoint": None,
    "image": None,
    "device": "cuda",
    "hardware": "h200",
    "seed": 0,
}
MOMENT = Snapshot(
    taken_at_s=1.0,
    sm_clock_mhz=1755.0,
    max_sm_clock_mhz=1980.0,
    power_w=512.4,
    power_limit_w=700.0,
    temperature_c=61.0,
    throttle=[],
)


def span(median_s: float, **known: float) -> TimedSpan:
    """Ten samples, symmetric about their median."""
    return TimedSpan(samples_s=[median_s * (1 + k / 100) for k in range(-5, 6) if k], **known)


@pytest.fixture
def record() -> Callable[..., Record]:
    """A record as of an H200, with some fields replaced; `inputs` are those that differ."""

    def made(inputs: dict[str, Any] | None = None, **changes: Any) -> Record:
        whole = Record(
            created="2026-01-02T03:04:05+00:00",
            complete=True,
            inputs=INPUTS | (inputs or {}),
            specs={"llava-1.5-7b": "0" * 64},
            environment={
                "device": "NVIDIA H200",
                "torch": "2.13.0",
                "transformers": "5.23.0",
                "cuda": "12.8",
                "threads": 16,
            },
            spans={
                "vision": span(
                    5e-4,
                    flops=3.66e11,
                    memory_access_bytes=1.68e9,
                    roofline_time_s=4.0e-4,
                    attainable_time_s=5.5e-4,
                ),
                "reducer": span(
                    1.6e-3,
                    flops=0.0,
                    memory_access_bytes=1.39e7,
                    roofline_time_s=3.2e-6,
                    attainable_time_s=1.2e-3,
                ),
                "llm": span(
                    4e-3,
                    flops=1.04e12,
                    memory_access_bytes=1.42e10,
                    roofline_time_s=3e-3,
                    attainable_time_s=4.1e-3,
                ),
                "whole": span(
                    6.1e-3,
                    flops=1.41e12,
                    memory_access_bytes=1.59e10,
                    roofline_time_s=3.4e-3,
                    attainable_time_s=5.85e-3,
                ),
            },
            peak_memory_bytes=1.43e10,
            telemetry=Telemetry(
                device={"driver": "570.1"},
                before=MOMENT,
                during=[MOMENT] * 3,
                after=MOMENT,
                energy_j=2.5,
            ),
            host=HostOverhead(busy_s=4.2e-3, wall_s=6.0e-3, kernels=1234, verdict="launch-bound"),
            ops=[
                Achieved("llm", "q_proj", "linear", 32, 64, 3e-4, 1e-4, 2e-4, 9e14, 3e12, 0.667),
                Achieved("llm", "norm", "norm", 1, 3, 2e-5, 1e-5, 1e-7, 0.0, 1.3e11, 0.0034),
                Achieved("llm", "other", "other", 0, 50, 1e-5, 5e-5, None),
                Achieved("vision", "fc1", "linear", 23, 23, 2e-4, 9e-5, 1e-4, 4e14, 1e12, 0.5),
                Achieved("other", "other", "other", 0, 9, 4e-6, 1e-5, None),
                Achieved("reducer", "score", "attention", 0, 0, None, None, 1e-6),
            ],
        )
        return replace(whole, **changes)

    return made


@pytest.fixture
def validation() -> Callable[..., Validation]:
    """A validation with errors that are easy to tell."""

    def cell(component: str, tokens: int, attainable_time_s: float, batch: int = 1) -> TimedCell:
        return TimedCell(
            component=component,
            tokens=tokens,
            batch=batch,
            attainable_time_s=attainable_time_s,
            roofline_time_s=2e-3,
            samples_s=[12e-3, 10e-3, 11e-3],
        )

    def made(**changes: Any) -> Validation:
        found = Validation(
            created="2026-01-02T03:04:05+00:00",
            complete=True,
            inputs={"model": "llava-small", "hardware": "my-cpu", "quant": "fp32"},
            environment={"device": "A Processor", "torch": "2.13.0", "threads": 2},
            took_s=201.0,
            counts=[
                Count(
                    component="llm",
                    quantity="flops",
                    analytic=8_180_012_345_678.0,
                    witnessed=8_180_012_345_678.0,
                    witness="FlopCounterMode",
                ),
                Count(
                    component="vision",
                    quantity="flops",
                    analytic=366_000_000_001.0,
                    witnessed=366_000_000_000.0,
                    witness="FlopCounterMode",
                ),
                Count(
                    component="llm",
                    quantity="memory_access_bytes",
                    analytic=20.5e9,
                    witnessed=20.5e9,
                    witness="traced model",
                ),
                Count(
                    component="whole",
                    quantity="peak_memory_bytes",
                    analytic=9.9e9,
                    witnessed=10e9,
                    witness="allocator",
                ),
            ],
            cells=[
                cell("whole", 616, 10.5e-3),
                cell("llm", 616, 10.5e-3),
                cell("llm", 16, 9.0e-3),
                cell("llm", 80, 12.0e-3),
                cell("vision", 616, 11e-3, batch=4),
                cell("decode", 80, 9.7e-3),
            ],
            notes=["a note"],
        )
        return replace(found, **changes)

    return made
