"""Data of the ways of running, and what they say of servers' steps."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import msgspec
import pytest

from roofline.engine.axes import RUNTIMES
from roofline.errors import UnknownNameError
from roofline.specs.catalog import load_hardware
from roofline.specs.hardware import Hardware
from roofline.specs.reading import convert, read_yaml
from roofline.specs.runtimes import (
    RUNTIMES_FILE,
    Range,
    Runtime,
    _RuntimesFile,
    find_runtime,
    runtimes,
)


def test_every_way_has_a_source_and_some_figure() -> None:
    assert tuple(runtimes()) == RUNTIMES
    for runtime in runtimes().values():
        assert runtime.source
        assert runtime.pass_us or runtime.launch_us or runtime.steps
    assert {r.name for r in runtimes().values() if r.kernels == "fused"} == {"vllm", "trt-llm"}
    assert {r.name for r in runtimes().values() if r.overlaps} == {"eager", "compile"}


@pytest.mark.parametrize("name", ["vllm", "trt-llm"])
def test_steps_are_of_devices_and_of_all_together(name: str) -> None:
    steps = find_runtime(name).steps
    assert sum(step.hardware == "" for step in steps) == 1
    for step in steps:
        assert step.rows
        assert 0 < step.mean_error_percent < 10
        if step.hardware:
            hardware: Hardware = load_hardware(step.hardware)
            assert step.compute_capability == hardware.compute_capability


def test_an_unknown_name_offers_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean eager"):
        find_runtime("eger")


@pytest.mark.parametrize(("low", "high"), [(2.0, 3.0), (0.0, 0.5)])
def test_a_figure_lies_in_its_range(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="1 is not between"):
        Range(value=1.0, low=low, high=high)


def test_a_source_that_is_not_listed_is_refused() -> None:
    data: dict[str, Any] = read_yaml(RUNTIMES_FILE)
    data["sources"] = {}
    with pytest.raises(msgspec.ValidationError, match="`sources` lacks 'eager', which eager cites"):
        convert(data, _RuntimesFile)


def test_a_runtime_goes_through_plain_data() -> None:
    for runtime in runtimes().values():
        assert convert(msgspec.to_builtins(runtime), Runtime) == runtime


def test_kernels_alone_read_no_runtimes() -> None:
    """Nor does `--help`."""
    script = (
        "from pathlib import Path; import roofline; from roofline.specs import reading\n"
        "read, files = reading.read_file, []\n"
        "reading.read_file = lambda file: files.append(Path(file).name) or read(file)\n"
        "roofline.analyze('llava-1.5-7b', 'h200')\n"
        "assert files and not {'runtimes.yaml', 'server_steps.json'} & set(files), files"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
