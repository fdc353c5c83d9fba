"""Out of memory at any moment is one line with a remedy: by a device that has little of it."""

from __future__ import annotations

import pytest
import torch
from made_up import lawful, toy_laws
from small_memory import SmallMemory

from roofline.torch_side.measure.memory_check import MemoryShortError
from roofline.torch_side.measure.profile import profile
from roofline.torch_side.measure.request import Request
from roofline.torch_side.measure.validate import validate

LAWS = toy_laws("fp32", tile=16, vector_gb_per_s=100.0)
SHARES = (0.02, 0.5, 0.9, 0.99)
"""Of what a run needs at most: to load, to make the pipeline, to run."""


def test_the_small_memory_counts_what_lives() -> None:
    with SmallMemory(1e9) as memory:
        for _ in range(5):
            kept = torch.ones(250)
            kept.view(10, 25)
    assert 2000 <= memory.peak_bytes <= 3000  # one, and the next while the first is let go
    with pytest.raises(torch.OutOfMemoryError), SmallMemory(1500):
        [torch.ones(250) for _ in range(2)]


def request() -> Request:
    return Request.of(
        model="llava-tiny", device="cpu", output_tokens=2, stage="generate", cap_s=1.0
    )


@pytest.fixture(scope="module")
def needed_bytes() -> int:
    with SmallMemory(1e12) as memory:
        profile(request())
    return memory.peak_bytes


@pytest.mark.parametrize("share", SHARES)
def test_a_profile(needed_bytes: int, share: float) -> None:
    with (
        pytest.raises(MemoryShortError, match="llava-tiny in fp32 at batch 1 needs"),
        SmallMemory(share * needed_bytes),
    ):
        profile(request())


@pytest.mark.parametrize("share", SHARES[:2])
def test_a_validation(needed_bytes: int, share: float) -> None:
    with (
        pytest.raises(MemoryShortError, match=r"up to batch 4, need more than the .*--model"),
        SmallMemory(share * needed_bytes),
    ):
        validate(lawful("xeon", LAWS), model="llava-tiny", device="cpu", seconds=1.0)
