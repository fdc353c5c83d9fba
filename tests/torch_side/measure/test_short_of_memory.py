"""Out of memory at any moment is one line with a remedy: by a device that has little of it."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from made_up import lawful, toy_laws
from small_memory import SmallMemory

from roofline.records.journal import Journal
from roofline.records.measurement import Record
from roofline.torch_side import low_bit
from roofline.torch_side.measure import closer_looks, machine
from roofline.torch_side.measure import profile as profile_module
from roofline.torch_side.measure.memory_check import MemoryShortError, short_of_memory
from roofline.torch_side.measure.profile import profile
from roofline.torch_side.measure.request import Request
from roofline.torch_side.measure.stages import about_run
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


def profiled() -> Record:
    """On a clock that leaves time for the same looks, and the same memory, on any machine."""
    ticks = count()
    return profile(request(), clock=lambda: next(ticks) / 16)


@pytest.fixture(scope="module")
def needed_bytes() -> int:
    with SmallMemory(1e12) as memory:
        profiled()
    return memory.peak_bytes


@pytest.mark.parametrize("share", SHARES)
def test_a_profile(needed_bytes: int, share: float) -> None:
    with (
        pytest.raises(MemoryShortError, match="llava-tiny in fp32 at batch 1 needs"),
        SmallMemory(share * needed_bytes),
    ):
        profiled()


@pytest.mark.parametrize("share", SHARES[:2])
def test_a_validation(needed_bytes: int, share: float) -> None:
    with (
        pytest.raises(MemoryShortError, match=r"up to batch 4, need more than the .*--model"),
        SmallMemory(share * needed_bytes),
    ):
        validate(lawful("xeon", LAWS), model="llava-tiny", device="cpu", seconds=1.0)


TIGHT_BYTES = 1e4
"""Less than one run allocates."""


def tight(module: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let what a module calls by a name run in little memory; each try is counted."""
    real, tries = getattr(module, name), []

    def run(*given: Any, **named: Any) -> Any:
        tries.append(name)
        with SmallMemory(TIGHT_BYTES):
            return real(*given, **named)

    monkeypatch.setattr(module, name, run)
    return tries


def looked_at(journal: Journal, traces: list[bytes]) -> Record:
    """With all closer looks, on a clock that leaves time for them."""
    ticks = count()
    return profile(ASKED, clock=lambda: next(ticks) / 16, journal=journal, trace=traces.append)


ASKED = Request.of(
    model="llava-tiny", device="cpu", quant="bf16", hardware="xeon-8480", per_op=True
)
LOOKS = {
    "host_overhead": "host",
    "measure_ops": "op by op",
    "timeline": "timeline",
    "new_length": "new length",
}


@pytest.mark.parametrize("look", LOOKS)
def test_a_closer_look_that_does_not_fit_is_a_note(
    look: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The others are taken, and going on with the run does not try it again."""
    tries, target = tight(closer_looks, look, monkeypatch), str(tmp_path / "a.json")
    note = f"no {LOOKS[look]}: it needs more memory than the run has left"
    for sitting in (Journal.begin, Journal.resume):
        traces: list[bytes] = []
        journal = sitting(target, about_run(ASKED))
        record = looked_at(journal, traces)
        journal.close(finished=False)
        found = {
            "host_overhead": record.host,
            "measure_ops": record.ops,
            "timeline": traces,
            "new_length": record.new_length,
        }

        assert record.complete
        assert record.notes.count(note) == 1
        assert [name for name, what in found.items() if not what] == [look]
    assert len(tries) == 1


def test_timing_that_does_not_fit_is_the_same_line(monkeypatch: pytest.MonkeyPatch) -> None:
    tight(profile_module, "measure", monkeypatch)
    with pytest.raises(
        MemoryShortError, match="llava-tiny in fp32 at batch 1 needs more than"
    ) as e:
        profile(request())
    assert e.value.__context__ is None  # whose frames would hold on to the model


@pytest.mark.parametrize(
    ("kind", "option"), [("cpu", "w8a16"), ("cuda", "w8a8kv16"), ("mps", None)]
)
def test_what_would_fit_has_kernels_on_the_device(
    kind: str, option: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Narrower weights are smaller once they are loaded, in 16 bit: behind a longer prompt."""
    monkeypatch.setattr(low_bit, "_lacking", lambda operator, device: "")
    monkeypatch.setattr(machine, "device_name", lambda device: "it")
    asked = Request.of(model="llava-1.5-7b", device="cpu", quant="fp16", text_tokens=2000)
    loaded = Request.of(model="llava-1.5-7b", device="cpu", quant="w8a16", text_tokens=2000)
    free = loaded.peak_memory_bytes()
    assert free is not None
    monkeypatch.setattr(machine, "free_bytes", lambda device: free)
    text = str(short_of_memory(asked, torch.device(kind)))
    assert text.endswith(
        f"--quant {option} would fit (14.1 GB)" if option else "a larger device is needed"
    )


def test_what_would_fit_is_smaller_than_what_did_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there ought to have been room, the same again is no advice."""
    monkeypatch.setattr(machine, "free_bytes", lambda device: 80e9)
    asked = Request.of(model="llava-1.5-7b", device="cpu", quant="fp16", batch=1, visual_tokens=16)
    text = str(short_of_memory(asked, torch.device("cpu")))
    assert "needs more than there is, and" in text
    assert "--quant fp16" not in text
