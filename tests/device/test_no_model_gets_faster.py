"""Nothing takes less time for more: whole models on every device that has laws."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import roofline
from roofline.device.borrowed import laws_of
from roofline.engine.estimate import Estimate
from roofline.errors import UnsupportedModeError
from roofline.specs.catalog import all_hardware
from roofline.specs.hardware import Hardware
from roofline.specs.runtimes import runtimes

DEVICES = [device for device in all_hardware() if laws_of(device) is not None]
MODES = ("fp16", "int8", "w4a16")
STAGES = ("prefill", "decode", "generate")
COUNTS = {
    "visual_tokens": np.arange(1, 577),
    "batch": np.arange(1, 140),
    "text_tokens": np.unique(np.geomspace(1, 5000, 300).astype(int)),
    "output_tokens": np.unique(np.geomspace(1, 900, 30).astype(int)),
}
BASE = {"visual_tokens": 576, "batch": 1, "text_tokens": 40}


def analysis(device: Hardware, mode: str, stage: str, **counts: Any) -> Estimate:
    if stage != "prefill":
        counts = {"output_tokens": 16, **counts}
    return roofline.analyze("llava-1.5-7b", device, mode, stage=stage, **counts)


def assert_never_falls(found: Estimate, name: str, what: Any) -> None:
    for part in (found.end_to_end, *found.components.values()):
        times = part.attainable_time_s if name == "attainable" else part.elapsed_time_s
        assert times is not None
        steps = np.diff(np.broadcast_to(times, found.end_to_end.roofline_time_s.shape))
        assert steps.size
        assert (steps >= -1e-9 * np.max(times)).all(), what


@pytest.mark.parametrize("device", DEVICES, ids=lambda device: device.name)
def test_more_tokens_or_prompts_take_no_less(device: Hardware) -> None:
    """However laws of prompts, decode and matmuls of several shapes meet."""
    served = 0
    for mode in MODES:
        for stage in STAGES:
            for axis, counts in COUNTS.items():
                if axis == "output_tokens" and stage == "prefill":
                    continue
                try:
                    found = analysis(device, mode, stage, **{**BASE, axis: counts})
                except UnsupportedModeError:
                    continue
                assert_never_falls(found, "attainable", (mode, stage, axis))
                served += 1
    assert served >= 11  # fp16 at least


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(DEVICES),
    st.sampled_from(["fp16", "fp32", "int8", "w4a16"]),
    st.sampled_from(STAGES),
    st.sampled_from(["flash", "eager"]),
    st.sampled_from(["visual_tokens", "batch", "text_tokens"]),
    st.fixed_dictionaries(
        {
            "visual_tokens": st.integers(1, 576),
            "batch": st.integers(1, 300),
            "text_tokens": st.integers(1, 4000),
        }
    ),
)
def test_wherever_they_start_from(
    device: Hardware, mode: str, stage: str, attention: str, axis: str, base: dict[str, int]
) -> None:
    found = analysis(device, mode, stage, attention=attention, **{**base, axis: COUNTS[axis]})
    assert_never_falls(found, "attainable", axis)


@pytest.mark.parametrize("runtime", list(runtimes()))
@pytest.mark.parametrize("device", ["a100", "h100", "t4", "rtx-4090"])
def test_neither_do_they_with_what_the_host_takes(device: str, runtime: str) -> None:
    (hardware,) = (one for one in DEVICES if device in (one.name, *one.aliases))
    for stage in STAGES:
        for axis, counts in COUNTS.items():
            if axis == "output_tokens" and stage == "prefill":
                continue
            found = analysis(hardware, "fp16", stage, **{**BASE, axis: counts}, runtime=runtime)
            assert_never_falls(found, "elapsed", (stage, axis))
