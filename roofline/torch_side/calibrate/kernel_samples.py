"""What the samples of a kernel say of it: one row, from all sweeps in which it was timed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
from msgspec import Struct

from roofline.records.statistics import disturbed, noise

CALM = 0.25
"""Quantile of the samples that a kernel's time is: other work on the machine only ever adds."""
VARIES = "its samples vary"
"""Of a kernel that something has disturbed unseen."""
FEW = "a single sample tells nothing"
_LEAST_SAMPLES = 2


class KernelSamples(Struct, frozen=True):
    """One kernel as one sweep over all of them has timed it."""

    name: str
    columns: dict[str, str | int | float]
    """What is known of it beside its time."""
    call_s: tuple[float, ...]
    """Time of a call, sample by sample, in seconds."""
    disturber: str = ""
    """What else was seen at work; empty where nothing was."""
    replay_s: float | None = None
    """A call's share of the replay of its CUDA graph, in seconds."""


def row_of(sweeps: Sequence[KernelSamples]) -> dict[str, Any]:
    """Columns of a kernel, its times in seconds, and why they are not to be trusted.

    sweeps: of this kernel, one or more. Those that something was seen to disturb count only where
    all were.
    """
    calm = [sweep for sweep in sweeps if not sweep.disturber] or sweeps
    call_s = list(chain.from_iterable(sweep.call_s for sweep in calm))
    time_s = float(np.quantile(call_s, CALM))
    row = {
        **calm[-1].columns,
        "time_s": time_s,
        "fastest_s": min(call_s),
        "noise": noise(call_s),
        "disturbed": calm[0].disturber or _unseen(call_s),
    }
    replays = [sweep.replay_s for sweep in calm if sweep.replay_s is not None]
    if replays:
        row["replay_share"] = max(replays) / time_s
    return row


def _unseen(call_s: Sequence[float]) -> str:
    """What the samples themselves say of a disturbance; empty where nothing."""
    if len(call_s) < _LEAST_SAMPLES:
        return FEW
    return VARIES if disturbed(call_s) else ""
